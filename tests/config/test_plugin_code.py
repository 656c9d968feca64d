"""Own code that runs: networks, methods, noise and data, and what is said where it is wrong."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from own_code import CLASSIFIER, DATA, DENOISER, METHOD, NOISE, write

from dhl.cli.parser import main
from dhl.config import plugins as own
from dhl.config.parse import parse_config
from dhl.data.check import check_data
from dhl.data.image_set import load_split
from dhl.data.noise import add_noise, evaluation_seed, noisy_image, pixel_digest
from dhl.data.plugin_data import make_own_part
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.evaluation.untrained import BaselineJob, write_baseline
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.models.centre_crop import denoise_centre
from dhl.models.pretrained import load_pretrained
from dhl.planning.machine import Machine
from dhl.planning.operations import describe_workload
from dhl.planning.plan import make_plan
from dhl.run.evaluated import evaluated_models
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models
from dhl.training.train import train_model

SIGMA = 30
IMAGES = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


# Any function.


def test_a_file_is_run_once_and_its_classes_can_be_pickled(tmp_path):
    import pickle

    reference = write(tmp_path, "counted.py", "class One: ...\ndef f(): return One()\n") + ":f"
    assert own.load(reference) is own.load(reference)
    one = own.load(reference)()
    assert type(pickle.loads(pickle.dumps(one))) is type(one)


def test_two_files_of_one_name_are_two_modules(tmp_path):
    (tmp_path / "a").mkdir()
    first = write(tmp_path, "same.py", "def f(): return 1\n")
    second = write(tmp_path / "a", "same.py", "def f(): return 2\n")
    assert [own.load(f"{path}:f")() for path in (first, second)] == [1, 2]


def test_what_a_file_raises_when_it_is_run_is_one_message_with_its_traceback(tmp_path):
    reference = write(tmp_path, "raising.py", "def f(): ...\n1 / 0\n") + ":f"
    with pytest.raises(UserError, match=r"found: ZeroDivisionError: division by zero") as caught:
        own.load(reference)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_the_program_shows_the_line_of_the_users_file(tmp_path, tiny_content, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "wrong.py", "def squares(part, *, seed):\n    return {}['x']\n")
    tiny_content["parts"]["denoising"]["data"] = {"kind": "wrong.py:squares"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(tiny_content))
    assert main(["data", "make", "--part", "denoising", "--configfile", "own.yaml"]) == 1
    said = capsys.readouterr().err
    assert 'wrong.py", line 2, in squares' in said
    assert said.index("Traceback") < said.index("dhl: `wrong.py:squares` runs without an error")
    assert said.splitlines()[-2] == "  found: KeyError: 'x'"


# Networks.


def network(tmp_path, source: str, role: str, **options):
    """Build a network of a file."""
    name = f"net{abs(hash((source, role)))}.py"
    return build_network(role, write(tmp_path, name, source) + ":build", **options)


def test_an_own_denoiser_needs_no_border(tmp_path):
    built = network(tmp_path, DENOISER, "denoiser", width=3)
    assert denoise_centre(built, IMAGES, 12).shape == (2, 3, 12, 12)
    assert denoise_centre(built, IMAGES, None).shape == IMAGES.shape


def test_an_own_classifier_has_the_classes_and_options_that_it_is_given(tmp_path):
    built = network(tmp_path, CLASSIFIER, "classifier", classes=5, width=3, bias=False)
    assert built(IMAGES).shape == (2, 5)
    assert built[0].bias is None


@pytest.mark.parametrize(
    ("role", "body", "said"),
    [
        ("denoiser", "return 3", ["a torch.nn.Module with parameters", "found: a `int`"]),
        ("denoiser", "return nn.Identity()", ["one without parameters, Identity"]),
        ("denoiser", "raise ValueError('why\\nnot')", ["runs without an error", "ValueError: why"]),
    ],
)
def test_a_builder_that_builds_no_network_is_explained(tmp_path, role, body, said):
    with pytest.raises(UserError) as caught:
        network(tmp_path, f"from torch import nn\ndef build():\n    {body}\n", role)
    for words in said:
        assert words in str(caught.value)
    assert "not" not in str(caught.value).partition("to do")[0].partition("found")[2]


@pytest.mark.parametrize(
    ("role", "layer", "said"),
    [
        ("denoiser", "nn.Conv2d(3, 1, 1)", "(2, 1, 16, 20) for images of shape (2, 3, 16, 20)"),
        ("denoiser", "nn.Conv2d(3, 3, 3)", "(2, 3, 14, 18)"),
        ("classifier", "nn.Conv2d(3, 5, 1)", "(2, 5, 16, 20)"),
        ("segmenter", "nn.Conv2d(3, 5, 3)", "(2, 5, 14, 18)"),
    ],
)
def test_an_output_of_another_shape_is_refused_when_it_runs(tmp_path, role, layer, said):
    source = f"from torch import nn\ndef build(classes=None): return {layer}\n"
    built = network(tmp_path, source, role, **({} if role == "denoiser" else {"classes": 5}))
    with pytest.raises(UserError, match="N, 3, H, W") as caught:
        built(IMAGES)
    assert said in str(caught.value)


def test_own_networks_train_are_kept_and_are_evaluated(tiny_content, data_copy, tmp_path):
    names = {"denoiser": DENOISER, "classifier": CLASSIFIER}
    for role, source in names.items():
        tiny_content["networks"][role] = {"name": write(tmp_path, f"{role}.py", source) + ":build"}
    config = parse_config(tiny_content, source="own.yaml")
    for key in all_models(config):
        if "segment" not in key and "dncnn" not in key:
            train_model(config, key, data_copy)
    built, content = checkpoint.load_model(data_copy.model("joint-classification/sigma30"))
    assert content["network"] == {"name": str(tmp_path / "denoiser.py") + ":build"}
    assert built(IMAGES).shape == IMAGES.shape
    for section in ("data", "methods", "sigmas"):
        tiny_content[section].pop("segmentation")
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate", "joint-classification"]
    tiny_content["parts"]["classification"]["methods"] = ["clean", "noisy", "joint"]
    config = parse_config(tiny_content, source="own.yaml")
    evaluate(config, "classification", SIGMA, data_copy)
    rows = pd.read_csv(data_copy.evaluation("classification", SIGMA))
    assert set(rows["method"]) == {"clean", "noisy", "joint"}


def test_weights_fill_an_own_network_whole(tmp_path):
    first, second = (
        network(tmp_path, CLASSIFIER, "classifier", classes=classes) for classes in (5, 5)
    )
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    load_pretrained(second, tmp_path / "weights.pth")
    for name, value in second.state_dict().items():
        assert torch.equal(value, first.state_dict()[name])


def test_the_plan_counts_own_networks_and_images(tiny_content, tmp_path):
    kind = write(tmp_path, "data.py", DATA) + ":squares"
    tiny_content["parts"]["classification"]["data"] = {
        "kind": kind,
        "classes": 3,
        "options": {"count": 7},
    }
    name = write(tmp_path, "classifier.py", CLASSIFIER) + ":build"
    tiny_content["parts"]["classification"]["task_network"] = {
        "name": name,
        "options": {"bias": False},
    }
    tiny_content["parts"]["classification"]["methods"].append(write(tmp_path, "m.py", METHOD)
                                                     + ":halved_noise")  # fmt: skip
    tiny_content["noise"] = write(tmp_path, "noise.py", NOISE) + ":brighter"
    machine = Machine("cpu", 2, 0, "given", 4.0, 2.0, training_flops=1e9, evaluation_flops=1e9)
    plan = make_plan(describe_workload(parse_config(tiny_content, source="own.yaml")), machine)
    rows = {(row.rule, row.subject): row for row in plan.rows(by_subject=True)}
    assert rows["data", "classification"].amount == 7 + 7
    assert rows["baseline", "halved-noise, classification"].jobs == 1
    assert {"squares", "halved-noise"} <= set(plan.unknown)
    assert rows["train", "classifier"].disk_bytes == 4 * (3 * 4 * 9 + 4 * 3 + 3)


# Methods.


def job_with(content: dict, tmp_path, body: str):
    """Return a configuration whose only own method has this body, and its job."""
    source = f"import numpy as np\n\n\ndef mine(noisy, *, sigma):\n    {body}\n"
    reference = write(tmp_path, "mine.py", source) + ":mine"
    content["parts"]["denoising"]["methods"] = ["noisy", reference]
    return parse_config(content, source="own.yaml"), BaselineJob("denoising", "mine", SIGMA)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_own_method_denoises_every_image(tiny_content, data_copy, tmp_path, processes):
    config, job = job_with(tiny_content, tmp_path, "return noisy + np.float64(sigma)")
    write_baseline(config, job, data_copy, processes=processes)
    clean = load_split(data_copy.data("denoising"), "test")
    records = pd.read_csv(data_copy.noise("denoising", SIGMA)).itertuples()
    with np.load(data_copy.baseline("denoising", "mine", SIGMA)) as arrays:
        for record, image in zip(records, clean.images, strict=True):
            noisy = noisy_image(image, sigma=SIGMA, seed=record.seed)
            np.testing.assert_array_equal(arrays[record.image_id], noisy + np.float32(SIGMA))
            assert arrays[record.image_id].dtype == np.float32
    evaluate(config, "denoising", SIGMA, data_copy)
    assert set(pd.read_csv(data_copy.evaluation("denoising", SIGMA))["method"]) == {"noisy", "mine"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return noisy[..., 0]", "float32 of shape (40, 40)"),
        ("return (255 * noisy).astype(np.uint8)", "uint8 of shape (40, 40, 3)"),
        ("return noisy * np.nan", "finite numbers"),
        ("return None", "found: `None`"),
        ("return noisy.tolist()", "found: a `list`"),
    ],
)
def test_what_is_no_image_is_refused(tiny_content, data_copy, tmp_path, body, said):
    config, job = job_with(tiny_content, tmp_path, body)
    with pytest.raises(UserError, match=r"mine.py:mine` returns") as caught:
        write_baseline(config, job, data_copy, processes=1)
    assert said in str(caught.value)
    assert not data_copy.baseline("denoising", "mine", SIGMA).exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_an_own_method_raises_keeps_its_traceback(
    tiny_content, data_copy, tmp_path, processes
):
    import traceback

    config, job = job_with(tiny_content, tmp_path, "raise LookupError('no level')")
    with pytest.raises(UserError, match="found: LookupError: no level") as caught:
        write_baseline(config, job, data_copy, processes=processes)
    said = "".join(traceback.format_exception(caught.value.__cause__))
    assert 'mine.py", line 5, in mine' in said


# Noise.


@pytest.fixture
def noise(tmp_path) -> str:
    """A noise model that is stronger where the image is brighter."""
    return write(tmp_path, "noise.py", NOISE) + ":brighter"


def test_own_noise_has_the_sigma_of_each_image(noise):
    clean = torch.full((400, 3, 16, 16), 0.5)
    generator = torch.Generator().manual_seed(3)
    noisy = add_noise(clean, sigma=(10.0, 60.0), generator=generator, model=noise)
    sigmas = 255 * (noisy - clean).std(dim=(1, 2, 3))
    assert sigmas.min() > 8
    assert sigmas.max() < 70
    assert sigmas.mean() == pytest.approx(35, rel=0.1)
    one = add_noise(clean, sigma=30, generator=torch.Generator().manual_seed(3), model=noise)
    assert 255 * (one - clean).std() == pytest.approx(30, rel=0.02)


def test_the_test_noise_is_a_function_of_its_seed_and_not_of_threads(noise):
    clean = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    digests, threads = [], torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        noisy = noisy_image(clean, sigma=SIGMA, seed=5, model=noise)
        digests.append(pixel_digest(noisy))
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert digests[0] == digests[1]
    assert (noisy.shape, noisy.dtype) == (clean.shape, np.float32)
    other = noisy_image(clean, sigma=SIGMA, seed=6, model=noise)
    assert pixel_digest(other) != digests[0]
    excess = (noisy - clean / 255) / (0.5 + clean / 255)
    assert 255 * excess.std() == pytest.approx(SIGMA, rel=0.05)


def test_own_noise_cannot_change_the_clean_images(tmp_path):
    source = "def f(clean, *, noise_std, generator): return clean.add_(1)\n"
    clean = IMAGES.clone()
    model = write(tmp_path, "inplace.py", source) + ":f"
    noisy = add_noise(clean, sigma=30, generator=torch.Generator(), model=model)
    assert torch.equal(clean, IMAGES)
    assert torch.equal(noisy, IMAGES + 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return clean[:, :1]", "float32 of shape (2, 1, 16, 20) on cpu"),
        ("return clean.double()", "float64 of shape (2, 3, 16, 20)"),
        ("return clean.numpy()", "float32 of shape (2, 3, 16, 20)"),
        ("return None", "`None`"),
    ],
)
def test_noise_that_is_unlike_the_images_is_refused(tmp_path, body, said):
    source = f"def f(clean, *, noise_std, generator):\n    {body}\n"
    model = write(tmp_path, "wrong.py", source) + ":f"
    with pytest.raises(UserError, match="a tensor like `clean`: float32 of shape") as caught:
        add_noise(IMAGES, sigma=30, generator=torch.Generator(), model=model)
    assert f"found: {said}" in str(caught.value)


def test_test_noise_that_is_not_finite_is_refused(tmp_path):
    source = "def f(clean, *, noise_std, generator): return clean / 0\n"
    model = write(tmp_path, "infinite.py", source) + ":f"
    with pytest.raises(UserError, match="finite numbers"):
        noisy_image(np.ones((8, 8, 3), np.uint8), sigma=30, seed=0, model=model)


def test_a_run_with_own_noise_records_it_trains_with_it_and_is_measured_with_it(
    tiny_content, data_copy, noise
):
    before = pd.read_csv(data_copy.noise("denoising", SIGMA))
    tiny_content["noise"] = noise
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate", "cbm3d"]
    config = parse_config(tiny_content, source="own.yaml")
    write_noise(config, "denoising", SIGMA, data_copy)
    after = pd.read_csv(data_copy.noise("denoising", SIGMA))
    assert (after["seed"] == before["seed"]).all()
    assert (after["sha256"] != before["sha256"]).all()
    for key in ("separate-start/all", "separate/sigma30"):
        train_model(config, key, data_copy)
    write_baseline(config, BaselineJob("denoising", "cbm3d", SIGMA), data_copy, processes=1)
    evaluate(config, "denoising", SIGMA, data_copy)
    with np.load(data_copy.evaluation("denoising", SIGMA).with_suffix(".npz")) as arrays:
        clean, shown = arrays["clean/0"], arrays["image/noisy/0"]
    seed = evaluation_seed(
        base_seed=config.base_seed, dataset="photo-digits/denoising",
        image_id=after["image_id"][0], sigma=SIGMA,
    )  # fmt: skip
    expected = noisy_image(clean, sigma=SIGMA, seed=seed, model=noise)
    np.testing.assert_array_equal(shown, np.rint(255 * np.clip(expected, 0, 1).astype(float)))
    tiny_content["noise"] = "gaussian"
    with pytest.raises(UserError, match=r"not the recorded one|another configuration"):
        evaluate(parse_config(tiny_content, source="x"), "denoising", SIGMA, data_copy)


# Data.


def data_config(content: dict, tmp_path, source: str, part: str = "classification", **more):
    """Return a configuration with own data of a part."""
    kind = write(tmp_path, "data.py", source) + ":squares"
    content["parts"][part]["data"] = {"kind": kind, **more}
    return parse_config(content, source="own.yaml")


@pytest.mark.parametrize(
    ("part", "more"),
    [("denoising", {}), ("classification", {"classes": 3}), ("segmentation", {"classes": 3})],
)
def test_own_data_is_kept_as_any_other(tiny_content, tmp_path, part, more):
    config = data_config(tiny_content, tmp_path, DATA, part, options={"count": 5}, **more)
    folder = RunFolder(tmp_path / "run")
    write_data(config, part, folder)
    test = load_split(folder.data(part), "test")
    assert list(test.ids) == [f"test-{index:05d}" for index in range(5)]
    assert (test.images.shape, test.images.dtype) == ((5, 32, 32, 3), np.uint8)
    assert test.classes == more.get("classes")
    targets = {"denoising": None, "classification": (5,), "segmentation": (5, 32, 32)}[part]
    assert (None if test.targets is None else test.targets.shape) == targets
    write_noise(config, part, SIGMA, folder)
    assert [str(one) for one in check_data(config, decode=False)] == [
        f"data.{part}: complete; 10 images, 0.0 MB in {tmp_path / 'data.py'}"
    ]


def test_the_seed_of_own_data_is_of_the_run_the_name_and_the_part(tiny_content, tmp_path):
    source = DATA.replace("    splits = {}", "    splits = {}; seeds.append(seed)")
    seeds = write(tmp_path, "seeds.py", f"seeds = []\n{source}") + ":squares"
    for part, more in (("denoising", {}), ("classification", {"classes": 3})):
        tiny_content["parts"][part]["data"] = {"kind": seeds, **more}
    config = parse_config(tiny_content, source="own.yaml")
    for part in ("denoising", "classification", "denoising"):
        make_own_part(config, part)
    first, second, again = own.load(seeds).__globals__["seeds"]
    assert first == again != second


PIXELS = "np.zeros((2, 8, 8, 3), np.uint8)"
GOOD = f"{{'images': {PIXELS}, 'targets': [0, 2]}}"


@pytest.mark.parametrize(
    ("part", "returned", "said"),
    [
        ("classification", "3", ["a dict of splits", "found: a `int`"]),
        ("classification", f"{{'train': {GOOD}}}", ["no `test` among train"]),
        ("classification", f"{{'train': {GOOD}, 'test': {GOOD}, 'val': 0}}", ["a split `val`"]),
        ("classification", f"{{'train': 1, 'test': {GOOD}}}", ["train: a `int`", "`images`"]),
        ("classification", {"labels": "[0, 1]"}, ["test: `labels`", "`targets`"]),
        ("classification", {"images": None}, ["test: `None`", "uint8 arrays (H, W, 3)"]),
        ("classification", {"images": "[]"}, ["test: no image"]),
        ("classification", {"images": "np.zeros((2, 8, 8, 3))"}, ["float64 of shape (8, 8, 3)"]),
        ("classification", {"images": "np.zeros((2, 8, 8), np.uint8)"}, ["uint8 of shape (8, 8)"]),
        ("classification", {"ids": "['a']"}, ["test: 1 ids for 2 images"]),
        ("classification", {"ids": "['a', 'a']"}, ["test: `a` 2 times"]),
        ("classification", {"ids": "['a', 7]"}, ["empty or no text"]),
        ("classification", {"targets": None}, ["integers, classes (N,), here (2,)"]),
        ("classification", {"targets": "[0]"}, ["here (2,)", "of shape (1)"]),
        ("classification", {"targets": "[0.0, 1.0]"}, ["float64 of shape (2)"]),
        ("classification", {"targets": "[0, 3]"}, ["from 0 to 2 (`classes: 3`)", "test: 3"]),
        ("classification", {"targets": "[-1, 1]"}, ["test: -1"]),
        ("classification", {"targets": "[255, 1]"}, ["test: 255"]),
        ("segmentation", {"targets": "[0, 2]"}, ["label maps (N, H, W), here (2, 8, 8)"]),
        ("segmentation", {"targets": "np.full((2, 8, 8), 4)"}, ["or 255 where ignored", "test: 4"]),
        ("segmentation", {"images": "[np.zeros((8, width, 3), np.uint8) for width in (8, 9)]"},
         ["images of one size"]),
        ("classification", {"images": "7"}, ["test: a `int`"]),
        ("classification", {"ids": "7"}, ["test: a `int`", "`ids`"]),
        ("denoising", {"targets": "[0, 2]"}, ["no `targets` for denoising"]),
    ],
)  # fmt: skip
def test_data_that_is_none_is_explained(tiny_content, tmp_path, part, returned, said):
    if isinstance(returned, dict):
        maps = "np.full((2, 8, 8), 2)" if part == "segmentation" else "[0, 2]"
        entries = {"images": PIXELS, "targets": None if part == "denoising" else maps}
        good, wrong = (
            "{" + ", ".join(f"'{key}': {value}" for key, value in one.items()) + "}"
            for one in (entries, entries | returned)
        )
        returned = f"{{'train': {good}, 'test': {wrong}}}"
    source = textwrap.dedent(f"""
        import numpy as np

        def squares(part, *, seed):
            return {returned}
    """)
    more = {} if part == "denoising" else {"classes": 3}
    config = data_config(tiny_content, tmp_path, source, part, **more)
    with pytest.raises(UserError, match=r"data.py:squares` returns") as caught:
        make_own_part(config, part)
    for words in said:
        assert words in str(caught.value)


def test_images_of_several_sizes_are_kept_for_denoising(tiny_content, tmp_path):
    source = textwrap.dedent("""
        import numpy as np

        def squares(part, *, seed):
            sizes = ((8, 9), (12, 8))
            images = [np.full((height, width, 3), 7, np.uint8) for height, width in sizes]
            return {split: {"images": images, "ids": ["a", "b"]} for split in ("train", "test")}
    """)
    config = data_config(tiny_content, tmp_path, source, "denoising")
    folder = RunFolder(tmp_path / "run")
    write_data(config, "denoising", folder)
    assert load_split(folder.data("denoising"), "test").sizes.tolist() == [[8, 9], [12, 8]]
    assert evaluated_models(config, "denoising", SIGMA)
