"""The calibration: what published methods reach here, beside their papers' values."""

from __future__ import annotations

import pandas as pd
import pytest
from settings import PUBLISHED

from dhl.analysis.calibration import (
    CALIBRATION_COLUMNS,
    read_calibration,
    released_weights_psnr,
    write_calibration,
)
from dhl.analysis.published import read_literature
from dhl.config.catalogue import CATALOGUE
from dhl.errors import UserError
from dhl.run.results import AVERAGE


def row(method="CBM3D", sigma=25, region="crop", protocol="plain", **others):
    """Return a measured value."""
    content = {
        "method": method, "weights": "none", "sha256": "", "sigma": sigma, "protocol": protocol,
        "region": region, "image_id": AVERAGE, "images": 24, "base_seed": 1, "value": 31.7,
    }  # fmt: skip
    return content | others


def by_key(path):
    key = ["method", "sigma", "region", "protocol"]
    return read_calibration(path).set_index(key)


def test_only_values_under_the_published_protocol_are_compared(tmp_path):
    path = tmp_path / "calibration.csv"
    rows = [row(region=region, protocol=protocol)
            for region in ("crop", "full") for protocol in ("plain", "authors")]  # fmt: skip
    single = {"method": "CDnCNN-B (blind)", "image_id": "kodim10", "images": 1, "value": 34.3}
    write_calibration([*rows, row(region="full", **single)], path, published=PUBLISHED)
    compared = by_key(path).dropna(subset="difference")
    assert set(compared.index) == {
        ("CBM3D", 25, "crop", "plain"), ("CDnCNN-B (blind)", 25, "full", "plain"),
    }  # fmt: skip
    assert compared["published"].tolist() == [31.68, 34.31]
    assert compared["source"].tolist() == ["FFDNet's table", "U-SAID's figure"]
    assert compared["difference"].tolist() == pytest.approx([0.02, -0.01])


def test_rows_of_other_methods_and_noise_levels_are_kept(tmp_path):
    path = tmp_path / "calibration.csv"
    first = [row(), row(sigma=50, value=28.5), row("FFDNet", value=32.1)]
    write_calibration(first, path, published=PUBLISHED)
    write_calibration([row(value=31.5)], path, published=PUBLISHED)
    found = by_key(path)["value"]
    assert found.to_dict() == {
        ("CBM3D", 25, "crop", "plain"): 31.5, ("CBM3D", 50, "crop", "plain"): 28.5,
        ("FFDNet", 25, "crop", "plain"): 32.1,
    }  # fmt: skip


def test_an_edited_calibration_is_refused(tmp_path):
    path = tmp_path / "calibration.csv"
    pd.DataFrame([row()], columns=CALIBRATION_COLUMNS).assign(value="31,7").to_csv(path)
    with pytest.raises(UserError):
        read_calibration(path)


def test_the_committed_calibration_is_up_to_date(tmp_path):
    committed = read_calibration()
    measured = committed.drop(columns=["published", "source", "difference"]).to_dict("records")
    write_calibration(measured, tmp_path / "again.csv", published=PUBLISHED)
    pd.testing.assert_frame_equal(read_calibration(tmp_path / "again.csv"), committed)
    digests = {f"sha256:{digest}" for digest in committed["sha256"].dropna()}
    for name in ("dncnn-color", "usaid-dncnn"):
        assert {archive.digest for archive in CATALOGUE[name].archives} <= digests


# The mean PSNR on complete images by other programs and with other draws of the noise: the package
# bm3d 4.0.3 with nf = 0, and ffdnet 0.1.4, with NumPy's generator and scikit-image's PSNR.
@pytest.mark.parametrize(
    ("method", "sigma", "elsewhere"),
    [("CBM3D", 25, 31.869), ("CBM3D", 50, 28.649), ("FFDNet", 25, 32.28)],
)
def test_complete_images_agree_with_other_programs(method, sigma, elsewhere):
    measured = read_calibration().set_index(["method", "sigma", "region", "protocol"])["value"]
    assert measured[method, sigma, "full", "plain"] == pytest.approx(elsewhere, abs=0.02)


def test_published_methods_reach_their_published_values():
    compared = read_calibration().dropna(subset="difference")
    expected = {("DnCNN (one per sigma)", sigma) for sigma in (15, 25, 35, 50)}
    expected |= {(method, sigma) for method in ("CBM3D", "FFDNet") for sigma in (25, 50)}
    assert set(zip(compared["method"], compared["sigma"])) == {
        *expected, ("CDnCNN-B (blind)", 25)
    }  # fmt: skip
    assert compared["difference"].abs().max() < 0.1


def test_the_level_of_dncnn_is_that_of_its_released_weights_on_complete_images():
    rows = read_calibration().set_index(["method", "sigma", "region", "protocol"])["value"]
    for protocol in ("plain", "authors"):
        level = released_weights_psnr("dncnn", 25, "kodak", protocol)
        assert level == rows["DnCNN (one per sigma)", 25, "full", protocol]
        assert released_weights_psnr("dncnn", 25.0, "kodak", protocol) == level
    # The literature's value on crops, which differs by about 0.2 dB from complete images.
    literature = read_literature(PUBLISHED).set_index(["method", "sigma", "source"])["value"]
    crops = literature["DnCNN (one per sigma)", 25, "BRDNet's table"]
    assert released_weights_psnr("dncnn", 25, "kodak", "plain") == pytest.approx(crops, abs=0.3)


@pytest.mark.parametrize(
    "unknown",
    [
        ("dncnn", 30, "kodak", "plain"), ("dncnn", 25, "photo-digits", "plain"),
        ("separate", 25, "kodak", "plain"), ("dncnn", 25, "kodak", "another"),
    ],
)  # fmt: skip
def test_other_methods_levels_and_data_have_no_psnr_of_released_weights(unknown):
    assert released_weights_psnr(*unknown) is None
