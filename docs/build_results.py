"""Tables of README.md and docs/results.md, from the committed reference runs."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pandas as pd

from dhl.analysis.calibration import PROTOCOL, read_calibration
from dhl.analysis.measurements import read_measurements
from dhl.analysis.sensitivity import denoiser_label, main_metric, reader_label
from dhl.analysis.statistics import mean_of, share_interval
from dhl.analysis.units import UNITS
from dhl.config.methods import METHODS, TABLES, TASKS
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.files import PROJECT
from dhl.report.formats import format_share, name_comparison
from dhl.run.folder import RunFolder

REFERENCE = PROJECT / "results" / "reference"
RESULTS = RunFolder(REFERENCE / "photos")  # the answer
SWAPPED = RunFolder(REFERENCE / "photos-swapped")  # the answer on the other photographs
FFDNET = RunFolder(REFERENCE / "photos-ffdnet")  # its question with a published denoiser
FFDNET_SWAPPED = RunFolder(REFERENCE / "photos-ffdnet-swapped")  # on the other photographs
FFDNET_FRAMES = RunFolder(REFERENCE / "photos-ffdnet-frames")  # on other frames
MINI = RunFolder(REFERENCE / "mini")
DRAWS = RunFolder(REFERENCE / "mini-draws")
LABORATORY = RunFolder(REFERENCE / "laboratory")  # more controls, and the studies
KODAK = RunFolder(REFERENCE / "kodak-cpu")
TASK_METRICS = (("classification", "top1"), ("segmentation", "miou"))
FURTHER = (
    ("classification", "top5"),
    ("classification", "cross_entropy"),
    ("segmentation", "cross_entropy"),
)
ORIGINS = {
    "paper": "Claims of the paper",
    "control": "Controls that the paper lacks",
    "beyond": "Beyond the paper",
}
# Comparisons in both tasks, and the sources of error of their intervals.
COMPARED = (
    "cbm3d-over-noisy", "separate-over-noisy", "joint-over-separate", "joint-over-cbm3d",
    "joint-over-separate-matched", "cross-over-cross-matched",
)  # fmt: skip
# Comparisons of top-1 in both runs of the photographs; the first decides, see docs/photos.md.
POOLED = (
    "joint-over-separate-matched", "joint-over-separate", "joint-perceptual-over-separate-matched",
    "joint-over-joint-perceptual", "joint-over-cbm3d",
)  # fmt: skip
SOURCES = {"units_": "images", "seed_": "denoisers", "network_": "task networks"}
METRIC_NAMES = {
    "psnr": "PSNR", "ssim": "SSIM", "top1": "top-1", "top5": "top-5", "miou": "mIoU",
    "cross_entropy": "cross-entropy", "gmsd": "GMSD", "gradient": "relative gradient",
}  # fmt: skip
# Here with fewer decimals than in a run's tables.
PRINTED = UNITS | {
    "ssim": UNITS["ssim"]._replace(decimals=3),
    "cross_entropy": UNITS["cross_entropy"]._replace(decimals=2),
}


def table_block(
    folder: RunFolder, metrics: tuple[tuple[str, str], ...], sigmas: tuple[float, ...] = ()
) -> str:
    """Return a Markdown table: methods in rows; metric and sigma (all unless named) in columns."""
    names = [METRIC_NAMES[metric] for _, metric in metrics]
    repeated = {name for name in names if names.count(name) > 1}
    columns: dict[str, dict[str, str]] = {}
    methods: dict[str, None] = {}
    for part, metric in metrics:
        for sigma, rows in averages(folder, part, metric).groupby("sigma"):
            if sigmas and sigma not in sigmas:
                continue
            values = rows.set_index("method")["value"]
            column = {method: PRINTED[metric].number(value) for method, value in values.items()}
            methods |= dict.fromkeys(column)
            name = METRIC_NAMES[metric]
            name += f" in {part}" if name in repeated else ""
            columns[f"{name}, σ {sigma:g}"] = column
    lines = [
        [METHODS[method].label, *(column.get(method, "–") for column in columns.values())]
        for method in methods
    ]
    return markdown(["method", *columns], lines)


def averages(folder: RunFolder, part: str, metric: str) -> pd.DataFrame:
    """Read the values of a metric over all test images."""
    table = pd.read_csv(folder.table(TABLES[part]))
    return table[(table["image_id"] == "average") & (table["metric"] == metric)]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def claims_block(folder: RunFolder, origins: tuple[str, ...] = tuple(ORIGINS)) -> str:
    """Return the verdicts over all sigmas, grouped by the origin of the claim."""
    claims = pd.read_csv(folder.claims)
    single = claims[claims["sigma"].notna()].groupby("claim")["verdict_adjusted"]
    summary = summary_of(folder)

    def cells(row) -> list[str]:
        alone = single.get_group(row.claim)
        same = f"{(alone == row.verdict_adjusted).sum()} of {len(alone)}" if len(alone) > 1 else ""
        carried = ""
        if row.largest_share > 0.5:
            carried = f"{row.largest_unit}, {100 * row.largest_share:.0f} %"
        return [difference(row, ""), row.verdict_adjusted, same, carried]

    lines = []
    for origin in origins:
        rows = [
            [claim_title(row), *cells(row)]
            for row in summary[summary["origin"] == origin].itertuples()
        ]
        title = f"**{ORIGINS[origin]}**"
        lines += [[title, *[""] * (len(rows[0]) - 1)], *rows] if rows else []
    head = ["comparison, over all sigmas", "difference", "verdict", "same verdict at single sigmas"]
    head.append("largest share, if > 50 %")
    kept = [place for place in range(len(head)) if any(line[place] for line in lines)]
    head, *lines = ([line[place] for place in kept] for line in [head, *lines])
    return markdown(head, lines)


def claim_title(row) -> str:
    """Return a claim in a few words."""
    where = f"{row.part.capitalize()}, {METRIC_NAMES[row.metric]}"
    over = row.over if isinstance(row.over, str) else ""
    return f"{where}: {name_comparison(row.method_a, row.method_b, over, metric=row.metric)}"


def difference(row, kind: str) -> str:
    """Return a difference with its interval, or the share of a gain that is kept.

    `kind` is the beginning of the interval's columns.
    """
    if isinstance(getattr(row, "over", None), str):
        value, low, high = map(format_share, (row.share, row.share_low, row.share_high))
        return f"{value} ({low} to {high})" if math.isfinite(row.share_low) else "unknown"
    return f"{UNITS[row.metric].difference(row.difference)} ({interval(row, kind)})"


def interval(row, kind: str) -> str:
    """Return the interval of a difference; `kind` is the beginning of its columns."""
    low, high = getattr(row, f"{kind}low"), getattr(row, f"{kind}high")
    return UNITS[row.metric].interval(low, high) if math.isfinite(low) else "–"


def summary_of(folder: RunFolder) -> pd.DataFrame:
    """Return the comparisons over all sigmas, by name."""
    claims = pd.read_csv(folder.claims)
    return claims[claims["sigma"].isna()].set_index("claim", drop=False)


def sources_block(folder: RunFolder) -> str:
    """Return comparisons over all sigmas with the interval of each source of error alone."""
    summary = summary_of(folder)
    head = ["comparison", "difference", *SOURCES.values(), "verdict"]
    rows = []
    for task, name in itertools.product(TASKS, COMPARED):
        (row,) = summary.loc[[f"{task}-{name}"]].itertuples()
        intervals = [interval(row, source) for source in SOURCES]
        rows.append([claim_title(row), difference(row, ""), *intervals, row.verdict_adjusted])
    return markdown(head, rows)


def pooled_block() -> str:
    """Return comparisons of `photos`, of `photos-swapped`, and their mean over all photographs."""
    runs = [pd.read_csv(run.claims) for run in (RESULTS, SWAPPED)]
    head, lines = [], []
    for sigma, name in itertools.product((None, 60), POOLED):
        own = []
        for claims in runs:
            at_sigma = claims["sigma"].isna() if sigma is None else claims["sigma"] == sigma
            (row,) = claims[at_sigma & (claims["claim"] == f"classification-{name}")].itertuples()
            own.append(row)
        both = pooled(own)
        head = [f"{row.n} photographs" for row in (*own, both)]
        title = f"{METHODS[both.method_a].label} above {METHODS[both.method_b].label}"
        level = "both σ" if sigma is None else f"σ {sigma}"
        lines.append([f"{title}, {level}", *(difference(row, "") for row in (*own, both))])
    return markdown(["top-1", *head], lines)


def pooled(rows: list) -> SimpleNamespace:
    """Return the mean of independent differences, weighted by images, with its interval."""
    count = sum(row.n for row in rows)
    mean = sum(row.n * row.difference for row in rows) / count
    half = math.hypot(*(row.n * (row.high - row.low) / 2 for row in rows)) / count
    shared = {name: getattr(rows[0], name) for name in ("metric", "method_a", "method_b")}
    return SimpleNamespace(n=count, difference=mean, low=mean - half, high=mean + half, **shared)


def control_block() -> str:
    """Return the share of `joint`'s gain in mIoU that longer training without labels has."""
    rows = []
    for folder in (RESULTS, MINI, DRAWS, LABORATORY):
        config = load_config(folder.config)
        part = config.parts["segmentation"]
        measured = [read_measurements(config, folder, "segmentation", one) for one in part.sigmas]
        control, joint = (
            mean_of([one.estimate(method, "miou") - one.estimate("separate", "miou")
                     for one in measured])
            for method in ("separate-matched", "joint")
        )  # fmt: skip
        share = share_interval(control, joint, measured[0].units, confidence=0.95)
        value, low, high = map(format_share, share)
        rows.append([f"`{config.run}`", str(config.seeds), f"{value} ({low} to {high})"])
    return markdown(["run", "trainings of a denoiser", "share of the gain"], rows)


