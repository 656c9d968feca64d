"""Figures: their files, their bytes, and that they draw the values of the results."""

import logging
import re
import shutil
import xml.etree.ElementTree as ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from report_run import denoising_only, small_config
from settings import write_settings

from dhl.cli.parser import main
from dhl.config.methods import METHODS
from dhl.errors import UserError
from dhl.report import example_figures
from dhl.report import figures as report_figures
from dhl.report.figure_data import columns_of
from dhl.report.figure_style import MANUSCRIPT, STYLES, drawing_style, save_figure, styles_of
from dhl.report.figures import FIGURES, read_curves, training_curves
from dhl.run.evaluations import studies
from dhl.run.failures import NothingToShow
from dhl.run.outputs import FIGURE_PARTS, figure_names
from dhl.run.results import (
    IMAGE_COLUMNS,
    TABLE_COLUMNS,
    TRAINING_COLUMNS,
    read_csv,
    write_csv,
)


def test_every_figure_is_there_in_all_formats(config, drawn_run):
    found = {path.name for path in drawn_run.figures.iterdir()}
    suffixes = ("svg", "png", "pdf", "csv")
    assert found == {f"{name}.{suffix}" for name in FIGURES for suffix in suffixes}
    assert figure_names(config.parts) == tuple(FIGURE_PARTS)
    assert figure_names(config.parts, studies(config)) == tuple(FIGURES)


def test_the_log_has_no_lines_of_the_font_tool(config, drawn_copy, tmp_path, monkeypatch, capsys):
    file = write_settings(tmp_path / "small.yaml", config.model_dump(mode="json"))
    for module in ("figures", "figure_data"):
        monkeypatch.setattr(f"dhl.report.{module}.figure_names", lambda *_: ["psnr_over_sigma"])
    monkeypatch.setattr(logging.root, "handlers", [])  # as in a new process
    options = ["--configfile", file, "--folder", str(drawn_copy.root)]
    assert main(["figures", *options]) == 0
    assert "subset" not in capsys.readouterr().err


@pytest.fixture(scope="module")
def data(drawn_run):
    return {path.stem: pd.read_csv(path) for path in drawn_run.figures.glob("*.csv")}


def test_every_figure_has_its_numbers(data):
    assert set(data) == set(FIGURES)
    for name, frame in data.items():
        assert tuple(frame.columns) == columns_of(name)
        assert len(frame)


def test_the_numbers_of_a_plot_are_the_tables(config, drawn_run, data):
    table = read_csv(drawn_run.table(3), TABLE_COLUMNS)
    table = table[table["metric"] == "miou"].set_index(["sigma", "method"])
    shown = data["miou_over_sigma"].set_index(["sigma", "method"])
    assert set(shown.index) == set(table.index)
    expected = table.loc[shown.index, ["value", "ci_low", "ci_high"]]
    pd.testing.assert_frame_equal(shown[["value", "ci_low", "ci_high"]], expected)
    row = shown.loc[(60, "joint")]
    assert row["difference"] == pytest.approx(
        table.loc[(60, "joint"), "value"] - table.loc[(60, "separate"), "value"]
    )


def test_the_numbers_of_the_examples_are_those_written_on_them(config, drawn_run, data):
    frame = data["example_classification"]
    assert set(frame["truth"]) == {3}
    assert set(frame["probability"]) == {np.float32(0.1)}
    examples = example_figures.read_examples(config, drawn_run, "denoising")
    rows = data["example_denoising"].set_index(["image_id", "method"])
    for index, name in enumerate(examples.ids):
        assert rows.loc[(name, "cbm3d"), "psnr"] == examples.psnr("cbm3d", index)


def test_the_numbers_of_the_curves_are_all_curves(drawn_run, data):
    files = drawn_run.training("x").parent.rglob("*.csv")
    assert len(data["training_curves"]) == sum(len(pd.read_csv(path)) for path in files)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_open_at_a_readable_size(drawn_run, name):
    root = ElementTree.parse(drawn_run.figures / f"{name}.svg").getroot()
    assert root.tag.endswith("svg")
    with Image.open(drawn_run.figures / f"{name}.png") as image:
        assert image.width == 1440
        assert 400 < image.height < 3000
        assert np.unique(np.asarray(image.convert("L"))).size > 10


