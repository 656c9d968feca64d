"""Plug-ins that run: networks, methods, noise and data, and the errors of wrong ones."""

from __future__ import annotations

import textwrap
import traceback
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from plugin_samples import CLASSIFIER, DATA, DENOISER, METHOD, NOISE, write

from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.config.plugins import PluginError, load_plugin
from dhl.data.check import check_data
from dhl.data.image_set import load_split
from dhl.data.noise import add_noise, evaluation_seed, noisy_image, pixel_digest
from dhl.data.plugin_data import make_plugin_part
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.evaluation.evaluate import evaluate
from dhl.evaluation.untrained import BaselineJob, write_baseline
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.planning.image_counts import count_all_images
from dhl.planning.machine import Machine, Rates
from dhl.planning.plan import make_plan
from dhl.run.evaluations import evaluated_models
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models
from dhl.training.objectives import denoise_centre
from dhl.training.train import train_model

SIGMA = 30
IMAGE_PARTS = ("denoising", "classification")
IMAGES = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_the_program_shows_the_line_of_the_users_file(tmp_path, tiny_content, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "wrong.py", "def squares(part, *, seed):\n    return {}['x']\n")
    tiny_content["parts"]["denoising"]["data"] = {"kind": "wrong.py:squares"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny_content))
    assert main(["data", "make", "--part", "denoising", "--configfile", "mine.yaml"]) == 1
    said = capsys.readouterr().err
    assert 'wrong.py", line 2, in squares' in said
    assert said.index("Traceback") < said.index("dhl: `wrong.py:squares`")
    assert "KeyError: 'x'" in said.splitlines()[-2]


# Networks.


def network(tmp_path, source: str, role: str, **options):
    """Build a network of a file."""
    name = f"net{abs(hash((source, role)))}.py"
    return build_network(role, write(tmp_path, name, source) + ":build", **options)


def test_a_denoiser_needs_no_border(tmp_path):
    built = network(tmp_path, DENOISER, "denoiser", width=3)
    assert denoise_centre(built, IMAGES, 12).shape == (2, 3, 12, 12)
    assert denoise_centre(built, IMAGES, None).shape == IMAGES.shape


def test_a_classifier_has_the_classes_and_options_that_it_is_given(tmp_path):
    built = network(tmp_path, CLASSIFIER, "classifier", classes=5, width=3, bias=False)
    assert built(IMAGES).shape == (2, 5)
    assert built[0].bias is None


@pytest.mark.parametrize(
    ("body", "came"),
    [
        ("return 3", "`int`"),
        ("return nn.Identity()", "`Identity` without parameters"),
        ("raise ValueError('why\\nnot')", "ValueError: why"),
    ],
)
def test_a_builder_that_builds_no_network_is_an_error(tmp_path, body, came):
    with pytest.raises(PluginError) as caught:
        network(tmp_path, f"from torch import nn\ndef build():\n    {body}\n", "denoiser")
    assert caught.value.came.endswith(came)


@pytest.mark.parametrize(
    ("role", "layer", "came"),
    [
        ("denoiser", "nn.Conv2d(3, 1, 1)", "(2, 1, 16, 20) for images of shape (2, 3, 16, 20)"),
        ("denoiser", "nn.Conv2d(3, 3, 3)", "(2, 3, 14, 18)"),
        ("classifier", "nn.Conv2d(3, 5, 1)", "(2, 5, 16, 20)"),
        ("segmenter", "nn.Conv2d(3, 5, 3)", "(2, 5, 14, 18)"),
    ],
)
def test_an_output_of_another_shape_is_refused_when_it_runs(tmp_path, role, layer, came):
    source = f"from torch import nn\ndef build(classes=None): return {layer}\n"
    built = network(tmp_path, source, role, **({} if role == "denoiser" else {"classes": 5}))
    with pytest.raises(PluginError) as caught:
        built(IMAGES)
    assert came in caught.value.came