def repeated_line(folder: RunFolder, once: RunFolder) -> str:
    """Say what several trainings changed of the comparisons of a run with one."""
    several, single = summary_of(folder), summary_of(once)
    single = single[single["over"].isna() & single["claim"].isin(several["claim"])]
    several = several.loc[single["claim"]]
    outside = ~several["difference"].between(single["low"], single["high"])
    held = single["verdict_adjusted"] == "holds for these weights"
    reproduced = (several["verdict_adjusted"] == "reproduced") & held
    return (
        f"Of {len(single)} differences, {outside.sum()} are outside the 95 % interval that one "
        "training gave. It is one of the three; of independent trainings, more would be outside. "
        f"Of {held.sum()} comparisons that *hold for these weights* in `mini`, {reproduced.sum()} "
        "are *reproduced* here."
    )


def weights_block(config: Config, rows: pd.DataFrame) -> str:
    """Return PSNR and the task's metric for each weight of the task's loss."""
    head, cells = [f"task weight, σ {rows['sigma'].iloc[0]:g}"], {}
    for task in TASKS:
        own = rows[rows["part"] == task].set_index(["task_weight", "metric"], drop=False)
        unit = config.parts[task].training.joint.task_weight
        name = METRIC_NAMES[main_metric(task)]
        head += [f"PSNR, {task}", name, f"{name} above weight 0"]
        for weight in sorted(set(own["task_weight"])):
            fidelity, score = (own.loc[(weight, metric)] for metric in ("psnr", main_metric(task)))
            label = f"{weight / unit:g} times the authors'" if weight else "0: Separate, matched"
            cells.setdefault(label, []).extend(
                [f"{fidelity['value']:.2f}", f"{100 * score['value']:.1f}",
                 difference(score, "difference_") if weight else ""]
            )  # fmt: skip
    return markdown(head, [[label, *row] for label, row in cells.items()])


