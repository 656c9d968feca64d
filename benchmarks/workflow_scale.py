"""The overhead of Snakemake for thousands of jobs: `python benchmarks/workflow_scale.py`.

Plans the paper's grid with five trainings of each network and many shards of CBM3D, then runs 2,000
jobs with the default profile, each of which writes one empty file. Prints seconds, and the files
that stay on disk.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[1]
SHARDS = {"denoising": 24, "classification": 300, "segmentation": 100}
SEEDS = 5
TRIVIAL = """
rule all:
    input: expand("made/{{folder}}/{{number}}", folder=range(20), number=range({jobs} // 20)),
    localrule: True
rule make:
    output: "made/{{folder}}/{{number}}",
    log: "logs/{{folder}}/{{number}}.log",
    shell: ": > {{output}} 2> {{log}}"
"""


def snakemake(*arguments: str, folder: Path) -> tuple[float, str]:
    """Run Snakemake in a folder; return the seconds and its output."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--directory", str(folder)]
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=True)
    return time.perf_counter() - begin, done.stdout + done.stderr


def plan(folder: Path) -> None:
    """Time a dry run of the paper's grid."""
    content = yaml.safe_load((PROJECT / "config/paper.yaml").read_text("utf-8"))
    for part, shards in SHARDS.items():
        content["parts"][part]["shards"] = shards
    content["seeds"] = SEEDS
    config = folder / "paper.yaml"
    config.write_text(yaml.safe_dump(content), "utf-8")
    arguments = ("report", "--dry-run", "--quiet", "rules", "--configfile", str(config))
    seconds, said = snakemake(*arguments, folder=folder)
    (jobs,) = {line.split()[1] for line in said.splitlines() if line.startswith("total ")}
    print(f"plan of {jobs} jobs, with {SEEDS} trainings of each network: {seconds:.1f} s")


def run(folder: Path, jobs: int) -> None:
    """Time trivial jobs, and count the files that they leave."""
    (folder / "Snakefile").write_text(TRIVIAL.format(jobs=jobs), "utf-8")
    shutil.copytree(PROJECT / "profiles", folder / "profiles")
    arguments = ("--snakefile", str(folder / "Snakefile"), "--cores", "2", "--quiet", "all")
    profile = ("--workflow-profile", str(folder / "profiles/default"))
    seconds, _ = snakemake(*arguments, *profile, folder=folder)
    print(f"{jobs} trivial jobs, two at a time: {seconds:.1f} s")
    kept = [path for path in (folder / ".snakemake").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in kept) / 1e6
    where, most = Counter(path.parent.relative_to(folder) for path in kept).most_common(1)[0]
    print(f".snakemake: {len(kept)} files, {size:.1f} MB; most in one folder: {most}, in {where}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for part in ("plan", "run"):
            (Path(name) / part).mkdir()
        plan(Path(name) / "plan")
        run(Path(name) / "run", arguments.jobs)


if __name__ == "__main__":
    main()
