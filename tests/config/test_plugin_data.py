"""Noise and data of plug-ins that run, and the errors of wrong ones."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import pytest
import torch
from plugin_samples import DATA, NOISE, write
from settings import SIGMA

from dhl.config.parse import parse_config
from dhl.config.plugins import PluginError, load_plugin
from dhl.data.check import check_data
from dhl.data.image_set import load_split
from dhl.data.noise import add_noise, evaluation_seed, noisy_image, pixel_digest
from dhl.data.plugin_data import make_plugin_part
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.evaluation.baseline import BaselineJob, write_baseline
from dhl.evaluation.evaluate import evaluate
from dhl.run.evaluations import evaluated_models
from dhl.run.folder import RunFolder
from dhl.training.train import train_model

IMAGES = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


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
def test_noise_of_another_shape_or_type_is_refused(tmp_path, body, came):
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


@pytest.mark.parametrize(("factor", "warned"), [(1.0, False), (0.8, True)])
def test_noise_of_another_deviation_than_sigma_is_named(
    tiny_content, data_copy, tmp_path, caplog, factor, warned
):
    source = (
        "import torch\ndef f(clean, *, noise_std, generator):\n    return clean + "
        f"{factor} * noise_std * torch.randn(clean.shape, generator=generator)\n"
    )
    tiny_content["noise"] = write(tmp_path, "scaled.py", source) + ":f"
    write_noise(parse_config(tiny_content, source="mine.yaml"), "denoising", SIGMA, data_copy)
    assert [record.levelname for record in caplog.records].count("WARNING") == warned


def data_config(content: dict, tmp_path, source: str, part: str = "classification", **more):
    """Return a configuration with a plug-in as the data of a part."""
    kind = write(tmp_path, "data.py", source) + ":squares"
    content["parts"][part]["data"] = {"kind": kind, **more}
    return parse_config(content, source="mine.yaml")


@pytest.mark.parametrize(
    ("part", "more"),
    [("denoising", {}), ("classification", {"classes": 3}), ("segmentation", {"classes": 3})],
)
def test_data_of_a_plug_in_is_saved_and_checked(tiny_content, tmp_path, part, more):
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
        f"parts.{part}.data: complete; 5 training images and 5 test images"
    ]


def test_the_seed_of_data_depends_on_the_part(tiny_content, tmp_path):
    source = DATA.replace("    splits = {}", "    splits = {}; seeds.append(seed)")
    seeds = write(tmp_path, "seeds.py", f"seeds = []\n{source}") + ":squares"
    for part, more in (("denoising", {}), ("classification", {"classes": 3})):
        tiny_content["parts"][part]["data"] = {"kind": seeds, **more}
    config = parse_config(tiny_content, source="mine.yaml")
    for part in ("denoising", "classification", "denoising"):
        make_plugin_part(config, part)
    first, second, again = load_plugin(seeds).function.__globals__["seeds"]
    assert first == again != second


PIXELS = "np.zeros((2, 20, 20, 3), np.uint8)"
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
        ("classification", {"images": "np.zeros((2, 20, 20, 3))"}, "float64 of shape (20, 20, 3)"),
        ("classification", {"images": "np.ones((2, 20, 20), np.uint8)"}, "uint8 of shape (20, 20)"),
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
        ("segmentation", {"targets": "np.full((2, 20, 20), 4)"}, "test: 4"),
        ("denoising", {"images": "np.zeros((2, 16, 20, 3), np.uint8)"}, "shape (16, 20, 3)"),
        ("segmentation", {"images": "[np.zeros((8, width, 3), np.uint8) for width in (8, 9)]"},
         "test: several sizes"),
        ("classification", {"images": "7"}, "test: a `int`"),
        ("classification", {"ids": "7"}, "test: a `int`"),
        ("denoising", {"targets": "[0, 2]"}, "test: a `list`"),
    ],
)  # fmt: skip
def test_wrong_data_is_an_error(tiny_content, tmp_path, part, returned, came):
    if isinstance(returned, dict):
        maps = "np.full((2, 20, 20), 2)" if part == "segmentation" else "[0, 2]"
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
            sizes = ((28, 29), (32, 28))
            images = [np.full((height, width, 3), 7, np.uint8) for height, width in sizes]
            return {split: {"images": images, "ids": ["a", "b"]} for split in ("train", "test")}
    """)
    config = data_config(tiny_content, tmp_path, source, "denoising")
    folder = RunFolder(tmp_path / "run")
    write_data(config, "denoising", folder)
    assert load_split(folder.data("denoising"), "test").sizes.tolist() == [[28, 29], [32, 28]]
    assert evaluated_models(config, "denoising", SIGMA)
