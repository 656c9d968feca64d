"""Whether the data sets of a configuration are there and whole: one finding per set or folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dhl.config import Config
from dhl.data.archives import LISTING, count_mismatches, differing_files, read_listing
from dhl.data.catalogue import CATALOGUE, DataSet, needed_sets
from dhl.data.download import (
    archive_path,
    data_root,
    expected_digests,
    set_folder,
    verified_digest,
)
from dhl.data.folder import SUFFIXES
from dhl.data.transfer import SourceFailed
from dhl.progress import Progress

NAMED = 3  # so many files of a kind are named, the others counted
# The fields of a kind of data that are a user's folders.
USER_FOLDERS = {
    "folder": ("train", "test"),
    "image_folder": ("train", "test"),
    "ilsvrc2012": ("path",),
    "voc": ("path",),
}


@dataclass(frozen=True)
class Finding:
    """What is known about a set.

    Attributes
    ----------
    name : str
        In the catalogue, or the key of the configuration that names a folder.
    folder : Path
    missing, damaged : tuple of str
        What is not there; what is there, but not as it should be.
    files, bytes : int
        How much is there.
    """

    name: str
    folder: Path
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing and not self.damaged

    def __str__(self) -> str:
        """Say it in a line."""
        state = "damaged" if self.damaged else "incomplete" if self.missing else "complete"
        there = f"{self.files} files, {self.bytes / 1e6:.1f} MB in {self.folder}"
        said = [
            f"{word}: {', '.join(names[:NAMED])}{more}"
            for word, names in (("damaged", self.damaged), ("missing", self.missing))
            if names
            for more in [f" and {len(names) - NAMED} more" if len(names) > NAMED else ""]
        ]
        return f"{self.name}: {'; '.join([state, *said, there])}"


def check_data(config: Config, *, decode: bool) -> Iterator[Finding]:
    """Check the sets that a configuration downloads, and the folders that it names.

    Parameters
    ----------
    config : Config
    decode : bool
        Whether to decode every image.

    Yields
    ------
    Finding
        One per set, then one per folder.
    """
    root = data_root(config)
    for name in needed_sets(config):
        yield check_set(CATALOGUE[name], root, decode=decode)
    for key, folder, data_set in user_folders(config):
        yield check_folder(key, folder, data_set=data_set, decode=decode)


def check_set(data_set: DataSet, root: Path, *, decode: bool) -> Finding:
    """Check a set of the catalogue: its files, and the archives that were kept."""
    folder = set_folder(root, data_set.name)
    if not folder.is_dir():
        return Finding(data_set.name, folder, missing=("the whole set",))
    listing = read_listing(folder)
    if listing is None:
        missing, damaged = count_mismatches(data_set, folder), []
    else:
        missing, damaged = differing_files(folder, listing)
    damaged += _wrong_digests(data_set, root)
    return _finding(data_set.name, folder, missing=missing, damaged=damaged, decode=decode)


def check_folder(key: str, folder: Path, *, data_set: DataSet | None, decode: bool) -> Finding:
    """Check a user's folder, which may be a set of the catalogue, unpacked or not."""
    if not folder.is_dir():
        return Finding(key, folder, missing=("the folder",))
    missing, damaged = [], []
    if data_set is not None:
        archives = {archive.name: archive for archive in data_set.archives}
        if any((folder / name).is_file() for name in archives):
            for name, archive in archives.items():
                if not (folder / name).is_file():
                    missing.append(name)
                else:
                    damaged += _wrong_digest(folder / name, archive.digest)
        else:
            missing = count_mismatches(data_set, folder)
    elif not any(path.suffix.lower() in SUFFIXES for path in folder.rglob("*")):
        missing = [f"images ({', '.join(SUFFIXES)})"]
    return _finding(key, folder, missing=missing, damaged=damaged, decode=decode)


def user_folders(config: Config) -> Iterator[tuple[str, Path, DataSet | None]]:
    """Yield the key and the path of each folder of the user's, and the set that it should hold."""
    for part in config.parts:
        spec = getattr(config.data, part)
        downloads = getattr(spec, "downloads", ())
        for field in USER_FOLDERS.get(spec.kind, ()):
            path = getattr(spec, field)
            if path is not None and path not in downloads:
                key = f"data.{part}.{field}"
                yield key, Path(path).expanduser(), CATALOGUE.get(spec.kind)


def _finding(
    name: str, folder: Path, *, missing: list[str], damaged: list[str], decode: bool
) -> Finding:
    """Add up a folder's files, and look for empty files and, if told to, for broken images."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != LISTING]
    sizes = [path.stat().st_size for path in paths]
    bad = [path for path, size in zip(paths, sizes, strict=True) if not size]
    if decode:
        bad += _broken_images([path for path in paths if path not in set(bad)])
    names = [str(path.relative_to(folder)) for path in bad]
    damaged = list(dict.fromkeys([*damaged, *names]))
    return Finding(name, folder, tuple(missing), tuple(damaged), len(paths), sum(sizes))


def _wrong_digests(data_set: DataSet, root: Path) -> list[str]:
    """Name the files of a set, as downloaded, that have not the digest they should have."""
    expected = expected_digests(data_set, root)
    wrong = []
    for archive in data_set.archives:
        kept = archive_path(root, data_set.name, archive.name)
        placed = set_folder(root, data_set.name) / archive.name
        for path in (kept, placed):
            if path.is_file():
                wrong += _wrong_digest(path, expected[archive.name])
    return wrong


def _wrong_digest(path: Path, expected: str | None) -> list[str]:
    """Name a file if its digest is not what it should be."""
    try:
        verified_digest(path, expected)
    except SourceFailed as failure:
        return [f"{path}: {failure}"]
    return []


def _broken_images(paths: list[Path]) -> list[Path]:
    """Decode all images and return those that cannot be decoded."""
    from PIL import Image

    broken = []
    images = [path for path in paths if path.suffix.lower() in SUFFIXES]
    with Progress("decoding", len(images)) as progress:
        for path in images:
            try:
                with Image.open(path) as image:
                    image.load()
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                broken.append(path)
            progress.advance()
    return broken
