"""The text, files and exit status of `dhl compare`, and the mistakes that it names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compared_runs import (
    CONFIG,
    REFERENCE,
    SIGMA,
    cell,
    compared,
    edit,
    lower_one_cell,
    per_image,
    shift_dncnn,
    sign,
)

from dhl.analysis.claims import write_claims
from dhl.analysis.compare import SAME
from dhl.analysis.comparison_text import ALL, to_text
from dhl.cli.parser import main
from dhl.config.methods import METRICS, PARTS
from dhl.run.results import COMPARISON_COLUMNS


def table_of(text: str) -> list[str]:
    """Return the header and the rows of the cells."""
    (block,) = [block for block in text.split("\n\n") if block.startswith("  part")]
    return block.splitlines()


def test_the_text_has_aligned_rows_of_the_moved_cells_or_of_all(base_run, base_copy):
    edit(base_copy, "denoising", shift_dncnn)
    comparison = compared(base_run, base_copy)
    head, *rows = table_of(to_text(comparison))
    assert len(rows) == 2
    a, b = (per_image(one, "denoising", "psnr", "dncnn").mean() for one in (base_run, base_copy))
    assert rows[0].split() == [
        "denoising", "30", "dncnn", "PSNR", "(dB)", f"{a:.2f}", f"{b:.2f}", "+0.50",
        "+0.50", "to", "+0.50", "<", "0.0001", "moved",
    ]  # fmt: skip
    assert "-0.0200" in rows[1]
    for row in rows:
        assert row.index(" dncnn") == head.index(" method")
        assert row.index("moved") == head.index("verdict")
        assert row[: head.index("  B - A") + 7].endswith(("+0.50", "-0.0200"))
    assert len(table_of(to_text(comparison, ALL))) == 1 + len(comparison.cells)
    assert f"Of {len(comparison.cells)} cells: 2 moved, 0 within chance, " in to_text(comparison)


def test_the_text_warns_if_a_run_has_one_training(two_runs, base_run):
    comparison = compared(base_run, two_runs[0])
    row = cell(comparison, "denoising", "separate", "psnr")
    assert row["test"] == "paired, by images; by 1 and 3 trainings"
    for one, warned in ((comparison, True), (compared(*two_runs), False)):
        text = " ".join(to_text(one).split())
        assert ("the spread of the other run's trainings was used for both" in text) == warned
        assert "With one training in both runs" not in text
        assert "no test between runs includes it" in text


def status(capsys, *arguments) -> tuple[int, str, str]:
    """Run the command; return its exit status and what it printed."""
    code = main(["compare", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_exit_status_tells_whether_something_moved(base_run, base_copy, capsys):
    assert status(capsys, base_run.root, base_copy.root)[0] == 0
    assert status(capsys, base_run.root, base_copy.root, "--strict")[0] == 0

    edit(base_copy, "denoising", shift_dncnn)
    code, out, _ = status(capsys, base_run.root, base_copy.root)
    assert code == 1
    assert len(table_of(out)) == 3
    code, out, _ = status(capsys, base_run.root, base_copy.root, "--all")
    assert code == 1
    cells = sum(len(CONFIG.parts[part].methods) * len(METRICS[part]) for part in PARTS)
    assert len(table_of(out)) == 1 + cells


def test_a_changed_verdict_counts_with_strict(base_run, base_copy, capsys):
    frame = pd.read_csv(base_copy.claims)
    frame.loc[0, "verdict"] = "inconclusive"
    frame.to_csv(base_copy.claims, index=False)
    sign(base_copy.root, base_copy.claims)
    assert status(capsys, base_run.root, base_copy.root)[0] == 0
    assert status(capsys, base_run.root, base_copy.root, "--strict")[0] == 1


def test_the_csv_has_every_cell(tmp_path, capsys):
    path = tmp_path / "new" / "moved.csv"
    lower = lower_one_cell(tmp_path / "lower")
    code, out, _ = status(capsys, REFERENCE, lower, "--csv", path)
    assert code == 1
    assert len(table_of(out)) == 2
    frame = pd.read_csv(path)
    assert tuple(frame.columns) == COMPARISON_COLUMNS
    tables = [pd.read_csv(table) for table in (lower / "tables").glob("*.csv")]
    assert len(frame) == sum((table["image_id"] == "average").sum() for table in tables)
    assert [one.name for one in path.parent.iterdir()] == ["moved.csv"]
    expected = compared(REFERENCE, lower).cells
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)


def test_a_csv_that_cannot_be_written_is_a_mistake(base_run, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file" / "moved.csv"):
        code, out, said = status(capsys, base_run.root, base_run.root, "--csv", path)
        assert (code, out) == (2, "")
        assert str(path) in said
    assert (tmp_path / "file").read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def edited(path: Path) -> None:
    """Change one digit."""
    text = path.read_text(encoding="utf-8")
    head, digit, tail = re.fullmatch(r"(.*)(\d)(\D*)", text, re.DOTALL).groups()
    path.write_text(f"{head}{9 - int(digit)}{tail}", encoding="utf-8")


def drop_manifest_key(folder):
    manifest = json.loads(folder.manifest.read_text())
    del manifest["configuration"]["statistics"]
    folder.manifest.write_text(json.dumps(manifest))


def signed_table(change):
    """Return a change of a table and of its digest in the manifest."""

    def damage(folder):
        path = folder.table(2)
        change(pd.read_csv(path)).to_csv(path, index=False)
        sign(folder.root, path)

    return damage


MISTAKES = {
    "no-folder": (lambda folder: shutil.rmtree(folder.root), "manifest.json"),
    "no-manifest": (lambda folder: folder.manifest.unlink(), "manifest.json"),
    "empty-manifest": (lambda folder: folder.manifest.write_text("{}"), "manifest.json"),
    "files-listed": (lambda folder: folder.manifest.write_text('{"files": []}'), "manifest.json"),
    "no-confidence": (drop_manifest_key, "statistics.confidence"),
    "no-tables": (lambda folder: shutil.rmtree(folder.root / "tables"), "no value in"),
    "table-edited": (lambda folder: edited(folder.table(2)), "table2.csv differs"),
    "claims-edited": (lambda folder: edited(folder.claims), "claims.csv differs"),
    "evaluation-edited": (
        lambda folder: edited(folder.evaluation("denoising", SIGMA)), "sigma30.csv differs",
    ),
    "noise-edited": (
        lambda folder: edited(folder.noise("denoising", SIGMA)), "noise/denoising/sigma30.csv diff",
    ),
    "arrays-edited": (
        lambda folder: (folder.root / "evaluation/segmentation/sigma30.npz").write_bytes(b""),
        "sigma30.npz differs",
    ),
    "no-column": (signed_table(lambda frame: frame.drop(columns="ci_low")), "no column `ci_low`"),
    "text": (signed_table(lambda frame: frame.assign(seeds="two")), "text in the column `seeds`"),
    "twice": (signed_table(lambda frame: pd.concat([frame, frame])), "two averages"),
    "no-count": (signed_table(lambda frame: frame.assign(n=np.nan)), "without method"),
    "metric": (signed_table(lambda frame: frame.assign(metric="psnr")), "metric `psnr`"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_message_and_status_2(damage, named, base_run, base_copy, capsys):
    damage(base_copy)
    for pair in ((base_run.root, base_copy.root), (base_copy.root, base_run.root)):
        code, out, said = status(capsys, *pair)
        assert (code, out) == (2, "")
        assert named in said
        assert [line[:9] for line in said.splitlines()[1:]] == ["  found: ", "  to do: "]


def test_runs_without_a_common_cell_are_a_mistake(capsys):
    code, _, said = status(capsys, REFERENCE, REFERENCE.parent / "kodak-cpu")
    assert code == 2
    assert f"{REFERENCE} and {REFERENCE.parent / 'kodak-cpu'}" in said


def test_changed_verdicts_are_listed(base_run, base_copy):
    def worsen(frame):
        frame.loc[frame["method"] == "separate", "psnr"] -= 9

    edit(base_copy, "denoising", worsen)
    write_claims(CONFIG, base_copy)
    sign(base_copy.root, base_copy.claims)
    comparison = compared(base_run, base_copy)
    frames = [
        pd.read_csv(one.claims).set_index(["claim", "sigma"]) for one in (base_run, base_copy)
    ]
    differ = frames[0]["verdict"] != frames[1]["verdict"]
    assert differ.sum() > 3
    changed = [key for key, (a, b) in comparison.verdicts.items() if a != b]
    assert len(changed) == differ.sum()
    lines = to_text(comparison).splitlines()
    assert f"Of {len(differ)} verdicts on claims, {differ.sum()} changed:" in lines
    line = "  denoising-separate-over-noisy, all sigmas: holds for these weights -> not tested"
    assert line in lines


def test_differences_between_the_manifests_are_listed(base_run, base_copy):
    manifest = json.loads(base_copy.manifest.read_text())
    manifest["commit"] = "abc"
    manifest["versions"]["torch"] = "1.0"
    manifest["hardware"]["processor"] = "abacus"
    manifest["base_seed"] = 5
    manifest["plugins"] = {"mine.py": "abc"}
    manifest["configuration"]["parts"]["denoising"]["training"]["separate"]["steps"] = 7
    del manifest["configuration"]["seeds"]  # as in an older version: one
    base_copy.manifest.write_text(json.dumps(manifest))
    comparison = compared(base_run, base_copy)
    names = [name for name, _, _ in comparison.settings]
    assert names == [
        "commit", "base_seed", "versions.torch", "hardware.processor",
        "configuration.parts.denoising.training.separate.steps", "plugins.mine.py",
    ]  # fmt: skip
    paragraph = " ".join(to_text(comparison).split("\n\n")[1].split())
    assert paragraph.startswith("Different (A / B): commit ")
    assert (
        " / abacus; parts.denoising.training.separate.steps 800 / 7; plugins.mine.py absent / abc."
        in paragraph
    )
    manifest["configuration"]["unknown"] = {"key": 1}
    base_copy.manifest.write_text(json.dumps(manifest))
    comparison = compared(base_run, base_copy)
    assert ("configuration.unknown.key", "absent", "1") in comparison.settings


@pytest.mark.parametrize(
    ("key", "value"), [("unknown", {"key": 1}), ("noise", "elsewhere/mine.py:poisson")]
)
def test_the_key_that_makes_a_configuration_unreadable_is_named(base_run, base_copy, key, value):
    manifest = json.loads(base_copy.manifest.read_text())
    manifest["configuration"][key] = value
    base_copy.manifest.write_text(json.dumps(manifest))
    comparison = compared(base_run, base_copy)
    (reason,) = set(comparison.unpaired.values())
    assert f"the configuration of {base_copy.root} cannot be read here" in reason
    assert (value if isinstance(value, str) else key).partition(":")[0] in reason
    assert set(comparison.cells["verdict"]) == {SAME}
