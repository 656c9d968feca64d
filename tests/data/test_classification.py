"""Classified images: the targets of the published networks, subsets, and refused data."""

from __future__ import annotations

import hashlib
import shutil
import weakref
from dataclasses import replace
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
    pack,
    pack_ilsvrc2012,
    write_picture,
)
from torchvision import datasets, transforms

from dhl.config.catalogue import CATALOGUE
from dhl.config.image_data_sets import Ilsvrc2012
from dhl.data.class_names import class_namer
from dhl.data.classification import imagenet_synsets, list_ilsvrc2012
from dhl.data.download import fetch
from dhl.data.image_files import Files
from dhl.data.image_set import ImageSet, load_split
from dhl.data.noise import evaluation_seed, noisy_image, pixel_digest
from dhl.data.prepare import contact_sheet, write_data, write_noise
from dhl.errors import UserError
from dhl.run.folder import RunFolder
from dhl.run.results import NOISE_COLUMNS, SKIPPED_COLUMNS, read_csv

PART = "classification"


@pytest.fixture(scope="module")
def ilsvrc(tmp_path_factory) -> Path:
    """ILSVRC2012 with one image of each synset; not to be changed."""
    return make_ilsvrc2012(tmp_path_factory.mktemp("ilsvrc"))


def listed(folder: Path, root: Path, **options) -> dict:
    options = {"complete": False} | options
    return list_ilsvrc2012(Ilsvrc2012(kind="ilsvrc2012", path=str(folder), **options), root)


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """The same with the validation images in one folder."""
    return make_ilsvrc2012(tmp_path_factory.mktemp("flat"), flat=True)


def test_imagenette_has_the_indices_of_its_synsets_in_imagenet(written, tmp_path):
    make_imagenette(tmp_path)
    folder = written(kind="imagenette")
    train, test = (load_split(folder.data(PART), split) for split in ("train", "test"))
    known = [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    assert (len(train), len(test), test.classes) == (30, 20, 1000)
    assert sorted(train.targets.tolist()) == sorted(known * 3)
    for split in (train, test):
        for index, target in enumerate(split.targets):
            synset = split.images.path(index).parent.name
            assert imagenet_synsets()[synset] == target
    assert test.ids[:2] == ["ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"]
    assert [image.shape for image in test.images[:2]] == [(224, 224, 3)] * 2
    assert train.sizes.tolist() == [[256, 341]] * 30  # of 36 x 48 px
    assert train.images[4].shape == (256, 341, 3)


def test_imagenette_is_tested_on_validation_images_of_imagenet(written, tmp_path):
    make_imagenette(tmp_path, train=1, val=1)
    folder = tmp_path / "imagenette/imagenette2"
    # As in the archive.
    tested = ("train/n03394916/ILSVRC2012_val_00038137", "val/n01440764/ILSVRC2012_val_00009111")
    trained = ("train/n03394916/n03394916_58454", "val/n03394916/n03394916_29940")
    for name in tested + trained:
        write_picture(folder / f"{name}.JPEG")
    run = written(kind="imagenette")
    for split, wanted in (("train", trained), ("test", tested)):
        images = load_split(run.data(PART), split)
        paths = [images.images.path(index) for index in range(len(images))]
        assert {folder / f"{name}.JPEG" for name in wanted} < set(paths)
        assert {path.name.startswith("ILSVRC2012_val_") for path in paths} == {split == "test"}
        assert len(paths) == 10 + len(wanted)


def test_imagenette_with_other_names_is_refused(written, tmp_path):
    make_imagenette(tmp_path, train=2, val=1)
    for path in sorted(tmp_path.glob("imagenette/*/*/n0[12][14]*/ILSVRC2012_val_*")):
        path.rename(path.with_name(f"{path.parent.name}_9{path.name[-7:]}"))
    with pytest.raises(UserError, match=r"2 classes without one .*: n01440764, n02102040"):
        written(kind="imagenette")


def test_the_test_pixels_are_those_of_the_published_networks_measurement(written, tmp_path):
    make_imagenette(tmp_path, suffix="-160", train=1)
    test = load_split(written(kind="imagenette", size=160).data(PART), "test")
    prepare = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for index in (0, 19):
        with Image.open(test.images.path(index)) as image:
            np.testing.assert_array_equal(test.images[index], np.asarray(prepare(image)))


def test_the_synsets_are_the_thousand_in_their_published_order():
    synsets = imagenet_synsets()
    assert list(synsets.values()) == list(range(1000))
    assert list(synsets) == sorted(synsets)
    digest = hashlib.sha256("\n".join(synsets).encode()).hexdigest()
    assert digest.startswith("385e0240499426c0")


def test_the_official_archives_are_unpacked_and_have_the_targets_of_torchvision(
    ilsvrc, flat, tmp_path, monkeypatch
):
    real = CATALOGUE["ilsvrc2012"]
    archives = []
    for path in pack_ilsvrc2012(flat, tmp_path / "mine"):
        archive = next(one for one in real.archives if one.name == path.name)
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        archives.append(replace(archive, digest=f"md5:{digest}", bytes=None))
        known = datasets.imagenet.ARCHIVE_META  # torchvision unpacks them, too
        key = next(key for key, (name, _) in known.items() if name == path.name)
        monkeypatch.setitem(known, key, (path.name, digest))
    members = {"train/*/*.JPEG": 1000, "val/**/*.JPEG": 1000}
    tiny = replace(real, archives=tuple(archives), members=members)
    monkeypatch.setitem(CATALOGUE, "ilsvrc2012", tiny)
    fetch("ilsvrc2012", root=tmp_path, mirrors={"ilsvrc2012": [str(tmp_path / "mine")]})
    found = [listed(tmp_path / "mine", tmp_path), listed(ilsvrc, tmp_path), listed(flat, tmp_path)]
    for split, theirs in (("train", "train"), ("test", "val")):
        reference = datasets.ImageNet(tmp_path / "mine", theirs)
        expected = {Path(path).stem: target for path, target in reference.imgs}
        assert sorted(expected.values()) == list(range(1000))
        for listings in found:
            ids, targets = listings[split].ids, listings[split].targets.tolist()
            assert dict(zip(ids, targets, strict=True)) == expected


def test_the_development_kit_is_read_from_its_archive(flat, tmp_path):
    (tmp_path / "val").symlink_to(flat / "val")
    with pytest.raises(UserError, match=rf"neither {DEVKIT}/data/meta\.mat nor {DEVKIT}\.tar\.gz"):
        listed(tmp_path, tmp_path / "none")
    devkit = pack(tmp_path / f"{DEVKIT}.tar.gz", {DEVKIT: flat / DEVKIT})
    listings = listed(tmp_path, tmp_path / "none")
    assert list(listings) == ["test"]  # training images are not needed
    assert sorted(listings["test"].targets) == list(range(1000))
    content = devkit.read_bytes()
    devkit.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError) as caught:
        listed(tmp_path, tmp_path / "none")
    assert str(devkit) in caught.value.came


