"""Figures over sigma: they draw the values of the tables and the differences of the claims."""

import numpy as np
from report_run import denoising_only, small_config
from settings import with_parts

from dhl.config.methods import METHODS
from dhl.report import sigma_figures
from dhl.report.figure_style import drawing_style
from dhl.report.figures import FIGURES
from dhl.report.sigma_figures import overview, overview_metrics, read_averages, read_differences
from dhl.run.results import CLAIM_COLUMNS, TABLE_COLUMNS, read_csv


def test_values_and_intervals_are_drawn_as_in_table_2(config, drawn_run):
    with drawing_style():
        axes, difference = FIGURES["accuracy_over_sigma"](config, drawn_run).axes
    table = read_csv(drawn_run.table(2), TABLE_COLUMNS)
    top1 = table[table["metric"] == "top1"].pivot(index="sigma", columns="method", values="value")
    drawn = {bars.get_label(): bars.lines[0].get_ydata().astype(float) for bars in axes.containers}
    assert len(drawn) == len(config.parts.classification.methods)
    for method in config.parts.classification.methods:
        np.testing.assert_allclose(drawn[METHODS[method].label], 100 * top1[method])
    label = METHODS["joint"].label
    (bars,) = (bars for bars in difference.containers if bars.get_label() == label)
    gap = 100 * (top1["joint"] - top1["separate"])
    np.testing.assert_allclose(bars.lines[0].get_ydata().astype(float), gap)
    assert axes.get_title(loc="left") == "Top-1 accuracy, %"
    assert difference.get_title(loc="left") == "Minus Separate, points"
    assert difference.get_xlabel() == "Sigma, white Gaussian noise"
    np.testing.assert_array_equal(bars.lines[0].get_xdata(), [30, 60])  # no shift
    rows = read_averages(config, drawn_run, "classification", "top1")
    (bars,) = (bars for bars in axes.containers if bars.get_label() == label)
    ends = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
    expected = rows.loc[rows["method"] == "joint", ["ci_low", "ci_high"]]
    np.testing.assert_allclose(ends, 100 * expected)


def test_the_differences_are_paired(config, drawn_run):
    """The interval of a difference is that of the claim with the same two methods."""
    rows = read_differences(config, drawn_run, "segmentation", "miou")
    claims = read_csv(drawn_run.claims, CLAIM_COLUMNS)
    claims = claims[(claims["claim"] == "segmentation-joint-over-separate")].dropna(subset="sigma")
    drawn = rows[rows["method"] == "joint"]
    for column, of_claim in (
        ("difference", "difference"), ("difference_low", "low"), ("difference_high", "high"),
    ):  # fmt: skip
        np.testing.assert_allclose(drawn[column], claims[of_claim])
    assert rows.loc[rows["method"] == "separate", "difference_low"].isna().all()


def test_the_overview_has_the_tasks_or_else_denoising(config, drawn_run):
    with drawing_style():
        axes = overview(config, drawn_run).axes
    assert [one.get_title(loc="left") for one in axes] == ["Top-1 accuracy, %", "mIoU, %", "", ""]
    assert overview_metrics(denoising_only()) == [("denoising", "psnr")]
    no_denoiser = with_parts(config, classification={"methods": ("clean", "noisy", "separate")})
    assert overview_metrics(no_denoiser) == [("segmentation", "miou")]


def test_gains_are_those_of_the_claims_at_the_lowest_and_the_highest_sigma(config, drawn_run):
    with drawing_style():
        *_, labelled, axes = overview(config, drawn_run).axes
    rows = [label.get_text() for label in labelled.get_yticklabels()]
    hidden = {"clean", "noisy", "separate", "retrained", "joint-permuted"}
    shown = set(config.parts.classification.methods) - hidden
    assert set(rows) == {METHODS[method].label for method in shown}
    claims = read_csv(drawn_run.claims, CLAIM_COLUMNS)
    claims = claims[(claims["claim"] == "segmentation-joint-over-separate")].dropna(subset="sigma")
    joint = [bars for bars in axes.containers
             if round(float(bars.lines[0].get_ydata()[0])) == rows.index("Joint")]  # fmt: skip
    points = [float(bars.lines[0].get_xdata()[0]) for bars in joint]
    np.testing.assert_allclose(points, 100 * claims["difference"])
    ends = [bars.lines[2][0].get_segments()[0][:, 0] for bars in joint]
    np.testing.assert_allclose(ends, 100 * claims[["low", "high"]])
    places = [float(bars.lines[0].get_ydata()[0]) for bars in joint]
    assert places == sorted(places) and len(set(places)) == 2


def test_without_the_reference_the_overview_has_values_alone(config, drawn_run, monkeypatch):
    monkeypatch.setattr(sigma_figures, "REFERENCE", "dncnn")
    with drawing_style():
        axes = overview(config, drawn_run).axes
    assert [one.get_title(loc="left") for one in axes] == ["Top-1 accuracy, %", "mIoU, %"]


def test_another_noise_is_named_on_the_axes(drawn_run, tmp_path):
    (tmp_path / "own.py").write_text("def salt_and_pepper(clean, *, noise_std, generator): ...\n")
    noisy = small_config(noise=f"{tmp_path / 'own.py'}:salt_and_pepper")
    with drawing_style():
        axes = FIGURES["miou_over_sigma"](noisy, drawn_run).axes[1]
    assert axes.get_xlabel() == "Sigma, salt and pepper noise"
