"""The templates and style sheets of the HTML pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from dhl.run.outputs import missing_file
from dhl.run.results import check_as_written


def environment(folder: Path, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Environment:
    """Return the environment of the templates in `folder`; it escapes text, and refuses unknowns.

    `folder` has `templates/`, `assets/`, `vendor/` and the report's YAML files.
    """
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    made.tests["known"] = lambda value: value is not None and value == value  # not NaN
    return made


def read_asset(path: Path) -> bytes:
    """Return the bytes of a file of the page; `UserError` if it is missing or was changed."""
    try:
        check_as_written(path)
        return path.read_bytes()
    except FileNotFoundError:
        raise missing_file(path) from None


def data_url(kind: str, data: bytes) -> str:
    """Return bytes as a data URL of a media type, such as `image/webp`."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def webp_url(picture: Image.Image, **options: Any) -> str:
    """Return a picture as a data URL in WebP, with Pillow's options of this format."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return data_url("image/webp", buffer.getvalue())
