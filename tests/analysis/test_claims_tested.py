"""Which comparisons are tested: short trainings, weak peers, few photographs, missing results."""

import math

import numpy as np
import pandas as pd
import pytest
from claim_rows import CLAIMS, FILE, SIGMAS, photographs, rows_of, set_metric
from settings import PUBLISHED, laboratory_config, shipped, with_parts
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis.calibration import released_weights_psnr
from dhl.analysis.claims import compute_claims
from dhl.analysis.measurements import Measurements
from dhl.analysis.published import NOT_IN_PAPER, NOT_TRANSCRIBED, read_published
from dhl.analysis.reach import Reach, training_pixels
from dhl.analysis.tables import build_table, format_table
from dhl.config.data_sets import Folder
from dhl.config.networks import Network
from dhl.config.parse import parse_config
from dhl.files import PROJECT
from dhl.report.facts import limits
from dhl.run.failures import record_failure

DEVIATIONS = PROJECT / "report/deviations.yaml"


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        # `photos`: three trainings of each denoiser, one of the segmenter, published EfficientNet.
        ("denoising-separate-over-noisy", ""),
        ("denoising-separate-over-joint-classification", ""),
        ("denoising-separate-over-joint-segmentation", "the segmenter was trained once"),
        ("classification-joint-over-retrained", ""),
        ("classification-cross-over-separate", "the segmenter was trained once"),
        ("classification-cross-over-cross-matched", "the segmenter was trained once"),
        ("segmentation-cross-over-separate", "the segmenter was trained once"),
    ],
)
def test_the_networks_behind_a_comparison_guide_or_read(name, networks):
    config = parse_config(shipped("photos"), source="photos")
    (claim,) = (claim for claim in CLAIMS if claim.id == name)
    measurements = [Measurements(claim.part, 30.0, "", (), {}, {})]
    reach = Reach(config, FILE.limits, claim.part, measurements)
    assert reach.single_trainings(claim) == networks


@pytest.mark.parametrize(("below", "tested"), [(0.2, True), (0.5, False)])
def test_the_peer_must_reach_its_released_weights_psnr(tmp_path, below, tested):
    config = parse_config(shipped("kodak-cpu"), source="kodak-cpu")
    methods = {"methods": ("noisy", "dncnn", "separate"), "sigmas": (15.0,)}
    config = with_parts(config, denoising=methods)
    folder = write_synthetic_run(config, tmp_path, images=24)
    path = folder.evaluation("denoising", 15)
    frame = pd.read_csv(path)
    level = released_weights_psnr("dncnn", 15, "kodak", config.evaluation.protocol)
    spread = np.linspace(-1, 1, 24)
    for method, mean in (("dncnn", level - below), ("separate", level + 1)):
        frame.loc[frame["method"] == method, "psnr"] = mean + spread
        spread = spread**2 - np.mean(spread**2)
    frame.to_csv(path, index=False)
    _, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-dncnn")
    if tested:
        assert summary["verdict"] == "holds for these weights"
    else:
        assert summary["reason"].startswith("our DnCNN is 0.50 dB below its published weights")


def test_a_denoiser_that_was_trained_briefly_may_win_but_not_lose(few, tmp_path):
    config = with_parts(few, denoising={"methods": ("noisy", "cbm3d", "separate")})
    folder = write_synthetic_run(config, tmp_path, images=40)
    _, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-cbm3d")
    assert summary["difference"] > 0
    assert summary["verdict"] == "holds for these weights"
    for sigma in SIGMAS:
        path = folder.evaluation("denoising", sigma)
        frame = pd.read_csv(path)
        frame.loc[frame["method"] == "separate", "psnr"] -= 2
        frame.to_csv(path, index=False)
    _, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-cbm3d")
    assert summary["verdict"] == "not tested"
    pixels = (2800 * 16 + 800 * 16) * 36**2  # config/laboratory.yaml: warm start and separate
    assert f"{100 * pixels / 1e11:.2g} % of the training pixels" in summary["reason"]


def test_a_task_network_that_fails_on_clean_images_tells_nothing(config, tmp_path):
    folder = write_synthetic_run(config, tmp_path, images=20)
    for sigma in SIGMAS:
        set_metric(folder, "classification", sigma, "top1", {"clean": 0.0})
    claims = compute_claims(config, folder)
    claims = claims[(claims["part"] == "classification") & claims["n"].notna()]
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["reason"].str.startswith("the classifier reaches 0.0 % on clean").all()


def test_without_a_gain_no_share_of_it_is_tested(config, tmp_path):
    folder = write_synthetic_run(config, tmp_path, images=40)
    half_right = np.arange(40) % 2
    for sigma in SIGMAS:
        values = {"joint": half_right, "separate": half_right}
        set_metric(folder, "classification", sigma, "top1", values)
    name = "classification-cross-keeps-joint-over-separate"
    rows, summary = rows_of(compute_claims(config, folder), name)
    assert {*rows["verdict"], summary["verdict"]} == {"not tested"}
    assert summary["reason"].endswith("has no clear gain over Separate to keep")


