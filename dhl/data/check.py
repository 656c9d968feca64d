"""Check that the data sets of a configuration are present and complete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dhl.config.catalogue import CATALOGUE, DataSet
from dhl.config.data_sets import DataSet as Data
from dhl.config.data_sets import PluginData
from dhl.config.image_data_sets import Ilsvrc2012, Voc
from dhl.config.plugins import load_plugin
from dhl.config.schema import Config
from dhl.data.archives import count_mismatches, differing_files, files_of, read_listing
from dhl.data.download import archive_path, expected_digests, verified_digest
from dhl.data.image_files import DamagedImage, Preparation, read_prepared
from dhl.data.layouts import SUFFIXES, VOC
from dhl.data.locations import data_root
from dhl.data.plugin_data import make_plugin_part
from dhl.data.segmentation import find_pairs, read_list
from dhl.data.transfer import SourceFailed
from dhl.data.user_folders import user_folders
from dhl.errors import UserError
from dhl.progress import Progress
from dhl.run.downloads import needed_sets

NAMED = 3  # a finding names at most this many files, and counts the others


@dataclass(frozen=True)
class Finding:
    """The state of a data set: missing and damaged files, and the number and size of all files."""

    name: str  # in the catalogue, or the configuration key of a folder
    folder: Path
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    files: int = 0
    bytes: int = 0
    unit: str = "files"  # or "images"

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing and not self.damaged

    def __str__(self) -> str:
        """Return one line with the state, names of bad files, and counts."""
        state = "damaged" if self.damaged else "incomplete" if self.missing else "complete"
        present = f"{self.files} {self.unit}, {self.bytes / 1e6:.1f} MB in {self.folder}"
        lists = []
        for word, names in (("damaged", self.damaged), ("missing", self.missing)):
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            lists += [f"{word}: {', '.join(names[:NAMED])}{more}"] if names else []
        return f"{self.name}: {'; '.join([state, *lists, present])}"


def check_data(config: Config, *, decode: bool) -> Iterator[Finding]:
    """Check downloaded sets, then user folders, then plug-in data; yield a finding for each.

    With `decode`, every image file is decoded, which takes minutes to hours.
    """
    root = data_root(config)
    for name in needed_sets(config):
        yield check_set(CATALOGUE[name], root, decode=decode)
    for spec, field, key in user_folders(config):
        yield check_folder(spec, field, key, decode=decode)
    for part in config.parts:
        if isinstance(config.parts[part].data, PluginData):
            yield check_plugin(config, part)


def check_set(data_set: DataSet, root: Path, *, decode: bool) -> Finding:
    """Check the files of a set of the catalogue, and its archives if they are kept."""
    folder = root / data_set.name
    if not folder.is_dir():
        size = f"{data_set.bytes / 1e6:.0f} MB"
        return Finding(data_set.name, folder, missing=(f"the complete set, {size} to download",))
    listing = read_listing(folder)
    damaged: list[str] = []
    if listing is None:
        missing = count_mismatches(data_set, folder)
    else:
        missing, damaged = differing_files(folder, listing)
    damaged += _wrong_digests(data_set, root)
    return _finding(data_set.name, folder, missing=missing, damaged=damaged, decode=decode)


def check_folder(spec: Data, field: str, key: str, *, decode: bool) -> Finding:
    """Check a user's folder: the value of `spec.field`, at the key path `key`."""
    folder = Path(getattr(spec, field))
    if not folder.is_dir():
        return Finding(key, folder, missing=("the folder",))
    missing: list[str] = []
    damaged: list[str] = []
    if isinstance(spec, Ilsvrc2012) and spec.complete:
        missing, damaged = _official(CATALOGUE["ilsvrc2012"], folder)
    elif isinstance(spec, Voc):
        missing = _unlisted(folder, [name for name in (spec.train, spec.test) if name])
    elif not any(path.suffix.lower() in SUFFIXES for path in files_of(folder)):
        missing = [f"images ({', '.join(SUFFIXES)})"]
    return _finding(key, folder, missing=missing, damaged=damaged, decode=decode)


def check_plugin(config: Config, part: str) -> Finding:
    """Make the images of a part with its plug-in, and count them."""
    path = load_plugin(config.parts[part].data.kind).path
    splits = make_plugin_part(config, part).values()
    size = sum(image.nbytes for images in splits for image in images.images)
    files = sum(map(len, splits))
    return Finding(f"parts.{part}.data", path, files=files, bytes=size, unit="images")


def _official(data_set: DataSet, folder: Path) -> tuple[list[str], list[str]]:
    """Return missing and damaged files of a folder that has the archives or the unpacked set."""
    present = [archive for archive in data_set.archives if (folder / archive.name).is_file()]
    if not present:
        return count_mismatches(data_set, folder), []
    missing = [archive.name for archive in data_set.archives if archive not in present]
    damaged = [_wrong_digest(folder / archive.name, archive.digest) for archive in present]
    return missing, [found for found in damaged if found]


def _unlisted(folder: Path, lists: list[str]) -> list[str]:
    """Describe the missing lists of a VOC layout, and the missing files that lists name."""
    missing = []
    for name in lists:
        try:
            find_pairs(folder, folder, VOC, read_list(folder, VOC, name))
        except UserError as error:
            missing.append(error.came)
    return missing


def _finding(
    name: str, folder: Path, *, missing: list[str], damaged: list[str], decode: bool
) -> Finding:
    """Count the files of a folder, and find empty files and, with `decode`, damaged images."""
    count = size = 0
    with Progress(f"checking {name}", sum(1 for _ in files_of(folder))) as progress:
        for path in files_of(folder):
            count, size = count + 1, size + path.stat().st_size
            if not path.stat().st_size or (decode and _is_damaged(path)):
                damaged.append(str(path.relative_to(folder)))
            progress.advance()
    return Finding(name, folder, tuple(missing), tuple(dict.fromkeys(damaged)), count, size)


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
