"""Download the sets of the catalogue, from the first source with the right files."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

from pydantic import TypeAdapter

from dhl.config.catalogue import CATALOGUE, Archive, DataSet
from dhl.data.archives import (
    Verified,
    contents_digest,
    count_mismatches,
    differing_files,
    disk_explained,
    read_listing,
    unpack,
    write_listing,
)
from dhl.data.transfer import SourceFailed, discard, file_size, part_of, receive, require_space
from dhl.errors import UserError, without_secrets
from dhl.files import atomic_path
from dhl.locks import locked

logger = logging.getLogger("dhl")
RECORD = "digests.json"  # digests of first downloads, for files without a public digest
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Mirrors = Mapping[str, Sequence[str]]


def archive_path(root: Path, name: str, file: str) -> Path:
    """Return the path of a downloaded file; the user may delete it after unpacking."""
    return root / "archives" / name / file


def fetch(name: str, *, root: Path, mirrors: Mirrors) -> Path:
    """Download, verify and unpack a set, unless it is complete already.

    Parameters
    ----------
    name : str
        A key of `CATALOGUE`.
    root : Path
        The folder of all downloaded sets; the result is the folder of this set.
    mirrors : mapping of str to sequence of str
        Sources that are tried before the official ones, by name of the set: the URL or path of a
        folder with the files, or of one file.

    Raises
    ------
    UserError
        If the set is unknown, no source has the right files, the disk is full, or the folder
        contains other files.
    """
    if name not in CATALOGUE:
        raise UserError(
            f"The data set `{name}` is not in the catalogue.",
            came=f"`{name}`",
            do=f"name one of {', '.join(CATALOGUE)}.",
        )
    data_set, folder = CATALOGUE[name], root / name
    with disk_explained(root), locked(root / f".{name}.lock"):
        if not _is_complete(data_set, folder, root):
            files = _collect(data_set, root, mirrors.get(name, ()))
            unpack(data_set, files, folder)
            _record_digests(data_set, root, files)
    logger.info("`%s` is complete in %s", name, folder)
    return folder


def write_receipt(name: str, *, root: Path, path: Path) -> None:
    """Write name, digests, file count and size of a complete set, reproducibly."""
    listing = read_listing(root / name)
    assert listing is not None, f"{name} is not unpacked"
    content = {
        "name": name,
        "archives": listing["archives"],
        "files": len(listing["files"]),
        "bytes": sum(listing["files"].values()),
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def expected_digests(data_set: DataSet, root: Path) -> dict[str, str | None]:
    """Return the public digest of each file of a set, or the digest of its first download."""
    recorded = _recorded_digests(root).get(data_set.name, {})
    return {
        archive.name: archive.digest or recorded.get(archive.name) for archive in data_set.archives
    }


def verified_digest(path: Path, expected: str | None, *, inside: str | None = None) -> str:
    """Check the digest of a file, and return it.

    `expected` is `algorithm:digest`; the digest may be cut off. `inside` is the folder of the files
    for `contents_digest`.

    Raises
    ------
    SourceFailed
        If the file is missing or its digest differs; without an expected digest, if the file is
        neither a PNG nor a tar file, plain or compressed by gzip.
    """
    if not path.is_file():
        raise SourceFailed("no such file")
    algorithm = expected.partition(":")[0] if expected else "sha256"
    with open(path, "rb") as file:
        head = file.read(512)
        file.seek(0)
        if algorithm == "contents":
            digest = contents_digest(path, inside)
        else:
            new = functools.partial(hashlib.new, algorithm, usedforsecurity=False)
            digest = f"{algorithm}:{hashlib.file_digest(file, new).hexdigest()}"
    if expected and not digest.startswith(expected):
        raise SourceFailed(f"its digest is {digest}, not {expected}")
    is_tar = head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar"
    if not expected and not head.startswith(PNG_SIGNATURE) and not is_tar:
        raise SourceFailed("it is neither a picture nor an archive; perhaps it is a web page")
    return digest


def _recorded_digests(root: Path) -> dict[str, dict[str, str]]:
    """Read the digests of first downloads, by set and file."""
    try:
        text = (root / RECORD).read_text("utf-8")
        return TypeAdapter(dict[str, dict[str, str]]).validate_json(text)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{root / RECORD} is not valid.",
            came=f"{root / RECORD}: {error}",
            do="correct the file, or delete it if you trust the next download.",
        ) from None


def _is_complete(data_set: DataSet, folder: Path, root: Path) -> bool:
    """Return whether a set is complete; accept a complete set that the user copied."""
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
            f"The folder {folder} does not contain the complete set `{data_set.name}`.",
            came=f"{folder}: {'; '.join(problems)}",
            do="complete the set; or move the folder away to download the set.",
        )
    write_listing(folder, digests)
    return True


def _collect(data_set: DataSet, root: Path, mirrors: Sequence[str]) -> dict[str, Verified]:
    """Check the disk space, and obtain and verify all files of a set."""
    sources = {
        archive.name: _sources(archive, data_set, root, mirrors) for archive in data_set.archives
    }
    remaining = sum(
        (archive.bytes or 0) - file_size(part_of(archive_path(root, data_set.name, archive.name)))
        for archive in data_set.archives
        if not any(isinstance(one, Path) and one.is_file() for one in sources[archive.name])
    )
    require_space(root, remaining + data_set.bytes, f"`{data_set.name}`")
    expected = expected_digests(data_set, root)
    return {
        archive.name: _obtain(
            archive, data_set, root, sources=sources[archive.name], expected=expected[archive.name]
        )
        for archive in data_set.archives
    }


def _sources(
    archive: Archive, data_set: DataSet, root: Path, mirrors: Sequence[str]
) -> list[str | Path]:
    """List the sources of a file: the kept archive, the mirrors, the official URLs."""
    kept = archive_path(root, data_set.name, archive.name)
    sources = [*([kept] if kept.is_file() else []), *(_on_mirror(m, archive.name) for m in mirrors)]
    if archive.urls or any(isinstance(source, str) or source.is_file() for source in sources):
        return [*sources, *archive.urls]
    reasons = [f"{source}: no such file" for source in sources]
    raise _not_obtained(archive.name, data_set, kept.parent, reasons)


def _on_mirror(mirror: str, name: str) -> str | Path:
    """Return the URL or local path of a file on a mirror; a mirror may be the file itself."""
    try:
        address = urlsplit(mirror)
    except ValueError:  # the download says what is wrong
        return mirror
    if "://" in mirror and address.scheme != "file":
        full = address.path.endswith(f"/{name}")
        path = address.path if full else f"{address.path.rstrip('/')}/{name}"
        return urlunsplit(address._replace(path=path))
    local = url2pathname(address.path) if address.scheme == "file" else mirror
    source = Path(os.path.expanduser(local))  # noqa: PTH111 - keeps `~nobody`, without an error
    return source if source.is_file() else source / name


def _obtain(
    archive: Archive, data_set: DataSet, root: Path, *, sources: list[str | Path],
    expected: str | None,
) -> Verified:  # fmt: skip
    """Return a verified file from the first source that has it."""
    kept = archive_path(root, data_set.name, archive.name)
    verify = functools.partial(verified_digest, expected=expected, inside=archive.inside)
    reasons = []
    for source in sources:
        try:
            if isinstance(source, Path):
                return Verified(source, verify(source))
            return Verified(kept, _download(source, kept, verify, size=archive.bytes or 0))
        except SourceFailed as failure:
            reasons.append(f"{without_secrets(str(source))}: {failure}")
            logger.info("%s", reasons[-1])
    raise _not_obtained(archive.name, data_set, kept.parent, reasons)


def _download(url: str, kept: Path, verify: Callable[[Path], str], *, size: int) -> str:
    """Download a file, verify it, rename it to `kept`, and return its digest."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(kept)
    receive(url, part, size=size)
    try:
        digest = verify(part)
    except SourceFailed:
        discard(part)
        raise
    os.replace(part, kept)
    discard(part)
    return digest


