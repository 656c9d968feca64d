"""Classified images: the targets of the published networks, subsets, and what is refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_sets import (
    DEVKIT,
    encoded,
    make_folders,
    make_ilsvrc2012,
    make_imagenette,
    pack_ilsvrc2012,
    write_meta,
    write_picture,
)
from torchvision import datasets, transforms

from dhl.config.image_data_sets import Ilsvrc2012
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.classification import imagenet_synsets, list_ilsvrc2012
from dhl.data.image_set import load_split
from dhl.data.noise import evaluation_seed, noisy_image, pixel_digest
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.run.folder import RunFolder
from dhl.run.results import NOISE_COLUMNS, SKIPPED_COLUMNS, read_csv

PART = "classification"


@pytest.fixture
def configured(tiny_content, tmp_path):
    """Return a function from a specification to a configuration."""

    def configure(spec: dict) -> Config:
        tiny_content["parts"][PART]["data"] = spec
        tiny_content["downloads"] = {"root": str(tmp_path)}
        return parse_config(tiny_content, source="mine.yaml")

    return configure


@pytest.fixture
def written(configured, tmp_path):
    """Return a function that writes the data of a specification and returns its run's folder."""

    def write(spec: dict) -> RunFolder:
        folder = RunFolder(tmp_path / "run")
        write_data(configured(spec), PART, folder)
        return folder

    return write


@pytest.fixture(scope="module")
def ilsvrc(tmp_path_factory) -> Path:
    """ILSVRC2012 with one image of each synset; not to be changed."""
    return make_ilsvrc2012(tmp_path_factory.mktemp("ilsvrc"))


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """The same with the validation images in one folder."""
    return make_ilsvrc2012(tmp_path_factory.mktemp("flat"), flat=True)


def test_imagenette_has_the_indices_of_its_synsets_in_imagenet(written, tmp_path):
    make_imagenette(tmp_path)
    folder = written({"kind": "imagenette"})
    train, test = (load_split(folder.data(PART), split) for split in ("train", "test"))
    known = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    assert (len(train), len(test), test.classes) == (30, 20, 1000)
    assert sorted(train.targets.tolist()) == sorted(known * 3)
    for split in (train, test):
        for place, target in enumerate(split.targets):
            synset = split.images.path(place).parent.name
            assert imagenet_synsets()[synset] == target
    assert test.ids[:2] == ["ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"]
    assert [image.shape for image in test.images[:2]] == [(224, 224, 3)] * 2
    assert train.sizes.tolist() == [[256, 341]] * 30  # of 36 x 48 px
    assert train.images[4].shape == (256, 341, 3)


def test_imagenette_is_tested_on_what_imagenets_networks_have_not_seen(written, tmp_path):
    make_imagenette(tmp_path, train=1, val=1)
    folder = tmp_path / "imagenette/imagenette2"
    # Names and places as in the archive.
    tested = ("train/n03394916/ILSVRC2012_val_00038137", "val/n01440764/ILSVRC2012_val_00009111")
    trained = ("train/n03394916/n03394916_58454", "val/n03394916/n03394916_29940")
    for name in tested + trained:
        write_picture(folder / f"{name}.JPEG")
    run = written({"kind": "imagenette"})
    for split, wanted in (("train", trained), ("test", tested)):
        images = load_split(run.data(PART), split)
        paths = [images.images.path(place) for place in range(len(images))]
        assert {folder / f"{name}.JPEG" for name in wanted} < set(paths)
        assert {path.name.startswith("ILSVRC2012_val_") for path in paths} == {split == "test"}
        assert len(paths) == 10 + len(wanted)


def test_imagenette_with_other_names_is_refused(written, tmp_path):
    make_imagenette(tmp_path, train=2, val=1)
    for path in sorted(tmp_path.glob("imagenette/*/*/n0[12][14]*/ILSVRC2012_val_*")):
        path.rename(path.with_name(f"{path.parent.name}_9{path.name[-7:]}"))
    with pytest.raises(UserError, match=r"2 classes without one .*: n01440764, n02102040"):
        written({"kind": "imagenette"})


def test_the_test_pixels_are_those_of_the_published_networks_measurement(written, tmp_path):
    make_imagenette(tmp_path, suffix="-160", train=1)
    test = load_split(written({"kind": "imagenette", "size": 160}).data(PART), "test")
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for place in (0, 19):
        with Image.open(test.images.path(place)) as image:
            np.testing.assert_array_equal(test.images[place], np.asarray(prepare(image)))


