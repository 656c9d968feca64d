"""Training batches: a pure function of seed and step."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from dhl.config.recipes import Recipe
from dhl.data.image_set import ImageSet
from dhl.errors import UserError
from dhl.seeding import torch_generator
from dhl.training.batches import BatchSampler

CPU = torch.device("cpu")


def numbered(count: int, side: int = 8) -> ImageSet:
    """Return images whose pixels and class are the image's number."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, side, side, 3)
    )
    return ImageSet([f"i{n}" for n in range(count)], images, np.arange(count, dtype=np.uint8))


def positions(side: int, *, count: int = 1) -> ImageSet:
    """Return images whose pixels hold row and column; the label map numbers the positions."""
    rows, columns = np.mgrid[:side, :side].astype(np.uint8)
    image = np.stack([rows, columns, np.zeros_like(rows)], -1)
    maps = rows * side + columns
    return ImageSet([f"p{n}" for n in range(count)], [image] * count, np.stack([maps] * count))


def draw(sampler: BatchSampler, step: int):
    return sampler(step, torch_generator("batch", step))


def sampler_of(images: ImageSet, *, seed: int = 1, **recipe) -> BatchSampler:
    return BatchSampler(images, Recipe(steps=1, **recipe), seed_names=(seed,), device=CPU)


@pytest.mark.parametrize(("count", "batch"), [(6, 2), (5, 2), (3, 7)])
def test_each_epoch_shows_every_image_once_in_another_order(count, batch):
    sampler = sampler_of(numbered(count), batch=batch)
    seen = torch.cat([draw(sampler, step)[1] for step in range(4 * count)]).tolist()
    epochs = [seen[start : start + count] for start in range(0, 4 * count, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_images_and_classes_belong_together_and_images_are_on_the_unit_scale():
    sampler = sampler_of(numbered(9), batch=4)
    for step in range(5):
        images, targets = draw(sampler, step)
        torch.testing.assert_close(images[:, 1, 2, 3], targets / 255)
        assert images.shape == (4, 3, 8, 8)
        assert targets.dtype == torch.int64


def test_a_batch_depends_on_its_step_and_not_on_the_batches_before():
    recipe = {"batch": 3, "patch": 8, "augment": "dihedral"}
    forward = sampler_of(positions(20, count=7), **recipe)
    jumping = sampler_of(positions(20, count=7), **recipe)
    expected = [draw(forward, step) for step in range(8)]
    for step in (7, 2, 5):
        for one, other in zip(expected[step], draw(jumping, step), strict=True):
            assert torch.equal(one, other)


def test_another_seed_gives_another_order():
    orders = [
        [tuple(draw(sampler_of(numbered(20), seed=seed, batch=5), step)[1].tolist())
         for step in range(4)]
        for seed in (1, 2)
    ]  # fmt: skip
    assert orders[0] != orders[1]


@pytest.mark.parametrize("augment", ["none", "mirror", "dihedral"])
@pytest.mark.parametrize("patch", [None, 8])
def test_label_maps_are_cropped_mirrored_and_turned_with_their_images(augment, patch):
    side = 12
    sampler = sampler_of(positions(side, count=2), batch=2, patch=patch, augment=augment)
    orientations = set()
    for step in range(30):
        images, labels = draw(sampler, step)
        rows, columns = (255 * images[:, :2]).round().long().unbind(1)
        assert torch.equal(labels, rows * side + columns)
        assert labels.shape[1:] == ((patch or side),) * 2
        orientations |= {(int(one[0, 1] - one[0, 0]), int(one[1, 0] - one[0, 0])) for one in labels}
    right, left, down, up = 1, -1, side, -side
    expected = {"none": {(right, down)}, "mirror": {(right, down), (left, down)}}
    upright = set(itertools.product((right, left), (down, up)))
    expected["dihedral"] = upright | {(down, right) for right, down in upright}
    assert orientations == expected[augment]


def test_every_position_of_a_crop_occurs():
    sampler = sampler_of(positions(10), batch=1, patch=8)
    corners = {tuple((255 * draw(sampler, step)[0][0, :2, 0, 0]).round().int().tolist())
               for step in range(120)}  # fmt: skip
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_the_ignored_label_survives():
    images = positions(12)
    images.targets[0, 3:5] = 255
    _, labels = draw(sampler_of(images, batch=1, augment="mirror"), 0)
    assert (labels == 255).sum() == 2 * 12


@pytest.mark.parametrize(
    ("shapes", "recipe", "named"),
    [
        ([(16, 16), (16, 15)], {"patch": 16}, "`b` has 15 x 16 px"),
        ([(16, 16), (16, 17)], {}, "`b` has 17 x 16 px"),
        ([(16, 20), (16, 20)], {"augment": "dihedral"}, "`a` has 20 x 16 px"),
    ],
)
def test_images_that_cannot_make_a_batch_are_named(shapes, recipe, named):
    images = [np.zeros((*shape, 3), np.uint8) for shape in shapes]
    with pytest.raises(UserError) as caught:
        sampler_of(ImageSet(["a", "b"], images), batch=1, **recipe)
    assert caught.value.came == named


@pytest.mark.parametrize(
    ("recipe", "sides"), [({"augment": "mirror"}, (16, 20)), ({"patch": 12}, (12, 12))]
)
def test_oblong_images_make_a_batch(recipe, sides):
    oblong = ImageSet(["a", "b"], np.zeros((2, 16, 20, 3), np.uint8))
    images, targets = draw(sampler_of(oblong, batch=2, **recipe), 0)
    assert images.shape == (2, 3, *sides)
    assert targets is None
