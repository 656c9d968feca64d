"""Unpack verified archives into the folder of a data set, completely or not at all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pydantic import TypeAdapter

from dhl.config.catalogue import Archive, DataSet
from dhl.data.transfer import SourceFailed
from dhl.errors import UserError, advice
from dhl.progress import Progress, megabytes

LISTING = "files.json"  # lists the files of a complete set; written last
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
_DISK_ERRORS = (*_FULL, errno.EEXIST, errno.ENOTDIR)
# What `tarfile` and `gzip` raise for damaged files.
_DAMAGE = (
    tarfile.TarError, EOFError, zlib.error, ValueError, LookupError, ArithmeticError,
    RecursionError,
)  # fmt: skip
LONGEST_HEADER = 4096  # bytes; also the average of all headers
DEEPEST = 20  # folders of a path
_BUFFER = 1 << 20
_MOST_DIGESTED = (100_000, 2_000_000_000)  # files and bytes of an archive of GitHub


class Verified(NamedTuple):
    """A file with a verified digest, written as `algorithm:digest`."""

    path: Path
    digest: str


@dataclass
class Budget:
    """The number and size of the files and folders that may still be unpacked."""

    files: int
    bytes: int

    def spend(self, size: int) -> None:
        """Count a file or folder before it is unpacked."""
        self.files, self.bytes = self.files - 1, self.bytes - size
        if min(self.files, self.bytes) < 0:
            raise tarfile.ReadError("many more files or bytes than the data set has")


@contextmanager
def disk_explained(folder: Path) -> Iterator[None]:
    """Raise a `UserError` if the disk is full or not writable."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        raise UserError(
            f"The data set cannot be written below {folder}.",
            came=f"{error.strerror}: {error.filename or folder}",
            do=f"{advice(error)} Or set `downloads.root` to a folder on another disk; complete "
            "downloads are kept.",
        ) from None


def unpack(data_set: DataSet, files: Mapping[str, Verified], folder: Path) -> None:
    """Unpack the files of a set, by archive name, and replace its folder when all are unpacked.

    Raises
    ------
    UserError
        If an archive is damaged, has anything but files and folders inside its folder, or many more
        of them than the catalogue says; or if files are missing. The old folder is kept.
    """
    budget = Budget(data_set.most_files, data_set.most_bytes)
    with _new_folder(folder) as temporary:
        for archive in data_set.archives:
            source = files[archive.name].path
            with damage_explained(source):
                UNPACKERS[archive.unpack](source, temporary, archive, budget)
        if mismatches := count_mismatches(data_set, temporary):
            raise UserError(
                f"The archives of `{data_set.name}` do not contain the complete set.",
                came="; ".join(mismatches),
                do=f"delete {', '.join(str(path) for path, _ in files.values())} and download "
                f"again, or use another mirror (`downloads.mirrors.{data_set.name}`).",
            )
        write_listing(temporary, {name: file.digest for name, file in files.items()})


def count_mismatches(data_set: DataSet, folder: Path) -> list[str]:
    """Describe the file patterns with too few or too many files."""
    counts = {pattern: sum(1 for _ in folder.glob(pattern)) for pattern in data_set.members}
    return [
        f"{counts[pattern]} of {count} files {pattern}"
        for pattern, count in data_set.members.items()
        if counts[pattern] != count
    ]


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a set at any depth, in a fixed order."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(names) if name != LISTING)


def write_listing(folder: Path, digests: Mapping[str, str]) -> None:
    """Write the sizes of all files of a set, and the digests of its archives."""
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files_of(folder)}
    temporary = folder.with_name(f".{folder.name}.{LISTING}")
    listing = {"archives": dict(digests), "files": files}
    temporary.write_text(json.dumps(listing, indent=0) + "\n", "utf-8")
    os.replace(temporary, folder / LISTING)


def read_listing(folder: Path) -> dict | None:
    """Read the listing of a set; None if there is no readable one."""
    try:
        text = (folder / LISTING).read_text("utf-8")
        listing = TypeAdapter(dict[str, dict[str, str | int]]).validate_json(text)
    except (OSError, ValueError):
        return None
    return listing if {"archives", "files"} <= listing.keys() else None


