"""Plug-ins in a configuration: imported, checked by their signatures, and part of fingerprints."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from plugin_samples import CLASSIFIER, DATA, DENOISER, METHOD, NOISE, write
from settings import changed, refused

from dhl.config import plugins
from dhl.config.methods import is_baseline, is_trained, label_of
from dhl.config.parse import parse_config
from dhl.config.plugins import PluginError, load_plugin, running, wrong_result
from dhl.run.fingerprints import settings_fingerprint
from dhl.run.model_graph import all_models

SOURCES = {
    "method.py": METHOD, "classifier.py": CLASSIFIER, "denoiser.py": DENOISER, "noise.py": NOISE,
    "data.py": DATA,
}  # fmt: skip


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch) -> Path:
    """The sample plug-ins in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, source in SOURCES.items():
        write(tmp_path, name, source)
    return tmp_path


def test_a_plugin_has_a_function_its_signature_and_its_source(files):
    plugin = load_plugin("method.py:halved_noise")
    assert (plugin.path, plugin.name) == (Path("method.py"), "halved_noise")
    assert list(plugin.signature.parameters) == ["noisy", "sigma"]
    assert plugin.summary == "Half of what is too much."
    assert plugin.source == (files / "method.py").read_text()
    assert plugin.takes("sigma")
    assert not plugin.takes("width")


def test_a_class_can_be_a_plugin(files):
    write(files, "net.py", "class Net:\n    def __init__(self, classes): ...\n")
    load_plugin("net.py:Net").check_call(keywords=("classes",))


def test_a_file_is_imported_once_and_its_classes_can_be_pickled(files):
    write(files, "counted.py", "class One: ...\ndef f(): return One()\n")
    function = load_plugin("counted.py:f").function
    assert load_plugin(f"{files}/counted.py:f").function is function
    one = function()
    assert type(pickle.loads(pickle.dumps(one))) is type(one)


def test_two_files_of_one_name_are_two_modules(files):
    (files / "a").mkdir()
    write(files, "same.py", "def f(): return 1\n")
    write(files / "a", "same.py", "def f(): return 2\n")
    assert [load_plugin(f"{path}.py:f").function() for path in ("same", "a/same")] == [1, 2]