def test_networks_are_trained_saved_and_evaluated(tiny_content, data_copy, tmp_path):
    denoising, classification = (tiny_content["parts"][part] for part in IMAGE_PARTS)
    del tiny_content["parts"]["segmentation"]
    denoising["denoiser"] = {"name": write(tmp_path, "denoiser.py", DENOISER) + ":build"}
    classification["task_network"] = {"name": write(tmp_path, "net.py", CLASSIFIER) + ":build"}
    denoising["methods"] = ["noisy", "separate", "joint-classification"]
    classification["methods"] = ["clean", "noisy", "joint"]
    config = parse_config(tiny_content, source="mine.yaml")
    for key in all_models(config):
        train_model(config, key, data_copy)
    built, content = checkpoint.load_model(data_copy.model("joint-classification/sigma30"))
    assert content["network"] == denoising["denoiser"]
    assert built(IMAGES).shape == IMAGES.shape
    evaluate(config, "classification", SIGMA, data_copy)
    rows = pd.read_csv(data_copy.evaluation("classification", SIGMA))
    assert set(rows["method"]) == {"clean", "noisy", "joint"}


def test_the_plan_counts_networks_and_images(tiny_content, tmp_path):
    part = tiny_content["parts"]["classification"]
    kind = write(tmp_path, "data.py", DATA) + ":squares"
    part["data"] = {"kind": kind, "classes": 3, "options": {"count": 7}}
    name = write(tmp_path, "classifier.py", CLASSIFIER) + ":build"
    part["task_network"] = {"name": name, "options": {"bias": False}}
    part["methods"].append(write(tmp_path, "m.py", METHOD) + ":halved_noise")
    tiny_content["noise"] = write(tmp_path, "noise.py", NOISE) + ":brighter"
    config = parse_config(tiny_content, source="own.yaml")
    rates = defaultdict(lambda: Rates(1e9, 1e9))
    machine = Machine("cpu", 2, 0, "given", 4.0, rates, {})
    plan = make_plan(config, count_all_images(config), machine)
    jobs = {job.name: job for job in plan.jobs}
    assert jobs["data/classification"].amount == 7 + 7
    assert "baseline/classification/halved-noise/30/1-of-1" in jobs
    assert {"squares", "halved-noise"} <= set(plan.unknown)
    assert jobs["train/classifier/clean"].disk_bytes == 4 * (3 * 4 * 9 + 4 * 3 + 3)


# Methods.


def job_with(content: dict, tmp_path, body: str):
    """Return a configuration whose only plug-in has this body, and its job."""
    source = f"import numpy as np\n\n\ndef mine(noisy, *, sigma):\n    {body}\n"
    reference = write(tmp_path, "mine.py", source) + ":mine"
    content["parts"]["denoising"]["methods"] = ["noisy", reference]
    return parse_config(content, source="mine.yaml"), BaselineJob("denoising", "mine", SIGMA)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_method_denoises_every_image(tiny_content, data_copy, tmp_path, processes):
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
    ("body", "came"),
    [
        ("return noisy[..., 0]", "float32 of shape (40, 40)"),
        ("return (255 * noisy).astype(np.uint8)", "uint8 of shape (40, 40, 3)"),
        ("return noisy * np.nan", "not"),
        ("return None", "`None`"),
        ("return noisy.tolist()", "a `list`"),
    ],
)
def test_a_method_that_returns_no_image_is_refused(tiny_content, data_copy, tmp_path, body, came):
    config, job = job_with(tiny_content, tmp_path, body)
    with pytest.raises(PluginError) as caught:
        write_baseline(config, job, data_copy, processes=1)
    assert came in caught.value.came
    assert not data_copy.baseline("denoising", "mine", SIGMA).exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_exception_of_a_method_keeps_its_traceback(
    tiny_content, data_copy, tmp_path, processes
):
    config, job = job_with(tiny_content, tmp_path, "raise LookupError('no level')")
    with pytest.raises(PluginError) as caught:
        write_baseline(config, job, data_copy, processes=processes)
    assert caught.value.came == "LookupError: no level"
    said = "".join(traceback.format_exception(caught.value.__cause__))
    assert 'mine.py", line 5, in mine' in said


