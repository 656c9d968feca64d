"""Published values: the paper's tables and other papers' PSNR on Kodak24."""

from __future__ import annotations

from settings import PUBLISHED

from dhl.analysis.published import read_literature
from dhl.run.results import AVERAGE


def test_a_method_that_is_called_null_is_no_missing_value(tmp_path):
    path = tmp_path / "published.csv"
    head = PUBLISHED.read_text().splitlines()[0]
    cells = {"table": "literature", "source": "mine", "method": "null", "sigma": "25",
             "metric": "psnr", "image_id": AVERAGE, "value": "30.5"}  # fmt: skip
    path.write_text(f"{head}\n{','.join(cells.get(name, '') for name in head.split(','))}\n")
    assert read_literature(path)["method"].tolist() == ["null"]