def test_a_test_run_tests_nothing(tmp_path):
    config = with_parts(laboratory_config(), classification=None, segmentation=None)
    training = config.parts.denoising.training
    short = {
        name: getattr(training, name).model_copy(update={"steps": 20})
        for name in ("warm_start", "separate")
    }
    config = with_parts(
        config,
        denoising={"methods": ("noisy", "separate"),
                   "training": training.model_copy(update={**short, "dncnn": None})},
    )  # fmt: skip
    folder = write_synthetic_run(config, tmp_path, images=20)
    claims = compute_claims(config, folder)
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["reason"].str.contains("a test run").all()


def test_three_photographs_are_too_few(few, tmp_path):
    folder = write_synthetic_run(few, tmp_path, images=40)
    photographs(folder, np.array(["chelsea", "coffee", "flower", "chelsea"] * 10))
    claims = compute_claims(few, folder)
    assert set(claims["verdict"]) == {"not tested"}
    _, summary = rows_of(claims, "denoising-separate-over-noisy")
    assert summary["reason"].startswith("3 photographs are too few")


def test_a_method_without_rows_leaves_a_reason(few, tmp_path):
    folder = write_synthetic_run(few, tmp_path, images=12)
    drop_method(folder.evaluation("denoising", 30), "separate")
    rows, summary = rows_of(compute_claims(few, folder), "denoising-separate-over-noisy")
    failed = rows[rows["sigma"] == 30].iloc[0]
    assert failed["verdict"] == "not tested"
    assert failed["reason"] == "no psnr of `separate` in evaluation/denoising/sigma30.csv"
    assert failed[["mean_a", "difference", "low", "p_value", "n"]].isna().all()
    assert rows.loc[rows["sigma"] != 30, "p_value"].notna().all()
    assert summary["verdict"] == "not tested"
    assert np.isnan(summary["difference"])


def test_other_images_at_another_sigma_leave_the_summary_without_interval(few, tmp_path):
    folder = write_synthetic_run(few, tmp_path, images=12)
    path = folder.evaluation("denoising", 60)
    frame = pd.read_csv(path)
    frame.replace({"image_id": {"test-0000": "other"}}).to_csv(path, index=False)
    rows, summary = rows_of(compute_claims(few, folder), "denoising-separate-over-noisy")
    assert np.isnan(summary["low"])
    assert summary["reason"] == "not the same images at every sigma"
    assert rows["low"].notna().all()
    assert summary["difference"] == pytest.approx(rows["difference"].mean())


def test_a_sigma_is_judged_without_the_others(few, tmp_path):
    before = compute_claims(few, write_synthetic_run(few, tmp_path / "complete", images=12))
    folder = write_synthetic_run(few, tmp_path / "failed", images=12)
    path = folder.evaluation("denoising", 15)
    record_failure([path, path.with_suffix(".npz")], status=1, log=tmp_path / "absent")
    name = "denoising-separate-over-noisy"
    (rows, _), (left, summary) = rows_of(before, name), rows_of(compute_claims(few, folder), name)
    columns = ["sigma", "difference", "verdict", "reason"]
    assert left[columns].iloc[1:].equals(rows[columns].iloc[1:])
    assert left["verdict"].iloc[0] == summary["verdict"] == "not tested"


def test_a_peer_is_tested_where_its_level_is_known(tmp_path):
    config = parse_config(shipped("kodak-cpu"), source="kodak-cpu")
    methods = {"methods": ("noisy", "dncnn", "separate"), "sigmas": (25.0, 30.0)}
    config = with_parts(config, denoising=methods)
    folder = write_synthetic_run(config, tmp_path, images=24)
    frame = pd.read_csv(path := folder.evaluation("denoising", 25))
    level = released_weights_psnr("dncnn", 25, "kodak", config.evaluation.protocol)
    spread = np.linspace(-1, 1, 24)
    for method, mean in (("dncnn", level), ("separate", level + 1)):
        frame.loc[frame["method"] == method, "psnr"] = mean + spread
        spread = spread**2 - np.mean(spread**2)
    frame.to_csv(path, index=False)
    rows, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-dncnn")
    assert rows["verdict"].tolist() == ["holds for these weights", "not tested"]
    assert summary["reason"].startswith("DnCNN has no published level on this data at sigma 30")