@pytest.mark.parametrize("name", FIGURES)
def test_pdfs_fit_two_columns_and_embed_their_fonts(drawn_run, name):
    content = (drawn_run.figures / f"{name}.pdf").read_bytes()
    width, height = map(float, re.search(rb"/MediaBox \[ 0 0 (\S+) (\S+) \]", content).groups())
    spare = [72 * most - side for most, side in zip(MANUSCRIPT, (width, height), strict=True)]
    assert min(spare) == pytest.approx(0, abs=0.1)
    assert b"/FontFile2" in content  # TrueType
    assert b"/Subtype /Type3" not in content
    # Axes and letters are vectors; only the example figures contain pictures.
    assert (b"/Subtype /Image" in content) == name.startswith("example_")


@pytest.mark.parametrize("name", ["accuracy_over_sigma", "example_segmentation"])
def test_a_second_writing_gives_the_same_bytes_whatever_the_users_style(
    config, drawn_run, tmp_path, name
):
    style = {"text.usetex": True, "lines.linewidth": 9, "savefig.bbox": "tight", "font.size": 20}
    with matplotlib.rc_context(style), drawing_style():
        save_figure(FIGURES[name](config, drawn_run), tmp_path, name)
    for suffix in ("svg", "png", "pdf"):
        again = (tmp_path / f"{name}.{suffix}").read_bytes()
        assert again == (drawn_run.figures / f"{name}.{suffix}").read_bytes()
        assert not re.search(b"dc:date|CreationDate", again)


def test_each_method_has_a_unique_colour_and_marker(tmp_path):
    names = [f"own_{letter}" for letter in "abcdef"]
    (tmp_path / "plugin.py").write_text("".join(f"def {n}(x, *, sigma): ...\n" for n in names))
    methods = ["noisy", "cbm3d", *(f"{tmp_path / 'plugin.py'}:{name}" for name in names)]
    styles = styles_of(small_config({"denoising": {"methods": methods}}))
    assert set(STYLES) == set(METHODS)
    assert list(styles) == [*METHODS, *(name.replace("_", "-") for name in names)]
    assert len({style.color for style in styles.values()}) == len(styles)
    assert len({style.marker for style in styles.values()}) == len(styles)


@pytest.mark.parametrize(
    ("data", "name"),
    [({}, "4"), ({"kind": "voc2012"}, "bottle"),
     ({"kind": "voc", "name": "own", "path": ".", "test": "val"}, "5"),
     ({"kind": "voc", "name": "own", "path": ".", "test": "val", "classes": 11,
       "class_names": list("abcdefghijk")}, "f")],
)  # fmt: skip
def test_a_region_of_label_5_has_its_class_s_name(drawn_copy, data, name):
    changed = small_config({"segmentation": {"data": data}} if data else None)
    path = drawn_copy.evaluation("segmentation", 30).with_suffix(".npz")
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    for key in arrays:
        if key.startswith(("labels/", "prediction/")):
            arrays[key] = np.full((48, 64), 5, np.uint8)
        elif key.startswith(("clean/", "image/")):
            arrays[key] = arrays[key][:48]
    np.savez(path, **arrays)
    with drawing_style():
        figure = example_figures.example_segmentation(changed, drawn_copy)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [name] * (2 * 5)
    # The pictures are wider than high, and so is the figure.
    assert figure.get_figheight() < 4 * figure.get_figwidth() / 5


def test_training_curves_are_those_of_the_first_draw(config, drawn_copy):
    before = read_curves(config, drawn_copy)
    path = drawn_copy.training("joint-classification/sigma30")
    for suffix in ("-seed2", "-task2", "-task2-seed3"):
        shutil.copy(path, path.with_stem(path.stem + suffix))
    after = read_curves(config.model_copy(update={"seeds": 3, "task_seeds": 2}), drawn_copy)
    assert {family: list(curves) for family, curves in after.items()} == {
        family: list(curves) for family, curves in before.items()
    }


def test_one_step_of_training_is_a_point(config, drawn_copy):
    path = drawn_copy.training("separate/sigma25")
    write_csv(read_csv(path, TRAINING_COLUMNS).head(1), path, TRAINING_COLUMNS)
    with drawing_style():
        figure = training_curves(config, drawn_copy)
    lines = [line for axes in figure.axes for line in axes.lines]
    assert {len(line.get_xdata()) for line in lines} == {1, 10}
    assert {line.get_marker() for line in lines if len(line.get_xdata()) == 1} == {"."}


