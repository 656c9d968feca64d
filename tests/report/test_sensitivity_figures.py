"""Figures of the studies: the values of the table, and labels that name each network."""

from __future__ import annotations

import matplotlib.colors
import numpy as np
import pytest
from report_run import small_config
from synthetic_run import write_synthetic_run

from dhl.analysis.sensitivity import denoiser_label, reader_label, write_sensitivity
from dhl.report.sensitivity_figures import sigma_mismatch, task_weight, transfer
from dhl.run.results import SENSITIVITY_COLUMNS, read_csv


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A made-up run of mini at two sigmas, and its configuration."""
    config = small_config()
    folder = write_synthetic_run(config, tmp_path_factory.mktemp("drawn"), images=20)
    write_sensitivity(config, folder)
    return config, folder


def test_the_trade_off_goes_through_the_values_in_the_order_of_the_weights(drawn):
    config, folder = drawn
    table = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    axes = task_weight(config, folder).axes[1]
    rows = table[(table["experiment"] == "task-weight") & (table["part"] == "segmentation")]
    grid = rows.pivot(index="task_weight", columns="metric", values="value").sort_index()
    np.testing.assert_allclose(axes.lines[0].get_xdata().astype(float), grid["psnr"])
    np.testing.assert_allclose(axes.lines[0].get_ydata().astype(float), 100 * grid["miou"])
    labels = ", ".join(text.get_text() for text in axes.texts)  # close points share a label
    assert labels == "0, 0.00198, 0.0198, 0.198"


def test_a_matrix_of_mismatches_has_the_tables_values_on_its_diagonal(drawn):
    config, folder = drawn
    (axes,) = [
        one
        for one in sigma_mismatch(config, folder).axes
        if one.get_title() == "Segmentation:\nJoint with small-largefov"
    ]
    texts = [text.get_text() for text in axes.texts]
    table = read_csv(folder.sensitivity, SENSITIVITY_COLUMNS)
    rows = table[(table["experiment"] == "sigma-mismatch") & (table["metric"] == "miou")]
    values = rows.set_index(["denoiser", "sigma"])["value"]
    assert texts == [
        f"{100 * values[f'joint-segmentation/sigma{trained}', noise]:.1f}"
        for trained in (30, 60)
        for noise in (30, 60)
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["30", "60"]
    assert {(patch.get_x(), patch.get_y()) for patch in axes.patches} == {(0, 0), (1, 1)}


def test_a_matrix_of_transfers_frames_the_networks_that_guided(drawn):
    axes = transfer(*drawn).axes[0]
    readers = [label.get_text() for label in axes.get_xticklabels()]
    denoisers = [label.get_text() for label in axes.get_yticklabels()]
    assert readers == ["small-vgg", "small-resnet"]
    assert denoisers == [
        "Clean image", "Noisy image", "Separate", "Separate, matched", "Joint with small-vgg",
        "Joint with small-resnet", "Joint with small-largefov", "Joint with small-unet",
    ]  # fmt: skip
    frames = {(patch.get_x(), patch.get_y()) for patch in axes.patches}
    assert frames == {(0, 4), (1, 5)}


def test_the_colour_of_a_cell_is_its_difference_to_the_control(drawn):
    axes = transfer(*drawn).axes[0]
    colors = axes.collections[0].get_facecolors().reshape(8, 2, 4)
    matched, noisy = colors[3, 0], colors[1, 0]
    assert matplotlib.colors.rgb_to_hsv(matched[:3])[1] < 0.1  # no difference: almost white
    assert noisy[2] > noisy[0]  # violet: worse


def test_two_networks_of_one_architecture_are_told_apart():
    section = {"sigma": 60, "classifiers": {"wide": {"name": "small-vgg", "width": 48}}}
    config = small_config(sensitivity=section)
    assert reader_label(config, "classifier/clean") == "small-vgg"
    assert reader_label(config, "classifier-wide/clean") == "small-vgg (wide)"
    assert denoiser_label(config, "joint-classification/sigma60") == "Joint with small-vgg"
    assert denoiser_label(config, "matched-segmentation/sigma60") == "Separate, matched"
    key = "joint-classification-wide/sigma60"
    assert denoiser_label(config, key) == "Joint with small-vgg (wide)"