# Noise.


@pytest.fixture
def noise(tmp_path) -> str:
    """A noise model that is stronger where the image is brighter."""
    return write(tmp_path, "noise.py", NOISE) + ":brighter"


def test_noise_has_the_sigma_of_each_image(noise):
    clean = torch.full((400, 3, 16, 16), 0.5)
    generator = torch.Generator().manual_seed(3)
    noisy = add_noise(clean, sigma=(10.0, 60.0), generator=generator, model=noise)
    sigmas = 255 * (noisy - clean).std(dim=(1, 2, 3))
    assert 8 < sigmas.min() < sigmas.max() < 70
    assert sigmas.mean() == pytest.approx(35, rel=0.1)
    one = add_noise(clean, sigma=30, generator=generator, model=noise)
    assert 255 * (one - clean).std() == pytest.approx(30, rel=0.02)


def test_the_test_noise_is_a_function_of_its_seed_and_not_of_threads(noise):
    clean = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    threads = torch.get_num_threads()
    drawn = []
    for count, seed in ((1, 5), (2, 5), (threads, 6)):
        torch.set_num_threads(count)
        drawn.append(noisy_image(clean, sigma=SIGMA, seed=seed, model=noise))
        assert torch.get_num_threads() == count
    first, second, other = map(pixel_digest, drawn)
    assert first == second != other
    assert (drawn[0].shape, drawn[0].dtype) == (clean.shape, np.float32)
    excess = (drawn[0] - clean / 255) / (0.5 + clean / 255)
    assert 255 * excess.std() == pytest.approx(SIGMA, rel=0.05)


def test_noise_cannot_change_the_clean_images(tmp_path):
    source = "def f(clean, *, noise_std, generator): return clean.add_(1)\n"
    clean = IMAGES.clone()
    model = write(tmp_path, "inplace.py", source) + ":f"
    noisy = add_noise(clean, sigma=30, generator=torch.Generator(), model=model)
    assert torch.equal(clean, IMAGES)
    assert torch.equal(noisy, IMAGES + 1)


@pytest.mark.parametrize(
    ("body", "came"),
    [
        ("return clean[:, :1]", "float32 of shape (2, 1, 16, 20) on cpu"),
        ("return clean.double()", "float64 of shape (2, 3, 16, 20)"),
        ("return clean.numpy()", "float32 of shape (2, 3, 16, 20)"),
        ("return None", "`None`"),
    ],
)
def test_noise_that_is_unlike_the_images_is_refused(tmp_path, body, came):
    source = f"def f(clean, *, noise_std, generator):\n    {body}\n"
    model = write(tmp_path, "wrong.py", source) + ":f"
    with pytest.raises(PluginError) as caught:
        add_noise(IMAGES, sigma=30, generator=torch.Generator(), model=model)
    assert caught.value.came.startswith(came)


def test_test_noise_that_is_not_finite_is_refused(tmp_path):
    source = "def f(clean, *, noise_std, generator): return clean / 0\n"
    model = write(tmp_path, "infinite.py", source) + ":f"
    with pytest.raises(PluginError):
        noisy_image(np.ones((8, 8, 3), np.uint8), sigma=30, seed=0, model=model)


def test_a_run_records_its_noise_and_trains_and_is_measured_with_it(tiny_content, data_copy, noise):
    before = pd.read_csv(data_copy.noise("denoising", SIGMA))
    tiny_content["noise"] = noise
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", "separate", "cbm3d"]
    config = parse_config(tiny_content, source="mine.yaml")
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
    with pytest.raises(UserError):
        evaluate(parse_config(tiny_content, source="x"), "denoising", SIGMA, data_copy)


# Data.