def test_another_network_in_the_row_of_a_peer_is_not_the_paper(tmp_path):
    config = parse_config(shipped("kodak-cpu"), source="kodak-cpu")
    methods = {"methods": ("noisy", "dncnn", "separate"), "sigmas": (25.0,)}
    drunet = with_parts(config, denoising={**methods, "dncnn": Network(name="kair-drunet")})
    folder = write_synthetic_run(drunet, tmp_path, images=24)
    _, summary = rows_of(compute_claims(drunet, folder), "denoising-separate-over-dncnn")
    assert summary["verdict"] == "not tested"
    assert summary["reason"] == "the network of DnCNN is `kair-drunet`, not that of the paper"
    (limit,) = [text for head, text in limits(drunet, FILE, [], DEVIATIONS) if "DnCNN" in head]
    assert limit == "DnCNN is the network kair-drunet."
    paper = {"dncnn": Network(name="kair-dncnn")}  # DnCNN, too
    for one, label, known in (  # whether the paper has a value
        (drunet, "DnCNN (kair-drunet)", False),
        (with_parts(config, denoising={**methods, **paper}), "DnCNN", True),
    ):
        table = build_table(one, "denoising", folder, PUBLISHED)
        value = table.query("method == 'dncnn' and metric == 'psnr' and image_id == 'average'")
        assert set(value["status"]) == {NOT_TRANSCRIBED if known else NOT_IN_PAPER}
        published = read_published(1, PUBLISHED)
        assert f"| {label} |" in format_table(table, one, "denoising", published, "md")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"noise": "plugin.py:poisson"}, "DnCNN has no published level for this noise"),
        ({"train": "kodak", "test": "./mine"}, "DnCNN has no published level on this data"),
    ],
)
def test_a_published_level_is_that_of_white_noise_on_the_tested_images(tmp_path, changed, reason):
    config = parse_config(shipped("kodak-cpu"), source="kodak-cpu")
    methods = {"methods": ("noisy", "dncnn", "separate"), "sigmas": (25.0,)}
    config = with_parts(config, denoising=methods)
    folder = write_synthetic_run(config, tmp_path, images=24)
    if "noise" in changed:
        config = config.model_copy(update=changed)
    else:
        data = config.parts["denoising"].data.model_copy(update=changed)
        config = with_parts(config, denoising={**methods, "data": data})
    _, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-dncnn")
    assert summary["reason"].startswith(reason)


def test_complete_images_of_unknown_size_are_no_short_training(few):
    def pixels(patch: int | None) -> float:
        training = few.parts["denoising"].training
        recipe = training.separate.model_copy(update={"patch": patch})
        training = training.model_copy(update={"separate": recipe, "warm_start": None})
        data = Folder(kind="folder", name="mine", train="a", test="b")
        config = with_parts(few, denoising={"training": training, "data": data})
        return training_pixels(config, "separate/sigma30")

    assert pixels(None) == math.inf
    assert pixels(20) == few.parts["denoising"].training.separate.steps * 20**2 * (
        few.parts["denoising"].training.separate.batch
    )


def test_published_weights_have_one_training_and_no_scope(tmp_path):
    content = shipped("kodak-cpu")
    denoising = content["parts"]["denoising"]
    denoising["denoiser"] = {"name": "ffdnet", "weights": "published"}
    denoising["training"] = {"separate": None}
    denoising |= {"methods": ["noisy", "separate"], "sigmas": [25, 50]}
    config = parse_config(content | {"seeds": 3}, source="published")
    folder = write_synthetic_run(config, tmp_path, images=24)
    rows, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-noisy")
    assert {*rows["seeds"], summary["seeds"]} == {1}
    assert summary["verdict"] == "reproduced" and summary["reason"] == ""


@pytest.mark.parametrize("given", [True, False])
def test_given_weights_do_not_test_training_for_mse(tmp_path, given):
    content = shipped("kodak-cpu")
    denoising = content["parts"]["denoising"] | {"methods": ["noisy", "cbm3d", "separate"]}
    denoising["denoiser"] = {"name": "ffdnet", "weights": "published"}
    recipe = denoising["training"]["separate"]
    denoising["training"] = {"separate": None if given else recipe}
    denoising["sigmas"] = [25, 50]
    content["parts"] = {"denoising": denoising}
    config = parse_config(content, source="given")
    folder = write_synthetic_run(config, tmp_path, images=24)
    rows, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-cbm3d")
    verdicts = {*rows["verdict"], summary["verdict"]}
    assert (verdicts == {"not tested"}) == given
    assert summary["reason"].startswith("Separate has given weights") == given


def test_a_user_s_method_may_not_win_over_a_denoiser_that_was_trained_briefly(tmp_path):
    plugin = tmp_path / "own.py"
    plugin.write_text("def halved(noisy, *, sigma): ...\n")
    methods = ["noisy", "separate", f"{plugin}:halved"]
    config = laboratory_config({"denoising": {"methods": methods, "sigmas": [30]}})
    folder = write_synthetic_run(config, tmp_path / "run", images=24)
    frame = pd.read_csv(path := folder.evaluation("denoising", 30))
    better = frame.loc[frame["method"] == "separate", "psnr"] + np.linspace(1, 2, 24)
    frame.loc[frame["method"] == "halved", "psnr"] = better.to_numpy()
    frame.to_csv(path, index=False)
    _, summary = rows_of(compute_claims(config, folder), "denoising-halved-over-separate")
    assert summary["difference"] > 0 and summary["verdict"] == "not tested"
    assert summary["reason"].startswith("Separate saw ")
