"""The results in README.md, made from the committed reference: `python tests/readme_block.py`."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dhl.analysis.sensitivity import denoiser_label, main_metric, reader_label
from dhl.analysis.verdicts import margin_verdict
from dhl.config.methods import METHODS, TASKS
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.files import PROJECT
from dhl.run.folder import RunFolder

REFERENCE = PROJECT / "results" / "reference"
ORIGINS = {
    "paper": "Claims of the paper",
    "control": "Controls that the paper lacks",
    "beyond": "Beyond the paper",
}
METRIC_NAMES = {"psnr": "PSNR", "top1": "top-1", "miou": "mIoU"}


def table_block(folder: RunFolder, columns: tuple[tuple[int, str, str, float, int], ...]) -> str:
    """Return a Markdown table: methods in rows; table, metric and sigma in columns."""
    cells: dict[str, list[str]] = {}
    head = ["method"]
    for number, metric, title, factor, decimals in columns:
        table = pd.read_csv(folder.table(number))
        table = table[(table["image_id"] == "average") & (table["metric"] == metric)]
        for sigma, rows in table.groupby("sigma"):
            head.append(f"{title}, σ {sigma:g}")
            for method, value in rows.set_index("method")["value"].items():
                cells.setdefault(method, []).append(f"{factor * value:.{decimals}f}")
    return markdown(head, [[METHODS[method].label, *row] for method, row in cells.items()])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [" | ".join(row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def claims_block(folder: RunFolder) -> str:
    """Return the verdicts over all sigmas, grouped by who makes the claim."""
    claims = pd.read_csv(folder.claims)
    single = claims[claims["sigma"].notna()].groupby("claim")["verdict"]

    def cells(row) -> list[str]:
        alone = single.get_group(row.claim)
        same = f"{(alone == row.verdict).sum()} of {len(alone)}"
        alike = (
            [f"{row.photographs_alike:.0f} of {row.photographs:.0f}"]
            if "photographs" in claims
            else []
        )
        return [difference(row, "ci"), row.verdict, same, *alike]

    head = ["claim, over all sigmas", "difference", "verdict", "the same at single sigmas"]
    head += ["alike in photographs"] if "photographs" in claims else []
    return markdown(head, grouped(claims, cells))


def grouped(claims: pd.DataFrame, cells: Callable) -> list[list[str]]:
    """Return a row per claim over all sigmas: its title and cells, below who makes it."""
    summary = claims[claims["sigma"].isna()]
    lines = []
    for origin, title in ORIGINS.items():
        rows = [
            [claim_title(row), *cells(row)]
            for row in summary[summary["origin"] == origin].itertuples()
        ]
        lines += [[f"**{title}**", *[""] * (len(rows[0]) - 1)], *rows] if rows else []
    return lines


def margin_line(folder: RunFolder) -> str:
    """Return how the control would fare in the test of "nearly as good"."""
    claims = pd.read_csv(folder.claims)
    rows = claims[claims["sigma"].isna()].set_index("claim")
    verdicts = []
    for task in TASKS:
        row = rows.loc[f"{task}-joint-over-separate-matched"]
        margin = margin_of(rows.loc[f"{task}-cross-near-joint"]) / 100
        low, high = (
            -row[[f"{kind}_{end}" for kind in ("ci", "seed", "both")]] for end in ("high", "low")
        )
        verdict = margin_verdict(low=low.min(), high=high.max(), margin=margin)
        verdicts.append(f"{verdict} in {task}")
    return f'"Separate, matched nearly as good as Joint" would be {", ".join(verdicts)}.'


def margin_of(row) -> float:
    """Read the margin out of the description of the test, in points."""
    return float(row.test.removeprefix("interval against a margin of ").removesuffix(" points"))


def claim_title(row) -> str:
    """Return a claim in a few words."""
    first, second = METHODS[row.method_a].label, METHODS[row.method_b].label
    metric = METRIC_NAMES[row.metric]
    if "near" in row.claim:
        margin = f"(margin {margin_of(row):g} points)"
        return f"{row.part.capitalize()}, {metric}: {first} nearly as good as {second} {margin}"
    return f"{row.part.capitalize()}, {metric}: {first} above {second}"


def difference(row, kind: str) -> str:
    """Return a difference in dB or points, with its interval: over trainings too if several."""
    factor, unit, decimals = unit_of(row)
    kind = "both" if getattr(row, "seeds", 1) > 1 else kind
    ends = (factor * getattr(row, f"{kind}_{end}") for end in ("low", "high"))
    shown = " to ".join(f"{end:+.{decimals}f}" for end in ends)
    return f"{factor * row.difference:+.{decimals}f} {unit} ({shown})"


def unit_of(row) -> tuple[float, str, int]:
    """Return factor, name and decimals of the unit that a row's difference is printed in."""
    return (1, "dB", 2) if row.metric == "psnr" else (100, "points", 1)


