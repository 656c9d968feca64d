"""What a run tested and what it cannot tell, in its first lines."""

from __future__ import annotations

import numpy as np
import pytest
from report_run import TEMPLATES, denoising_only, small_config
from settings import shipped, with_parts

from dhl.analysis.claims_file import read_claims_file
from dhl.config.parse import parse_config
from dhl.config.plugins import noise_name
from dhl.files import PROJECT
from dhl.report import facts
from dhl.report.content import read_claims
from dhl.run.folder import RunFolder
from dhl.run.results import TABLE_COLUMNS, read_csv, write_csv

DEVIATIONS = TEMPLATES / "deviations.yaml"


FILE = read_claims_file(TEMPLATES / "claims.yaml")


def limits(config, claims=()):
    return dict(facts.limits(config, FILE, list(claims), DEVIATIONS))


def test_the_first_line_has_data_noise_images_and_trainings(config, drawn_run):
    assert facts.tested_on(config, drawn_run) == [
        "photo-digits: 20, 20 and 20 test images for denoising, classification and segmentation",
        "white Gaussian noise, sigma 25 to 60",
        "one training of each network",
    ]


def test_a_run_of_a_few_steps_is_a_trial():
    smoke = parse_config(shipped("smoke"), source="smoke")
    assert "No training has 100 steps" in limits(smoke)["A test run"]
    assert "A test run" not in limits(small_config())


def test_one_training_is_a_limit(config):
    assert "trained once" in limits(config)["One training"]
    assert "Each denoiser" in limits(small_config(task_seeds=2))["One training"]
    assert "Each task network" in limits(small_config(seeds=3))["One training"]
    photos = parse_config(shipped("photos"), source="photos")  # the classifier is a published one
    assert limits(photos)["One training"].startswith("The segmenter was trained once")
    assert "One training" not in limits(small_config(seeds=3, task_seeds=2))


def test_a_denoiser_with_given_weights_is_named():
    config = parse_config(shipped("photos-ffdnet"), source="photos-ffdnet")
    phrases = facts.tested_on(
        config, RunFolder(PROJECT / "results" / "reference" / "photos-ffdnet")
    )
    assert phrases[-2] == "Separate is ffdnet as published"


def test_a_run_that_trains_nothing_says_so(drawn_copy):
    part = denoising_only().model_dump(mode="json")["parts"]["denoising"] | {"methods": ["noisy"]}
    config = small_config(parts={"denoising": part}, sensitivity=None)
    table = read_csv(drawn_copy.table(1), TABLE_COLUMNS)
    write_csv(table[table["method"] == "noisy"], drawn_copy.table(1), TABLE_COLUMNS)
    assert facts.tested_on(config, drawn_copy)[-1] == "no network is trained"
    assert "One training" not in limits(config)


def test_unequal_numbers_of_training_images_are_a_limit(config):
    assert "Unequal training" not in limits(config)
    training = config.parts.classification.training
    retrained = training.retrained.model_copy(update={"steps": 1000})
    training = training.model_copy(update={"retrained": retrained})
    unequal = with_parts(config, classification={"training": training})
    assert limits(unequal)["Unequal training"] == (
        "Retrained network and Joint saw unequal numbers of training images: 32,000 and 9,600 for "
        "classification."
    )


@pytest.mark.parametrize(
    ("units", "unit", "images", "said"),
    [
        (3, "photographs", 400, "nothing is tested"),
        (4, "photographs", 400, "images of segmentation come from them"),
        (11, "images", 11, "Only large differences"),
    ],
)
def test_few_test_units_are_a_limit(config, units, unit, images, said):
    rows = [
        {"part": "segmentation", "units": units, "unit": unit, "n": images},
        {"part": "classification", "units": 500, "unit": "images", "n": 500},
    ]
    assert said in limits(config, rows)[f"{units} test {unit}"]


def test_enough_images_are_no_limit(config, drawn_run):
    names = [*limits(config, read_claims(drawn_run)), *limits(config, [{"units": float("nan")}])]
    assert not [name for name in names if name.endswith(("photographs", "images"))]


def test_other_data_and_noise_than_the_paper_s_are_named(config, tmp_path):
    assert "photo-digits" in limits(config)["Not the paper's data"]
    (tmp_path / "own.py").write_text("def poisson(clean, *, noise_std, generator): ...\n")
    own = small_config(noise=f"{tmp_path / 'own.py'}:poisson")
    assert noise_name(own.noise) == "poisson noise"
    assert "photo-digits and poisson noise" in limits(own)["Not the paper's data and noise"]
    paper = parse_config(shipped("paper"), source="paper")
    assert not [name for name in limits(paper) if name.startswith("Not the paper's")]


def test_a_class_without_test_pixels_is_a_limit(drawn_copy):
    config = small_config()
    assert facts.absent_classes(config, drawn_copy) == []
    path = drawn_copy.arrays("segmentation", config.parts.segmentation.sigmas[0])
    with np.load(path) as stored:
        arrays = dict(stored)
    for name in arrays:
        if name.startswith("confusion/"):
            arrays[name][:, [1, 4]] = 0
    np.savez(path, **arrays)
    ((_, sentence),) = facts.absent_classes(config, drawn_copy)
    assert "class 1 and 4 of 11" in sentence
