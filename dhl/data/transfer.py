"""Download one file over HTTP, and resume it after an interruption."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import queue
import shutil
import threading
import time
from pathlib import Path

import requests
import urllib3
from pydantic import TypeAdapter

from dhl import __version__
from dhl.errors import UserError, without_secrets
from dhl.progress import MEGABYTE, Progress, megabytes

logger = logging.getLogger("dhl")
ATTEMPTS = 4  # attempts in a row without progress
PROGRESS = 1000  # an attempt has made progress if it has received this part of the file
SLOWEST, SLOW_SECONDS = 1000, 8  # bytes a second, on average over so many seconds
PIECE = 1 << 16
PAUSE_SECONDS = 2.0  # before the second attempt; doubled before each later attempt
TIMEOUT_SECONDS = (5, 8)  # for the connection, and between two pieces: other sources follow
ANSWER_SECONDS = 9  # for the headers of an answer, after all redirections
_CUT = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)


class SourceFailed(Exception):
    """A source does not have the right file; another source may have it."""

    def __init__(self, reason: str):
        # A server chooses parts of the reason, and their length.
        short = "".join(filter(str.isprintable, reason[:2000]))
        super().__init__(without_secrets(short)[:300])


def receive(url: str, part: Path, *, size: int) -> None:
    """Download a URL to the file `part`, which keeps the received bytes if the connection fails.

    An existing part is resumed if it comes from the same version of the file at the same URL. A
    file of much more than `size` bytes is not received.

    Raises
    ------
    SourceFailed
        If the server answers with an error, nonsense, or too much; is very slow; or if several
        attempts in a row receive nearly nothing.
    UserError
        If the disk is too small.
    """
    failures, initial = 0, file_size(part)
    while True:
        before = file_size(part)
        try:
            _attempt(url, part, most=2 * size + MEGABYTE)
            return
        except _CUT as error:
            failures = 1 if file_size(part) > before + size // PROGRESS else failures + 1
            if failures == ATTEMPTS or file_size(part) == initial:
                raise SourceFailed(
                    f"no connection, or it was interrupted ({_root(error)})"
                ) from None
            message = "%s was interrupted after %d MB; resuming"
            logger.info(message, without_secrets(url), megabytes(file_size(part)))
            time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))
        except (requests.RequestException, ValueError) as error:
            raise SourceFailed(str(error)) from None


def part_of(path: Path) -> Path:
    """Return the path of an incomplete download."""
    return path.with_name(f"{path.name}.part")


def file_size(path: Path) -> int:
    """Return the size of a file, or 0 if it is missing."""
    return path.stat().st_size if path.exists() else 0


def discard(part: Path) -> None:
    """Remove an incomplete download."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def require_space(folder: Path, needed: int, content: str) -> None:
    """Raise a `UserError` if the disk of a folder has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"The disk is too small for {content}.",
            came=f"{free / 1e9:.1f} GB free in {folder}, and {needed / 1e9:.1f} GB are needed",
            do="free some space, or set `downloads.root` to a folder on another disk; complete "
            "downloads are kept.",
        )


def _attempt(url: str, part: Path, *, most: int) -> None:
    """Request the missing bytes, or all bytes, and append them; the file has at most `most`."""
    have, validator = _received(url, part)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"dhl/{__version__}"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    with _answer(url, headers) as answer:
        content_range = answer.headers.get("Content-Range", "")
        if have and answer.status_code == 416 and content_range == f"bytes */{have}":
            return  # the part is complete
        continued = answer.status_code == 206 and _start(content_range) == have
        if have and answer.status_code in (206, 416):
            if not continued or _validator(answer) not in (validator, ""):
                discard(part)
                _attempt(url, part, most=most)
                return
        elif answer.status_code != 200:
            raise SourceFailed(f"{answer.status_code} {answer.reason}")
        if not continued:
            have = 0
            discard(part)
            note = {"url": without_secrets(url), "validator": _validator(answer)}
            _note(part).write_text(json.dumps(note), "utf-8")
        _append(answer, part, have=have, most=most)


def _answer(url: str, headers: dict[str, str]) -> requests.Response:
    """Request a URL, and return when the headers of the answer are complete.

    `requests` limits the time between two pieces of them alone, so it waits in a thread.
    """
    answers: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()
    hooks = {"response": _drop_redirection}

    def wait() -> None:
        try:
            answers.put(
                requests.get(
                    url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS, hooks=hooks
                )
            )
        except Exception as error:  # raised below
            answers.put(error)

    threading.Thread(target=wait, daemon=True).start()
    answer: requests.Response | Exception = requests.Timeout(f"no answer in {ANSWER_SECONDS} s")
    with contextlib.suppress(queue.Empty):
        answer = answers.get(timeout=ANSWER_SECONDS)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _drop_redirection(answer: requests.Response, **options: object) -> None:
    """Close a redirection: `requests` would hold its body in memory, which may be endless."""
    if answer.is_redirect:
        answer.close()
        answer.raw = io.BytesIO()


def _append(answer: requests.Response, part: Path, *, have: int, most: int) -> None:
    """Write the body of an answer after the first `have` bytes."""
    length = _number(answer.headers.get("Content-Length", "")) or 0
    if have + length <= most:
        require_space(part.parent, length, f"the download of {part.stem}")
    title = f"downloading {part.stem} (MB)"
    total, done = megabytes(have + length), megabytes(have)
    with open(part, "ab" if have else "wb") as file, Progress(title, total, done=done) as progress:
        started, written = time.monotonic(), file.tell()
        # `stream` would read lines of any length in an answer in chunks.
        while have + length <= most and (piece := answer.raw.read1(PIECE, decode_content=False)):
            file.write(piece)
            length = max(length, file.tell() - have)
            if (step := megabytes(file.tell()) - progress.done) > 0:
                progress.advance(step)
            if (seconds := time.monotonic() - started) > SLOW_SECONDS:
                if file.tell() - written < SLOWEST * seconds:
                    raise SourceFailed(f"slower than {SLOWEST} bytes a second")
                started, written = time.monotonic(), file.tell()
    if have + length > most:
        discard(part)
        raise SourceFailed(f"its file is much too large: {have + length} bytes or more")


def _received(url: str, part: Path) -> tuple[int, str]:
    """Return the number of received bytes and their version; 0 bytes if it is not known."""
    try:
        note = TypeAdapter(dict[str, str]).validate_json(_note(part).read_text("utf-8"))
    except (OSError, ValueError):
        return 0, ""
    usable = note.get("url") == without_secrets(url) and note.get("validator")
    return (file_size(part), note["validator"]) if usable else (0, "")


def _validator(answer: requests.Response) -> str:
    """Return the version of a file: its strong ETag, or its date."""
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _start(content_range: str) -> int | None:
    """Return the first number of `bytes 10-19/20`."""
    return _number(content_range.removeprefix("bytes ").partition("-")[0])


def _number(text: str) -> int | None:
    """Read a number of bytes in a header; None if it is not one."""
    return int(text) if text.isdecimal() and len(text) < 20 else None


def _note(part: Path) -> Path:
    """Return the file with the URL and the version of an incomplete download."""
    return part.with_name(f"{part.name}.json")


def _root(error: BaseException) -> BaseException:
    """Return the first error of a chain of errors."""
    while error.__context__ is not None:
        error = error.__context__
    return error