def sensitivity_block(config: Config, folder: RunFolder) -> str:
    """Return what other task weights, noise levels and task networks change."""
    table = pd.read_csv(folder.sensitivity)
    rows = dict(tuple(table.groupby("experiment")))
    return "\n\n".join(
        [
            weights_block(config, rows["task-weight"]),
            mismatch_block(rows["sigma-mismatch"]),
            transfer_block(config, rows["transfer"]),
        ]
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
                 difference(score, "difference") if weight else ""]
            )  # fmt: skip
    return markdown(head, [[label, *row] for label, row in cells.items()])


def mismatch_block(rows: pd.DataFrame) -> str:
    """Return the PSNR of the separate denoiser of each sigma on the noise of each."""
    own = rows[rows["denoiser"].str.startswith("separate/") & (rows["metric"] == "psnr")]
    grid = own.pivot(index="trained_sigma", columns="sigma", values="value")
    head = ["Separate, trained for", *(f"PSNR on noise of σ {sigma:g}" for sigma in grid.columns)]
    return markdown(
        head,
        [[f"σ {row.Index:g}", *(f"{one:.2f}" for one in row[1:])] for row in grid.itertuples()],
    )


def transfer_block(config: Config, rows: pd.DataFrame) -> str:
    """Return how far each denoiser is above the matched one, by the task network that reads it."""
    rows = rows[[metric == main_metric(part) for metric, part in rows[["metric", "part"]].values]]
    head = [f"above Separate, matched; σ {rows['sigma'].iloc[0]:g}"]
    cells: dict[str, list[str]] = {}
    for reader, own in rows.groupby("reader", sort=False):
        metric = METRIC_NAMES[own["metric"].iloc[0]]
        head.append(f"{metric}, read by {reader_label(config, reader)}")
        for row in own[own["denoiser"].str.contains("/")].dropna(subset="difference").itertuples():
            label = denoiser_label(config, row.denoiser)
            cells.setdefault(label, []).append(difference(row, "difference"))
    return markdown(head, [[label, *row] for label, row in cells.items()])


def mini_block() -> str:
    """Return the three tables and the verdicts of `mini`, trained three times."""
    folder = RunFolder(REFERENCE / "mini-3")
    tasks = ((2, "top1", "top-1", 100, 1), (3, "miou", "mIoU", 100, 1))
    return "\n\n".join(
        [
            table_block(folder, tasks),
            table_block(folder, ((1, "psnr", "PSNR", 1, 2),)),
            claims_block(folder),
            margin_line(folder),
        ]
    )


def kodak_block() -> str:
    """Return Table 1 on Kodak's images, and its verdicts."""
    folder = RunFolder(REFERENCE / "kodak-cpu")
    columns = ((1, "psnr", "PSNR", 1, 2), (1, "ssim", "SSIM", 1, 3))
    return "\n\n".join([table_block(folder, columns), claims_block(folder)])


def mini_sensitivity_block() -> str:
    """Return the experiments beyond the paper of the same run."""
    config = load_config(PROJECT / "config" / "mini.yaml")
    return sensitivity_block(config, RunFolder(REFERENCE / "mini-3"))


if __name__ == "__main__":
    blocks = (mini_block, mini_sensitivity_block, kodak_block)
    print(*(block() for block in blocks), sep="\n\n")
