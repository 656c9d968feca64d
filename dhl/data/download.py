"""Sets of the catalogue, fetched once: from the first place that has the right files."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dhl.config.catalogue import CATALOGUE, Archive, DataSet
from dhl.data.archives import (
    Verified,
    count_mismatches,
    differing_files,
    disk_explained,
    read_listing,
    unpack,
    write_listing,
)
from dhl.data.locations import set_folder
from dhl.data.transfer import SourceFailed, discard, file_size, part_of, receive, require_space
from dhl.errors import UserError
from dhl.files import atomic_path
from dhl.locks import locked

logger = logging.getLogger("dhl")
RECORD = "digests.json"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Mirrors = Mapping[str, Sequence[str]]


def archive_path(root: Path, name: str, file: str) -> Path:
    """Return where a downloaded file of a set is kept; it may be deleted after unpacking."""
    return root / "archives" / name / file


def fetch(name: str, *, root: Path, mirrors: Mirrors) -> Path:
    """Download, verify and unpack a set, unless it is there and whole.

    Parameters
    ----------
    name : str
        A key of `CATALOGUE`.
    root : Path
        The folder of downloaded sets.
    mirrors : mapping of str to sequence of str
        Per set, places to try before the official ones: the address or the folder that holds the
        set's files, or a file itself.

    Returns
    -------
    Path
        The set's folder.

    Raises
    ------
    UserError
        If no place gives the right files, the disk is full, or the folder holds something else.
    """
    data_set = known_set(name)
    folder = set_folder(root, name)
    with disk_explained(root), locked(root / f".{name}.lock"):
        if not _is_whole(data_set, folder, root):
            files = _collect(data_set, root, mirrors.get(name, ()))
            unpack(data_set, files, folder)
            _record_digests(data_set, root, files)
    logger.info("`%s` is whole, in %s", name, folder)
    return folder


def known_set(name: str) -> DataSet:
    """Look up a set.

    Raises
    ------
    UserError
        If there is no such set.
    """
    if name not in CATALOGUE:
        raise UserError(
            "a set that is downloaded is in the catalogue.",
            came=f"`{name}`",
            do=f"name one of {', '.join(CATALOGUE)}.",
        )
    return CATALOGUE[name]


def write_receipt(name: str, *, root: Path, path: Path) -> None:
    """Write what a whole set consists of: the same bytes for the same set."""
    listing = read_listing(set_folder(root, name))
    assert listing is not None, f"{name} is written after it is whole"
    content = {
        "name": name,
        "archives": listing["archives"],
        "files": len(listing["files"]),
        "bytes": sum(listing["files"].values()),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def expected_digests(data_set: DataSet, root: Path) -> dict[str, str | None]:
    """Return, per file of a set, its public digest or that of its first download."""
    recorded = _recorded_digests(root).get(data_set.name, {})
    return {
        archive.name: archive.digest or recorded.get(archive.name) for archive in data_set.archives
    }


def verified_digest(path: Path, expected: str | None) -> str:
    """Digest a file and compare.

    Parameters
    ----------
    path : Path
    expected : str or None
        Algorithm, colon, and the digest or its beginning; None if it is not known.

    Raises
    ------
    SourceFailed
        If there is none, or another one; without an expected digest, if it is neither a PNG nor a
        tar file.
    """
    if not path.is_file():
        raise SourceFailed("no such file")
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with open(path, "rb") as file:
        begins = file.read(len(PNG_SIGNATURE))
        file.seek(0)
        new = functools.partial(hashlib.new, algorithm, usedforsecurity=False)
        digest = f"{algorithm}:{hashlib.file_digest(file, new).hexdigest()}"
    if expected and not digest.startswith(expected):
        raise SourceFailed(f"its digest is {digest}, not {expected}")
    if not expected and begins != PNG_SIGNATURE and not tarfile.is_tarfile(path):
        raise SourceFailed("it is neither a picture nor an archive, perhaps a page with a message")
    return digest


def _recorded_digests(root: Path) -> dict[str, dict[str, str]]:
    """Read the digests of first downloads, by set and file."""
    try:
        return json.loads((root / RECORD).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            "the digests of first downloads are as they were written.",
            came=f"{root / RECORD}: {error}",
            do="mend the file, or delete it if you trust what is downloaded next.",
        ) from None


def _is_whole(data_set: DataSet, folder: Path, root: Path) -> bool:
    """Tell whether a set is there; one that was put there by hand is accepted if it is whole."""
    if (listing := read_listing(folder)) is not None:
        return not any(differing_files(folder, listing))
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    problems = count_mismatches(data_set, folder)
    expected = expected_digests(data_set, root)
    digests = {}
    for archive in data_set.archives:
        path = folder / archive.name
        if archive.unpack == "file" and path.is_file():
            try:
                digests[archive.name] = verified_digest(path, expected[archive.name])
            except SourceFailed as failure:
                problems.append(f"{archive.name}: {failure}")
    if problems:
        raise UserError(
            "a set's folder holds that set, whole.",
            came=f"{folder}: {'; '.join(problems)}",
            do="complete it, or move it away, and it is downloaded.",
        )
    write_listing(folder, digests)
    return True


def _collect(data_set: DataSet, root: Path, mirrors: Sequence[str]) -> dict[str, Verified]:
    """Bring all files of a set, verified, after a look at the room on the disk."""
    places = {
        archive.name: _places(archive, data_set, root, mirrors) for archive in data_set.archives
    }
    to_come = sum(
        (archive.bytes or 0) - file_size(part_of(archive_path(root, data_set.name, archive.name)))
        for archive in data_set.archives
        if not any(isinstance(place, Path) and place.is_file() for place in places[archive.name])
    )
    require_space(root, to_come + data_set.bytes, f"`{data_set.name}`")
    expected = expected_digests(data_set, root)
    return {
        name: _obtain(name, data_set, root, places=places[name], expected=expected[name])
        for name in places
    }


def _places(
    archive: Archive, data_set: DataSet, root: Path, mirrors: Sequence[str]
) -> list[str | Path]:
    """List where a file may be: here from before, then on mirrors, then at its official places.

    Raises
    ------
    UserError
        If no address is known, and no local mirror has it.
    """
    kept = archive_path(root, data_set.name, archive.name)
    places = [*([kept] if kept.is_file() else []), *(_on_mirror(m, archive.name) for m in mirrors)]
    if archive.urls or any(isinstance(place, str) or place.is_file() for place in places):
        return [*places, *archive.urls]
    reasons = [f"{place}: no such file" for place in places]
    raise _nowhere(archive.name, data_set, kept.parent, reasons)


def _on_mirror(mirror: str, name: str) -> str | Path:
    """Return a file's address on a mirror, which may be that address; a local one as a path."""
    if urlsplit(mirror).scheme in ("http", "https"):
        full = urlsplit(mirror).path.endswith(f"/{name}")
        return mirror if full else f"{mirror.rstrip('/')}/{name}"
    local = url2pathname(urlsplit(mirror).path) if mirror.startswith("file:") else mirror
    path = Path(local).expanduser()
    return path if path.is_file() else path / name


