"""Evaluation of many images: read a batch at a time, and a batch that does not fit is named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from dhl.config.methods import PARTS
from dhl.config.parse import parse_config
from dhl.data.image_set import ImageSet, load_split
from dhl.errors import UserError
from dhl.evaluation import evaluate as evaluation
from dhl.evaluation.evaluate import Bench, evaluate

SIGMA = 30


class Lazy(Sequence):
    """Images that are read when asked for, and a record of what was asked for at once."""

    def __init__(self, arrays):
        self.arrays, self.read = arrays, []

    def __len__(self):
        return len(self.arrays)

    def __getitem__(self, place):
        if isinstance(place, slice):
            self.read.append(range(len(self))[place])
            return list(self.arrays[place])
        return self.arrays[place]


@pytest.mark.parametrize("part", PARTS)
def test_images_are_read_once_for_all_methods_and_a_batch_at_a_time(
    tiny_content, tiny_run, run_copy, monkeypatch, part
):
    tiny_content["evaluation"]["batch"] = 5
    config = parse_config(tiny_content, source="tiny.yaml")
    evaluate(config, part, SIGMA, run_copy)
    path = run_copy.evaluation(part, SIGMA)
    eager = path.read_bytes(), path.with_suffix(".npz").read_bytes()
    images = load_split(tiny_run.data(part), "test")
    targets = Lazy(images.targets) if part == "segmentation" else images.targets
    lazy = ImageSet(images.ids, Lazy(images.images), targets)
    monkeypatch.setattr(evaluation, "load_split", lambda *_: lazy)
    evaluate(config, part, SIGMA, run_copy)
    assert (path.read_bytes(), path.with_suffix(".npz").read_bytes()) == eager
    for asked in [lazy.images.read, *([targets.read] if part == "segmentation" else [])]:
        assert max(map(len, asked)) <= 5
        assert [index for place in asked for index in place] == list(range(len(images)))


class Full(nn.Module):
    """A network that the device has no memory for."""

    def forward(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore words.")


@pytest.mark.parametrize(
    ("batch", "remedy"),
    [(7, "set `evaluation.batch` to 3,"), (1, "a device with more memory")],
)
def test_a_batch_that_does_not_fit_the_device_says_which_one_would(
    tiny_content, run_copy, monkeypatch, batch, remedy
):
    build = Bench.__init__

    def without_memory(self, *arguments, **options):
        build(self, *arguments, **options)
        self.networks["classifier/clean"] = Full()

    monkeypatch.setattr(Bench, "__init__", without_memory)
    tiny_content["evaluation"]["batch"] = batch
    config = parse_config(tiny_content, source="tiny.yaml")
    with pytest.raises(UserError, match=remedy) as caught:
        evaluate(config, "classification", SIGMA, run_copy)
    assert f"found: {batch} images of 32 x 32 px: CUDA out of memory" in str(caught.value)
    assert "More words" not in str(caught.value)