def data_config(content: dict, tmp_path, source: str, part: str = "classification", **more):
    """Return a configuration with a plug-in as the data of a part."""
    kind = write(tmp_path, "data.py", source) + ":squares"
    content["parts"][part]["data"] = {"kind": kind, **more}
    return parse_config(content, source="mine.yaml")


@pytest.mark.parametrize(
    ("part", "more"),
    [("denoising", {}), ("classification", {"classes": 3}), ("segmentation", {"classes": 3})],
)
def test_data_is_saved_as_any_other(tiny_content, tmp_path, part, more):
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
        f"parts.{part}.data: complete; 10 images, 0.0 MB in {tmp_path / 'data.py'}"
    ]


def test_the_seed_of_data_is_of_the_run_the_name_and_the_part(tiny_content, tmp_path):
    source = DATA.replace("    splits = {}", "    splits = {}; seeds.append(seed)")
    seeds = write(tmp_path, "seeds.py", f"seeds = []\n{source}") + ":squares"
    for part, more in (("denoising", {}), ("classification", {"classes": 3})):
        tiny_content["parts"][part]["data"] = {"kind": seeds, **more}
    config = parse_config(tiny_content, source="mine.yaml")
    for part in ("denoising", "classification", "denoising"):
        make_plugin_part(config, part)
    first, second, again = load_plugin(seeds).function.__globals__["seeds"]
    assert first == again != second


PIXELS = "np.zeros((2, 8, 8, 3), np.uint8)"
GOOD = f"{{'images': {PIXELS}, 'targets': [0, 2]}}"


@pytest.mark.parametrize(
    ("part", "returned", "came"),
    [
        ("classification", "3", "a `int`"),
        ("classification", f"{{'train': {GOOD}}}", "`test`"),
        ("classification", f"{{'train': {GOOD}, 'test': {GOOD}, 'val': 0}}", "`val`"),
        ("classification", f"{{'train': 1, 'test': {GOOD}}}", "train: a `int`"),
        ("classification", {"labels": "[0, 1]"}, "test: `labels`"),
        ("classification", {"images": None}, "test: `None`"),
        ("classification", {"images": "[]"}, "test: no image"),
        ("classification", {"images": "np.zeros((2, 8, 8, 3))"}, "float64 of shape (8, 8, 3)"),
        ("classification", {"images": "np.zeros((2, 8, 8), np.uint8)"}, "uint8 of shape (8, 8)"),
        ("classification", {"ids": "['a']"}, "test: 1 ids for 2 images"),
        ("classification", {"ids": "['a', 'a']"}, "test: `a` 2 times"),
        ("classification", {"ids": "['a', 7]"}, "test: an id"),
        ("classification", {"targets": None}, "test: "),
        ("classification", {"targets": "[0]"}, "int64 of shape (1)"),
        ("classification", {"targets": "[0.0, 1.0]"}, "float64 of shape (2)"),
        ("classification", {"targets": "[0, 3]"}, "test: 3"),
        ("classification", {"targets": "[-1, 1]"}, "test: -1"),
        ("classification", {"targets": "[255, 1]"}, "test: 255"),
        ("segmentation", {"targets": "[0, 2]"}, "int64 of shape (2)"),
        ("segmentation", {"targets": "np.full((2, 8, 8), 4)"}, "test: 4"),
        ("segmentation", {"images": "[np.zeros((8, width, 3), np.uint8) for width in (8, 9)]"},
         "test: several sizes"),
        ("classification", {"images": "7"}, "test: a `int`"),
        ("classification", {"ids": "7"}, "test: a `int`"),
        ("denoising", {"targets": "[0, 2]"}, "test: a `list`"),
    ],
)  # fmt: skip
def test_wrong_data_is_an_error(tiny_content, tmp_path, part, returned, came):
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
    with pytest.raises(PluginError) as caught:
        make_plugin_part(config, part)
    assert caught.value.mistake.startswith(f"`{config.parts[part].data.kind}`")
    assert came in caught.value.came


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
