"""Archives are unpacked completely or not at all, and never outside their folder."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_archives import LAYOUTS, tar_of, tiny_set

from dhl.config.catalogue import DataSet
from dhl.data import archives
from dhl.data.archives import Verified, extract_tar, unpack
from dhl.errors import UserError


def unpacked(data_set: DataSet, content: bytes, root: Path) -> Path:
    name = data_set.archives[0].name
    (root / name).write_bytes(content)
    unpack(data_set, {name: Verified(root / name, "md5:0")}, root / "set")
    return root / "set"


def files_in(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder except the list of files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "files.json"
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_set_has_the_paths_of_its_archive_and_a_list_of_them(name, tmp_path):
    data_set, content = tiny_set(name, address="")
    folder = unpacked(data_set, content, tmp_path)
    archive = data_set.archives[0]
    inside = f"{archive.inside}/" if archive.inside else ""
    expected = {
        path.removeprefix(inside): content
        for path, content in LAYOUTS[name].items()
        if path.startswith(inside)
    }
    assert files_in(folder) == expected
    listing = json.loads((folder / "files.json").read_text())
    assert listing["files"] == {path: len(content) for path, content in expected.items()}
    assert listing["archives"] == {archive.name: "md5:0"}


def test_too_few_files_are_named_and_the_old_folder_is_kept(tmp_path):
    data_set, content = tiny_set("voc2012", address="")
    folder = unpacked(data_set, content, tmp_path)
    before = files_in(folder)
    pattern = "VOCdevkit/VOC2012/JPEGImages/*.jpg"
    larger = replace(data_set, members=data_set.members | {pattern: 17125})
    with pytest.raises(UserError, match=r"2 of 17125 files VOCdevkit/VOC2012/JPEGImages/\*\.jpg"):
        unpacked(larger, content, tmp_path)
    assert files_in(folder) == before


def test_a_wrong_folder_inside_is_named(tmp_path):
    data_set, _ = tiny_set("sbd", address="")
    with pytest.raises(UserError, match="no folder benchmark_RELEASE/dataset"):
        unpacked(data_set, tar_of({"other/img/1.jpg": b""}), tmp_path)


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "a/../inside", "/tmp/outside"])
def test_a_name_that_leaves_the_folder_is_refused(name, tmp_path):
    data_set, _ = tiny_set("imagenette-160", address="")
    evil = tar_of({"good": b"1", name: b"2"})
    with pytest.raises(UserError) as caught:
        unpacked(data_set, evil, tmp_path)
    assert str(tmp_path / "imagenette2-160.tgz") in caught.value.came
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagenette2-160.tgz"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "../../outside"), (tarfile.SYMTYPE, "/etc/passwd"),
     (tarfile.LNKTYPE, "../outside"), (tarfile.FIFOTYPE, "")],
)  # fmt: skip
def test_links_to_the_outside_and_special_files_are_refused(kind, target, tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        member = tarfile.TarInfo("member")
        member.type, member.linkname = kind, target
        tar.addfile(member)
    with pytest.raises(archives.tarfile.FilterError):
        extract_tar(tmp_path / "evil.tar", tmp_path / "folder")
    assert files_in(tmp_path / "folder") == {}


def test_a_link_inside_is_followed(tmp_path):
    with tarfile.open(tmp_path / "good.tar", "w") as tar:
        real, link = tarfile.TarInfo("real"), tarfile.TarInfo("link")
        real.size, link.type, link.linkname = 3, tarfile.SYMTYPE, "real"
        tar.addfile(real, io.BytesIO(b"abc"))
        tar.addfile(link)
    extract_tar(tmp_path / "good.tar", tmp_path / "folder")
    assert (tmp_path / "folder/link").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["imagenette-160", "voc2012"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_a_truncated_archive_leaves_nothing(name, share, tmp_path):
    data_set, content = tiny_set(name, address="")
    with pytest.raises(UserError) as caught:
        unpacked(data_set, content[: int(share * len(content))], tmp_path)
    assert data_set.archives[0].name in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [data_set.archives[0].name]


def test_a_killed_unpacking_leaves_no_set_and_is_repeated(tmp_path, monkeypatch):
    data_set, content = tiny_set("imagenette-160", address="")
    members = iter(range(3))

    def killed(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        if next(members) == 2:
            os._exit(9)
        return member

    child = os.fork()
    if not child:
        try:
            archives._inside = killed
            unpacked(data_set, content, tmp_path)
        finally:
            os._exit(1)  # the child must not continue as a second pytest
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(files_in(tmp_path / ".set.unpacking")) == 2
    assert not (tmp_path / "set").exists()
    assert files_in(unpacked(data_set, content, tmp_path)) == LAYOUTS["imagenette-160"]
    assert not (tmp_path / ".set.unpacking").exists()