def mismatch_block(rows: pd.DataFrame) -> str:
    """Return the PSNR of the separate denoiser for each sigma on noise of each sigma."""
    own = rows[rows["denoiser"].str.startswith("separate/") & (rows["metric"] == "psnr")]
    grid = own.pivot(index="trained_sigma", columns="sigma", values="value")
    head = ["Separate, trained for", *(f"PSNR on noise of σ {sigma:g}" for sigma in grid.columns)]
    return markdown(
        head,
        [[f"σ {row.Index:g}", *(f"{one:.2f}" for one in row[1:])] for row in grid.itertuples()],
    )


def transfer_block(config: Config, rows: pd.DataFrame) -> str:
    """Return the gain of each denoiser over the matched one with each task network."""
    rows = rows[[metric == main_metric(part) for metric, part in rows[["metric", "part"]].values]]
    head = [f"above Separate, matched; σ {rows['sigma'].iloc[0]:g}"]
    cells: dict[str, list[str]] = {}
    for reader, own in rows.groupby("reader", sort=False):
        metric = METRIC_NAMES[own["metric"].iloc[0]]
        head.append(f"{metric} with {reader_label(config, reader)}")
        for row in own[own["denoiser"].str.contains("/")].dropna(subset="difference").itertuples():
            label = denoiser_label(config, row.denoiser)
            cells.setdefault(label, []).append(difference(row, "difference_"))
    return markdown(head, [[label, *row] for label, row in cells.items()])