def _not_obtained(name: str, data_set: DataSet, folder: Path, reasons: list[str]) -> UserError:
    """Return the error for a file that no source has, with the reason of each source."""
    bring = f"put {name} into {folder}, or add its folder to `downloads.mirrors`"
    if data_set.account:
        return UserError(
            f"The data set `{data_set.name}` cannot be downloaded without an account.",
            came="\n    ".join([f"no {name}", *reasons]),
            do=f"{data_set.account}; then {bring}, as `{data_set.name}: [/the/folder]`.",
        )
    return UserError(
        f"No source has the right file {name} of `{data_set.name}`.",
        came="\n    ".join([f"{name} in none of {len(reasons)} sources", *reasons]),
        do=f"check the connection and run the same command again, which resumes the download; or "
        f"{bring}, as `{data_set.name}: [https://mirror/folder]`.",
    )


def _record_digests(data_set: DataSet, root: Path, files: Mapping[str, Verified]) -> None:
    """Record the digests of files without a public digest."""
    new = {a.name: files[a.name].digest for a in data_set.archives if a.digest is None}
    with locked(root / ".digests.lock"), atomic_path(root / RECORD) as temporary:
        recorded = _recorded_digests(root)
        recorded[data_set.name] = recorded.get(data_set.name, {}) | new
        temporary.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", "utf-8")
