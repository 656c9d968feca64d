"""Networks and methods of plug-ins that run, and the errors of wrong ones."""

from __future__ import annotations

import traceback
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
import torch
from plugin_samples import CLASSIFIER, DATA, DENOISER, METHOD, NOISE, write
from settings import SIGMA, write_settings

from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.config.plugins import PluginError
from dhl.data.image_set import load_split
from dhl.data.noise import noisy_image
from dhl.errors import UserError
from dhl.evaluation.baseline import BaselineJob, write_baseline
from dhl.evaluation.evaluate import evaluate
from dhl.models import checkpoint
from dhl.models.build import build_network, try_sizes
from dhl.planning.flops import forward_flops, step_flops, training_shape
from dhl.planning.image_counts import count_all_images
from dhl.planning.machine import Machine, Rates
from dhl.planning.plan import make_plan
from dhl.run.model_graph import all_models, model_spec
from dhl.training.objectives import denoise_centre
from dhl.training.train import train_model

CPU = torch.device("cpu")
IMAGE_PARTS = ("denoising", "classification")
IMAGES = torch.rand(2, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_the_program_shows_the_line_of_the_users_file(tmp_path, tiny_content, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "wrong.py", "def squares(part, *, seed):\n    return {}['x']\n")
    tiny_content["parts"]["denoising"]["data"] = {"kind": "wrong.py:squares"}
    write_settings(tmp_path / "mine.yaml", tiny_content)
    assert main(["data", "make", "--part", "denoising", "--configfile", "mine.yaml"]) == 1
    said = capsys.readouterr().err
    assert 'wrong.py", line 2, in squares' in said
    assert said.index("Traceback") < said.index("dhl: `wrong.py:squares`")
    assert "KeyError: 'x'" in said.splitlines()[-2]


def network(tmp_path, source: str, role: str, **options):
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


HALVES = """
from torch import nn

def build():
    return nn.Sequential(
        nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2)
    )
"""


def test_a_network_that_fails_on_the_sizes_of_tests_is_refused(tmp_path):
    built = network(tmp_path, HALVES, "denoiser")
    try_sizes(built, np.array([[16, 20], [512, 768]]), reference="mine.py:build", device=CPU)
    with pytest.raises(PluginError, match="size of a test image") as caught:
        try_sizes(built, np.array([[16, 20], [16, 21]]), reference="mine.py:build", device=CPU)
    assert caught.value.came.startswith("21 x 16 px: RuntimeError: pixel_unshuffle")
    shrinks = network(tmp_path, HALVES.replace(", padding=1", ""), "denoiser")
    with pytest.raises(PluginError, match="images of the same shape"):
        try_sizes(shrinks, np.array([[16, 20]]), reference="mine.py:build", device=CPU)


CONTRAST = """
from torch import nn

class Contrast(nn.Conv2d):
    def forward(self, images):
        return super().forward(images / images.std())

def build():
    return Contrast(3, 3, 1)
"""


def test_a_blank_image_without_finite_output_is_a_warning(tmp_path, caplog):
    built = network(tmp_path, CONTRAST, "denoiser")
    try_sizes(built, np.array([[16, 20]]), reference="mine.py:build", device=CPU)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert "`mine.py:build` on a blank image of 20 x 16 px" in warning.getMessage()
    finite = network(tmp_path, DENOISER, "denoiser")
    try_sizes(finite, np.array([[16, 20]]), reference="", device=CPU)
    assert len(caplog.records) == 1


OF_SIGMA = """
from torch import nn

class Scaled(nn.Conv2d):
    def forward(self, images):
        return super().forward(images) / self.sigma

def build(*, sigma, width=4):
    network = Scaled(3, 3, 1)
    network.sigma = sigma
    return network
"""


def test_a_denoiser_with_a_parameter_sigma_gets_the_noise_level(tiny_content, data_copy, tmp_path):
    denoising = tiny_content["parts"]["denoising"]
    name = write(tmp_path, "of_sigma.py", OF_SIGMA) + ":build"
    denoising["denoiser"] = {"name": name}
    denoising["methods"] = ["noisy", "separate"]
    del tiny_content["parts"]["classification"], tiny_content["parts"]["segmentation"]
    with pytest.raises(UserError, match="knows one noise level"):
        parse_config(tiny_content, source="mine.yaml")
    denoising["training"]["warm_start"] = None
    config = parse_config(tiny_content, source="mine.yaml")
    assert all_models(config) == ("separate/sigma30",)
    train_model(config, "separate/sigma30", data_copy)
    built, content = checkpoint.load_model(data_copy.model("separate/sigma30"))
    assert (built.sigma, content["network"]["sigma"]) == (30.0, 30.0)
    denoising["denoiser"]["options"] = {"sigma": 25}
    with pytest.raises(UserError, match="`sigma` is not an option"):
        parse_config(tiny_content, source="mine.yaml")


def test_the_sizes_of_tests_are_tried_before_the_training(tiny_content, data_copy, tmp_path):
    denoising = tiny_content["parts"]["denoising"]
    side = load_split(data_copy.data("denoising"), "test").sizes[0, 1]
    refuses = DENOISER.replace(
        "from torch import nn",
        f"""
from torch import nn

class Refuses(nn.Conv2d):
    def forward(self, images):
        assert images.shape[-1] != {side}, "too wide"
        return super().forward(images)
""",
    ).replace("nn.Conv2d(3, width", "Refuses(3, width")
    denoising["denoiser"] = {"name": write(tmp_path, "denoiser.py", refuses) + ":build"}
    denoising["methods"] = ["noisy", "separate"]
    del tiny_content["parts"]["classification"], tiny_content["parts"]["segmentation"]
    config = parse_config(tiny_content, source="mine.yaml")
    with pytest.raises(PluginError, match="size of a test image"):
        train_model(config, "separate-start/all", data_copy)
    assert denoising["training"]["warm_start"]["patch"] != side


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
    assert "baseline/classification/halved-noise-sigma30/1-of-1" in jobs
    assert {"squares", "halved-noise"} <= set(plan.unknown)
    assert jobs["train/classifier/clean"].disk_bytes == 4 * (3 * 4 * 9 + 4 * 3 + 3)


READS_A_VALUE = """
import torch
from torch import nn

class Reads(nn.Conv2d):
    def forward(self, images):
        if images.mean().item() > 2:
            return images
        return super().forward(images) + torch.zeros(1, device="cpu")

def build():
    return Reads(3, 3, 1)
"""


def test_the_plan_counts_a_network_that_reads_a_value_on_the_cpu(tiny_content, tmp_path):
    name = write(tmp_path, "reads.py", READS_A_VALUE) + ":build"
    tiny_content["parts"]["denoising"]["denoiser"] = {"name": name}
    config = parse_config(tiny_content, source="own.yaml")
    counts = count_all_images(config)
    spec = model_spec(config, "separate/sigma30")
    assert forward_flops(spec, 8, 10) == 2 * 3 * 3 * 80
    batch, height, width = training_shape(config, counts, spec)
    (step,) = step_flops(config, counts, spec).values()
    assert step == 3 * batch * forward_flops(spec, height, width)


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
        ("return noisy * np.nan", "NaN"),
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
