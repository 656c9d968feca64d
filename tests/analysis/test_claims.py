"""The claims: which there are, and their numbers against pandas, SciPy and plain loops."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, permutation_test
from settings import laboratory_config
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis.claims import CLAIMS, compute_claims, configured_claims, write_claims
from dhl.config.methods import ALLOWED, METRICS, PARTS
from dhl.data.image_set import ImageSet, save_splits
from dhl.run.results import CLAIM_COLUMNS, read_csv
from dhl.seeding import numpy_generator

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


def test_every_claim_is_about_rows_and_metrics_that_exist():
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert {claim.method_a, claim.method_b} <= set(ALLOWED[claim.part])
        assert claim.metric in (*METRICS[claim.part], "psnr")
        assert claim.origin in ("paper", "control", "beyond")
        assert claim.kind in ("better", "nearly-as-good")


@pytest.mark.parametrize("part", PARTS)
def test_the_paper_is_covered(part):
    pairs = {(c.method_a, c.method_b) for c in CLAIMS if c.part == part and c.origin == "paper"}
    denoising = {("separate", "cbm3d"), ("separate", "dncnn"), ("separate", "joint-segmentation")}
    task = {
        ("cbm3d", "noisy"), ("separate", "noisy"), ("joint", "noisy"), ("joint", "cbm3d"),
        ("joint", "separate"), ("cross", "joint"), ("cross", "separate"),
    }  # fmt: skip
    assert pairs == (denoising if part == "denoising" else task)


def test_each_claim_has_a_row_per_sigma_and_a_summary(config, claims):
    assert tuple(claims.columns) == CLAIM_COLUMNS
    configured = [claim.id for part in config.parts for claim in configured_claims(config, part)]
    assert configured == [claim.id for claim in CLAIMS]
    expected = [(name, sigma) for name in configured for sigma in (*SIGMAS, -1)]
    assert list(zip(claims["claim"], claims["sigma"].fillna(-1), strict=True)) == expected


def test_top1_rows_agree_with_pandas_and_scipy(folder, claims):
    rows, _ = rows_of(claims, "classification-joint-over-cbm3d")
    raw = []
    for row in rows.to_dict("records"):
        top1 = evaluation(folder, "classification", int(row["sigma"]))("top1")
        joint, cbm3d = top1["joint"], top1["cbm3d"]
        assert (row["mean_a"], row["mean_b"]) == pytest.approx((joint.mean(), cbm3d.mean()))
        assert row["difference"] == pytest.approx(joint.mean() - cbm3d.mean())
        assert row["n"] == 40
        wins, losses = ((joint > cbm3d).sum(), (joint < cbm3d).sum())
        raw.append(binomtest(wins, wins + losses).pvalue if wins + losses else 1.0)
    assert list(rows["p_images"]) == pytest.approx(raw)
    smallest = int(np.argmin(raw))
    assert rows["p_adjusted"].iloc[smallest] == pytest.approx(min(1, 4 * raw[smallest]))


def test_intervals_are_paired_and_shared_over_sigmas(config, folder, claims):
    rows, summary = rows_of(claims, "denoising-separate-over-cbm3d")
    drawn = numpy_generator(config.base_seed, "bootstrap", "denoising").integers(0, 40, (2000, 40))
    gaps = []
    for row in rows.to_dict("records"):
        psnr = evaluation(folder, "denoising", int(row["sigma"]))("psnr").sort_index()
        gaps.append((psnr["separate"] - psnr["cbm3d"]).to_numpy()[drawn].mean(axis=1))
        expected = np.quantile(gaps[-1], [0.025, 0.975])
        np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected, rtol=1e-9)
    expected = np.quantile(np.mean(gaps, axis=0), [0.025, 0.975])
    np.testing.assert_allclose([summary["ci_low"], summary["ci_high"]], expected, rtol=1e-9)
    assert summary["difference"] == pytest.approx(rows["difference"].mean())
    one_each = np.mean(
        [
            evaluation(folder, "denoising", sigma)("psnr").sort_index().eval("separate - cbm3d")
            for sigma in SIGMAS
        ],
        axis=0,
    )
    reference = permutation_test(
        (one_each,), np.mean, permutation_type="samples", n_resamples=9999, rng=1
    )
    assert summary["p_images"] == pytest.approx(reference.pvalue, abs=0.02)


def test_miou_rows_agree_with_a_loop(config, folder, claims):
    rows, _ = rows_of(claims, "segmentation-cross-near-joint")
    row = rows[rows["sigma"] == 45].iloc[0]
    with np.load(folder.evaluation("segmentation", 45).with_suffix(".npz")) as arrays:
        cross, joint = arrays["confusion/cross"], arrays["confusion/joint"]
    assert (row["mean_a"], row["mean_b"]) == pytest.approx((miou(cross), miou(joint)))
    drawn = numpy_generator(config.base_seed, "bootstrap", "segmentation").integers(
        0, 40, (2000, 40)
    )
    gaps = [miou(cross[picks]) - miou(joint[picks]) for picks in drawn]
    expected = np.quantile(gaps, [0.025, 0.975])
    np.testing.assert_allclose([row["ci_low"], row["ci_high"]], expected, rtol=1e-9)


def test_verdicts_follow_the_adjusted_p_value(claims):
    tested = claims[claims["p_images"].notna()]
    significant = tested["p_adjusted"] < 0.05
    # The made-up run has rows whose verdict the correction decides.
    assert ((tested["p_images"] < 0.05) & ~significant).any()
    assert ((tested["verdict"] == "inconclusive") == ~significant).all()


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        # From the qualities of the methods in the made-up run.
        ("segmentation-joint-over-noisy", "reproduced"),
        ("segmentation-joint-over-separate-matched", "reproduced"),
        ("segmentation-joint-over-retrained", "not reproduced"),
        ("classification-separate-over-noisy", "reproduced"),
        ("segmentation-cross-near-joint", "reproduced"),
    ],
)
def test_known_answers(claims, name, verdict):
    rows, summary = rows_of(claims, name)
    assert summary["verdict"] == verdict
    assert set(rows["verdict"]) == {verdict}
    assert summary["p_images"] < 0.05 or "near" in name


def test_written_claims_equal_computed_ones(config, folder, claims):
    write_claims(config, folder)
    stored = read_csv(folder.claims, CLAIM_COLUMNS)
    pd.testing.assert_frame_equal(stored, claims, check_dtype=False, check_exact=True)


def test_photographs_with_the_sign_of_the_average_are_counted(few, tmp_path):
    name = "denoising-separate-over-dncnn"
    folder = write_synthetic_run(few, tmp_path, images=40)
    rows, summary = rows_of(compute_claims(few, folder), name)
    assert rows["photographs"].isna().all() and pd.isna(summary["photographs_alike"])
    ids = [f"test-{index:04d}" for index in range(40)]
    names = np.array(["chelsea", "coffee", "flower", "chelsea"] * 10)
    images = ImageSet(ids, np.zeros((40, 2, 2, 3), np.uint8), origins={"photographs": names})
    folder.data("denoising").parent.mkdir()
    save_splits({"test": images}, folder.data("denoising"))

    rows, summary = rows_of(compute_claims(few, folder), name)
    gaps = []
    for sigma in SIGMAS:
        psnr = evaluation(folder, "denoising", sigma)("psnr")
        gaps.append(psnr["separate"] - psnr["dncnn"])
    gaps = pd.concat([*gaps, sum(gaps) / len(gaps)], axis=1).loc[ids]
    signs = np.sign(gaps.groupby(names).mean())
    expected = (signs == np.sign(gaps.mean())).sum().tolist()
    assert [*rows["photographs_alike"], summary["photographs_alike"]] == expected
    assert len(set(expected)) > 1
    assert [*rows["photographs"], summary["photographs"]] == [3] * 5


def test_a_method_without_rows_leaves_a_reason(few, tmp_path):
    folder = write_synthetic_run(few, tmp_path, images=12)
    drop_method(folder.evaluation("denoising", 30), "separate")
    rows, summary = rows_of(compute_claims(few, folder), "denoising-separate-over-noisy")
    failed = rows[rows["sigma"] == 30].iloc[0]
    assert failed["verdict"] == "inconclusive"
    assert failed["test"] == "none: no psnr of `separate` in evaluation/denoising/sigma30.csv"
    assert failed[["mean_a", "difference", "ci_low", "p_images", "n"]].isna().all()
    assert rows.loc[rows["sigma"] != 30, "p_images"].notna().all()
    assert summary["verdict"] != "reproduced"
    assert np.isnan(summary["difference"])


def test_claims_on_methods_that_are_not_configured_are_left_out(few):
    names = {claim.id for claim in configured_claims(few, "denoising")}
    assert names == {"denoising-separate-over-dncnn", "denoising-separate-over-noisy"}


def test_other_images_at_another_sigma_leave_the_summary_without_interval(few, tmp_path):
    folder = write_synthetic_run(few, tmp_path, images=12)
    path = folder.evaluation("denoising", 60)
    frame = pd.read_csv(path)
    frame.replace({"image_id": {"test-0000": "other"}}).to_csv(path, index=False)
    rows, summary = rows_of(compute_claims(few, folder), "denoising-separate-over-noisy")
    assert np.isnan(summary["ci_low"])
    assert rows["ci_low"].notna().all()
    assert summary["difference"] == pytest.approx(rows["difference"].mean())


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
    assert set(own["verdict"]) == {"not reproduced"}  # a method of unknown quality 0.5


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
