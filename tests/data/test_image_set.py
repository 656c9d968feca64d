"""Splits in memory and on disk."""

from __future__ import annotations

import numpy as np
import pytest

from dhl.data.image_set import ImageSet, load_split, read_origins, save_splits
from dhl.errors import UserError
from dhl.run.fingerprints import split_digest


def images_of(*shapes: tuple[int, int]) -> list[np.ndarray]:
    """Return random images with these heights and widths."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def mixed() -> ImageSet:
    """Return images of two sizes."""
    return ImageSet(["a", "b", "c", "d"], images_of((8, 9), (8, 9), (10, 9), (8, 9)))


def labelled() -> ImageSet:
    """Return images of one size with label maps and origins."""
    maps = np.random.default_rng(1).integers(0, 11, (3, 8, 8), dtype=np.uint8)
    return ImageSet(
        ["x", "y", "z"],
        np.stack(images_of((8, 8), (8, 8), (8, 8))),
        maps,
        {"photographs": np.array(["p", "q", "p"]), "digits": np.arange(12).reshape(3, 4)},
        classes=11,
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [(0, 1), (1, 2), (2, 3), (3, 4)]), (2, [(0, 2), (2, 3), (3, 4)]),
     (9, [(0, 2), (2, 3), (3, 4)])],
)  # fmt: skip
def test_a_batch_holds_neighbours_of_one_shape(size, expected):
    assert [(batch.start, batch.stop) for batch in mixed().batches(size)] == expected


def test_a_batch_of_large_images_has_fewer():
    images = [np.zeros((1024, 1024, 3), np.uint8)] * 6 + [np.zeros((2048, 4096, 3), np.uint8)] * 2
    large = ImageSet([str(index) for index in range(8)], images)
    batches = [(batch.start, batch.stop) for batch in large.batches(64)]
    assert batches == [(0, 4), (4, 6), (6, 7), (7, 8)]


def test_splits_are_read_back(tmp_path):
    path = tmp_path / "data" / "part.npz"
    save_splits({"train": labelled(), "test": mixed()}, path)
    train, test = load_split(path, "train"), load_split(path, "test")
    assert (train.ids, train.classes) == (labelled().ids, 11)
    np.testing.assert_array_equal(train.images, labelled().images)
    np.testing.assert_array_equal(train.targets, labelled().targets)
    assert set(train.origins) == {"photographs", "digits"}
    np.testing.assert_array_equal(train.origins["digits"], labelled().origins["digits"])
    assert test.targets is None
    for one, other in zip(test.images, mixed().images, strict=True):
        np.testing.assert_array_equal(one, other)


def test_equal_splits_are_equal_files(tmp_path):
    for name in ("one.npz", "two.npz"):
        save_splits({"train": labelled(), "test": mixed()}, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_the_digest_of_a_split_in_memory_is_of_its_pixels_and_of_no_other_split(tmp_path):
    other = labelled()
    other.images[2, 7, 7, 2] ^= 1
    digests = []
    for train, test in ((labelled(), mixed()), (labelled(), other), (other, mixed())):
        save_splits({"train": train, "test": test}, tmp_path / "part.npz")
        digests.append(split_digest(tmp_path / "part.npz", "train"))
    assert digests[0] == digests[1] != digests[2]


def test_a_missing_split_says_which(tmp_path):
    save_splits({"test": mixed()}, tmp_path / "part.npz")
    with pytest.raises(UserError, match=r"part\.npz without `train`"):
        load_split(tmp_path / "part.npz", "train")


@pytest.mark.parametrize("share", [None, 0.0, 0.1, 0.5, 0.95])
def test_a_missing_or_damaged_file_is_named(tmp_path, share):
    path = tmp_path / "part.npz"
    if share is not None:
        save_splits({"test": labelled()}, path)
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"part\.npz"):
        load_split(path, "test")


def test_an_origin_counts_if_each_image_has_one(tmp_path):
    digits = {"of one": np.array([[7, -1], [8, -1]]), "of two": np.array([[7, -1], [8, 9]])}
    names = {"photographs": np.array(["cat", "dog"])}
    test = ImageSet(["a", "b"], np.zeros((2, 4, 4, 3), np.uint8), origins=names | digits)
    save_splits({"test": test}, tmp_path / "data.npz")
    assert read_origins(tmp_path / "data.npz", "test") == {
        "photographs": {"a": "cat", "b": "dog"},
        "of one": {"a": 7, "b": 8},
    }
