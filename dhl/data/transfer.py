"""One file over HTTP: taken up where it was cut, never believed before it is whole."""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path

import requests
import urllib3

from dhl import __version__
from dhl.errors import UserError
from dhl.progress import MEGABYTE, Progress, megabytes

logger = logging.getLogger("dhl")
ATTEMPTS = 4  # in a row that bring nothing
PAUSE_SECONDS = 2.0  # before the second of them; doubled before each further one
TIMEOUT_SECONDS = (15, 60)  # to connect, and between two pieces
_CUT = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)


class SourceFailed(Exception):
    """A place does not give the file; another one may."""


def receive(url: str, part: Path) -> None:
    """Download into a file, which keeps what has arrived when the connection is cut.

    Parameters
    ----------
    url : str
    part : Path
        Continued if it is the beginning of the same version of the same address.

    Raises
    ------
    SourceFailed
        If the address answers with an error, or is cut again and again without progress.
    UserError
        If the disk has no room for the file.
    """
    failures, begun_with = 0, file_size(part)
    while True:
        before = file_size(part)
        try:
            _attempt(url, part)
            return
        except _CUT as error:
            failures = 1 if file_size(part) > before else failures + 1
            if failures == ATTEMPTS or file_size(part) == begun_with:
                raise SourceFailed(f"no connection, or a cut one ({_root(error)})") from None
            logger.info("%s was cut after %d MB; going on", url, megabytes(file_size(part)))
            time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))
        except requests.RequestException as error:
            raise SourceFailed(str(error)) from None


def part_of(path: Path) -> Path:
    """Return the file that holds what has arrived of another."""
    return path.with_name(f"{path.name}.part")


def file_size(path: Path) -> int:
    """Return a file's size, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def discard(part: Path) -> None:
    """Remove what has arrived of a file."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check that a disk has room.

    Raises
    ------
    UserError
        If not, with what is needed and where.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"there is room for {what}.",
            came=f"{free / 1e9:.1f} GB free in {folder}, and {needed / 1e9:.1f} GB are needed",
            do="free some space there, or name a folder on another disk in `downloads.root`; what "
            "is downloaded is kept.",
        )


def _attempt(url: str, part: Path) -> None:
    """Ask for what is missing, or for everything, and append it."""
    have, validator = _arrived(url, part)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"dhl/{__version__}"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        content_range = answer.headers.get("Content-Range", "")
        if have and answer.status_code == 416 and content_range == f"bytes */{have}":
            return  # everything had arrived
        continued = answer.status_code == 206 and _start(content_range) == have
        if have and answer.status_code in (206, 416):
            if not continued or _validator(answer) not in (validator, ""):
                discard(part)
                _attempt(url, part)
                return
        elif answer.status_code != 200:
            raise SourceFailed(f"{answer.status_code} {answer.reason}")
        _append(answer, part, url=url, have=have if continued else 0)


def _append(answer: requests.Response, part: Path, *, url: str, have: int) -> None:
    """Write an answer's body after the first `have` bytes."""
    length = int(answer.headers.get("Content-Length", 0))
    require_space(part.parent, length, f"the download of {part.stem}")
    if not have:
        discard(part)
        _note(part).write_text(json.dumps({"url": url, "validator": _validator(answer)}))
    title = f"downloading {part.stem} (MB)"
    total, done = megabytes(have + length), megabytes(have)
    with open(part, "ab" if have else "wb") as file, Progress(title, total, done=done) as progress:
        for piece in answer.raw.stream(MEGABYTE, decode_content=False):
            file.write(piece)
            if (step := megabytes(file.tell()) - progress.done) > 0:
                progress.advance(step)


def _arrived(url: str, part: Path) -> tuple[int, str]:
    """Return how much of an address has arrived, and its version; 0 if that is not known."""
    try:
        note = json.loads(_note(part).read_text())
    except (OSError, ValueError):
        return 0, ""
    usable = note.get("url") == url and note.get("validator")
    return (file_size(part), note["validator"]) if usable else (0, "")


def _validator(answer: requests.Response) -> str:
    """Return what names the version of a file: a strong ETag, or its date."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _start(content_range: str) -> int | None:
    """Read where `bytes 10-19/20` begins."""
    start = content_range.removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdecimal() else None


def _note(part: Path) -> Path:
    """Return the file that says what a part is the beginning of."""
    return part.with_name(f"{part.name}.json")


def _root(error: BaseException) -> BaseException:
    """Return the error behind the errors that libraries wrap around it."""
    while error.__context__ is not None:
        error = error.__context__
    return error