def test_unpacked_archives_are_found_below_the_root(ilsvrc, tmp_path):
    archives = tmp_path / "archives"
    with pytest.raises(UserError, match="`dhl data download ilsvrc2012 --configfile"):
        listed(archives, tmp_path)
    spec = Ilsvrc2012(kind="ilsvrc2012", path=str(archives))
    assert spec.downloads == ()
    archives.mkdir()
    (archives / "ILSVRC2012_img_val.tar").touch()
    assert spec.downloads == ("ilsvrc2012",)
    (tmp_path / "ilsvrc2012").symlink_to(ilsvrc)
    assert len(listed(archives, tmp_path)["test"]) == 1000


def test_a_missing_synset_and_too_few_images_are_named_with_counts(ilsvrc, tmp_path):
    with pytest.raises(UserError) as caught:
        listed(ilsvrc, tmp_path, complete=True)
    assert "1000 images; 1000 classes with fewer: n01440764 (1)" in caught.value.came
    assert "and 995 more" in caught.value.came
    for number in ("732", "1281167"):
        assert number in caught.value.mistake
    (tmp_path / "copy/train").mkdir(parents=True)
    for path in (ilsvrc / "train").iterdir():
        if path.name != "n02102040":
            (tmp_path / "copy/train" / path.name).symlink_to(path)
    (tmp_path / "copy/val").symlink_to(ilsvrc / "val")
    with pytest.raises(UserError, match=r"999 images; 1 classes with fewer: n02102040 \(0\)"):
        listed(tmp_path / "copy", tmp_path)