def test_each_point_of_a_training_curve_is_drawn_as_it_was_written():
    loss = np.geomspace(1, 0.01, 119)
    curve = pd.DataFrame({"step": np.arange(1, 120), "loss": loss})
    axes = Figure().subplots()
    report_figures._draw_family(axes, {30.0: curve}, (0, 0, 0), "Joint")
    assert axes.lines[0].get_ydata().tolist() == loss.tolist()


def test_labels_are_the_psnr_or_the_class_and_its_probability(config, drawn_run):
    with drawing_style():
        figure = example_figures.example_denoising(config, drawn_run)
        classified = example_figures.example_classification(config, drawn_run)
    assert {axes.get_xlabel() for axes in classified.axes} == {"0 ✗ 10 %"}
    rows = read_csv(drawn_run.evaluation("denoising", 25), IMAGE_COLUMNS)
    first = rows[(rows["image_id"] == "test-0000") & (rows["method"] == "separate")]
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert f"{first['psnr'].item():.2f} dB" in labels
    methods = config.parts.denoising.methods
    shown = [method for method in methods if not method.startswith("matched-")]
    assert sum(label.endswith(" dB") for label in labels) == 2 * len(shown)


def test_any_name_of_an_image_can_be_drawn(config, drawn_copy, tmp_path):
    path = drawn_copy.evaluation("denoising", 25).with_suffix(".npz")
    names = [r"Ba$$in \frac{ 50% --> <&>", "猫 😀 שלום"]
    with np.load(path) as file:
        arrays = dict(file) | {"example_ids": np.array(names)}
    np.savez(path, **arrays)
    with drawing_style(), pytest.warns(match="missing from font"):
        figure = example_figures.example_denoising(config, drawn_copy)
        titles = [axes.get_title().replace("\n", " ") for axes in figure.axes]
        save_figure(figure, tmp_path, "names")
    assert set(titles) > {f"Clean: {name}" for name in names}
    ElementTree.parse(tmp_path / "names.svg")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("tench", "tench"), ("great white shark", "great white…"),
     ("golden_retriever", "golden_retrie…"), ("$\\frac", "$\\frac")],
)  # fmt: skip
def test_a_long_name_of_a_class_is_shortened(config, drawn_run, monkeypatch, name, shown):
    monkeypatch.setattr(example_figures, "class_namer", lambda *_: lambda label: name)
    with drawing_style():
        figure = example_figures.example_classification(config, drawn_run)
    assert f"Class: {shown}" in {axes.get_ylabel() for axes in figure.axes}


def test_the_colours_of_label_maps_are_explained(config, drawn_run):
    with drawing_style():
        figure = example_figures.example_segmentation(config, drawn_run)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["background", *map(str, range(9))]


def test_examples_show_the_second_highest_sigma():
    assert example_figures.example_sigma((60.0, 15.0, 45.0)) == 45
    assert example_figures.example_sigma((25.0,)) == 25


def test_the_box_is_where_only_joint_is_right():
    truth = np.zeros((60, 60), np.uint8)
    truth[40:50, 10:20] = 4
    truth[0:10, 40:60] = 255
    separate = np.zeros_like(truth)
    box = example_figures.disagreement_square(truth, separate=separate, joint=truth)
    assert (truth[box] == 4).sum() == 100
    assert example_figures.disagreement_square(truth, separate=truth, joint=truth) is None
    assert example_figures.disagreement_square(truth, separate=separate, joint=separate) is None


def test_the_zoom_goes_where_brightness_varies():
    image = np.full((60, 90, 3), 128, np.uint8)
    image[40:, 70:] = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    assert example_figures.busiest_square(image) == (slice(40, 60), slice(70, 90))


def test_a_run_of_denoising_alone_has_its_figures():
    names = ("overview", "psnr_over_sigma", "example_denoising", "training_curves")
    assert figure_names(denoising_only().parts) == names


def test_missing_tables_curves_and_examples_are_named(config, drawn_copy):
    drawn_copy.table(2).unlink()
    with pytest.raises(UserError, match=r"table2\.csv"):
        FIGURES["accuracy_over_sigma"](config, drawn_copy)
    shutil.rmtree(drawn_copy.root / "training")
    with pytest.raises(NothingToShow, match="no network was trained"):
        training_curves(config, drawn_copy)
    np.savez(
        drawn_copy.evaluation("denoising", 25).with_suffix(".npz"), example_ids=np.array([], str)
    )
    with pytest.raises(UserError, match=r"sigma25\.npz"):
        example_figures.example_denoising(config, drawn_copy)
