"""The embedded data set depends on its seed only, and its splits share nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dhl.config.data_sets import PhotoDigits
from dhl.config.methods import PARTS
from dhl.data.photo_digits import PHOTOGRAPHS, SHORT_SIDE, SPLITS, digits, make_part, photographs

SMALL = {"train": 6, "validation": 4, "test": 5}
SIZES = {"denoising": 40, "classification": 32, "segmentation": 64}


def spec(part: str, **changes) -> PhotoDigits:
    """Return a small specification of a part."""
    return PhotoDigits(kind="photo-digits", size=SIZES[part], **SMALL | changes)


@pytest.fixture(scope="module")
def parts() -> dict:
    """All splits of all parts, small."""
    return {part: make_part(part, spec(part), base_seed=1) for part in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_another_seed_makes_other_images(parts, part):
    other = make_part(part, spec(part), base_seed=2)
    if part == "denoising":  # the first scenes are tiles, which do not depend on the seed
        many = spec(part, test=600)
        one, other = (make_part(part, many, base_seed=seed)["test"] for seed in (1, 2))
        assert (np.asarray(one.images[-1]) != other.images[-1]).mean() > 0.5
        return
    for split in SPLITS:
        assert (parts[part][split].images != other[split].images).mean() > 0.5


@pytest.mark.parametrize("part", PARTS)
def test_a_longer_split_begins_with_the_shorter_one(parts, part):
    longer = make_part(part, spec(part, train=9, test=7), base_seed=1)
    for split in SPLITS:
        count = SMALL[split]
        assert list(longer[split].ids[:count]) == list(parts[part][split].ids)
        np.testing.assert_array_equal(longer[split].images[:count], parts[part][split].images)
        if part != "denoising":
            np.testing.assert_array_equal(longer[split].targets[:count], parts[part][split].targets)


@pytest.mark.parametrize("part", PARTS)
def test_splits_share_no_photograph_and_no_handwritten_sample(part):
    made = make_part(part, spec(part, train=30, validation=30, test=30), base_seed=3)
    for split in SPLITS:
        names = {photo.name for photo in PHOTOGRAPHS if photo.split == split}
        assert set(made[split].origins["photographs"]) <= names
        if part != "denoising":
            used = made[split].origins["digits"]
            assert set(used[used >= 0]) <= set(digits(split)[0])


def test_splits_use_every_handwritten_sample_and_photograph_once():
    assert sorted(np.concatenate([digits(split)[0] for split in SPLITS])) == list(range(1797))
    assert len({photo.name for photo in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    assert all(len(digits(split)[0]) > 170 for split in SPLITS)
    assert sum(len(photographs(split)) for split in SPLITS) == len(PHOTOGRAPHS)


def test_photographs_of_different_splits_are_different_pictures():
    tiny = {
        name: np.asarray(Image.fromarray(photo).resize((16, 16)), float).ravel()
        for split in SPLITS
        for name, photo in photographs(split).items()
    }
    for one, other in itertools.combinations(tiny, 2):
        assert np.corrcoef(tiny[one], tiny[other])[0, 1] < 0.9, (one, other)


@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_those_of_the_handwritten_samples(parts, split):
    images = parts["classification"][split]
    samples = images.origins["digits"]
    np.testing.assert_array_equal(images.targets, load_digits().target[samples[:, 0]])
    assert (samples[:, 1:] == -1).all()


@pytest.mark.parametrize("split", SPLITS)
def test_label_maps_hold_the_classes_of_the_painted_samples_and_no_others(parts, split):
    images = parts["segmentation"][split]
    for labels, samples in zip(images.targets, images.origins["digits"], strict=True):
        painted = load_digits().target[samples[samples >= 0]] + 1
        assert 1 <= len(painted) <= 4
        assert set(np.unique(labels)) - {0} <= set(painted)
        assert set(painted) <= set(np.unique(labels))
        assert 0.01 < (labels > 0).mean() < 0.4


def test_all_classes_and_all_counts_of_digits_occur():
    made = make_part("segmentation", spec("segmentation", train=60), base_seed=1)["train"]
    counts = (made.origins["digits"] >= 0).sum(1)
    assert set(counts) == {1, 2, 3, 4}
    assert set(np.unique(made.targets)) == set(range(11))
    one = make_part("classification", spec("classification", train=80), base_seed=1)["train"]
    assert set(one.targets) == set(range(10))


@pytest.mark.parametrize("part", PARTS)
def test_images_have_the_configured_count_size_and_distinct_names(parts, part):
    for split in SPLITS:
        images = parts[part][split]
        assert images.images.shape == (SMALL[split], SIZES[part], SIZES[part], 3)
        assert images.images.dtype == np.uint8
        assert len(set(images.ids)) == SMALL[split]


def test_strokes_change_the_photograph_where_the_label_map_says():
    faint, strong = (
        make_part("segmentation", spec("segmentation", contrast=contrast), base_seed=1)["test"]
        for contrast in (0.01, 0.9)
    )
    np.testing.assert_array_equal(faint.targets, strong.targets)
    change = np.abs(strong.images.astype(float) - faint.images).mean(-1)
    assert change[strong.targets > 0].mean() > 40
    assert change[strong.targets == 0].mean() < 10


def test_scenes_are_tiles_of_their_photograph_first():
    names = list(photographs("test"))
    made = make_part("denoising", spec("denoising", test=len(names)), base_seed=1)["test"]
    size = SIZES["denoising"]
    for index, name in enumerate(names):
        assert made.origins["photographs"][index] == name
        np.testing.assert_array_equal(made.images[index], photographs("test")[name][:size, :size])
    assert {min(photo.shape[:2]) for photo in photographs("test").values()} == {SHORT_SIDE}


def test_test_scenes_overlap_only_after_the_photograph_is_used_up():
    count = 4 * (SHORT_SIDE // 112) ** 2  # each photograph has at least this many tiles of 112 px
    many = PhotoDigits(kind="photo-digits", size=112, train=1, validation=1, test=count)
    images = make_part("denoising", many, base_seed=1)["test"].images
    assert len({image.tobytes() for image in images}) == count
