"""The comparisons: which there are, and their numbers against pandas, SciPy and plain loops."""

import numpy as np
import pandas as pd
import pytest
from claim_rows import CLAIMS, FILE, SIGMAS, photographs, rows_of, set_metric
from scipy import stats
from settings import laboratory_config
from synthetic_run import write_synthetic_run

from dhl.analysis.claims import compute_claims, configured_claims, write_claims
from dhl.analysis.claims_file import read_claims_file
from dhl.config.methods import ALLOWED, METRICS, PARTS
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.run.results import CLAIM_COLUMNS, read_csv


@pytest.fixture(scope="module")
def folder(config, tmp_path_factory):
    return write_synthetic_run(config, tmp_path_factory.mktemp("run"), images=40)


@pytest.fixture(scope="module")
def claims(config, folder):
    return compute_claims(config, folder)


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


def assert_holm(family):
    """Check that the p-values of a family of comparisons are corrected over it alone."""
    family = family.sort_values("p_value")
    steps = family["p_value"] * np.arange(len(family), 0, -1)
    np.testing.assert_allclose(family["p_adjusted"], steps.cummax().clip(upper=1))


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
    [("version: 6", "version: six"), ("claims:", "klaims:"), ("better:", "bettr:")],
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


def test_the_gradient_is_better_if_it_is_nearer_to_that_of_the_clean_image(config, tmp_path):
    """Both methods are above 1, as with noise left: the one with more gradient loses."""
    folder = write_synthetic_run(config, tmp_path, images=12)
    rng = np.random.default_rng(1)
    ranges = {"separate": (0.9, 1.2), "joint-segmentation": (1.1, 1.4),
              "joint-classification": (0.98, 1.02)}  # fmt: skip
    levels = {method: rng.uniform(*ends, 12) for method, ends in ranges.items()}
    for sigma in SIGMAS:
        set_metric(folder, "denoising", sigma, "gradient", levels)
    claims = compute_claims(config, folder)
    far = np.abs(levels["separate"] - 1)
    for task, word in (("segmentation", "does not hold for"), ("classification", "holds for")):
        own = levels[f"joint-{task}"]
        nearer = far - np.abs(own - 1)
        rows, summary = rows_of(claims, f"denoising-gradient-joint-{task}-over-separate")
        reference = stats.ttest_1samp(nearer, 0)
        for row in [*rows.to_dict("records"), summary]:
            assert row["difference"] == pytest.approx(nearer.mean())
            assert row["p_value"] == pytest.approx(reference.pvalue)
            ends = tuple(reference.confidence_interval())
            assert (row["low"], row["high"]) == pytest.approx(ends)
            assert (row["wins"], row["losses"]) == ((nearer > 0).sum(), (nearer < 0).sum())
            assert row["mean_a"] == pytest.approx(own.mean())
        assert summary["slope"] == pytest.approx(0)
        assert summary["verdict"] == f"{word} these weights"
    _, summary = rows_of(claims, "denoising-gradient-joint-segmentation-over-separate")
    assert summary["mean_a"] > summary["mean_b"] > 1


@pytest.mark.parametrize("holds", [True, False])
def test_a_lower_value_of_a_loss_wins(config, tmp_path, holds):
    folder = write_synthetic_run(config, tmp_path, images=12)
    gaps = np.random.default_rng(2).uniform(-0.05, 0.25, 12) * (1 if holds else -1)
    lower = 0.5 - gaps
    for sigma in SIGMAS:
        task = {"joint": lower, "separate": 0.5}
        own = {"separate": lower, "joint-segmentation": 0.5}
        set_metric(folder, "classification", sigma, "cross_entropy", task)
        set_metric(folder, "denoising", sigma, "gmsd", own)
    claims = compute_claims(config, folder)
    for name in (
        "classification-cross-entropy-joint-over-separate",
        "denoising-gmsd-separate-over-joint-segmentation",
    ):
        rows, summary = rows_of(claims, name)
        for row in [*rows.to_dict("records"), summary]:
            assert row["difference"] == pytest.approx(-gaps.mean())
            assert (row["wins"], row["losses"]) == ((gaps > 0).sum(), (gaps < 0).sum())
            assert row["verdict"] == f"{'holds' if holds else 'does not hold'} for these weights"


def test_a_sigma_with_the_opposite_result_leaves_the_summary_inconclusive(config, tmp_path):
    folder = write_synthetic_run(config, tmp_path, images=40)
    all_right, half_right = np.ones(40), np.arange(40) % 2
    for sigma in SIGMAS:
        joint, separate = (all_right, half_right) if sigma < 60 else (half_right, all_right)
        set_metric(folder, "classification", sigma, "top1", {"joint": joint, "separate": separate})
    rows, summary = rows_of(compute_claims(config, folder), "classification-joint-over-separate")
    holds, opposite = "holds for these weights", "does not hold for these weights"
    assert rows["verdict"].tolist() == [holds, holds, holds, opposite]
    assert summary["difference"] > 0 and summary["p_value"] < 0.05
    assert summary["verdict"] == summary["verdict_adjusted"] == "inconclusive"


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
    shares = claims[claims["over"] != ""]
    assert shares[["n", "units", "seeds", "networks", "p_value"]].notna().all(axis=None)
    of_a_difference = ["difference", "low", "high", "units_low", "units_high", "wins", "losses",
                       "effect_size", "largest_share", "slope", "slope_low"]  # fmt: skip
    assert shares[of_a_difference].isna().all(axis=None)


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
        assert_holm(tested[tested["sigma"].isna() == average])


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


def test_the_peer_of_unknown_level_is_not_tested(claims):
    rows, summary = rows_of(claims, "denoising-separate-over-dncnn")
    assert {*rows["verdict"], summary["verdict"]} == {"not tested"}
    assert summary["reason"].startswith("DnCNN has no published level")
    assert np.isfinite([summary["difference"], summary["low"], summary["p_value"]]).all()


def test_written_claims_equal_computed_ones(config, folder, claims):
    write_claims(config, folder)
    stored = read_csv(folder.claims, CLAIM_COLUMNS)
    texts = ["over", "reason", "unit", "largest_unit"]
    stored[texts] = stored[texts].astype(object).fillna("")
    claims = claims.assign(**claims[texts].astype(object).fillna(""))
    pd.testing.assert_frame_equal(stored, claims, check_dtype=False, check_exact=True)


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


def test_claims_on_methods_that_are_not_configured_are_left_out(few):
    names = {claim.id for claim in configured_claims(few, "denoising", FILE)}
    assert names == {"denoising-separate-over-dncnn", "denoising-separate-over-noisy"}


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
    assert_holm(own)  # and not together with the comparisons of the paper


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