def test_the_synsets_are_the_thousand_in_their_published_order():
    synsets = imagenet_synsets()
    assert list(synsets.values()) == list(range(1000))
    assert list(synsets) == sorted(synsets)
    digest = hashlib.sha256("\n".join(synsets).encode()).hexdigest()
    assert digest.startswith("385e0240499426c0")


def targets_by_id(listing) -> dict[str, int]:
    """Return the target of each image's name."""
    return dict(zip(listing.ids, listing.targets.tolist(), strict=True))


def test_both_layouts_of_the_validation_images_are_one_data_set(ilsvrc, flat):
    sorted_in, together = (
        list_ilsvrc2012(Ilsvrc2012(kind="ilsvrc2012", path=str(folder), complete=False), folder)
        for folder in (ilsvrc, flat)
    )
    assert list(sorted_in["test"].ids) == list(together["test"].ids)
    assert sorted_in["test"].targets.tolist() == together["test"].targets.tolist()
    assert sorted(sorted_in["test"].targets) == list(range(1000))


def test_targets_are_those_that_torchvision_reads_from_the_official_archives(
    flat, tmp_path, monkeypatch
):
    for path in pack_ilsvrc2012(flat, tmp_path):
        part = {"_devkit_t12": "devkit", "_img_val": "val", "_img_train": "train"}[
            path.name.partition(".")[0].removeprefix("ILSVRC2012")
        ]
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(datasets.imagenet.ARCHIVE_META, part, (path.name, digest))
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(flat), complete=False)
    ours = list_ilsvrc2012(spec, tmp_path)
    for split, theirs in (("train", "train"), ("test", "val")):
        reference = datasets.ImageNet(tmp_path, theirs)
        expected = {Path(path).stem: target for path, target in reference.imgs}
        assert targets_by_id(ours[split]) == expected


def test_the_development_kit_is_read_from_its_archive_as_well(flat, tmp_path):
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path), complete=False)
    (tmp_path / "val").symlink_to(flat / "val")
    with pytest.raises(UserError, match=rf"neither {DEVKIT}/data/meta\.mat nor {DEVKIT}\.tar\.gz"):
        list_ilsvrc2012(spec, tmp_path / "none")
    devkit = next(path for path in pack_ilsvrc2012(flat, tmp_path / "packed") if "dev" in path.name)
    shutil.copy(devkit, tmp_path)
    listings = list_ilsvrc2012(spec, tmp_path / "none")
    assert list(listings) == ["test"]  # nothing to train on, and nothing said about it
    assert sorted(listings["test"].targets) == list(range(1000))
    content = devkit.read_bytes()
    (tmp_path / devkit.name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"tar\.gz: [\s\S]*copy it again"):
        list_ilsvrc2012(spec, tmp_path / "none")


def test_what_was_extracted_from_archives_is_found_below_the_root(ilsvrc, tmp_path):
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path / "archives"), complete=False)
    with pytest.raises(UserError, match="`dhl data download ilsvrc2012`"):
        list_ilsvrc2012(spec, tmp_path)
    assert spec.downloads == ()
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/ILSVRC2012_img_val.tar").touch()
    assert spec.downloads == ("ilsvrc2012",)
    (tmp_path / "ilsvrc2012").symlink_to(ilsvrc)
    assert len(list_ilsvrc2012(spec, tmp_path)["test"]) == 1000


def test_a_missing_synset_and_too_few_images_are_named_with_counts(ilsvrc, tmp_path):
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(ilsvrc))
    with pytest.raises(UserError, match="1000 images; of 1000 classes fewer: n01440764") as caught:
        list_ilsvrc2012(spec, tmp_path)
    for words in ("n01440764 (1)", "and 995 more", "732 images or more", "1281167 in all",
                  "`complete: false`"):  # fmt: skip
        assert words in str(caught.value)
    shutil.copytree(ilsvrc, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/train/n02102040")
    short = spec.model_copy(update={"path": str(tmp_path / "copy"), "complete": False})
    with pytest.raises(UserError, match=r"999 images; of 1 classes fewer: n02102040 \(0\)"):
        list_ilsvrc2012(short, tmp_path)


@pytest.mark.parametrize("number", [1001, 7000])
def test_a_class_that_is_no_synset_is_refused(flat, tmp_path, number):
    shutil.copytree(flat, tmp_path / "copy")
    truth = tmp_path / "copy" / DEVKIT / "data/ILSVRC2012_validation_ground_truth.txt"
    lines = truth.read_text().split()
    truth.write_text("\n".join([*lines[:500], str(number), *lines[501:]]))
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path / "copy"), complete=False)
    with pytest.raises(UserError, match=rf"1000 images in .* and 1000 classes: 'class {number}'"):
        list_ilsvrc2012(spec, tmp_path)


