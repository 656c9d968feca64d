"""The report on the run itself: images, networks, cost, origin of numbers, published values."""

import shutil

import numpy as np
import pandas as pd
import pytest
from report_run import MANIFEST, render, small_config
from settings import PUBLISHED

from dhl.analysis.calibration import read_calibration
from dhl.config.methods import METHODS, TABLES
from dhl.report.content import read_networks
from dhl.report.numbers import File, Tracer
from dhl.run.evaluations import comparisons, studied
from dhl.run.model_graph import all_models
from dhl.run.results import (
    SKIPPED_COLUMNS,
    TABLE_COLUMNS,
    TRAINING_COLUMNS,
    read_csv,
    write_csv,
)
from dhl.seeding import FIRST


def test_published_values_stand_beside_those_measured_here(copy, config, page, tmp_path):
    measured, rows = read_calibration(), pd.read_csv(PUBLISHED)
    cells = rows["table"] != "literature"
    (section,) = page.find("section", id="published")
    (table,) = section.find("table")
    shown = sorted(float(node.attributes["value"]) for node in table.find("data"))
    plain = measured[measured["protocol"] == "plain"]
    assert shown == sorted([*rows.loc[~cells, "value"], *plain["value"]])
    compared = measured["difference"].dropna()
    largest = compared[compared.abs().idxmax()]
    assert float(next(section.find("data")).attributes["value"]) == largest
    assert f"largest of {len(compared)} differences" in " ".join(section.text.split())
    assert "not comparable" in section.text
    assert f"{rows.loc[cells, 'value'].isna().sum()} are not transcribed" in section.text
    rows.loc[cells, ["value", "status"]] = 0.5, "transcribed"
    rows.to_csv(tmp_path / "published.csv", index=False)
    page = render(config, copy, tmp_path / "published.csv")
    (section,) = page.find("section", id="published")
    assert f"All {cells.sum()} cells" in section.text


def test_on_kodaks_images_table_1_compares_with_published_values(copy):
    data = {"kind": "folder", "name": "kodak", "train": "bsds500", "test": "kodak"}
    kodak = small_config({"denoising": {"data": data}})
    with np.load(copy.evaluation("denoising", 25).with_suffix(".npz")) as file:
        copy.data("denoising").parent.mkdir(exist_ok=True)
        np.savez(copy.data("denoising"), **{"test/ids": file["image_ids"]})
    write_csv(pd.DataFrame(), copy.skipped("denoising"), SKIPPED_COLUMNS)
    (section,) = render(kodak, copy).find("section", id="published")
    assert "not comparable" not in section.text


def test_table_1_names_the_size_of_each_trained_denoiser(config, copy):
    path = copy.training("dncnn/sigma25")
    curve = read_csv(path, TRAINING_COLUMNS).assign(parameters=57_443, receptive_field=np.nan)
    write_csv(curve, path, TRAINING_COLUMNS)
    copy.training("separate/sigma25").write_text("This is no result: its job failed.\nfull\n")
    page = render(config, copy)
    (line,) = page.find("p", id="networks")
    shown = " ".join(line.text.split())
    assert "DnCNN 57,443 and unknown or unlimited;" in shown
    assert "Joint (segmentation) and Matched (segmentation) 261,235 and 39 px." in shown
    assert "Separate" not in shown


def test_a_denoiser_that_was_not_trained_has_the_size_of_its_model(tiny_config, run_copy):
    sizes = read_networks(tiny_config, run_copy)
    for path in run_copy.training("separate/any").parent.glob("*.csv"):
        write_csv(pd.DataFrame(), path, TRAINING_COLUMNS)  # as of published weights
    assert read_networks(tiny_config, run_copy) == sizes


