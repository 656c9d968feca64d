"""Comparisons of the shipped file, their rows, and test images that are cut from photographs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dhl.analysis.claims_file import read_claims_file
from dhl.data.image_set import ImageSet, save_splits
from dhl.files import PROJECT
from dhl.run.folder import RunFolder

FILE = read_claims_file(PROJECT / "report" / "claims.yaml")
CLAIMS = FILE.comparisons
SIGMAS = (15, 30, 45, 60)  # of `laboratory`


def rows_of(claims: pd.DataFrame, name: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return the rows of a claim per sigma, and its summary."""
    rows = claims[claims["claim"] == name]
    return rows[rows["sigma"].notna()], rows[rows["sigma"].isna()].iloc[0]


def set_metric(
    folder: RunFolder, part: str, sigma: float, metric: str, values: Mapping[str, object]
) -> None:
    """Overwrite a metric of methods in an evaluation: one value an image, or one for all."""
    frame = pd.read_csv(path := folder.evaluation(part, sigma))
    for method, column in values.items():
        frame.loc[frame["method"] == method, metric] = column
    frame.to_csv(path, index=False)


def photographs(folder: RunFolder, names: np.ndarray, part: str = "denoising") -> list[str]:
    """Say what the 40 test images of a part are cut from."""
    ids = [f"test-{index:04d}" for index in range(40)]
    images = ImageSet(ids, np.zeros((40, 2, 2, 3), np.uint8), origins={"photographs": names})
    folder.data(part).parent.mkdir()
    save_splits({"test": images}, folder.data(part))
    return ids
