"""Free text, such as the name of an image or a data set, in files that could misread it."""

from __future__ import annotations

import html
import re

# What is no character of a line: control characters, line breaks, and surrogates without a byte.
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udc7f\udd00-\udfff]")
# Spreadsheets calculate cells with these beginnings, also behind blanks; the last four are wide.
_FORMULA = re.compile(r"[\s']*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n]")
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]")


def readable(name: str) -> str:
    r"""Write control characters, line breaks and bytes that are not UTF-8 as escapes: `\xe9`.

    Tables, pages, figures and archives can then have the name of any file as it is.
    """
    escaped = _UNREADABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def to_cell(text: object) -> str:
    """Return text for a CSV file: a leading apostrophe stops spreadsheets from calculating it."""
    return f"'{text}" if _FORMULA.match(str(text)) else str(text)


def from_cell(cell: str) -> str:
    """Return the text that `to_cell` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell


def to_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(" ".join(text.splitlines()), quote=False))
