"""Training images that stay in files: the same batches whatever decodes them."""

from __future__ import annotations

import logging
import multiprocessing

import numpy as np
import pytest
import torch
from PIL import Image

from dhl.config.recipes import Recipe
from dhl.data.image_files import ImageFiles, LabelFiles, Preparation
from dhl.data.image_set import ImageSet
from dhl.errors import UserError
from dhl.seeding import torch_generator
from dhl.training.batches import BatchSampler

CPU = torch.device("cpu")
SIZES = [(20, 30), (26, 22), (24, 24), (31, 20), (20, 20)]


def write_images(folder, *, with_maps: bool) -> list[np.ndarray]:
    """Write images whose pixels hold their row, column and number; a label map of the rows."""
    images = []
    for number, (height, width) in enumerate(SIZES):
        rows, columns = np.mgrid[:height, :width].astype(np.uint8)
        images.append(np.stack([rows, columns, np.full_like(rows, number)], -1))
        Image.fromarray(images[-1]).save(folder / f"{number}.png")
        if with_maps:
            Image.fromarray(rows % 21).save(folder / f"{number}-map.png")
    return images


def in_files(folder, *, damaged: str = "stop", with_maps: bool = False) -> ImageSet:
    """Return the images as files, of the classes 0 to 4 or with label maps."""
    names = [f"{number}.png" for number in range(len(SIZES))]
    sizes = np.array(SIZES)
    files = ImageFiles(folder, names, sizes, preparation=Preparation(), damaged=damaged)
    if not with_maps:
        return ImageSet(names, files, np.arange(len(SIZES)), classes=len(SIZES))
    maps = LabelFiles(folder, [f"{number}-map.png" for number in range(len(SIZES))], 21)
    return ImageSet(names, files, maps, classes=21)


def batches(images: ImageSet, *, workers: int = 0, steps=range(6), **recipe) -> list:
    recipe = Recipe(steps=6, **{"batch": 2, "patch": 16, "augment": "dihedral", **recipe})
    sampler = BatchSampler(images, recipe, seed_names=(1,), device=CPU, workers=workers)
    return [sampler(step, torch_generator("batch", step)) for step in steps]


def same(one: list, other: list) -> bool:
    """Tell whether two lists of batches are equal to the bit."""
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_files_are_those_from_memory(tmp_path, workers):
    pixels = write_images(tmp_path, with_maps=False)
    memory = ImageSet(list("abcde"), pixels, np.arange(len(pixels)))
    assert same(batches(in_files(tmp_path), workers=workers), batches(memory))


def test_a_step_with_its_label_maps_does_not_depend_on_the_steps_before(tmp_path):
    write_images(tmp_path, with_maps=True)
    images = in_files(tmp_path, with_maps=True)
    expected = batches(images)
    for pixels, labels in expected:
        assert torch.equal(labels, (255 * pixels[:, 0]).round().long() % 21)
    assert same(batches(images, workers=1, steps=[3, 4, 5]), expected[3:])
    assert same(batches(images, steps=[4, 1]), [expected[4], expected[1]])


def test_a_segmented_image_below_the_patch_is_filled_and_its_filling_is_ignored(tmp_path):
    write_images(tmp_path, with_maps=True)
    images = in_files(tmp_path, with_maps=True)
    colour = torch.tensor((123, 117, 104))  # ImageNet's mean, in RGB
    for pictures, labels in batches(images, patch=32, augment="none", batch=5):
        numbers = (255 * pictures[:, 2, 0, 0]).round().long().tolist()
        for picture, label, number in zip(pictures, labels, numbers, strict=True):
            height, width = SIZES[number]
            assert (label != 255).sum() == height * width
            assert (label[:height, :width] != 255).all()
            filled = (255 * picture.permute(1, 2, 0)[label == 255]).round().int()
            assert (filled == colour).all()


def test_if_every_training_image_is_damaged_the_run_ends(tmp_path):
    write_images(tmp_path, with_maps=False)
    for path in tmp_path.glob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match="cannot be decoded"):
        batches(in_files(tmp_path, damaged="skip"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_training_image_stops_the_run_or_is_replaced_and_named(tmp_path, caplog, workers):
    write_images(tmp_path, with_maps=False)
    good = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError) as caught:
        batches(in_files(tmp_path), workers=workers)
    assert str(tmp_path / "2.png") in caught.value.came
    assert not multiprocessing.active_children()
    with caplog.at_level(logging.WARNING, logger="dhl"):
        skipped = batches(in_files(tmp_path, damaged="skip"), workers=workers, steps=range(5))
    seen = torch.cat([classes for _, classes in skipped]).tolist()
    assert sorted(seen) == sorted([0, 1, 3, 3, 4] * 2)
    (record,) = caplog.records
    assert "2.png is damaged" in record.getMessage()
    for images, classes in skipped:
        assert torch.equal((255 * images[:, 2, 0, 0]).round().long(), classes)