def test_a_ground_truth_that_is_too_short_is_refused(flat, tmp_path):
    shutil.copytree(flat / DEVKIT, tmp_path / DEVKIT)
    (tmp_path / "val").symlink_to(flat / "val")
    write_meta(tmp_path / DEVKIT / "data/meta.mat", {"n01440764": 1})
    truth = tmp_path / DEVKIT / "data/ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("1\n" * 3)
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path), complete=False)
    with pytest.raises(UserError, match=r"1000 images in .* and 3 classes: list index"):
        list_ilsvrc2012(spec, tmp_path)


def spoiled(folder: Path) -> dict:
    """Write five images to train on and seven to test on, two of each damaged; specify them."""
    make_folders(folder / "train", {"cat": 3, "dog": 2})
    make_folders(folder / "test", {"cat": 4, "dog": 3})
    whole = encoded("whole", 200, 300)
    (folder / "train/cat/1.png").write_bytes(b"no picture")
    (folder / "train/dog/0.png").write_bytes(whole[: len(whole) // 2])  # its header is whole
    (folder / "test/cat/2.png").write_bytes(whole[: len(whole) // 2])
    (folder / "test/dog/1.png").write_bytes(b"")
    return {"kind": "image_folder", "name": "mine", "resize": 24, "crop": 16,
            "train": str(folder / "train"), "test": str(folder / "test")}  # fmt: skip


def test_damaged_images_stop_a_run_and_are_named(written, tmp_path):
    spec = spoiled(tmp_path)
    with pytest.raises(UserError, match=r"1 of 5 cannot:\n.*train/cat/1\.png \(it is of no known"):
        written(spec)
    with pytest.raises(UserError, match=r"2 of 7 cannot:\n.*cat/2\.png \(image.*\n.*dog/1\.png"):
        written(spec | {"train": None})
    assert not (tmp_path / "run/data").exists()


def test_damaged_images_are_left_out_and_listed(written, tmp_path, caplog):
    spec = spoiled(tmp_path) | {"damaged": "skip"}
    with caplog.at_level("WARNING", "dhl"):
        folder = written(spec)
    rows = read_csv(folder.skipped(PART), SKIPPED_COLUMNS)
    assert list(zip(rows["split"], rows["image_id"], rows["path"])) == [
        ("train", "cat/1", str(tmp_path / "train/cat/1.png")),
        ("test", "cat/2", str(tmp_path / "test/cat/2.png")),
        ("test", "dog/1", str(tmp_path / "test/dog/1.png")),
    ]
    assert rows["reason"].str.contains("truncated|no known image format").all()
    assert [record.message for record in caplog.records] == [
        "mine, train: 1 of 5 images are damaged, left out and listed.",
        "mine, test: 2 of 7 images are damaged, left out and listed.",
    ]
    test = load_split(folder.data(PART), "test")
    assert test.ids == ["cat/0", "cat/1", "cat/3", "dog/0", "dog/2"]
    assert test.targets.tolist() == [0, 0, 0, 1, 1]
    assert [image.shape for image in test.images] == [(16, 16, 3)] * 5
    train = load_split(folder.data(PART), "train")
    assert train.ids == ["cat/0", "cat/2", "dog/0", "dog/1"]  # what is cut short shows when drawn
    assert train.images.damaged == "skip"
    assert "truncated" in train.images.read(2).reason


def test_nothing_is_left_of_a_split_that_is_all_damaged(written, tmp_path):
    make_folders(tmp_path / "test", {"cat": 1})
    (tmp_path / "test/cat/0.png").write_bytes(b"")
    spec = {"kind": "image_folder", "name": "mine", "test": str(tmp_path / "test")}
    with pytest.raises(UserError, match="1 of 1 cannot"):
        written(spec | {"damaged": "skip"})


def test_the_list_of_skipped_images_is_there_when_none_is(written, tmp_path):
    make_imagenette(tmp_path, train=1, val=1)
    folder = written({"kind": "imagenette"})
    assert folder.skipped(PART).read_text() == "split,image_id,path,reason\n"


def test_a_subset_has_each_class_and_is_a_part_of_the_whole(written, tmp_path):
    make_imagenette(tmp_path, train=4, val=2)
    folder = written({"kind": "imagenette", "train_images": 20, "test_images": 10})
    train, test = (load_split(folder.data(PART), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (20, 10)
    assert np.unique(train.targets, return_counts=True)[1].tolist() == [2] * 10
    assert np.unique(test.targets, return_counts=True)[1].tolist() == [1] * 10
    assert train.ids[:2] == ["n01440764_1", "n01440764_3"]
    with pytest.raises(UserError, match="21 of the 20 images"):
        written({"kind": "imagenette", "test_images": 21})


def test_the_same_files_make_the_same_index(written, tmp_path):
    make_imagenette(tmp_path, train=2, val=2)
    contents = [written({"kind": "imagenette"}).data(PART).read_bytes() for _ in range(2)]
    assert contents[0] == contents[1]


def test_the_noise_of_files_is_recorded_image_by_image(configured, written, tmp_path):
    make_imagenette(tmp_path, train=1, val=1)
    spec = {"kind": "imagenette", "resize": 40, "crop": 32}
    config, folder = configured(spec), written(spec)
    write_noise(config, PART, 30, folder)
    rows = read_csv(folder.noise(PART, 30), NOISE_COLUMNS)
    test = load_split(folder.data(PART), "test")
    assert rows["image_id"].tolist() == test.ids
    assert (rows[["height", "width"]] == 32).all(axis=None)
    assert rows["noise_std"].between(28, 32).all()
    seed = evaluation_seed(
        base_seed=config.base_seed,
        dataset="imagenette/classification", image_id=test.ids[3], sigma=30,
    )  # fmt: skip
    assert rows["seed"][3] == seed
    assert rows["sha256"][3] == pixel_digest(noisy_image(test.images[3], sigma=30, seed=seed))


def test_a_set_that_was_not_downloaded_says_how_to_get_it(written):
    with pytest.raises(UserError, match=r"no folder .*imagenette-320[\s\S]*`dhl data download"):
        written({"kind": "imagenette", "size": 320})


def test_the_contact_sheet_shows_the_first_images_and_a_damaged_one_in_grey(written, tmp_path):
    folder = written(spoiled(tmp_path) | {"damaged": "skip"})
    sheet = np.asarray(Image.open(folder.data(PART).with_suffix(".png")))
    assert sheet.shape == (2 * 64, 20 * 64, 3)
    train = load_split(folder.data(PART), "train")
    first = Image.fromarray(train.images[0]).resize((64, 64), Image.Resampling.BOX)
    np.testing.assert_array_equal(sheet[:64, :64], np.asarray(first))
    assert (sheet[:64, 128:192] == 128).all()
    assert (sheet[:64, 256:] == 255).all()


@pytest.mark.parametrize(
    ("spec", "key", "legal"),
    [
        ({"kind": "imagenette", "crop": 300}, "crop", "`resize: 300`"),
        ({"kind": "imagenette", "size": 64}, "size", "320"),
        ({"kind": "imagenette", "damaged": "keep"}, "damaged", "'skip'"),
        ({"kind": "imagenette", "train_image": 3}, "train_image", "`train_images`"),
        ({"kind": "ilsvrc2012"}, "path", "add it"),
        ({"kind": "image_folder", "name": "a", "test": "b", "classes": 7}, "classes", "'folders'"),
        ({"kind": "voc2012"}, "kind", "imagenette"),
    ],
)
def test_a_mistake_in_the_specification_is_named(configured, spec, key, legal):
    with pytest.raises(UserError) as caught:
        configured(spec)
    error = caught.value
    assert "`parts.classification.data" in f"{error.mistake} {error.came}"
    assert key in f"{error.mistake} {error.came}"
    assert legal in str(error)


def test_own_images_that_are_trained_on_by_a_link_are_not_tested_on(written, tmp_path):
    folders = {
        split: make_folders(tmp_path / split, {"cat": 2, "dog": 1}) for split in ("train", "test")
    }
    spec = {"kind": "image_folder", "name": "own", "crop": 16, "resize": 16, **folders}
    assert load_split(written(spec).data(PART), "test").ids == ["cat/0", "cat/1", "dog/0"]
    (tmp_path / "test/dog/copy.png").symlink_to(tmp_path / "train/dog/0.png")
    with pytest.raises(UserError, match=r"found: .*test/dog/copy\.png in both\n"):
        written(spec)