@pytest.mark.parametrize(
    ("reference", "mistake", "do"),
    [
        ("method.py", "`method.py`", plugins.FORM),
        ("method.py:", "`method.py:`", plugins.FORM),
        (".py:f", "`.py:f`", plugins.FORM),
        ("missing.py:f", "missing.py", "working directory"),
        ("broken.py:f", "broken.py, line 2", ""),
        ("latin.py:f", "latin.py", "UTF-8"),
        ("method.py:halfed_noise", "`halfed_noise`", "`halved_noise`"),
        ("method.py:zzz", "`zzz`", "`def zzz(...)`"),
        ("value.py:f", "`f`", "`def f(...)`"),
    ],
)
def test_a_reference_to_nothing_is_an_error(files, reference, mistake, do):
    write(files, "broken.py", "x = 1\ndef f(:\n")
    write(files, "value.py", "f = 1\n")
    (files / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(PluginError) as caught:
        load_plugin(reference)
    assert mistake in caught.value.mistake
    assert do in caught.value.do


def test_an_exception_of_a_file_is_the_cause_of_the_error(files):
    write(files, "raising.py", "def f(): ...\n1 / 0\n")
    for _ in range(2):  # a failed import is not kept
        with pytest.raises(PluginError) as caught:
            load_plugin("raising.py:f")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "raising.py:f" in caught.value.mistake
    assert caught.value.came == "ZeroDivisionError: division by zero"


def test_an_exception_of_a_function_is_the_cause_of_the_error():
    with pytest.raises(PluginError) as caught, running("a.py:f"):
        raise LookupError("one\ntwo")
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.came == "LookupError: one"
    error = wrong_result("a.py:f", expected="x", came="y")
    with pytest.raises(PluginError) as caught, running("a.py:f"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("reference", "arguments", "mistake", "do"),
    [
        ("data.py:squares", {"options": {"conut": 1}}, "no option `conut`", "write `count`"),
        ("data.py:squares", {"options": {"zzz": 1}}, "no option `zzz`", "count, size"),
        ("data.py:squares", {"options": {"seed": 1}}, "no option `seed`", ""),
        ("noise.py:brighter", {"options": {"zzz": 1}}, "no option `zzz`", ""),
        ("denoiser.py:build", {}, "build(part, seed=...)", "docs/extending.md"),
        ("method.py:halved_noise", {}, "halved_noise(part, seed=...)", "docs/extending.md"),
    ],
)
def test_a_function_that_cannot_be_called_is_an_error(reference, arguments, mistake, do):
    with pytest.raises(PluginError) as caught:
        load_plugin(reference).check_call("part", keywords=("seed",), **arguments)
    assert mistake in caught.value.mistake
    assert do in caught.value.do
    load_plugin("data.py:squares").check_call("part", keywords=("seed",), options=("count",))


NETWORK = "parts.classification.task_network"
DENOISER_KEY = "parts.denoising.denoiser"
METHODS = "parts.denoising.methods"
DATA_KEY = "parts.denoising.data"


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("noise", "poisson", "noise"),
        ("noise", "noise.py:brigther", "noise"),
        ("noise", "method.py:halved_noise", "noise"),
        (METHODS, ["noisy", "missing.py:f"], "missing.py"),
        (METHODS, ["noisy", "bm4d"], "bm4d"),
        (METHODS, ["data.py:squares"], "data.py:squares"),
        (METHODS, ["method.py:halved_noise", "method.py:halved_noise"], "halved-noise"),
        (METHODS, ["method.py:halved_noise", "other.py:halved_noise"], "halved-noise"),
        (METHODS, ["names.py:task_network"], "task-network"),
        (METHODS, ["noisy", "names.py:cbm3d"], "cbm3d"),
        (METHODS, ["names.py:_private"], "-private"),
        ("plugin_methods", {"halved-noise": "method.py:halved_noise"}, "halved-noise"),
        ("plugin_methods", {"half": "method.py:halved_noise"}, "half"),
        ("plugin_methods", ["half"], "plugin_methods"),
        (NETWORK, {"name": "classifier.py:bild"}, f"{NETWORK}.name"),
        (NETWORK, {"name": "my_net"}, "my_net"),
        (NETWORK, {"name": "classifier.py:build", "options": {"bais": True}}, "bais"),
        (NETWORK, {"name": "classifier.py:build", "depth": 3}, "depth"),
        (NETWORK, {"name": "classifier.py:build", "weights": "imagenet"}, f"{NETWORK}.weights"),
        (NETWORK, {"name": "classifier.py:build", "options": {"classes": 3}}, "classes"),
        (NETWORK, {"name": "denoiser.py:build"}, "denoiser.py:build"),
        (DENOISER_KEY, {"name": "denoiser.py:build", "weights": "w.pt"}, f"{DENOISER_KEY}.weights"),
        (DENOISER_KEY, {"name": "denoiser.py:build", "input": "authors"}, "input"),
        (DENOISER_KEY, {"name": "released", "options": {"blocks": 3}}, f"{DENOISER_KEY}.blocks"),
        (DATA_KEY, {"kind": "data.py:sqares"}, DATA_KEY),
        (DATA_KEY, {"kind": "data.py:squares", "options": {"conut": 3}}, DATA_KEY),
        (DATA_KEY, {"kind": "data.py:squares", "clases": 3}, f"{DATA_KEY}.clases"),
        (DATA_KEY, {"kind": "data.py:squares", "classes": 3}, f"{DATA_KEY}.classes"),
        ("parts.classification.data", {"kind": "data.py:squares"},
         "parts.classification.data.classes"),
        ("parts.segmentation.data", {"kind": "data.py:squares", "classes": 256},
         "parts.segmentation.data.classes"),
        ("parts.classification.data", {"kind": "data.py:squares", "classes": 1},
         "parts.classification.data.classes"),
        (DATA_KEY, {"kind": 3}, f"{DATA_KEY}.kind"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_configuration_is_named_with_its_key_and_file(
    files, tiny_content, path, value, key
):
    write(files, "other.py", METHOD)
    names = ("task_network", "cbm3d", "_private")
    write(files, "names.py", "".join(f"def {name}(x, *, sigma): ...\n" for name in names))
    error = refused(changed(tiny_content, path, value))
    assert key in error.mistake + error.came
    assert "mine.yaml" in error.mistake + error.came


def with_plugins(content: dict) -> dict:
    """Return settings with plug-ins of all four kinds."""
    content = changed(content, "noise", "noise.py:brighter")
    parts = content["parts"]
    for part in ("denoising", "segmentation"):
        parts[part]["methods"] = ["noisy", "method.py:halved_noise", "separate"]
    parts["denoising"]["denoiser"] = {"name": "denoiser.py:build", "width": 4}
    network = {"name": "classifier.py:build", "options": {"bias": False}}
    parts["classification"]["task_network"] = network
    parts["classification"]["data"] = {"kind": "data.py:squares", "classes": 3}
    return content


def test_the_resolved_configuration_is_a_configuration_and_the_same(tiny_content):
    config = parse_config(with_plugins(tiny_content), source="mine.yaml")
    assert config.parts.denoising.methods == ("noisy", "halved-noise", "separate")
    assert config.plugin_methods == {"halved-noise": "method.py:halved_noise"}
    assert config.parts.classification.data.name == "squares"
    assert label_of("halved-noise") == "Halved noise"
    assert (is_baseline("halved-noise"), is_trained("halved-noise")) == (True, False)
    resolved = config.model_dump(mode="json")
    assert parse_config(resolved, source="results/config.yaml") == config
    assert config.plugins == (
        "method.py:halved_noise", "noise.py:brighter", "denoiser.py:build", "classifier.py:build",
        "data.py:squares",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("noise.py", lambda key: key not in ("classifier/clean", "segmenter/clean")),
        ("denoiser.py", lambda key: key.startswith(("separate", "joint", "matched"))),
        ("classifier.py", lambda key: key.endswith(("classifier/clean", "classification/sigma30"))
            and not key.startswith("matched")),
        ("data.py", lambda key: False),  # the digest of the images decides
        ("method.py", lambda key: False),
    ],
)  # fmt: skip
def test_an_edit_makes_the_models_stale_that_it_changes(files, tiny_content, file, stale):
    content = with_plugins(tiny_content)
    content["parts"]["denoising"]["methods"].append("dncnn")
    config = parse_config(content, source="mine.yaml")
    keys = all_models(config)
    before = {key: settings_fingerprint(config, key) for key in keys}
    write(files, file, (files / file).read_text() + "\nMORE = 1\n")
    again = {key: settings_fingerprint(config, key) for key in keys}
    assert again == before  # of the imported code
    plugins._import_file.cache_clear()
    assert {key for key in keys if settings_fingerprint(config, key) != before[key]} == {
        key for key in keys if stale(key)
    }
