"""`dhl data check`: one line for each set and folder, and status 0 only if all are complete."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from settings import with_parts, write_settings
from tiny_archives import NAME, picture

from dhl.cli.parser import main
from dhl.config.catalogue import CATALOGUE
from dhl.config.data import KINDS
from dhl.config.data_sets import Folder
from dhl.config.image_data_sets import Imagenette
from dhl.data.check import check_data, check_folder, check_set
from dhl.data.download import archive_path, fetch
from dhl.files import PROJECT


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
    assert finding.complete
    assert str(finding) == f"{NAME}: complete; 5 files, {size / 1e6:.1f} MB in {root / NAME}"
    assert (finding.files, finding.bytes) == (5, size)


def test_a_set_that_is_not_there_is_incomplete(tmp_path):
    finding = found(tmp_path)
    assert not finding.complete
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
    assert [name in line for name in finding.missing] == [True] * 3 + [False]
    assert "1 more" in line


@pytest.mark.parametrize("written", [b"", b"short"])
def test_a_file_of_another_size_is_damaged(written, root):
    images(root)[2].write_bytes(written)
    finding = found(root)
    assert finding.damaged == (images(root)[2].relative_to(root / NAME).as_posix(),)
    assert not finding.complete


def test_an_image_that_cannot_be_decoded_is_found_when_told_to_decode(root):
    path = images(root)[1]
    path.write_bytes(b"x" * path.stat().st_size)
    assert found(root).complete
    assert found(root, decode=True).damaged == (path.relative_to(root / NAME).as_posix(),)


def test_an_archive_with_another_digest_is_damaged(root):
    path = archive_path(root, NAME, "imagenette2-160.tgz")
    path.write_bytes(path.read_bytes() + b"!")
    (damage,) = found(root).damaged
    assert damage.startswith(
        f"{path}: its digest is md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
    )
    path.unlink()
    assert found(root).complete


def test_a_set_that_was_put_there_by_hand_is_counted(root):
    (root / NAME / "files.json").unlink()
    assert found(root).complete
    images(root)[0].unlink()
    assert found(root).missing == ("2 of 3 files imagenette2-160/train/*/*.JPEG",)


def test_changed_weights_are_damaged(tmp_path):
    entry = CATALOGUE["vgg16-imagenet"]
    path = tmp_path / entry.name / "vgg16-397923af.pth"
    path.parent.mkdir()
    path.write_bytes(b"other weights")
    (damage,) = check_set(entry, tmp_path, decode=False).damaged
    assert "not sha256:397923af" in damage


def folder_line(folder: Path, *, decode: bool = False, **spec: object) -> str:
    """Return the line about a user's folder."""
    field = "path" if spec else "test"
    settings = {"name": "mine"} | (spec or {"kind": "folder"}) | {field: str(folder)}
    model = KINDS[settings["kind"]]
    data = model(**{key: settings[key] for key in settings if key in model.model_fields})
    return str(check_folder(data, field, "data.part", decode=decode))


def test_a_users_folder_is_checked_for_images_empty_files_and_broken_ones(tmp_path):
    assert "missing: the folder;" in folder_line(tmp_path / "none")
    assert "missing: images" in folder_line(tmp_path)
    (tmp_path / "a.png").write_bytes(picture(0, "png"))
    assert folder_line(tmp_path).startswith("data.part: complete; 1 files")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert "complete" in folder_line(tmp_path)
    assert "damaged: b.png" in folder_line(tmp_path, decode=True)
    (tmp_path / "b.png").write_bytes(b"")
    assert "damaged: b.png" in folder_line(tmp_path)


def test_a_voc_layout_has_all_that_its_lists_name(tmp_path):
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (tmp_path / name).mkdir(parents=True)
    spec = {"kind": "voc", "train": None, "test": "val"}
    missing = f"missing: {tmp_path}/ImageSets/Segmentation/val.txt: No such file"
    assert missing in folder_line(tmp_path, **spec)
    # As in VOC's lists of a class.
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("one 1\ntwo -1\n")
    (tmp_path / "JPEGImages/one.jpg").write_bytes(picture(0))
    (tmp_path / "SegmentationClass/one.png").write_bytes(picture(1, "png"))
    missing = f"missing: 1 of 2 in {tmp_path}/JPEGImages: two (0 files);"
    assert missing in folder_line(tmp_path, **spec)
    (tmp_path / "JPEGImages/two.PNG").write_bytes(picture(2, "png"))  # any ending is read
    assert f"1 of 2 in {tmp_path}/SegmentationClass: two" in folder_line(tmp_path, **spec)
    (tmp_path / "SegmentationClass/two.png").write_bytes(picture(3, "png"))
    assert folder_line(tmp_path, **spec).startswith("data.part: complete; 5 files")


def test_imagenet_is_counted_or_its_archives_are_verified(tmp_path, monkeypatch):
    spec = {"kind": "ilsvrc2012", "complete": True}
    assert "missing: 0 of 1281167 files train/*/*.JPEG" in folder_line(tmp_path, **spec)
    archive = replace(
        CATALOGUE["ilsvrc2012"].archives[0], digest=f"md5:{hashlib.md5(b'kit').hexdigest()}"
    )
    tiny = replace(CATALOGUE["ilsvrc2012"], archives=(archive,))
    monkeypatch.setitem(CATALOGUE, "ilsvrc2012", tiny)
    (tmp_path / archive.name).write_bytes(b"kit")
    assert folder_line(tmp_path, **spec).startswith("data.part: complete")
    (tmp_path / archive.name).write_bytes(b"kat")
    assert f"damaged: {tmp_path / archive.name}: its digest" in folder_line(tmp_path, **spec)


def test_sets_and_folders_of_a_configuration_are_checked(tiny_config, root, monkeypatch):
    monkeypatch.setenv("DHL_DATA", str(root))
    (root / "mine").mkdir()
    photos = Folder(kind="folder", name="mine", train="kodak", test=str(root / "mine"))
    imagenette = Imagenette(kind="imagenette", size=160)
    config = with_parts(
        tiny_config, denoising={"data": photos}, classification={"data": imagenette}
    )
    findings = {finding.name: finding for finding in check_data(config, decode=False)}
    assert list(findings) == ["kodak", NAME, "parts.denoising.data.test"]
    assert [finding.complete for finding in findings.values()] == [False, True, False]


def test_embedded_data_needs_no_check(capsys):
    assert main(["data", "check", "--configfile", str(PROJECT / "config/mini.yaml")]) == 0
    assert "mini: " in capsys.readouterr().out


def test_the_commands_download_and_check(content, tiny_content, tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/one.png").write_bytes(picture(0, "png"))
    data = {"kind": "folder", "name": "mine", "test": str(tmp_path / "photos")}
    part = tiny_content["parts"]["denoising"] | {"data": data, "methods": ["noisy"]}
    tiny_content |= {"parts": {"denoising": part}, "downloads": {"root": str(tmp_path / "sets")}}
    file = write_settings(tmp_path / "tiny.yaml", tiny_content)
    options = ["--configfile", file, "--folder", str(tmp_path / "run")]
    assert main(["data", "check", *options]) == 0
    assert capsys.readouterr().out.startswith("parts.denoising.data.test: complete; 1 files")
    (tmp_path / "photos/one.png").write_bytes(b"")
    assert main(["data", "check", *options]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("parts.denoising.data.test: damaged; damaged: one.png; 1 files")
    assert "found: parts.denoising.data.test" in printed.err
    assert main(["data", "download", NAME, *options]) == 0
    assert len(images(tmp_path / "sets")) == 5
    assert (tmp_path / f"run/downloads/{NAME}.json").is_file()
