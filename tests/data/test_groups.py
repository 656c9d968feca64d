"""Groups of images that are alike: in names, of plug-ins, and as the units of intervals."""

from __future__ import annotations

import pytest
from plugin_samples import DATA, write
from tiny_sets import make_folders

from dhl.analysis.measurements import read_units
from dhl.config.plugins import PluginError
from dhl.data.image_set import load_split
from dhl.errors import UserError

PART = "classification"
CROPS = r"^(.*)_crop\d$"


@pytest.fixture
def animals(tmp_path) -> dict:
    """Write classified images, of which those of `test` have names of crops, and specify them."""
    paths = {
        split: make_folders(tmp_path / split, {"cat": 3, "dog": 2}) for split in ("train", "test")
    }
    for old, new in (("cat/0", "cat/a_crop1"), ("cat/1", "cat/a_crop2"), ("dog/1", "dog/a_crop1")):
        (tmp_path / f"test/{old}.png").rename(tmp_path / f"test/{new}.png")
    for old in ("cat/2", "dog/0"):
        (tmp_path / f"train/{old}.png").rename(tmp_path / f"train/{old}-train.png")
    return {"kind": "image_folder", "name": "mine", "crop": 16, "resize": 16, **paths}


def units(folder) -> dict[str, list[str]]:
    """Return the units of the test images by kind."""
    ids = load_split(folder.data(PART), "test").ids
    return {kind: of.tolist() for kind, of in read_units(folder, PART, ids).items()}


def test_images_with_the_same_match_are_one_unit_and_others_are_alone(written, animals):
    names = ["cat/2", "cat/a_crop1", "cat/a_crop2", "dog/0", "dog/a_crop1"]
    assert units(written(**animals)) == {"images": names}
    groups = ["cat/2", "cat/a", "cat/a", "dog/0", "dog/a"]
    assert units(written(**animals, groups=CROPS)) == {"groups": groups}


def test_a_group_in_training_and_test_is_an_error(written, animals, tmp_path):
    (tmp_path / "train/cat/0.png").rename(tmp_path / "train/cat/a_crop7.png")
    with pytest.raises(UserError, match="of the same groups") as caught:
        written(**animals, groups=CROPS)
    assert caught.value.came == "1 groups in both splits: cat/a"


def test_groups_that_no_test_image_has_are_a_slip(written, animals):
    with pytest.raises(UserError, match=r"No test image matches `groups: .*_part"):
        written(**animals, groups=r"^(.*)_part\d$")


@pytest.mark.parametrize(
    ("pattern", "came"), [("crop", "`crop`: 0 groups"), ("(a)(b)", "2 groups"), ("(", "missing )")]
)
def test_a_pattern_has_one_group(configured, animals, pattern, came):
    with pytest.raises(UserError) as caught:
        configured(**animals, groups=pattern)
    assert came in caught.value.came


def plugin_with(folder, groups: str) -> dict:
    """Specify data of a plug-in whose splits have groups."""
    source = DATA.replace('{"images": images}', f'{{"images": images, "groups": {groups}}}')
    return {"kind": write(folder, "data.py", source) + ":squares", "classes": 3}


def test_a_plug_in_returns_groups(written, tmp_path):
    groups = "[f'{split}-{index // 4}' for index in range(count)]"
    expected = ["test-0"] * 4 + ["test-1"] * 2
    assert units(written(**plugin_with(tmp_path, groups))) == {"groups": expected}


@pytest.mark.parametrize(
    ("groups", "error"),
    [("range(count)", PluginError), ("[1.5] * count", PluginError), ("[1]", PluginError),
     ("list(range(count))", UserError)],
)  # fmt: skip
def test_wrong_or_shared_groups_of_a_plug_in_are_refused(written, tmp_path, groups, error):
    with pytest.raises(error, match="groups"):
        written(**plugin_with(tmp_path, groups))
