"""Real photographs in `$DHL_TEST_DATA` or in `shared/data` beside the checkout.

`kodak/` has the 24 images of Kodak, `photos/` has photographs of ImageNet's classes. Tests that
read them are skipped if they are missing. `dncnn-color/` has the files of the download of this
name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_FOLDER = Path(os.environ.get("DHL_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
KODAK, PHOTOS = _FOLDER / "kodak", _FOLDER / "photos"
RELEASED_DNCNN = _FOLDER / "dncnn-color"


def needs(folder: Path) -> pytest.MarkDecorator:
    """Skip a test where a folder of real images is missing."""
    return pytest.mark.skipif(not folder.is_dir(), reason=f"$DHL_TEST_DATA has no {folder.name}")
