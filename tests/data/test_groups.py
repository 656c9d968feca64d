"""Groups of images that are alike: in names, of plug-ins, and as the units of intervals."""

from __future__ import annotations

import pytest
from plugin_samples import DATA, write
from tiny_sets import make_folders

from dhl.analysis.measurements import read_units
from dhl.config.parse import parse_config
from dhl.config.plugins import PluginError
from dhl.data.groups import check_groups
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
    return {"kind": "image_folder", "name": "mine", "crop": 16, "resize": 16, **paths}


@pytest.fixture
def units(configured, written):
    """Return a function from a specification of data to the units of the test images by kind."""

    def find(**spec: object) -> dict[str, list[str]]:
        folder, config = written(**spec), configured(**spec)
        ids = load_split(folder.data(PART), "test").ids
        return {kind: of.tolist() for kind, of in read_units(config, folder, PART, ids).items()}

    return find


def test_images_with_the_same_match_are_one_unit_and_others_are_alone(units, animals):
    names = ["cat/2", "cat/a_crop1", "cat/a_crop2", "dog/0", "dog/a_crop1"]
    assert units(**animals) == {"images": names}
    groups = ["cat/2", "cat/a", "cat/a", "dog/0", "dog/a"]
    assert units(**animals, groups=CROPS) == {"groups": groups}  # `train` has a cat/2, too
    optional = r"^cat/(a)?"  # matches `cat/2`, but not in its parentheses
    groups = ["cat/2", "a", "a", "dog/0", "dog/a_crop1"]
    assert units(**animals, groups=optional) == {"groups": groups}


def test_a_group_in_training_and_test_is_an_error(written, animals, tmp_path):
    (tmp_path / "train/cat/0.png").rename(tmp_path / "train/cat/a_crop7.png")
    with pytest.raises(UserError, match="of the same groups") as caught:
        written(**animals, groups=CROPS)
    assert caught.value.came == "1 in both splits: cat/a"


@pytest.mark.parametrize(
    ("pattern", "error"), [(r"^(.*)_corp\d$", "No test image"), (r"(\d)", "of the same groups")]
)
def test_a_pattern_that_is_newer_than_the_data_is_checked(
    written, configured, animals, pattern, error
):
    folder = written(**animals)
    ids = load_split(folder.data(PART), "test").ids
    with pytest.raises(UserError, match=error):
        read_units(configured(**animals, groups=pattern), folder, PART, ids)


def test_all_test_images_are_not_one_group(written, animals):
    with pytest.raises(UserError, match="one group"):
        written(**animals, groups="(/)")


def test_further_test_sets_have_the_groups_of_the_first(tiny_content):
    data = {"kind": "folder", "name": "mine", "train": "a", "test": "b", "groups": CROPS}
    tiny_content["parts"]["denoising"] |= {"data": data, "test_sets": {"kodak": "kodak"}}
    config = parse_config(tiny_content, source="mine.yaml")
    assert config.parts["denoising-kodak"].data.groups == CROPS
    names = {"test": ["kodim01", "kodim02"]}
    assert check_groups("denoising-kodak", names, pattern=CROPS) == 2
    with pytest.raises(UserError, match="No test image"):
        check_groups("denoising", names, pattern=CROPS)


def test_groups_that_no_test_image_has_are_a_slip(written, animals):
    with pytest.raises(UserError, match=r"No test image of .* matches `groups: .*_part"):
        written(**animals, groups=r"^(.*)_part\d$")


@pytest.mark.parametrize(
    ("pattern", "came"), [("crop", "`crop`: 0 pairs"), ("(a)(b)", "2 pairs"), ("(", "missing )")]
)
def test_a_pattern_has_one_group(configured, animals, pattern, came):
    with pytest.raises(UserError) as caught:
        configured(**animals, groups=pattern)
    assert came in caught.value.came


def plugin_with(folder, groups: str) -> dict:
    """Specify data of a plug-in whose splits have groups."""
    source = DATA.replace('{"images": images}', f'{{"images": images, "groups": {groups}}}')
    return {"kind": write(folder, "data.py", source) + ":squares", "classes": 3}


def test_a_plug_in_returns_groups(units, tmp_path):
    groups = "[f'{split}-{index // 4}' for index in range(count)]"
    expected = ["test-0"] * 4 + ["test-1"] * 2
    assert units(**plugin_with(tmp_path, groups)) == {"groups": expected}


@pytest.mark.parametrize(
    ("groups", "error"),
    [("range(count)", PluginError), ("[1.5] * count", PluginError), ("[1]", PluginError),
     ("list(range(count))", UserError)],
)  # fmt: skip
def test_wrong_or_shared_groups_of_a_plug_in_are_refused(written, tmp_path, groups, error):
    with pytest.raises(error, match="groups"):
        written(**plugin_with(tmp_path, groups))
