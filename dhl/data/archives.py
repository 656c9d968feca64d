"""From verified archives to a set's folder, which appears whole or not at all."""

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
else:  # as in Debian 12: without filters of what is extracted
    from backports import tarfile  # type: ignore[no-redef]

LISTING = "files.json"  # what a whole set consisted of; written last
_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EEXIST,
    errno.ENOTDIR,
)


class Verified(NamedTuple):
    """A file that was compared with its digest, algorithm and colon before it."""

    path: Path
    digest: str


@contextmanager
def disk_explained(folder: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into a message."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise UserError(
            "a data set is kept in full or not at all.",
            came=f"{error.strerror}: {error.filename or folder}",
            do="free some space there, or name a folder on another disk in `downloads.root`, and "
            "run the same command again; what is downloaded is kept.",
        ) from None


def unpack(data_set: DataSet, files: Mapping[str, Verified], folder: Path) -> None:
    """Unpack the files of a set into its folder.

    Parameters
    ----------
    data_set : DataSet
    files : mapping of str to Verified
        By the names of the set's archives.
    folder : Path
        Replaced, if it is there, once the new one is whole.

    Raises
    ------
    UserError
        If an archive is damaged or reaches outside the folder, or the set is not whole in the end;
        what stood there before is kept.
    """
    with _new_folder(folder) as temporary:
        for archive in data_set.archives:
            source = files[archive.name].path
            with _damage_explained(source):
                UNPACKERS[archive.unpack](source, temporary, archive)
        if mismatches := count_mismatches(data_set, temporary):
            raise UserError(
                f"the archives of `{data_set.name}` hold the whole set.",
                came="; ".join(mismatches),
                do=f"delete {', '.join(str(path) for path, _ in files.values())} and download "
                f"again, from another place if need be (`downloads.mirrors.{data_set.name}`).",
            )
        write_listing(temporary, {name: file.digest for name, file in files.items()})


def count_mismatches(data_set: DataSet, folder: Path) -> list[str]:
    """Say of which files a set's folder has too few or too many."""
    counts = {pattern: sum(1 for _ in folder.glob(pattern)) for pattern in data_set.members}
    return [
        f"{counts[pattern]} of {count} files {pattern}"
        for pattern, count in data_set.members.items()
        if counts[pattern] != count
    ]


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a set, at any depth, in a fixed order and not all at once."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if name != LISTING)


def write_listing(folder: Path, digests: Mapping[str, str]) -> None:
    """List all files of a set with their sizes, and the digests of the archives they are from."""
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files_of(folder)}
    temporary = folder.with_name(f".{folder.name}.{LISTING}")
    listing = {"archives": dict(digests), "files": files}
    temporary.write_text(json.dumps(listing, indent=0) + "\n")
    os.replace(temporary, folder / LISTING)


def read_listing(folder: Path) -> dict | None:
    """Read the list of a set's files; None if the set was not unpacked by this program."""
    try:
        return json.loads((folder / LISTING).read_text())
    except (OSError, ValueError):
        return None


def differing_files(folder: Path, listing: dict) -> tuple[list[str], list[str]]:
    """Name the files of a set that are gone, and those that have another size than before."""
    gone, resized = [], []
    for name, size in listing["files"].items():
        path = folder / name
        if not path.is_file():
            gone.append(name)
        elif path.stat().st_size != size:
            resized.append(name)
    return gone, resized


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty sibling that takes the folder's place only if the block succeeds."""
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
    """Turn what damaged and hostile archives raise into a message."""
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            "an archive is whole, and all that it holds stays inside its folder.",
            came=f"{source}: {error}",
            do="delete the file and download it again, from another place if need be.",
        ) from None


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Refuse absolute names and `..`, which Python's filter would mend, and all that it refuses."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise tarfile.OutsideDestinationError(member, str(Path(folder) / name))
    return tarfile.data_filter(member, folder)


def _extract(source: Path, folder: Path) -> Iterator[int]:
    """Extract a tar file of any compression; yields how many of its bytes are read so far."""
    with open(source, "rb") as file, tarfile.open(fileobj=file) as tar:
        for member in tar:
            tar.extract(member, folder, filter=_inside)
            yield file.tell()


def extract_tar(source: Path, folder: Path) -> None:
    """Extract a tar file, showing how far it is; refuses what reaches outside the folder."""
    total = megabytes(source.stat().st_size)
    with Progress(f"unpacking {source.name} (MB)", total) as progress:
        for position in _extract(source, folder):
            if (step := megabytes(position) - progress.done) > 0:
                progress.advance(step)


def _unpack_tar(source: Path, folder: Path, archive: Archive) -> None:
    """Extract a tar file, and move up the folder inside it that is the set."""
    extract_tar(source, folder)
    if archive.inside is None:
        return
    if not (folder / archive.inside).is_dir():
        raise tarfile.ReadError(f"no folder {archive.inside} in it")
    for entry in (folder / archive.inside).iterdir():
        os.replace(entry, folder / entry.name)
    shutil.rmtree(folder / PurePosixPath(archive.inside).parts[0])


def _place_file(source: Path, folder: Path, archive: Archive) -> None:
    """Put a file that is no archive into the set."""
    shutil.copyfile(source, folder / archive.name)


def _unpack_devkit(source: Path, folder: Path, archive: Archive) -> None:
    """Read the synsets and the classes of the validation images, with torchvision."""
    from torchvision.datasets.imagenet import parse_devkit_archive

    parse_devkit_archive(folder, str(source.absolute()))


def _unpack_validation(source: Path, folder: Path, archive: Archive) -> None:
    """Sort the validation images into a folder per synset, with torchvision."""
    from torchvision.datasets.imagenet import parse_val_archive

    parse_val_archive(folder, str(source.absolute()))


def _unpack_training(source: Path, folder: Path, archive: Archive) -> None:
    """Unpack the training images, a tar file per synset in one tar file."""
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
    "file": _place_file,
    "ilsvrc-devkit": _unpack_devkit,
    "ilsvrc-val": _unpack_validation,
    "ilsvrc-train": _unpack_training,
}
