"""The results in README.md, made from the committed reference: `python tests/readme_block.py`."""

from __future__ import annotations

import pandas as pd

from dhl.methods import METHODS, TASKS
from dhl.results import PROJECT, RunFolder
from dhl.statistics import margin_verdict

REFERENCE = PROJECT / "results" / "reference"
ORIGINS = {
    "paper": "Claims of the paper",
    "control": "Controls that the paper lacks",
    "beyond": "Beyond the paper",
}


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
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    lines += [" | ".join([METHODS[method].label, *values]) for method, values in cells.items()]
    return "\n".join(f"| {line} |" for line in lines)


def claims_block(folder: RunFolder) -> str:
    """Return the verdicts over all sigmas, grouped by who makes the claim."""
    claims = pd.read_csv(folder.claims)
    summary, single = claims[claims["sigma"].isna()], claims[claims["sigma"].notna()]
    lines = ["| claim, over all sigmas | difference | verdict | the same at single sigmas |"]
    lines += ["| --- | --- | --- | --- |"]
    for origin, title in ORIGINS.items():
        rows = summary[summary["origin"] == origin]
        lines += [f"| **{title}** | | | |"] if len(rows) else []
        for row in rows.itertuples():
            alone = single[single["claim"] == row.claim]["verdict"]
            same = f"{(alone == row.verdict).sum()} of {len(alone)}"
            lines.append(f"| {claim_title(row)} | {difference(row)} | {row.verdict} | {same} |")
    return "\n".join(lines)


def margin_line(folder: RunFolder) -> str:
    """Return how the control would fare in the test of "nearly as good"."""
    claims = pd.read_csv(folder.claims)
    rows = claims[claims["sigma"].isna()].set_index("claim")
    verdicts = []
    for task in TASKS:
        row = rows.loc[f"{task}-joint-over-separate-matched"]
        margin = margin_of(rows.loc[f"{task}-cross-near-joint"])
        verdict = margin_verdict(low=-row["ci_high"], high=-row["ci_low"], margin=margin)
        verdicts.append(f"{verdict} in {task}")
    return f'"Separate, matched nearly as good as Joint" would be {", ".join(verdicts)}.'


def margin_of(row) -> float:
    """Read the margin out of the description of the test."""
    return float(row.test.removeprefix("interval against the margin "))


def claim_title(row) -> str:
    """Return a claim in a few words."""
    first, second = METHODS[row.method_a].label, METHODS[row.method_b].label
    metric = {"psnr": "PSNR", "top1": "top-1", "miou": "mIoU"}[row.metric]
    if "near" in row.claim:
        margin = f"(margin {100 * margin_of(row):g} points)"
        return f"{row.part.capitalize()}, {metric}: {first} nearly as good as {second} {margin}"
    return f"{row.part.capitalize()}, {metric}: {first} above {second}"


def difference(row) -> str:
    """Return a difference with its interval, in dB or points."""
    factor, unit, decimals = (1, "dB", 2) if row.metric == "psnr" else (100, "points", 1)
    value, low, high = (factor * one for one in (row.difference, row.ci_low, row.ci_high))
    return f"{value:+.{decimals}f} {unit} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def mini_block() -> str:
    """Return the three tables and the verdicts of `mini`."""
    folder = RunFolder(REFERENCE / "mini")
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


if __name__ == "__main__":
    print(mini_block(), kodak_block(), sep="\n\n")
