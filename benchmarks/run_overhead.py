"""The overhead of a run: `python benchmarks/run_overhead.py results/mini`.

The log of a job gives its computing time after `done in`, from the first image or step to the last.
The rest of the job is start-up, imports and files. A job of several processes also computes for the
CPU time beyond its duration. The time outside jobs is Snakemake and idle cores. 100 % is cores x
wall time.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

from dhl.config.parse import load_config
from dhl.run.folder import RunFolder
from dhl.run.results import read_benchmarks


def main() -> None:
    """Print the seconds per rule, and the shares of computing and overhead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    capacity = manifest["wall_seconds"] * manifest["hardware"]["cores"]
    jobs = read_benchmarks(load_config(folder / "config.yaml"), RunFolder(folder))
    jobs["parallel"] = (jobs["cpu_time"] - jobs["s"]).clip(lower=0).fillna(0)
    jobs["busy"] = jobs["s"] + jobs["parallel"]
    by_rule = jobs.groupby("rule")
    computing = defaultdict(float, by_rule["parallel"].sum())
    for path in (folder / "logs").rglob("*.log"):
        rule = path.relative_to(folder / "logs").parts[0].removesuffix(".log")
        for seconds in re.findall(r"done in ([0-9.]+) s", path.read_text("utf-8")):
            computing[rule] += float(seconds)
    print("rule | jobs | seconds | of them computing")
    for rule, seconds in by_rule["busy"].sum().sort_values(ascending=False).items():
        print(f"{rule} | {by_rule.size()[rule]} | {seconds:.0f} | {computing[rule]:.0f}")
    busy = jobs["busy"].sum()
    work = sum(computing.values())
    print(f"wall {manifest['wall_seconds']:.0f} s on {manifest['hardware']['cores']} cores")
    print(f"computing {work / capacity:.1%}, start-up and files {(busy - work) / capacity:.1%}, "
          f"Snakemake and idle {1 - busy / capacity:.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