def study_rows(experiment: str) -> pd.DataFrame:
    """Read the rows of one sensitivity study of `laboratory`."""
    table = pd.read_csv(LABORATORY.sensitivity)
    return table[table["experiment"] == experiment]


def short_block() -> str:
    """Return the table of the README."""
    return table_block(RESULTS, TASK_METRICS, sigmas=(30, 60))


def result_blocks() -> dict[str, str]:
    """Return the tables of docs/results.md by name."""
    config = load_config(PROJECT / "config" / "laboratory.yaml")
    return {
        "accuracy": table_block(RESULTS, TASK_METRICS),
        "further": table_block(RESULTS, FURTHER),
        "psnr": table_block(RESULTS, (("denoising", "psnr"),)),
        "claims": claims_block(RESULTS),
        "control": control_block(),
        "swapped": table_block(SWAPPED, (TASK_METRICS[0], *FURTHER[:2])),
        "pooled": pooled_block(),
        "ffdnet-tasks": table_block(FFDNET, (*TASK_METRICS, *FURTHER)),
        "ffdnet-psnr": table_block(FFDNET, (("denoising", "psnr"),)),
        "ffdnet-claims": claims_block(FFDNET),
        "ffdnet-swapped": table_block(FFDNET_SWAPPED, (TASK_METRICS[0], *FURTHER[:2])),
        "ffdnet-swapped-claims": claims_block(FFDNET_SWAPPED),
        "ffdnet-frames": table_block(FFDNET_FRAMES, (TASK_METRICS[1], FURTHER[2])),
        "ffdnet-frames-claims": claims_block(FFDNET_FRAMES),
        "mini-accuracy": table_block(MINI, TASK_METRICS),
        "mini-psnr": table_block(MINI, (("denoising", "psnr"),)),
        "mini-claims": claims_block(MINI),
        "laboratory-accuracy": table_block(LABORATORY, TASK_METRICS),
        "laboratory-psnr": table_block(LABORATORY, (("denoising", "psnr"),)),
        "laboratory-controls": claims_block(LABORATORY, ("control",)),
        "draws": f"{sources_block(DRAWS)}\n\n{repeated_line(DRAWS, MINI)}",
        "task-weight": weights_block(config, study_rows("task-weight")),
        "sigma-mismatch": mismatch_block(study_rows("sigma-mismatch")),
        "transfer": transfer_block(config, study_rows("transfer")),
        "kodak": table_block(KODAK, (("denoising", "psnr"), ("denoising", "ssim"))),
        "calibration": calibration_block(),
    }


def calibration_block() -> str:
    """Return published PSNR beside that of the same denoisers here, and the largest difference."""
    rows = read_calibration()
    compared = rows.dropna(subset="difference")
    complete = rows[(rows["region"] == "full") & (rows["protocol"] == PROTOCOL)]
    complete = complete.set_index(["method", "sigma"])["value"]
    head = ["denoiser, images", "σ", "published", "here", "difference", "here, complete images"]
    cells = [
        [
            f"{row.method}, {'crops' if row.region == 'crop' else row.image_id}",
            f"{row.sigma:g}", f"{row.published:.2f} ({row.source})", f"{row.value:.2f}",
            UNITS["psnr"].signed(row.difference), f"{complete[row.method, row.sigma]:.2f}",
        ]
        for row in compared.itertuples()
    ]  # fmt: skip
    most = compared["difference"].abs().max()
    return f"{markdown(head, cells)}\n\nThe largest difference is {most:.2f} dB."
