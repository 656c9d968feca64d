"""Archives are unpacked completely or not at all, and never outside their folder."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_archives import LAYOUTS, tar_of, tiny_set

from dhl.config.catalogue import DataSet
from dhl.data import archives
from dhl.data.archives import Verified, unpack
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


def bsds500(content: bytes, root: Path) -> Path:
    """Unpack the only archive without a public digest, which an attacker can choose."""
    data_set, _ = tiny_set("bsds500", address="")
    return unpacked(replace(data_set, members={"safe": 1}), content, root)


def tar_with(*members: tarfile.TarInfo, mode: str = "w:gz") -> bytes:
    """Return a tar file with a file `safe`, and after it some members without content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for member in (tarfile.TarInfo("safe"), *members):
            tar.addfile(member)
    return file.getvalue()


def member(kind: bytes, name: str = "member", target: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, target, size
    return found


def climbing(outside: str) -> list[tarfile.TarInfo]:
    """Return links that `tarfile.data_filter` of Python 3.11.7 follows outside (CVE-2025-4517).

    A chain of links to folders with long names is longer than the longest path of the system, which
    hides that the last link goes up.
    """
    long, step, path, made = "d" * 247, "", "", []
    for letter in "abcdefghijklmnop":
        made.append(member(tarfile.DIRTYPE, path + long))
        made.append(member(tarfile.SYMTYPE, path + letter, long))
        path, step = path + f"{long}/", step + f"{letter}/"
    last = step + "l" * 254
    made.append(member(tarfile.SYMTYPE, last, "../" * 16))
    made.append(member(tarfile.SYMTYPE, "up", f"{last}/.."))
    return [*made, member(tarfile.LNKTYPE, "hard", f"up/{outside}"), tarfile.TarInfo("hard")]


@pytest.mark.parametrize(
    "evil",
    [
        [member(tarfile.SYMTYPE, target="../../outside")],
        [member(tarfile.SYMTYPE, target="safe")],
        [member(tarfile.LNKTYPE, target="../outside")],
        [member(tarfile.LNKTYPE, target="safe")],
        [member(tarfile.FIFOTYPE)], [member(tarfile.CHRTYPE)], [member(tarfile.BLKTYPE)],
        [member(tarfile.GNUTYPE_SPARSE, size=1 << 40)],
        climbing("outside"),
    ],
)  # fmt: skip
def test_links_and_special_files_are_refused(evil, tmp_path):
    (tmp_path / "outside").write_text("years of work")
    with pytest.raises(UserError) as caught:
        bsds500(tar_with(*evil), tmp_path)
    assert str(tmp_path / "BSR_bsds500.tgz") in caught.value.came
    assert (tmp_path / "outside").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BSR_bsds500.tgz", "outside"]


def pax(records: bytes, name: bytes = b"pax") -> bytes:
    """Return an extended header as a member."""
    info = tarfile.TarInfo(name.decode())
    info.type, info.size = tarfile.XHDTYPE, len(records)
    return info.tobuf() + records + bytes(-len(records) % 512)


SAFE = tarfile.TarInfo("safe").tobuf()
BOMBS = {
    "size": tar_with(member(tarfile.REGTYPE, size=1 << 40)),
    "number": tar_with(*(member(tarfile.REGTYPE, f"{index}") for index in range(5000))),
    "long name": tar_with(member(tarfile.REGTYPE, "n" * 100_000)),
    "deep": tar_with(*(member(tarfile.DIRTYPE, "a/" * depth) for depth in (10, 30, 2000))),
    # Quadratic time in tarfile of Python 3.11.7.
    "digits": gzip.compress(SAFE + pax(b"1" * 4000)),
    "chain": gzip.compress(SAFE + pax(b"11 path=ab\n") * 3000 + SAFE),
    # It goes back to its own header.
    "loop": gzip.compress(SAFE + pax(b"14 size=-1024\n") + SAFE),
    # A sparse map that continues after the end.
    "sparse": gzip.compress(
        SAFE + pax(b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n22 GNU.sparse.name=xx\n")
        + member(tarfile.REGTYPE, size=512).tobuf() + b"999999\n".ljust(512, b"0")
    ),
    "zeros": gzip.compress(SAFE + member(tarfile.REGTYPE, size=1 << 29).tobuf() + bytes(1 << 27)),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_archive_costs_no_more_memory_and_disk_than_the_set(bomb, tmp_path):
    with pytest.raises(UserError, match="BSR_bsds500"):
        bsds500(BOMBS[bomb], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["BSR_bsds500.tgz"]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_archive_is_an_error_of_the_user_or_complete(seed, tmp_path):
    generator = np.random.default_rng(seed)
    content = bytearray(tar_of(LAYOUTS["bsds500"], "w"))
    for position in generator.integers(0, 2048, 12):  # in headers
        content[512 * (position % 4) + position // 4] = generator.integers(256)
    data_set, _ = tiny_set("bsds500", address="")
    with contextlib.suppress(UserError):
        unpacked(data_set, gzip.compress(content), tmp_path)
        assert files_in(tmp_path / "set")
    assert {path.name for path in tmp_path.iterdir()} <= {"BSR_bsds500.tgz", "set"}


def test_permissions_and_owners_are_not_those_of_the_archive(tmp_path):
    found = member(tarfile.REGTYPE, "program")
    found.mode = 0o6777
    data_set, _ = tiny_set("bsds500", address="")
    folder = unpacked(replace(data_set, members={"program": 1}), tar_with(found), tmp_path)
    assert (folder / "program").stat().st_mode & 0o7111 == 0


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

    def killed(budget: archives.Budget, size: int) -> None:
        if next(members) == 2:
            os._exit(9)

    child = os.fork()
    if not child:
        try:
            archives.Budget.spend = killed
            unpacked(data_set, content, tmp_path)
        finally:
            os._exit(1)  # the child must not continue as a second pytest
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(files_in(tmp_path / ".set.unpacking")) == 2
    assert not (tmp_path / "set").exists()
    assert files_in(unpacked(data_set, content, tmp_path)) == LAYOUTS["imagenette-160"]
    assert not (tmp_path / ".set.unpacking").exists()
