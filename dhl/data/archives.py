"""Unpack verified archives into the folder of a data set, completely or not at all."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dhl.config.catalogue import Archive, DataSet
from dhl.errors import UserError
from dhl.progress import Progress, megabytes

if sys.version_info >= (3, 11, 4):
    import tarfile
else:  # the Python of Debian 12 has no extraction filters
    from backports import tarfile  # type: ignore[no-redef]

LISTING = "files.json"  # lists the files of a complete set; written last
_DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "EEXIST", "ENOTDIR")
}


class Verified(NamedTuple):
    """A file with a verified digest, written as `algorithm:digest`."""

    path: Path
    digest: str


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
            do="free some space, or set `downloads.root` to a folder on another disk, and run the "
            "same command again; complete downloads are kept.",
        ) from None


def unpack(data_set: DataSet, files: Mapping[str, Verified], folder: Path) -> None:
    """Unpack the files of a set, by archive name, and replace its folder when all are unpacked.

    Raises
    ------
    UserError
        If an archive is damaged or has a path outside the folder, or files are missing; the old
        folder is kept.
    """
    with _new_folder(folder) as temporary:
        for archive in data_set.archives:
            source = files[archive.name].path
            with _damage_explained(source):
                UNPACKERS[archive.unpack](source, temporary, archive)
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
    temporary.write_text(json.dumps(listing, indent=0) + "\n")
    os.replace(temporary, folder / LISTING)


def read_listing(folder: Path) -> dict | None:
    """Read the listing of a set; None if there is no readable one."""
    try:
        return json.loads((folder / LISTING).read_text())
    except (OSError, ValueError):
        return None


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
def _damage_explained(source: Path) -> Iterator[None]:
    """Raise a `UserError` for damaged and hostile archives."""
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"The archive {source.name} is damaged, or has a path outside its folder.",
            came=f"{source}: {error}",
            do="delete the file and download it again, or use another mirror.",
        ) from None


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Refuse unsafe members, and absolute names and `..`, which Python's filter would correct."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise tarfile.OutsideDestinationError(member, str(Path(folder) / name))
    return tarfile.data_filter(member, folder)


def _extract(source: Path, folder: Path) -> Iterator[int]:
    """Extract a tar file of any compression, and yield the number of bytes read so far."""
    with open(source, "rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            tar.extract(member, folder, filter=_inside)
            yield file.tell()


def extract_tar(source: Path, folder: Path) -> None:
    """Extract a tar file and show the progress; refuse paths outside the folder."""
    total = megabytes(source.stat().st_size)
    with Progress(f"unpacking {source.name} (MB)", total) as progress:
        for position in _extract(source, folder):
            if (step := megabytes(position) - progress.done) > 0:
                progress.advance(step)


def _unpack_tar(source: Path, folder: Path, archive: Archive) -> None:
    """Extract a tar file, and move the files of `archive.inside` up to the folder."""
    extract_tar(source, folder)
    if archive.inside is None:
        return
    if not (folder / archive.inside).is_dir():
        raise tarfile.ReadError(f"no folder {archive.inside} in the archive")
    for entry in (folder / archive.inside).iterdir():
        os.replace(entry, folder / entry.name)
    shutil.rmtree(folder / PurePosixPath(archive.inside).parts[0])


def _copy_file(source: Path, folder: Path, archive: Archive) -> None:
    """Copy a file that is not an archive into the set."""
    shutil.copyfile(source, folder / archive.name)


def _unpack_with_torchvision(source: Path, folder: Path, archive: Archive) -> None:
    """Unpack the development kit, or sort the validation images into a folder per synset."""
    from torchvision.datasets import imagenet

    devkit = archive.unpack == "ilsvrc-devkit"
    parse = imagenet.parse_devkit_archive if devkit else imagenet.parse_val_archive
    parse(folder, str(source.absolute()))


def _unpack_training(source: Path, folder: Path, archive: Archive) -> None:
    """Unpack the training images: one tar file that contains a tar file per synset."""
    extract_tar(source, folder / "train")
    synsets = sorted((folder / "train").glob("*.tar"))
    with Progress("unpacking synsets", len(synsets)) as progress:
        for synset in synsets:
            for _ in _extract(synset, synset.with_suffix("")):
                pass
            synset.unlink()
            progress.advance()


UNPACKERS = {
    "tar": _unpack_tar,
    "file": _copy_file,
    "ilsvrc-devkit": _unpack_with_torchvision,
    "ilsvrc-val": _unpack_with_torchvision,
    "ilsvrc-train": _unpack_training,
}
