"""Networks that cannot be evaluated: a batch without memory, an output that is not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dhl.config.parse import parse_config
from dhl.data.image_set import load_split
from dhl.errors import UserError
from dhl.evaluation import evaluate as evaluation
from dhl.evaluation.evaluate import Bench, evaluate

SIGMA = 30


class Full(nn.Module):
    """A network that the device has no memory for."""

    def __init__(self, error: RuntimeError):
        super().__init__()
        self.error = error

    def forward(self, images):
        raise self.error


ON_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore words.")
ON_CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 GiB.\nMore words.")


@pytest.mark.parametrize(
    ("batch", "error", "remedy"),
    [
        (7, ON_GPU, "set `evaluation.batch` to 3,"),
        (7, ON_CPU, "set `evaluation.batch` to 3,"),
        (1, ON_GPU, "CUDA_VISIBLE_DEVICES"),  # another `device` would train all models again
    ],
)
def test_a_batch_that_does_not_fit_the_device_is_answered_with_a_smaller_one(
    tiny_content, run_copy, monkeypatch, batch, error, remedy
):
    build = Bench.__init__

    def without_memory(self, *arguments, **options):
        build(self, *arguments, **options)
        self.networks["classifier/clean"] = Full(error)

    monkeypatch.setattr(Bench, "__init__", without_memory)
    tiny_content["evaluation"]["batch"] = batch
    config = parse_config(tiny_content, source="tiny.yaml")
    with pytest.raises(UserError) as caught:
        evaluate(config, "classification", SIGMA, run_copy)
    assert remedy in caught.value.do
    reason = str(error).splitlines()[0]
    assert caught.value.came == f"{batch} images of 32 x 32 px: {reason}"


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("plugin", [False, True])
def test_an_output_that_is_not_finite_names_the_model_and_the_image(
    tiny_content, run_copy, monkeypatch, number, plugin
):
    class Breaks(nn.Module):
        def forward(self, images):
            output = images.clone()
            output[1, 0, 2, 2] = number
            return output

    build = Bench.__init__

    def broken(self, *arguments, **options):
        build(self, *arguments, **options)
        self.networks["separate/sigma30"] = Breaks()

    monkeypatch.setattr(Bench, "__init__", broken)
    monkeypatch.setattr(evaluation, "is_reference", lambda name: plugin)
    tiny_content["evaluation"]["batch"] = 2
    config = parse_config(tiny_content, source="tiny.yaml")
    with pytest.raises(UserError) as caught:
        evaluate(config, "denoising", SIGMA, run_copy)
    assert "separate/sigma30" in caught.value.mistake
    second = load_split(run_copy.data("denoising"), "test").ids[1]
    assert caught.value.came.endswith(f"`{second}`")
    assert ("learning rate" in caught.value.do) != plugin
