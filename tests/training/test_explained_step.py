"""Errors in a training step, and what their messages advise."""

from __future__ import annotations

import pytest
import torch
from line import Line, LineBatches, line_recipe

from dhl.config.plugins import PluginError
from dhl.errors import UserError
from dhl.training.trainer import Trainer, TrainerSettings

SETTINGS = TrainerSettings(("line",), torch.device("cpu"))


class Fails(Line):
    def __init__(self, error: RuntimeError):
        super().__init__()
        self.error = error

    def losses(self, images, targets, generator):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_a_lack_of_memory_names_the_batch_to_try(error):
    with pytest.raises(UserError) as caught:
        Trainer(Fails(error), LineBatches(), line_recipe(), SETTINGS).fit()
    assert "batch 6" in caught.value.came
    assert "`batch: 3`" in caught.value.do


def test_a_view_that_needs_another_memory_layout_is_explained():
    error = RuntimeError("view size is not compatible with input tensor's size and stride")
    with pytest.raises(UserError) as caught:
        Trainer(Fails(error), LineBatches(), line_recipe(), SETTINGS).fit()
    assert "`reshape`" in caught.value.do


@pytest.mark.parametrize("patch", [None, 8])
def test_an_error_in_the_first_step_names_batch_and_patch(patch):
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(UserError) as caught:
        Trainer(Fails(error), LineBatches(), line_recipe(patch=patch), SETTINGS).fit()
    size = f"patch {patch}" if patch else "complete images"
    assert caught.value.came == f"batch 6, {size}: {error}"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("reason", "of_sizes"),
    [
        ("Kernel size can't be greater than actual input size", True),
        ("Expected more than 1 value per channel when training", True),
        ("mat1 and mat2 shapes cannot be multiplied", True),
        ("element 0 of tensors does not require grad", False),
        ("Expected all tensors to be on the same device", False),
    ],
)
def test_larger_images_are_the_advice_for_errors_of_sizes_alone(reason, of_sizes):
    with pytest.raises(UserError) as caught:
        Trainer(Fails(RuntimeError(reason)), LineBatches(), line_recipe(), SETTINGS).fit()
    assert ("use larger images" in caught.value.do) == of_sizes


def test_the_message_of_a_plug_in_is_kept():
    error = PluginError("The noise is wrong.", came="one", do="two")
    with pytest.raises(PluginError) as caught:
        Trainer(Fails(error), LineBatches(), line_recipe(), SETTINGS).fit()
    assert caught.value is error


def test_an_error_in_a_later_step_is_no_mistake_of_sizes():
    class FailsLater(Line):
        def losses(self, images, targets, generator):
            if self.network.weight.item() != Line().network.weight.item():
                raise ValueError("shape mismatch")
            return super().losses(images, targets, generator)

    with pytest.raises(ValueError, match="shape mismatch"):
        Trainer(FailsLater(), LineBatches(), line_recipe(), SETTINGS).fit()
