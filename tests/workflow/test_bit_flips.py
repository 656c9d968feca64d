"""Flipped bits in the files of a finished run: refused, remade or without effect.

`DHL_FLIPS=1000 pytest -m slow tests/workflow/test_bit_flips.py` flips more of them.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dhl.cli.parser import main
from dhl.config.parse import load_config
from dhl.files import PROJECT
from dhl.run.contents import files_of
from dhl.run.evaluations import evaluated_models
from dhl.run.folder import RunFolder
from dhl.run.manifest import verify

FLIPS = int(os.environ.get("DHL_FLIPS", "44"))
CONFIG = PROJECT / "config/smoke.yaml"
# What a reader sees: the numbers, and the tables of the page.
PRINTED = ("evaluation", "table", "claims")
KINDS = ("data", "noise", "baselines", "models", "training", "evaluation", "tables", "figures",
         "report", "records", "others")  # fmt: skip
AFTER_EVALUATION = (
    *(["table", "--part", part] for part in ("denoising", "classification", "segmentation")),
    ["claims"], ["manifest"], ["report"],
)  # fmt: skip

pytestmark = pytest.mark.slow


def kind_of(path: Path) -> str:
    """Return the kind of a file by its path below the run's folder."""
    if path.name.startswith("."):
        return "records"
    return path.parts[0] if path.parts[0] in KINDS else "others"


def flip(path: Path, rng: np.random.Generator) -> None:
    """Change one random bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def commands_that_read(path: Path) -> list[list[str]]:
    """Return the jobs that read a file, directly or not; the trainings are left out."""
    kind, config = kind_of(path), load_config(CONFIG)
    parts: list[str] = []
    if kind in ("data", "noise", "baselines"):
        parts = [path.with_suffix("").parts[1].partition(".")[0]]
    elif kind == "models":
        key = "/".join(path.with_suffix("").parts[1:])
        parts = [part for part in config.parts if key in evaluated_models(config, part, 30.0)][:1]
    evaluations = [["evaluate", "--part", part, "--sigma", "30"] for part in parts]
    return [*evaluations, *AFTER_EVALUATION]


@pytest.mark.parametrize("seed", range(FLIPS))
@pytest.mark.usefixtures("recorded")
def test_a_flipped_bit_changes_no_printed_number(smoke, tmp_path, monkeypatch, capsys, seed):
    rng = np.random.default_rng(seed)
    root = Path(shutil.copytree(smoke / "results/smoke", tmp_path / "results/smoke"))
    monkeypatch.chdir(tmp_path)
    scratch = ("logs", "benchmarks", "checkpoints")
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    names = [path.relative_to(root) for path in files]
    wanted = KINDS[seed % len(KINDS)]
    name = rng.choice(
        [str(one) for one in names if kind_of(one) == wanted and one.parts[0] not in scratch]
    )
    printed = files_of(load_config(CONFIG), RunFolder(root), *PRINTED)
    before = {path: path.read_bytes() for path in printed if path != root / name}
    flip(root / name, rng)
    for command in commands_that_read(Path(name)):
        status = main([*command, "--configfile", str(CONFIG), "--folder", str(root)])
        if status:
            message = capsys.readouterr().err
            assert Path(name).name.strip(".").removesuffix(".sha256") in message, name
            break
    for path, content in before.items():
        assert path.read_bytes() == content, f"{name} changed {path}"
    if wanted not in ("tables", "records", "report", "others"):  # tables are remade
        assert status, f"{name} was used"
    if name == "report/preview.html":  # the page is remade, and the preview is not
        assert verify(root) == [f"changed  {name}"]