@pytest.mark.parametrize(
    ("change", "came"),
    [
        (lambda lines: [*lines[:500], "1001", *lines[501:]], "1000 classes: 'class 1001'"),
        (lambda lines: [*lines[:500], "7000", *lines[501:]], "1000 classes: 'class 7000'"),
        (lambda lines: lines[:3], "3 classes: "),
    ],
)
def test_a_ground_truth_with_unknown_or_too_few_classes_is_refused(flat, tmp_path, change, came):
    shutil.copytree(flat / DEVKIT, tmp_path / DEVKIT)
    (tmp_path / "val").symlink_to(flat / "val")
    truth = tmp_path / DEVKIT / "data/ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("\n".join(change(truth.read_text().split())))
    with pytest.raises(UserError) as caught:
        listed(tmp_path, tmp_path)
    assert f"1000 images in {tmp_path / 'val'} and {came}" in caught.value.came


def spoiled(folder: Path) -> dict:
    """Write five images to train on and seven to test on, two of each damaged; specify them."""
    make_folders(folder / "train", {"cat": 3, "dog": 2})
    make_folders(folder / "test", {"cat": 4, "dog": 3})
    image = encoded("image", 200, 300)
    (folder / "train/cat/1.png").write_bytes(b"no picture")
    (folder / "train/dog/0.png").write_bytes(image[: len(image) // 2])  # its header is complete
    (folder / "test/cat/2.png").write_bytes(image[: len(image) // 2])
    (folder / "test/dog/1.png").write_bytes(b"")
    return {"kind": "image_folder", "name": "mine", "resize": 24, "crop": 16,
            "train": str(folder / "train"), "test": str(folder / "test")}  # fmt: skip


def test_damaged_images_stop_a_run_and_are_named(written, tmp_path):
    spec = spoiled(tmp_path)
    with pytest.raises(UserError, match=r"1 of 5 [\s\S]*train/cat/1\.png \(unknown"):
        written(**spec)
    with pytest.raises(UserError, match=r"2 of 7 [\s\S]*cat/2\.png \(image.*\n.*dog/1\.png"):
        written(**spec | {"train": None})
    assert not (tmp_path / "run/data").exists()


def test_damaged_images_are_skipped_and_listed(written, tmp_path, caplog):
    with caplog.at_level("WARNING", "dhl"):
        folder = written(**spoiled(tmp_path), damaged="skip")
    rows = read_csv(folder.skipped(PART), SKIPPED_COLUMNS)
    assert list(zip(rows["split"], rows["image_id"], rows["path"])) == [
        ("train", "cat/1", str(tmp_path / "train/cat/1.png")),
        ("test", "cat/2", str(tmp_path / "test/cat/2.png")),
        ("test", "dog/1", str(tmp_path / "test/dog/1.png")),
    ]
    assert rows["reason"].str.contains("truncated|unknown image format").all()
    assert [record.args for record in caplog.records] == [
        ("mine", "train", 1, 5),
        ("mine", "test", 2, 7),
    ]
    test = load_split(folder.data(PART), "test")
    assert test.ids == ["cat/0", "cat/1", "cat/3", "dog/0", "dog/2"]
    assert test.targets.tolist() == [0, 0, 0, 1, 1]
    assert [image.shape for image in test.images] == [(16, 16, 3)] * 5
    train = load_split(folder.data(PART), "train")
    assert train.ids == ["cat/0", "cat/2", "dog/0", "dog/1"]  # dog/0 fails only when it is drawn
    assert train.images.damaged == "skip"
    assert "truncated" in train.images.read(2).reason


def test_nothing_is_left_of_a_split_that_is_all_damaged(written, tmp_path):
    make_folders(tmp_path / "test", {"cat": 1})
    (tmp_path / "test/cat/0.png").write_bytes(b"")
    spec = {"kind": "image_folder", "name": "mine", "test": str(tmp_path / "test")}
    with pytest.raises(UserError, match="1 of 1"):
        written(**spec, damaged="skip")


def test_a_subset_has_each_class(written, tmp_path):
    make_imagenette(tmp_path, train=4, val=2)
    folder = written(kind="imagenette", train_images=20, test_images=10)
    train, test = (load_split(folder.data(PART), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (20, 10)
    assert np.unique(train.targets, return_counts=True)[1].tolist() == [2] * 10
    assert np.unique(test.targets, return_counts=True)[1].tolist() == [1] * 10
    assert train.ids[:2] == ["n01440764_1", "n01440764_3"]
    with pytest.raises(UserError, match="21 of the 20 images"):
        written(kind="imagenette", test_images=21)


def test_two_runs_can_test_different_images(written, tmp_path):
    make_imagenette(tmp_path, train=1, val=5)

    def tested(**keys):
        return load_split(written(kind="imagenette", **keys).data(PART), "test").ids

    first, others = tested(test_images=20), tested(test_without=20)
    assert (len(first), len(others)) == (20, 30)
    assert sorted(first + others) == tested()
    assert set(tested(test_without=20, test_images=10)) < set(others)
    with pytest.raises(UserError, match="50 of the 50 images"):
        written(kind="imagenette", test_without=50)


def test_the_same_files_make_the_same_index(written, tmp_path):
    make_imagenette(tmp_path, train=2, val=2)
    folders = [written(kind="imagenette") for _ in range(2)]
    contents = [folder.data(PART).read_bytes() for folder in folders]
    assert contents[0] == contents[1]
    assert folders[0].skipped(PART).read_text() == "split,image_id,path,reason\n"


def test_the_noise_of_files_is_recorded_image_by_image(configured, written, tmp_path):
    make_imagenette(tmp_path, train=1, val=1)
    spec = {"kind": "imagenette", "resize": 40, "crop": 32}
    config, folder = configured(**spec), written(**spec)
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


def test_the_contact_sheet_shows_the_first_images_and_a_damaged_one_in_grey(written, tmp_path):
    folder = written(**spoiled(tmp_path), damaged="skip")
    sheet = np.asarray(Image.open(folder.data(PART).with_suffix(".png")))
    assert sheet.shape == (2 * 64, 20 * 64, 3)
    train = load_split(folder.data(PART), "train")
    first = Image.fromarray(train.images[0]).resize((64, 64), Image.Resampling.BOX)
    np.testing.assert_array_equal(sheet[:64, :64], np.asarray(first))
    assert (sheet[:64, 128:192] == 128).all()
    assert (sheet[:64, 256:] == 255).all()


def test_the_contact_sheet_holds_one_image_at_a_time(tmp_path):
    images, most = [], []

    class Counted(Files):
        def read(self, index: int) -> np.ndarray:
            most.append(sum(image() is not None for image in images))
            image = np.full((500, 400, 3), index, np.uint8)
            images.append(weakref.ref(image))
            return image

    names = [str(index) for index in range(30)]
    contact_sheet({"test": ImageSet(names, Counted(tmp_path, names))})
    assert len(most) == 20
    assert max(most) <= 1  # the one before


def test_a_link_to_a_training_image_is_not_tested_on(written, configured, tmp_path):
    folders = {
        split: make_folders(tmp_path / split, {"cat": 2, "dog": 1}) for split in ("train", "test")
    }
    spec = {"kind": "image_folder", "name": "mine", "crop": 16, "resize": 16, **folders}
    assert load_split(written(**spec).data(PART), "test").ids == ["cat/0", "cat/1", "dog/0"]
    folder = written(**spec)
    name_of = class_namer(configured(**spec), folder, PART)
    assert [name_of(0), name_of(1)] == ["cat", "dog"]
    (tmp_path / "test/dog/copy.png").symlink_to(tmp_path / "train/dog/0.png")
    with pytest.raises(
        UserError, match=r"found: .*test/dog/copy\.png has the bytes of .*train/dog/0\.png\n"
    ):
        written(**spec)


@pytest.mark.parametrize("trained", [True, False])
def test_an_image_of_the_denoiser_is_not_tested_on_or_trained_on(
    written, configured, tiny_content, tmp_path, trained
):
    spec = {"kind": "image_folder", "name": "mine", "crop": 16, "resize": 16}
    for split in ("train", "test"):
        spec[split] = make_folders(tmp_path / split, {"cat": 2, "dog": 1})
    photographs = {split: tmp_path / "photographs" / split for split in ("train", "test")}
    for split, folder in photographs.items():
        write_picture(folder / f"{split}-0.png")
    tiny_content["parts"]["denoising"]["data"] = {
        "kind": "folder", "name": "photographs", **{k: str(v) for k, v in photographs.items()}
    }  # fmt: skip
    written(**spec)
    ours, theirs = ("train", "test") if trained else ("test", "train")
    shutil.copy(tmp_path / theirs / "cat/1.png", photographs[ours] / "same.png")
    for part in (PART, "denoising"):  # the folders of either can change alone
        with pytest.raises(UserError, match=r"has the bytes of") as caught:
            write_data(configured(**spec), part, RunFolder(tmp_path / "run"))
        assert f"photographs/{ours}/same.png" in caught.value.came
