"""Kills at random moments: a run that is started again ends with the bytes of one left alone.

`DHL_KILLS=200 DHL_KILLS_SEED=1 pytest -m slow -s tests/workflow/test_kills.py` kills more often.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from workflow_runs import invocation

from dhl.files import PROJECT
from dhl.run.manifest import verify

KILLS = int(os.environ.get("DHL_KILLS", "8"))
SEED = int(os.environ.get("DHL_KILLS_SEED", "0"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("job", "snakemake", "group")
MEAN_WAIT = 8  # s until the next kill; some waits are long enough for any job
PATIENCE = 600  # s until a killed run has ended; the jobs of a killed Snakemake go on

pytestmark = pytest.mark.slow


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of all results of a finished run."""
    run = folder / "results/smoke"
    assert verify(run) == []
    return json.loads((run / "manifest.json").read_text())["files"]


def dhl(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run a command of the program in a folder."""
    command = [sys.executable, "-m", "dhl", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def start(folder: Path) -> psutil.Popen:
    """Start the run in a process group of its own, without the locks of one that was killed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        done = dhl(folder, "unlock")
        assert done.returncode == 0, done.stderr
        if not list(folder.glob(".snakemake/locks/*")):
            break
        assert time.monotonic() < deadline, "the folder stays locked"
        time.sleep(1)  # jobs of the killed run still work
    with open(folder / "output.txt", "ab") as output:
        call = invocation(folder, "report", "--quiet", "all")
        return psutil.Popen(**call, stdout=output, stderr=output, start_new_session=True)


def kill(run: psutil.Popen, target: str, number: int, rng: random.Random) -> bool:
    """Send a signal to a job, to Snakemake, or to both with all jobs; False if no job runs."""
    if target == "snakemake":
        run.send_signal(number)
    elif target == "group":
        os.killpg(run.pid, number)
    else:
        try:
            jobs = [one for one in run.children(recursive=True) if "dhl" in " ".join(one.cmdline())]
            rng.choice(jobs).send_signal(number)
        except (IndexError, psutil.NoSuchProcess):
            return False
    return True


def run_to_the_end(folder: Path, kills: int, rng: random.Random) -> int:
    """Start the run until it succeeds, kill it at most so many times, and return how many."""
    folder.mkdir()
    killed = 0
    while True:
        run, before = start(folder), killed
        while killed < kills:
            try:
                run.wait(rng.expovariate(1 / MEAN_WAIT))
                break
            except psutil.TimeoutExpired:
                killed += kill(run, rng.choice(TARGETS), rng.choice(SIGNALS), rng)
        if run.wait(PATIENCE) == 0:
            return killed
        assert killed > before, (folder / "output.txt").read_text()


def test_a_killed_run_ends_with_the_bytes_of_one_left_alone(smoke, tmp_path):
    rng = random.Random(SEED)
    expected = digests(smoke)
    killed = runs = 0
    while killed < KILLS:
        folder = tmp_path / f"run{runs}"
        killed += run_to_the_end(folder, KILLS - killed, rng)
        assert digests(folder) == expected
        shutil.rmtree(folder)
        runs += 1
        print(f"{killed} kills (seed {SEED}): {runs} runs ended with the same bytes", flush=True)


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tmp_path):
    run = start(tmp_path)
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("results/smoke/noise/*/*.csv")):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.5)
    os.killpg(run.pid, signal.SIGINT)  # a terminal sends it to all processes of the run
    assert run.wait(PATIENCE) != 0
    said = (tmp_path / "output.txt").read_text()
    assert said.count("The same command goes on from there.") == 1
    assert "Some jobs failed" not in said
    assert "Traceback" not in said
