"""Check that the data of a configuration is complete, as the run itself reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dhl.config.catalogue import CATALOGUE, DataSet
from dhl.config.folders import SUFFIXES
from dhl.config.image_data_sets import Ilsvrc2012
from dhl.config.schema import Config
from dhl.data.archives import count_mismatches, differing_files, files_of, read_listing
from dhl.data.download import archive_path, expected_digests, verified_digest
from dhl.data.image_files import DamagedImage, Preparation, read_prepared
from dhl.data.locations import data_root
from dhl.data.prepare import LoadedPart, check_training_images, read_splits
from dhl.data.transfer import SourceFailed
from dhl.errors import UserError
from dhl.progress import Progress
from dhl.run.downloads import check_packages, needed_sets
from dhl.words import named


@dataclass(frozen=True)
class SetFinding:
    """The missing and damaged files of a downloaded set, and number and size of all files."""

    name: str  # in the catalogue
    folder: Path
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0

    @property
    def to_do(self) -> str:
        """What the user has to do; empty if the set is complete."""
        bad = self.missing or self.damaged
        return "run `dhl data download` with the same configuration" if bad else ""

    def __str__(self) -> str:
        """Return one line with the state, names of bad files, and counts."""
        state = "damaged" if self.damaged else "incomplete" if self.missing else "complete"
        present = f"{self.files} files, {self.bytes / 1e6:.1f} MB in {self.folder}"
        lists = [
            f"{word}: {named(names)}"
            for word, names in (("damaged", self.damaged), ("missing", self.missing))
            if names
        ]
        return f"{self.name}: {'; '.join([state, *lists, present])}"


@dataclass(frozen=True)
class PartFinding:
    """What the run would read for a part, or the error with which it would end."""

    part: str
    found: LoadedPart | UserError

    @property
    def name(self) -> str:
        """The key path of the data."""
        base, _, test_set = self.part.partition("-")
        return f"parts.{base}.test_sets.{test_set}" if test_set else f"parts.{base}.data"

    @property
    def to_do(self) -> str:
        """What the user has to do; empty if the run can start."""
        return f"for `{self.name}`, {self.found.do}" if isinstance(self.found, UserError) else ""

    def __str__(self) -> str:
        """Return one line with the number of images, and what is skipped or left out."""
        if isinstance(self.found, UserError):
            return f"{self.name}: unusable; {self.found.mistake} Found: {self.found.came}"
        splits, skipped, left_out = self.found
        counts = (
            f"{len(splits[split]) if split in splits else 0} {word} images"
            for split, word in (("train", "training"), ("test", "test"))
        )
        parts = ["complete", " and ".join(counts)]
        if skipped:
            parts += [f"{len(skipped)} skipped: {named([one.path for one in skipped])}"]
        if left_out:
            parts += [f"{len(left_out)} left out: {named(left_out)}"]
        return f"{self.name}: {'; '.join(parts)}"


@dataclass(frozen=True)
class PackageFinding:
    """The error that packages with published weights are missing."""

    error: UserError
    name: str = "packages"

    @property
    def to_do(self) -> str:
        """What the user has to do."""
        return self.error.do

    def __str__(self) -> str:
        """Return one line with the missing packages."""
        return f"{self.name}: missing; {self.error.mistake} Found: {self.error.came}"


Finding = SetFinding | PartFinding | PackageFinding


def check_data(config: Config, *, decode: bool) -> Iterator[Finding]:
    """Check packages and downloaded sets, and then read the data of each part as the run does.

    With `decode`, every image file is decoded, which takes minutes to hours.
    """
    try:
        check_packages(config)
    except UserError as error:
        yield PackageFinding(error)
    root = data_root(config)
    for name in needed_sets(config):
        yield check_set(CATALOGUE[name], root, decode=decode, given=_given_archives(config, name))
    for part in config.parts:
        data = config.parts[part].data
        there = all((root / name).is_dir() for name in data.downloads)
        if data.kind != "photo-digits" and there:
            yield check_part(config, part, decode=decode)


def check_set(
    data_set: DataSet, root: Path, *, decode: bool, given: Path | None = None
) -> SetFinding:
    """Check the files of a set of the catalogue, and its archives if they are kept.

    `given` is the user's folder of archives that the run will unpack.
    """
    folder = root / data_set.name
    if given is not None and not folder.is_dir():
        missing, damaged = _official(data_set, given)
        return _finding(data_set.name, given, missing=missing, damaged=damaged, decode=False)
    if not folder.is_dir():
        size = f"{data_set.bytes / 1e6:.0f} MB"
        return SetFinding(data_set.name, folder, missing=(f"the complete set, {size} to download",))
    listing = read_listing(folder)
    damaged = []
    if listing is None:
        missing = count_mismatches(data_set, folder)
    else:
        missing, damaged = differing_files(folder, listing)
    damaged += _wrong_digests(data_set, root)
    return _finding(data_set.name, folder, missing=missing, damaged=damaged, decode=decode)


def check_part(config: Config, part: str, *, decode: bool) -> PartFinding:
    """Read the images of a part as the run does, and check those for training."""
    try:
        found = read_splits(config, part, decode=decode)
        check_training_images(config, part, found.splits)
    except UserError as error:
        return PartFinding(part, error)
    return PartFinding(part, found)


def _given_archives(config: Config, name: str) -> Path | None:
    """Return the user's folder with the archives of a set, if the configuration names one."""
    for part in config.parts:
        data = config.parts[part].data
        if isinstance(data, Ilsvrc2012) and name in data.downloads:
            return Path(data.path)
    return None


def _official(data_set: DataSet, folder: Path) -> tuple[list[str], list[str]]:
    """Return missing and damaged archives of a folder."""
    present = [archive for archive in data_set.archives if (folder / archive.name).is_file()]
    missing = [archive.name for archive in data_set.archives if archive not in present]
    damaged = [_wrong_digest(folder / archive.name, archive.digest) for archive in present]
    return missing, [found for found in damaged if found]


def _finding(
    name: str, folder: Path, *, missing: list[str], damaged: list[str], decode: bool
) -> SetFinding:
    """Count the files of a folder, and find empty files and, with `decode`, damaged images."""
    count = size = 0
    with Progress(f"checking {name}", sum(1 for _ in files_of(folder))) as progress:
        for path in files_of(folder):
            count, size = count + 1, size + path.stat().st_size
            if not path.stat().st_size or (decode and _is_damaged(path)):
                damaged.append(str(path.relative_to(folder)))
            progress.advance()
    return SetFinding(name, folder, tuple(missing), tuple(dict.fromkeys(damaged)), count, size)


def _wrong_digests(data_set: DataSet, root: Path) -> list[str]:
    """Describe the downloaded files of a set with a wrong digest."""
    expected = expected_digests(data_set, root)
    paths = {
        path: (expected[archive.name], archive.inside)
        for archive in data_set.archives
        for path in (
            archive_path(root, data_set.name, archive.name),
            root / data_set.name / archive.name,
        )
        if path.is_file()
    }
    return [found for path, digest in paths.items() if (found := _wrong_digest(path, *digest))]


def _wrong_digest(path: Path, expected: str | None, inside: str | None = None) -> str | None:
    """Describe a wrong digest; None if the digest is right."""
    try:
        verified_digest(path, expected, inside=inside)
    except SourceFailed as failure:
        return f"{path}: {failure}"
    return None


def _is_damaged(path: Path) -> bool:
    """Return whether a file is an image that cannot be decoded."""
    is_image = path.suffix.lower() in SUFFIXES
    return is_image and isinstance(read_prepared(path, Preparation()), DamagedImage)
