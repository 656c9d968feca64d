"""Own code in a configuration: read without running it, and each mistake is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from own_code import CLASSIFIER, DATA, DENOISER, METHOD, NOISE, write
from settings import changed

from dhl.config import plugins as own
from dhl.config.methods import is_baseline, is_trained, label_of, model_of
from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.run.fingerprints import code_digest, fingerprint
from dhl.run.model_graph import all_models

SOURCES = {
    "method.py": METHOD, "classifier.py": CLASSIFIER, "denoiser.py": DENOISER, "noise.py": NOISE,
    "data.py": DATA,
}  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch) -> Path:
    """The files in the working directory, each of which would fail if it were run."""
    monkeypatch.chdir(tmp_path)
    for name, source in SOURCES.items():
        write(tmp_path, name, source + "\nraise SystemExit('this file was run')\n")
    return tmp_path


def configured(content: dict, path: str, value):
    """Check settings with one value changed."""
    return parse_config(changed(content, path, value), source="mine.yaml")


def test_a_function_is_read_without_being_run(files):
    function = own.read("method.py:halved_noise")
    assert (function.name, function.written) == ("halved_noise", "noisy, *, sigma")
    assert function.summary == "Half of what is too much."
    assert function.takes("sigma")
    assert not function.takes("width")


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("method.py", ["`method.py`", "a colon and the name of a function"]),
        ("method.py:", ["`method.py:`", "a colon and the name of a function"]),
        ("missing.py:f", ["no file missing.py", "begins at the working directory"]),
        (".py:f", ["`.py:f`"]),
        ("broken.py:f", ["broken.py, line 2", "mend the syntax"]),
        ("latin.py:f", ["latin.py", "UTF-8"]),
        ("method.py:halfed_noise", ["no function `halfed_noise`", "`method.py:halved_noise`"]),
        ("method.py:zzz", ["no function `zzz`", "one of `method.py:halved_noise`"]),
        ("empty.py:f", ["no function `f`", "`def f(...)`"]),
        ("class.py:Net", ["no function `Net`", "`class.py:build`"]),
        ("neighbour.py:f", ["neighbour.py, line 1: from method import x", "one file"]),
        ("relative.py:f", ["from . import method"]),
        ("mine/net.py:f", ["mine/net.py, line 1: from method import x", "one file"]),
        ("mine/part.py:f", ["mine/part.py, line 1: import mine.blocks", "one file"]),
    ],
)
def test_a_reference_that_leads_nowhere_is_explained(files, reference, said):
    write(files, "broken.py", "x = 1\ndef f(:\n")
    write(files, "empty.py", "")
    write(files, "class.py", "class Net: ...\ndef build(): ...\n")
    write(files, "neighbour.py", "from method import x\ndef f(): ...\n")
    write(files, "relative.py", "from . import method\ndef f(): ...\n")
    (files / "mine").mkdir()  # from there, the folder of the program's start is searched too
    write(files, "mine/net.py", "from method import x\ndef f(): ...\n")
    write(files, "mine/part.py", "import mine.blocks\ndef f(): ...\n")
    (files / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UserError) as caught:
        own.read(reference)
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("noise", "poisson", ["noise is gaussian, or your own code (path/to/file.py:function)"]),
        ("noise", "noise.py:brigther", ["`noise.py:brighter`", "`noise` in mine.yaml"]),
        ("noise", "method.py:halved_noise", ["can be called as", "noise_std=..., generator=...",
                                             "`halved_noise(noisy, *, sigma)`", "docs/extending"]),
        ("parts.denoising.methods", ["noisy", "metod.py:f"], ["no file metod.py", "`methods`"]),
        ("parts.denoising.methods", ["noisy", "bm4d"], ["`bm4d`", "path/to/file.py:function"]),
        ("parts.denoising.methods", ["data.py:squares"], ["`squares(noisy, sigma=...)`", "'seed'"]),
        ("parts.denoising.methods", ["method.py:halved_noise", "method.py:halved_noise"],
         ["`halved-noise` twice"]),
        ("parts.denoising.methods", ["method.py:halved_noise", "other.py:halved_noise"],
         ["`method.py:halved_noise` and `other.py:halved_noise`", "`halved-noise`"]),
        ("parts.denoising.methods", ["names.py:task_network"], ["`task-network`", "another name"]),
        ("parts.denoising.methods", ["noisy", "names.py:cbm3d"], ["`cbm3d`", "another name"]),
        ("parts.denoising.methods", ["names.py:_own"], ["`-own`", "another name"]),
        ("plugin_methods", {"halved-noise": "method.py:halved_noise"},
         ["stands in a list", "`plugin_methods.halved-noise`"]),
        ("plugin_methods", {"half": "method.py:halved_noise"},
         ["as its function", "call it `halved-noise`"]),
        ("plugin_methods", ["half"], ["`plugin_methods`"]),
        ("parts.classification.task_network", {"name": "classifier.py:bild"},
         ["`parts.classification.task_network.name`", "`classifier.py:build`"]),
        ("parts.classification.task_network", {"name": "my_net"}, ["small-vgg", "path/to/file.py:function"]),
        ("parts.classification.task_network", {"name": "classifier.py:build", "options": {"bais": True}},
         ["no option `bais` in `build(classes, width=4, *, bias=True)`", "write `bias`"]),
        ("parts.classification.task_network", {"name": "classifier.py:build", "options": {"zzz": 1}},
         ["use one of width, bias"]),
        ("parts.classification.task_network", {"name": "classifier.py:build", "depth": 3}, ["`depth`"]),
        ("parts.classification.task_network", {"name": "classifier.py:build", "weights": "imagenet"},
         ["`parts.classification.task_network.weights: imagenet`", "in a file"]),
        ("parts.classification.task_network", {"name": "classifier.py:build", "options": {"classes": 3}},
         ["`parts.classification.task_network.options`", "`classes`"]),
        ("parts.classification.task_network", {"name": "denoiser.py:build"}, ["'classes'", "classes=..."]),
        ("parts.denoising.denoiser", {"name": "denoiser.py:build", "weights": "w.pt"},
         ["`parts.denoising.denoiser.weights: w.pt`", "not to denoisers"]),
        ("parts.denoising.denoiser", {"name": "denoiser.py:build", "input": "authors"}, ["`input`"]),
        ("parts.denoising.denoiser", {"name": "released", "options": {"blocks": 3}},
         ["`parts.denoising.denoiser.blocks`, which is no option of `released`"]),
        ("parts.denoising.data", {"kind": "data.py:sqares"},
         ["`data.py:squares`", "`parts.denoising.data`"]),
        ("parts.denoising.data", {"kind": "data.py:squares", "options": {"conut": 3}},
         ["no option `conut`", "write `count`"]),
        ("parts.denoising.data", {"kind": "data.py:squares", "options": {"seed": 3}}, ["option `seed`"]),
        ("parts.denoising.data", {"kind": "data.py:squares", "clases": 3},
         ["unknown key `parts.denoising.data.clases`", "write `classes`"]),
        ("parts.denoising.data", {"kind": "data.py:squares", "classes": 3}, ["has no classes"]),
        ("parts.classification.data", {"kind": "data.py:squares"},
         ["`parts.classification.data`", "`classes`, from 2"]),
        ("parts.segmentation.data", {"kind": "data.py:squares", "classes": 256}, ["from 2 to 255"]),
        ("parts.classification.data", {"kind": "data.py:squares", "classes": 1},
         ["`parts.classification.data.classes`", "greater than or equal to 2"]),
        ("parts.denoising.data", {"kind": 3}, ["`parts.denoising.data.kind`", "photo-digits"]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_value_and_remedy(files, tiny_content, path, value, said):
    write(files, "other.py", METHOD)
    names = ("task_network", "cbm3d", "_own")
    write(files, "names.py", "".join(f"def {name}(x, *, sigma): ...\n" for name in names))
    with pytest.raises(UserError) as caught:
        configured(tiny_content, path, value)
    message = str(caught.value)
    for words in said:
        assert words in message
    assert "mine.yaml" in message
    assert message.index("\n  found: ") < message.index("\n  to do: ")


def with_own_code(content: dict) -> dict:
    """Return settings with own code in every place that can have some."""
    content = changed(content, "noise", "noise.py:brighter")
    for part in ("denoising", "segmentation"):
        content["parts"][part]["methods"] = ["noisy", "method.py:halved_noise", "separate"]
    content["parts"]["denoising"]["denoiser"] = {"name": "denoiser.py:build", "width": 4}
    content["parts"]["classification"]["task_network"] = {
        "name": "classifier.py:build",
        "options": {"bias": False},
    }
    content["parts"]["classification"]["data"] = {"kind": "data.py:squares", "classes": 3}
    return content


def test_the_resolved_configuration_is_a_configuration_and_the_same(tiny_content):
    config = parse_config(with_own_code(tiny_content), source="mine.yaml")
    assert config.parts.denoising.methods == ("noisy", "halved-noise", "separate")
    assert config.plugin_methods == {"halved-noise": "method.py:halved_noise"}
    assert config.parts.classification.data.name == "squares"
    resolved = config.model_dump(mode="json")
    assert parse_config(resolved, source="results/config.yaml") == config
    assert config.plugins == (
        "method.py:halved_noise", "noise.py:brighter", "denoiser.py:build", "classifier.py:build",
        "data.py:squares",
    )  # fmt: skip


def test_an_own_method_is_untrained_and_called_after_its_function():
    assert label_of("halved-noise") == "Halved noise"
    assert label_of("joint") == "Joint"
    assert [is_baseline(name) for name in ("halved-noise", "cbm3d", "noisy", "joint")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not is_trained("halved-noise")
    assert model_of("halved-noise", "denoising") is None


def test_the_configuration_with_own_code_loads_no_torch(files, tiny_content):
    import yaml

    (files / "own.yaml").write_text(yaml.safe_dump(with_own_code(tiny_content)))
    program = (
        "import sys; from dhl.config.parse import load_config; from dhl.run.model_graph import *\n"
        "config = load_config('own.yaml'); [fingerprint(config, key) for key in all_models(config)]"
        "\nprint('torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True)
    assert said.stdout == "False\n", said.stderr


def test_a_digest_knows_code_and_not_comments_nor_other_files(files):
    def digest() -> str:
        return code_digest("noise.py:brighter")

    before = digest()
    text = (files / "noise.py").read_text()
    write(files, "noise.py", "# Why.\n" + text)
    assert digest() == before
    write(files, "noise.py", text.replace("0.5", "0.6"))
    assert digest() != before
    write(files, "noise.py", "from dhl.evaluation.metrics import psnr\n" + text)
    assert digest() not in (before, code_digest("dhl.evaluation.metrics"))
    write(files, "noise.py", "from dhl.no_such_module import x\n" + text)  # fails when it is run
    assert digest() != before


PARENTS = {"separate": "separate-start/all", "dncnn": "dncnn-start/all"}


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("noise.py", lambda key: key not in ("classifier/clean", "segmenter/clean")),
        ("denoiser.py", lambda key: key.startswith(("separate", "joint", "matched"))),
        ("classifier.py", lambda key: key.endswith(("classifier/clean", "classification/sigma30"))
            and not key.startswith("matched")),
        ("data.py", lambda key: "classif" in key),
        ("method.py", lambda key: False),
    ],
)  # fmt: skip
def test_an_edit_makes_the_models_stale_that_it_changes(files, tiny_content, file, stale):
    content = with_own_code(tiny_content)
    content["parts"]["denoising"]["methods"].append("dncnn")
    config = parse_config(content, source="mine.yaml")
    keys = all_models(config)
    before = {key: fingerprint(config, key) for key in keys}
    write(files, file, (files / file).read_text() + "\nMORE = 1\n")
    assert {key for key in keys if fingerprint(config, key) != before[key]} == {
        key for key in keys if stale(key)
    }


def test_options_are_part_of_a_models_identity(tiny_content):
    prints = []
    for bias in (True, False):
        content = with_own_code(tiny_content)
        content["parts"]["classification"]["task_network"]["options"] = {"bias": bias}
        prints.append(fingerprint(parse_config(content, source="m"), "classifier/clean"))
    assert prints[0] != prints[1]
