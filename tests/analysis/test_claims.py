"""The comparisons: which there are, and their numbers against pandas, SciPy and plain loops."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from settings import laboratory_config, shipped, with_parts
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis.claims import compute_claims, configured_claims, write_claims
from dhl.analysis.claims_file import read_claims_file
from dhl.analysis.measurements import Measurements
from dhl.analysis.published import published_level
from dhl.analysis.reach import Reach
from dhl.config.methods import ALLOWED, METRICS, PARTS
from dhl.config.parse import parse_config
from dhl.data.image_set import ImageSet, save_splits
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.failures import record_failure
from dhl.run.results import CLAIM_COLUMNS, read_csv

FILE = read_claims_file(PROJECT / "report" / "claims.yaml")
CLAIMS = FILE.comparisons
SIGMAS = (15, 30, 45, 60)


@pytest.fixture(scope="module")
def config():
    return laboratory_config()


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    return write_synthetic_run(config, tmp_path_factory.mktemp("run"), images=40)


@pytest.fixture(scope="module")
def claims(config, folder):
    return compute_claims(config, folder)


def rows_of(claims, name):
    """Return the rows of a claim per sigma, and its summary."""
    rows = claims[claims["claim"] == name]
    return rows[rows["sigma"].notna()], rows[rows["sigma"].isna()].iloc[0]


def evaluation(folder, part, sigma):
    """Return the image-by-method table of an evaluation, one frame a metric."""
    frame = pd.read_csv(folder.evaluation(part, sigma))
    return lambda metric: frame.pivot(index="image_id", columns="method", values=metric)


def miou(confusions):
    """Mean intersection over union by loops."""
    pooled = np.asarray(confusions).sum(axis=0)
    hits = [pooled[c, c] for c in range(len(pooled))]
    unions = [pooled[c].sum() + pooled[:, c].sum() - pooled[c, c] for c in range(len(pooled))]
    return float(np.mean([hit / union for hit, union in zip(hits, unions, strict=True)]))


def test_every_comparison_is_about_rows_and_metrics_that_exist():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.methods <= set(ALLOWED[claim.part])
        assert claim.metric in (*METRICS[claim.part], "psnr")
        assert "{" not in claim.statement
    assert [METRICS[part][0] for part in PARTS] == list(FILE.decides.values())


def test_the_file_has_the_five_claims_and_its_history():
    assert len(FILE.claims) == 5
    assert FILE.changes[-1].version == FILE.version == len(FILE.changes)
    for claim in FILE.claims:
        assert claim.sentence and claim.source and claim.support


@pytest.mark.parametrize("part", PARTS)
def test_the_paper_is_covered(part):
    found = {
        (one.a, one.b, one.over) for one in CLAIMS if one.part == part and one.origin == "paper"
    }
    denoising = {
        *(("separate", peer, "") for peer in ("cbm3d", "mcwnnm", "tnrd", "dncnn")),
        ("separate", "joint-segmentation", ""), ("separate", "joint-classification", ""),
        ("joint-segmentation", "separate", ""), ("joint-classification", "separate", ""),
    }  # fmt: skip
    task = {
        ("cbm3d", "noisy", ""), ("separate", "noisy", ""), ("clean", "separate", ""),
        ("joint", "noisy", ""), ("joint", "cbm3d", ""), ("joint", "separate", ""),
        ("cross", "joint", "separate"), ("cross", "separate", ""),
    }  # fmt: skip
    assert found == (denoising if part == "denoising" else task)


@pytest.mark.parametrize(
    ("old", "new"),
    [("version: 4", "version: four"), ("claims:", "klaims:"), ("better:", "bettr:")],
)
def test_a_mistake_in_the_file_is_named(tmp_path, old, new):
    path = tmp_path / "claims.yaml"
    path.write_text((PROJECT / "report" / "claims.yaml").read_text().replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_claims_file(path)
    assert str(path) in caught.value.mistake


def test_each_comparison_has_a_row_per_sigma_and_a_summary(config, claims):
    assert tuple(claims.columns) == CLAIM_COLUMNS
    configured = [one.id for part in config.parts for one in configured_claims(config, part, FILE)]
    expected = [(name, sigma) for name in configured for sigma in (*SIGMAS, -1)]
    assert list(zip(claims["claim"], claims["sigma"].fillna(-1), strict=True)) == expected


def test_rows_agree_with_pandas_and_scipy(folder, claims):
    rows, summary = rows_of(claims, "classification-joint-over-cbm3d")
    gaps = []
    for row in rows.to_dict("records"):
        top1 = evaluation(folder, "classification", int(row["sigma"]))("top1")
        joint, cbm3d = top1["joint"], top1["cbm3d"]
        gaps.append(joint - cbm3d)
        assert (row["mean_a"], row["mean_b"]) == pytest.approx((joint.mean(), cbm3d.mean()))
        assert row["difference"] == pytest.approx(gaps[-1].mean())
        reference = stats.ttest_rel(joint, cbm3d)
        assert row["p_value"] == pytest.approx(reference.pvalue)
        assert (row["low"], row["high"]) == pytest.approx(tuple(reference.confidence_interval()))
        assert (row["wins"], row["losses"]) == ((joint > cbm3d).sum(), (joint < cbm3d).sum())
        assert (row["n"], row["units"], row["unit"]) == (40, 40, "images")
    average = np.mean(gaps, axis=0)
    reference = stats.ttest_1samp(average, 0)
    assert summary["p_value"] == pytest.approx(reference.pvalue)
    assert summary["difference"] == pytest.approx(average.mean())
    slopes = [10 * np.polyfit(SIGMAS, gap, 1)[0] for gap in np.transpose(gaps)]
    reference = stats.ttest_1samp(slopes, 0)
    assert summary["slope"] == pytest.approx(np.mean(slopes))
    ends = tuple(reference.confidence_interval())
    assert (summary["slope_low"], summary["slope_high"]) == pytest.approx(ends)


def test_miou_is_that_of_a_loop(folder, claims):
    rows, _ = rows_of(claims, "segmentation-joint-over-separate")
    row = rows[rows["sigma"] == 45].iloc[0]
    with np.load(folder.evaluation("segmentation", 45).with_suffix(".npz")) as arrays:
        joint, separate = arrays["confusion/joint"], arrays["confusion/separate"]
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((miou(joint), miou(separate)))
    assert row["low"] < row["difference"] < row["high"]


def test_the_share_that_cross_task_training_keeps(folder, claims):
    _, summary = rows_of(claims, "segmentation-cross-keeps-joint-over-separate")
    mious = {"cross": [], "joint": [], "separate": []}
    for sigma in SIGMAS:
        with np.load(folder.evaluation("segmentation", sigma).with_suffix(".npz")) as arrays:
            for method, found in mious.items():
                found.append(miou(arrays[f"confusion/{method}"]))
    cross, joint, separate = (np.mean(found) for found in mious.values())
    assert summary["share"] == pytest.approx((cross - separate) / (joint - separate))
    assert summary["share_low"] < summary["share"] < summary["share_high"]
    assert (summary["share_low"] > 0.5) == (summary["p_value"] < 0.05)


def test_verdicts_follow_the_corrected_p_value(claims):
    tested = claims[claims["p_adjusted"].notna()]
    significant = tested["p_adjusted"] < 0.05
    # The made-up run has rows whose verdict the correction decides.
    assert ((tested["p_value"] < 0.05) & ~significant).any()
    assert (tested.loc[~significant, "verdict_adjusted"] == "inconclusive").all()
    kept = tested[significant]
    assert (kept["verdict_adjusted"] == kept["verdict"]).all()
    untested = claims[claims["p_adjusted"].isna()]
    assert set(untested["verdict_adjusted"]) == {"not tested"}
    for average in (True, False):
        family = tested[tested["sigma"].isna() == average].sort_values("p_value")
        steps = family["p_value"] * np.arange(len(family), 0, -1)
        expected = steps.cummax().clip(upper=1)
        np.testing.assert_allclose(family["p_adjusted"], expected)


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        # From the qualities of the methods in the made-up run; each network is trained once.
        ("segmentation-joint-over-noisy", "holds for these weights"),
        ("segmentation-joint-over-separate-matched", "holds for these weights"),
        ("segmentation-joint-over-retrained", "does not hold for these weights"),
        ("classification-separate-over-noisy", "holds for these weights"),
        ("segmentation-cross-keeps-joint-over-separate", "holds for these weights"),
    ],
)
def test_known_answers(claims, name, verdict):
    _, summary = rows_of(claims, name)
    assert summary["verdict"] == verdict
    assert "segmenter" in summary["reason"] or "classifier" in summary["reason"]


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


def test_the_peer_of_unknown_level_is_not_tested(claims):
    rows, summary = rows_of(claims, "denoising-separate-over-dncnn")
    assert {*rows["verdict"], summary["verdict"]} == {"not tested"}
    assert summary["reason"].startswith("DnCNN has no published level")
    assert np.isfinite([summary["difference"], summary["low"], summary["p_value"]]).all()


@pytest.mark.parametrize(("below", "tested"), [(0.2, True), (0.5, False)])
def test_the_peer_must_reach_its_published_level(tmp_path, below, tested):
    config = parse_config(shipped("kodak-cpu"), source="kodak-cpu")
    methods = {"methods": ("noisy", "dncnn", "separate"), "sigmas": (15.0,)}
    config = with_parts(config, denoising=methods)
    folder = write_synthetic_run(config, tmp_path, images=24)
    path = folder.evaluation("denoising", 15)
    frame = pd.read_csv(path)
    level = published_level("dncnn", 15, "kodak", config.evaluation.protocol)
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
        path = folder.evaluation("classification", sigma)
        frame = pd.read_csv(path)
        frame.loc[frame["method"] == "clean", "top1"] = 0.0
        frame.to_csv(path, index=False)
    claims = compute_claims(config, folder)
    claims = claims[(claims["part"] == "classification") & claims["n"].notna()]
    assert set(claims["verdict"]) == {"not tested"}
    assert claims["reason"].str.startswith("the classifier reaches 0.0 % on clean").all()


def test_a_trial_of_the_program_tests_nothing(tmp_path):
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
    assert claims["reason"].str.contains("trial").all()


def test_written_claims_equal_computed_ones(config, folder, claims):
    write_claims(config, folder)
    stored = read_csv(folder.claims, CLAIM_COLUMNS)
    texts = ["over", "reason", "unit", "largest_unit"]
    stored[texts] = stored[texts].astype(object).fillna("")
    claims = claims.assign(**claims[texts].astype(object).fillna(""))
    pd.testing.assert_frame_equal(stored, claims, check_dtype=False, check_exact=True)


def photographs(folder, names, part="denoising"):
    """Say what the 40 test images of a part are cut from."""
    ids = [f"test-{index:04d}" for index in range(40)]
    images = ImageSet(ids, np.zeros((40, 2, 2, 3), np.uint8), origins={"photographs": names})
    folder.data(part).parent.mkdir()
    save_splits({"test": images}, folder.data(part))
    return ids


def test_images_of_photographs_are_tested_by_photograph(few, tmp_path):
    name = "denoising-separate-over-noisy"
    folder = write_synthetic_run(few, tmp_path, images=40)
    names = np.repeat(list("abcde"), 8)
    ids = photographs(folder, names)
    rows, summary = rows_of(compute_claims(few, folder), name)
    gaps = []
    for sigma in SIGMAS:
        psnr = evaluation(folder, "denoising", sigma)("psnr").loc[ids]
        gaps.append(psnr["separate"] - psnr["noisy"])
    gaps = pd.concat([*gaps, sum(gaps) / len(gaps)], axis=1)
    means = gaps.groupby(names).mean()
    expected = [stats.ttest_1samp(column, 0).pvalue for _, column in means.items()]
    assert [*rows["p_value"], summary["p_value"]] == pytest.approx(expected)
    assert [*rows["units"], summary["units"]] == [5] * 5
    assert (summary["unit"], summary["n"]) == ("photographs", 40)
    shares = means[means.columns[-1]] / means[means.columns[-1]].sum()
    assert summary["largest_unit"] == shares.idxmax()
    assert summary["largest_share"] == pytest.approx(shares.max())


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


def test_claims_on_methods_that_are_not_configured_are_left_out(few):
    names = {claim.id for claim in configured_claims(few, "denoising", FILE)}
    assert names == {"denoising-separate-over-dncnn", "denoising-separate-over-noisy"}


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
    level = published_level("dncnn", 25, "kodak", config.evaluation.protocol)
    spread = np.linspace(-1, 1, 24)
    for method, mean in (("dncnn", level), ("separate", level + 1)):
        frame.loc[frame["method"] == method, "psnr"] = mean + spread
        spread = spread**2 - np.mean(spread**2)
    frame.to_csv(path, index=False)
    rows, summary = rows_of(compute_claims(config, folder), "denoising-separate-over-dncnn")
    assert rows["verdict"].tolist() == ["holds for these weights", "not tested"]
    assert summary["reason"].startswith("DnCNN has no published level on this data at sigma 30")


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


def test_a_user_s_method_is_compared_with_separate_cbm3d_and_the_best_other(tmp_path):
    plugin = tmp_path / "own.py"
    plugin.write_text("def halved(noisy, *, sigma): ...\n")
    methods = ["noisy", "cbm3d", "separate", "joint", "retrained", f"{plugin}:halved"]
    config = laboratory_config({"segmentation": {"methods": methods, "sigmas": [30]}})
    folder = write_synthetic_run(config, tmp_path / "run", images=20)
    claims = compute_claims(config, folder)
    own = claims[(claims["origin"] == "own") & claims["sigma"].isna()]
    # By QUALITY, `retrained` is better than `joint`, but it has no denoiser.
    assert own["claim"].tolist() == [
        f"segmentation-halved-over-{rival}" for rival in ("separate", "cbm3d", "joint")
    ]
    assert set(own["metric"]) == {"miou"}
    assert own["statement"].iloc[0] == (
        "Segmentation works better after the method Halved than after Separate."
    )
    # A method of unknown quality 0.5; the segmenter was trained once.
    assert set(own["verdict"]) == {"does not hold for these weights"}


def test_the_best_other_method_is_named_once(tmp_path):
    plugin = tmp_path / "own.py"
    plugin.write_text("def halved(noisy, *, sigma): ...\n")
    methods = ["noisy", "cbm3d", "separate", f"{plugin}:halved"]
    config = laboratory_config({"denoising": {"methods": methods, "sigmas": [30]}})
    folder = write_synthetic_run(config, tmp_path / "run", images=20)
    claims = compute_claims(config, folder)
    own = claims[(claims["origin"] == "own") & claims["sigma"].isna()]
    assert own["claim"].tolist() == [
        "denoising-halved-over-separate", "denoising-halved-over-cbm3d",
    ]  # fmt: skip
    assert own["statement"].iloc[1] == "The method Halved has a higher PSNR than CBM3D."