def _obtain(
    name: str, data_set: DataSet, root: Path, *, places: list[str | Path], expected: str | None
) -> Verified:
    """Return a verified file: that of the first good place."""
    kept = archive_path(root, data_set.name, name)
    reasons = []
    for place in places:
        try:
            if isinstance(place, Path):
                return Verified(place, verified_digest(place, expected))
            return Verified(kept, _download(place, kept, expected))
        except SourceFailed as failure:
            logger.info("%s: %s", place, failure)
            reasons.append(f"{place}: {failure}")
    raise _nowhere(name, data_set, kept.parent, reasons)


def _download(url: str, kept: Path, expected: str | None) -> str:
    """Download a file; it takes its name once its digest, which is returned, is right."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(kept)
    receive(url, part)
    try:
        digest = verified_digest(part, expected)
    except SourceFailed:
        discard(part)
        raise
    os.replace(part, kept)
    discard(part)
    return digest


def _nowhere(name: str, data_set: DataSet, folder: Path, reasons: list[str]) -> UserError:
    """Say why no place gave a file, and how to bring it."""
    bring = f"put {name} into {folder}, or name its folder in `downloads.mirrors`"
    if data_set.account:
        return UserError(
            f"`{data_set.name}` is licensed to persons: it is not downloaded without an account.",
            came="\n    ".join([f"no {name}", *reasons]),
            do=f"{data_set.account}; then {bring}, as `{data_set.name}: [/the/folder]`.",
        )
    return UserError(
        "each file of a data set comes whole from one of its places.",
        came="\n    ".join([f"{name} from none of {len(reasons)}", *reasons]),
        do=f"check the connection and run the same command again, which goes on where it was; or "
        f"{bring}, as `{data_set.name}: [https://mirror/folder]`.",
    )


def _record_digests(data_set: DataSet, root: Path, files: Mapping[str, Verified]) -> None:
    """Keep the digests of files that have no public one."""
    new = {a.name: files[a.name].digest for a in data_set.archives if a.digest is None}
    with locked(root / ".digests.lock"), atomic_path(root / RECORD) as temporary:
        recorded = _recorded_digests(root)
        recorded[data_set.name] = recorded.get(data_set.name, {}) | new
        temporary.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