@pytest.mark.parametrize(
    ("damaged", "words"),
    [(0, "3 to test."), (1, "1 image could"), (2, "2 images could")],
)
def test_images_in_files_are_counted_and_damaged_ones_are_named(copy, damaged, words):
    copy.data("segmentation").parent.mkdir()
    with open(copy.data("segmentation"), "wb") as file:
        left_out = np.array(["a.txt", "<b>.pdf", "c.zip", "d.md"][: 4 * damaged])
        ids = {"train/ids": np.arange(7), "test/ids": np.arange(3)}
        np.savez(file, **ids, **({"left_out": left_out} if damaged else {}))
    rows = pd.DataFrame({"split": ["test"] * damaged, "image_id": ["a"] * damaged})
    write_csv(rows, copy.skipped("segmentation"), SKIPPED_COLUMNS)
    config = small_config({"segmentation": {"data": {"kind": "voc2012"}}})
    (section,) = render(config, copy).find("section", id="protocol")
    assert "voc2012, read from files: 7 images to train on, 3 to test." in section.text
    assert ("segmentation.skipped.csv" in section.text) == bool(damaged)
    assert words in section.text
    assert ("as no images: a.txt, <b>.pdf, c.zip, and 1 more." in section.text) == bool(damaged)


def test_cost_is_summed_by_rule(config, copy, page):
    (section,) = page.find("section", id="cost")
    lines = [[cell.text for cell in line.find("td")] for line in section.find("tr")][1:]
    assert lines == [
        ["2", "30.5 s", "20.0 s", "700 MiB"],
        ["1", "0.0 s", "not recorded", "not recorded"],
    ]
    assert "5 min 00 s" in section.text
    shutil.rmtree(copy.benchmarks)
    (section,) = render(config, copy).find("section", id="cost")
    assert not list(section.find("table"))


def test_provenance_is_that_of_the_manifest(page):
    (section,) = page.find("section", id="provenance")
    for value in (MANIFEST["commit"], str(MANIFEST["base_seed"]), MANIFEST["files"]["claims.csv"]):
        assert value in section.text
    for package, version in MANIFEST["versions"].items():
        assert f"{package}{version}" in section.text.replace(" ", "")


def test_every_number_has_a_row_with_a_link_to_its_files(config, folder, page):
    (table,) = page.find("table", id="every-number")
    lines = [line for line in table.find("tr")][1:]
    rows = [
        row
        for part in config.parts
        for row in read_csv(folder.table(TABLES[part]), TABLE_COLUMNS).to_dict("records")
        if row["image_id"] == "average"
    ]
    assert len(lines) == len(rows)
    names = {node.attributes["id"] for node in page.walk() if "id" in node.attributes}
    for line, row in zip(lines, rows, strict=True):
        assert next(line.find("th")).text == METHODS[row["method"]].label
        shown = [float(node.attributes["value"]) for node in line.find("data")]
        expected = (row["published"], row["value"], row["value"] - row["published"])
        assert shown == [value for value in expected if not np.isnan(value)]
        assert next(line.find("a")).attributes["href"][1:] in names


def test_the_origin_of_the_studies_has_the_models_that_they_compare_and_no_others(config, folder):
    steps = Tracer(config, folder, MANIFEST).studies()
    models = {step.name for step in steps if "/" in step.name}
    compared = {
        key
        for at in studied(config)
        for pair in comparisons(config, *at)
        for one in filter(None, (pair.experiment, pair.reference))
        for key in one.models(config, FIRST)
    }
    assert models == compared
    of_tables = {"retrained-classification/sigma60", "retrained-segmentation/sigma30"}
    assert of_tables <= set(all_models(config)) - models


def test_the_origin_of_a_number_has_digests_logs_and_commands(config, folder):
    digest = "cd" * 32
    manifest = MANIFEST | {"files": {"models/joint-segmentation/sigma30.pt": digest}}
    origins = Tracer(config, folder, manifest).origins()
    (origin,) = [one for one in origins if (one.part, one.sigma) == ("segmentation", 30)]
    assert [step.name for step in origin.methods["joint"][1]] == [
        "joint-segmentation/sigma30", "segmenter/clean",
    ]  # fmt: skip
    joint = origin.methods["joint"][1][0]
    assert joint.files[0] == File("models/joint-segmentation/sigma30.pt", digest)
    assert joint.files[1].digest is None
    assert joint.command.endswith("--force results/mini/models/joint-segmentation/sigma30.pt")
    assert joint.log == "logs/train/joint-segmentation/sigma30.log"
    cbm3d = origin.methods["cbm3d"][1][0]
    assert cbm3d.files[0].path == "baselines/segmentation/cbm3d-sigma30/1-of-1.npz"
    assert origin.methods["noisy"][1][0].name == "segmenter/clean"
    (rows, arrays) = origin.steps[1].files
    assert folder.root.joinpath(rows.path).exists()
    assert folder.root.joinpath(arrays.path).exists()