def differing_files(folder: Path, listing: dict) -> tuple[list[str], list[str]]:
    """Return the missing files of a set, and the files whose size differs from the listing."""
    missing, resized = [], []
    for name, size in listing["files"].items():
        path = folder / name
        if not path.is_file():
            missing.append(name)
        elif path.stat().st_size != size:
            resized.append(name)
    return missing, resized


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` if the block succeeds."""
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def damage_explained(source: Path) -> Iterator[None]:
    """Raise a `UserError` for damaged and hostile archives."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise UserError(
            f"The archive {source.name} is damaged, or has what no data set needs: a link, a "
            "special file, a path outside its folder, or too many or too large files.",
            came=f"{source}: {error}",
            do="delete the file and download it again, or use another mirror.",
        ) from None


class _Headers:
    """An open tar file from which `tarfile` reads only headers, at most `most` bytes of them.

    Without limits, `tarfile` holds headers of any length in memory, reads some for ever at the end
    of the file, and needs quadratic time for long numbers (CVE-2024-6232).
    """

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.left = file, most
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Read a part of a header."""
        self.left -= max(size, 1)
        if not 0 <= size <= LONGEST_HEADER or self.left < 0:
            raise tarfile.ReadError("too long headers")
        content = self.file.read(size)
        if re.search(rb"\d{64}", content):
            raise tarfile.ReadError("a header with a number of more than 63 digits")
        return content


def open_members(
    source: Path, budget: Budget
) -> Iterator[tuple[PurePosixPath, int, BinaryIO, int]]:
    """Yield each file of a tar file: name, size, an open file at its first byte, bytes read so far.

    The tar file is plain or compressed by gzip.

    Raises
    ------
    TarError
        If a member is neither a file nor a folder, or its path leads outside or is very deep; or if
        the members exceed the budget.
    """
    with open(source, "rb") as raw:
        file = _decompressed(raw)
        headers = _Headers(file, budget.files * LONGEST_HEADER)
        with tarfile.open(fileobj=headers, mode="r:") as tar:  # type: ignore[call-overload]
            for member in tar:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts or len(name.parts) > DEEPEST:
                    raise tarfile.ReadError(f"{member.name[:80]!r} leads outside, or too deep")
                if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                    raise tarfile.ReadError(f"{member.name[:80]!r} is neither a file nor a folder")
                budget.spend(member.size)
                if member.isreg():
                    file.seek(member.offset_data)
                    yield name, member.size, file, raw.tell()


def _decompressed(raw: BinaryIO) -> BinaryIO:
    """Return the content of a file, decompressed if it is compressed by gzip."""
    compressed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    if not compressed:
        return raw
    # `tarfile` goes back one byte after each member: gzip alone would begin at the start again.
    return io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER)


def contents_digest(source: Path, inside: str | None) -> str:
    """Digest the files of a tar file, whose own bytes may vary: GitHub packs its archives anew.

    The digest is the SHA-256 of the lines that `sha256sum` prints for the files below the folder
    `inside`, sorted by their paths in it.

    Raises
    ------
    SourceFailed
        If the tar file is damaged or has no such folder.
    """
    lines = {}
    try:
        for name, size, file, _ in open_members(source, Budget(*_MOST_DIGESTED)):
            if name.is_relative_to(inside or "."):
                digest = hashlib.sha256()
                for piece in _pieces(file, size):
                    digest.update(piece)
                lines[str(name.relative_to(inside or "."))] = digest.hexdigest()
    except (*_DAMAGE, OSError) as error:
        raise SourceFailed(f"it is not a readable archive ({error})") from None
    if not lines:
        raise SourceFailed(f"it has no files in a folder {inside}")
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items()))
    return f"contents:{hashlib.sha256(listed.encode()).hexdigest()}"


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the next bytes of a file, in pieces."""
    while size:
        if not (piece := file.read(min(size, _BUFFER // 2))):
            raise EOFError("it is cut off")
        size -= len(piece)
        yield piece


def extract_tar(source: Path, folder: Path, budget: Budget, *, inside: str = ".") -> Iterator[int]:
    """Write the files below `inside` in a tar file into a folder; yield the bytes read so far.

    Only their contents are written: no permissions, owners and times.
    """
    for name, size, file, position in open_members(source, budget):
        if name.is_relative_to(inside):
            path = folder / name.relative_to(inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as target:
                for piece in _pieces(file, size):
                    target.write(piece)
        yield position


def _unpack_tar(source: Path, folder: Path, archive: Archive, budget: Budget) -> None:
    """Extract a tar file and show the progress."""
    inside, total = archive.inside or ".", megabytes(source.stat().st_size)
    target = folder / archive.into
    with Progress(f"unpacking {source.name} (MB)", total) as progress:
        for position in extract_tar(source, target, budget, inside=inside):
            if (step := megabytes(position) - progress.done) > 0:
                progress.advance(step)
    if not target.is_dir() or not any(target.iterdir()):
        raise tarfile.ReadError(f"no folder {inside} in the archive")


def _copy_file(source: Path, folder: Path, archive: Archive, budget: Budget) -> None:
    """Copy a file that is not an archive into the set."""
    shutil.copyfile(source, folder / archive.name)


def _unpack_tars(source: Path, folder: Path, archive: Archive, budget: Budget) -> None:
    """Extract a tar file that contains a tar file per class."""
    _unpack_tar(source, folder, archive, budget)
    classes = sorted((folder / archive.into).glob("*.tar"))
    with Progress("unpacking classes", len(classes)) as progress:
        for path in classes:
            for _ in extract_tar(path, path.with_suffix(""), budget):
                pass
            path.unlink()
            progress.advance()


UNPACKERS = {"tar": _unpack_tar, "file": _copy_file, "tars": _unpack_tars}
