"""Further test sets: other images for the denoisers of a run, and a table for each set."""

from __future__ import annotations

import shutil

import pytest
from settings import PUBLISHED, SIGMA, changed, refused, tiny_settings
from tiny_sets import write_picture

from dhl.analysis.claims import write_claims
from dhl.analysis.tables import write_table
from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.data.prepare import write_data, write_noise
from dhl.errors import UserError
from dhl.evaluation.baseline import BaselineJob, write_baseline
from dhl.evaluation.evaluate import evaluate
from dhl.planning.image_counts import count_all_images
from dhl.planning.machine import reference_machine
from dhl.planning.plan import make_plan
from dhl.report.facts import tested_on as phrases
from dhl.run.contents import files_of
from dhl.run.folder import RunFolder
from dhl.run.model_graph import all_models
from dhl.run.outputs import command_for
from dhl.run.results import TABLE_COLUMNS, read_csv

PART = "denoising-mine"


@pytest.fixture
def folder_of_pictures(tmp_path):
    """A folder with two pictures."""
    for name in ("cat", "cup"):
        write_picture(tmp_path / "pictures" / f"{name}.png")
    return tmp_path / "pictures"


@pytest.fixture
def config(folder_of_pictures) -> Config:
    """The tiny run with a further test set."""
    content = tiny_settings()
    content["parts"]["denoising"]["test_sets"] = {"mine": str(folder_of_pictures)}
    return parse_config(content, source="tiny.yaml")


def test_a_further_set_is_denoising_with_other_images(config, tiny_config, folder_of_pictures):
    assert list(config.parts) == ["denoising", PART, "classification", "segmentation"]
    assert config.parts[PART].data.test == str(folder_of_pictures)
    assert config.parts[PART].methods == config.parts["denoising"].methods
    assert all_models(config) == all_models(tiny_config)
    assert parse_config(config.model_dump(mode="json"), source="again") == config


@pytest.mark.parametrize("name", ["Mine", "my-set", "2", ""])
def test_a_name_that_no_file_could_have_is_refused(name, folder_of_pictures):
    content = changed(tiny_settings(), "parts.denoising.test_sets", {name: str(folder_of_pictures)})
    assert refused(content).came.startswith(f"`{name}`")


def test_the_training_folder_is_no_test_set(folder_of_pictures):
    content = tiny_settings()
    content["parts"]["denoising"]["data"] = {
        "kind": "folder", "name": "own", "train": str(folder_of_pictures), "test": "kodak",
    }  # fmt: skip
    content["parts"]["denoising"]["test_sets"] = {"mine": str(folder_of_pictures)}
    assert refused(content).mistake == "Training and test images are in the same folder."


def test_a_copy_of_a_training_image_in_a_further_set_is_refused(tmp_path, folder_of_pictures):
    (tmp_path / "train").mkdir()
    shutil.copy(folder_of_pictures / "cat.png", tmp_path / "train" / "a.png")
    content = tiny_settings()
    content["parts"]["denoising"]["data"] = {
        "kind": "folder", "name": "own", "train": str(tmp_path / "train"), "test": "kodak",
    }  # fmt: skip
    content["parts"]["denoising"]["test_sets"] = {"mine": str(folder_of_pictures)}
    with pytest.raises(UserError) as caught:
        write_data(parse_config(content, source="own.yaml"), PART, RunFolder(tmp_path / "run"))
    assert "cat" in caught.value.came


def test_a_further_set_has_a_table_of_its_own_and_no_verdicts(config, run_copy):
    write_data(config, PART, run_copy)
    assert load_split(run_copy.data(PART), "test").ids == ["cat", "cup"]
    write_noise(config, PART, SIGMA, run_copy)
    write_baseline(config, BaselineJob(PART, "cbm3d", SIGMA), run_copy, processes=1)
    evaluate(config, PART, SIGMA, run_copy)
    for part in config.parts:
        write_table(config, part, run_copy, PUBLISHED)
    write_claims(config, run_copy)
    table = read_csv(run_copy.root / "tables/table1-mine.csv", TABLE_COLUMNS)
    assert set(table["image_id"]) == {"cat", "cup", "average"}
    psnr = table[table["metric"] == "psnr"].set_index(["method", "image_id"])["value"]
    for method in config.parts[PART].methods:
        mean = (psnr[method, "cat"] + psnr[method, "cup"]) / 2
        assert psnr[method, "average"] == pytest.approx(mean)
    assert 18.59 < psnr["noisy", "average"] < 20  # 20 log10(255 / 30) dB without clipping
    assert "Denoising (mine)" in (run_copy.root / "tables/table1-mine.md").read_text()
    claims = run_copy.claims.read_text()
    assert "denoising-joint" in claims or "denoising-separate" in claims
    assert PART not in claims
    assert any("2 test images for denoising (mine)" in one for one in phrases(config, run_copy))


def test_the_noise_of_a_set_is_the_same_wherever_it_stands(config, tmp_path, folder_of_pictures):
    content = tiny_settings()
    data = {"kind": "folder", "name": "mine", "test": str(folder_of_pictures)}
    part = content["parts"]["denoising"] | {"data": data, "methods": ["noisy"]}
    content["parts"] = {"denoising": part}
    first = parse_config(content, source="first.yaml")
    records = []
    for chosen, part in ((config, PART), (first, "denoising")):
        folder = RunFolder(tmp_path / part)
        write_data(chosen, part, folder)
        write_noise(chosen, part, SIGMA, folder)
        records.append(folder.noise(part, SIGMA).read_text())
    assert records[0] == records[1]


def test_files_of_a_further_set_are_outputs_of_the_run(config, tmp_path):
    folder = RunFolder(tmp_path / "run")
    tables = [path.name for path in files_of(config, folder, "table") if path.suffix == ".csv"]
    assert tables == ["table1.csv", "table1-mine.csv", "table2.csv", "table3.csv"]
    assert command_for(folder.table("1-mine")) == f"dhl table --part {PART}"
    noise = folder.noise(PART, SIGMA)
    assert command_for(noise) == f"dhl noise --part {PART} --sigma {SIGMA}"


def test_the_plan_counts_no_training_images_of_a_further_set(config):
    counts = count_all_images(config)
    plan = make_plan(config, counts, reference_machine(config, cores=2))
    amounts = {job.name: job.amount for job in plan.jobs}
    assert amounts[f"data/{PART}"] == 2
    assert amounts["data/denoising"] > 2
