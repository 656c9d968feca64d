"""`smoke` through a real SLURM: jobs are cancelled and queued again, drivers stopped and killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from slurm_node import slurm_node, why_not

from dhl.files import PROJECT
from dhl.run.manifest import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "SLURM is here"),
]
CANCELLED = "separate/sigma30"
QUEUED_AGAIN = "joint-classification/sigma30"  # starts from the cancelled one
PATIENCE_SECONDS = 600
STORAGE = ("slurmdbd", "mariadbd", "mariadb-install-db")


def wait_until(done: Callable[[], object], said: Callable[[], str] = str) -> None:
    """Wait until it is so, with patience."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


class Cluster:
    """A folder with a run, the driver that submits its jobs, and SLURM's commands."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment | {"PYTHONPATH": str(PROJECT)}
        self.run = folder / "results/smoke"
        content = yaml.safe_load((PROJECT / "config/smoke.yaml").read_text())
        slow = {"steps": 400, "checkpoint_every": 20}
        content["parts"]["denoising"]["training"]["separate"] |= slow
        content["parts"]["classification"]["training"]["joint"] |= slow
        self.config = folder / "slow.yaml"
        self.config.write_text(yaml.safe_dump(content))
        self.snakemake = [sys.executable, "-m", "snakemake", "--directory", str(folder)]
        self.snakemake += ["--configfile", str(self.config)]

    def unlock(self) -> None:
        """Take away the lock of a driver that was killed."""
        self.ask(*self.snakemake, "--unlock")

    def start_driver(self, *options: str) -> subprocess.Popen:
        """Start Snakemake with the profile, as its page says, but asking SLURM more often."""
        command = [*self.snakemake, "--profile", "profiles/slurm", *options]
        command += ["--slurm-init-seconds-before-status-checks", "1"]
        command += ["--seconds-between-status-checks", "1", "--latency-wait", "10"]
        with open(self.folder / "driver.txt", "a") as output:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdout=output,
                stderr=output,
                # A shell's background jobs ignore Ctrl-C, and so would what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def job_training(self, key: str) -> str:
        """Return the number of the running job that trains a model; "" if there is none."""
        listed = self.ask("squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k")
        jobs = dict(line.split(maxsplit=1) for line in listed.splitlines())
        name = key.replace("/", "_")  # as the executor writes it into the job's comment
        return next((number for number, what in jobs.items() if what.endswith(name)), "")

    def ask(self, *command: str) -> str:
        """Run a command that talks to SLURM, or to Snakemake."""
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def states_of_jobs(self) -> list[str]:
        """Ask the accounting what became of all jobs."""
        listed = self.ask("sacct", "--noheader", "--allocations", "--format", "State")
        return listed.split()

    def log(self, key: str) -> str:
        """Read what a training has said in its last try."""
        path = self.run / f"logs/train/{key}.log"
        return path.read_text() if path.exists() else ""

    def wait_for(self, done: Callable[[], object], driver: subprocess.Popen) -> None:
        """Wait until it is so; a driver that ends before is a failure."""

        def done_by_a_living_driver() -> object:
            assert driver.poll() is None, self.said()
            return done()

        wait_until(done_by_a_living_driver, self.said)

    def interrupt_training(self, key: str, driver: subprocess.Popen, *command: str) -> None:
        """Give one of SLURM's commands for the job of a training that has kept a state."""
        kept = self.run / "checkpoints" / Path(key).parent
        state = f"{Path(key).name}-{12 * '[0-9a-f]'}.pt"  # and not that of another task weight
        self.wait_for(lambda: list(kept.glob(state)) and self.job_training(key), driver)
        self.ask(*command, self.job_training(key))
        self.wait_for(lambda: "resuming from step" in self.log(key), driver)

    def all_said(self) -> str:
        """Return what the drivers have said."""
        return (self.folder / "driver.txt").read_text()

    def said(self) -> str:
        """Return the end of it."""
        return self.all_said()[-6000:]


# Before the others: two clusters cannot be at once.
@pytest.mark.skipif(bool(why_not(*STORAGE)), reason=why_not(*STORAGE) or "it is here")
@pytest.mark.parametrize("status_command", ["squeue", "sacct"])
def test_with_accounting_either_command_tells_how_jobs_fare(tmp_path, status_command):
    for name in ("node", "run"):
        (tmp_path / name).mkdir()
    with slurm_node(tmp_path / "node", accounting=True) as environment:
        cluster = Cluster(tmp_path / "run", environment)
        driver = cluster.start_driver("--until", "noise", "--slurm-status-command", status_command)
        assert driver.wait(PATIENCE_SECONDS) == 0, cluster.said()
        # Of data and noise of three parts; the database hears of an end a little later.
        wait_until(lambda: cluster.states_of_jobs() == ["COMPLETED"] * 6)


def test_what_jobs_have_started_ends_with_the_node(tmp_path):
    (tmp_path / "node").mkdir()
    numbers = tmp_path / "numbers.txt"
    script = "sleep 1000 & one=$!; setsid sleep 1000 & echo $$ $one $! > numbers.txt; wait"
    with slurm_node(tmp_path / "node") as environment:
        command = ["sbatch", "--chdir", str(tmp_path), "--wrap", script]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        wait_until(lambda: numbers.exists() and numbers.read_text().endswith("\n"))
        started = [psutil.Process(int(number)) for number in numbers.read_text().split()]
        steps = [one for one in psutil.process_iter() if one.name() == "slurmstepd"]
        assert len(started) == 3
        assert steps
    _, alive = psutil.wait_procs([*started, *steps], timeout=10)
    assert alive == []


def test_a_training_is_given_up_after_its_last_try_alone(tmp_path):
    for name in ("node", "run"):
        (tmp_path / name).mkdir()
    with slurm_node(tmp_path / "node") as environment:
        cluster = Cluster(tmp_path / "run", environment)
        content = yaml.safe_load(cluster.config.read_text())
        content["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] = 1e30
        cluster.config.write_text(yaml.safe_dump(content))
        driver = cluster.start_driver(
            "results/smoke/models/separate/sigma30.pt", "--config", "retries=1"
        )
        assert driver.wait(PATIENCE_SECONDS) == 1
    said = cluster.all_said()
    assert said.count("Trying to restart job") == 1
    assert "mem_mb=8000" in said
    assert "Some jobs failed" in said
    assert "models/separate/sigma30.pt: nan within" in said


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Cluster]:
    """A run that was finished in spite of everything."""
    with slurm_node(tmp_path_factory.mktemp("slurm")) as environment:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), environment)
        driver = cluster.start_driver()
        try:
            cluster.interrupt_training(CANCELLED, driver, "scancel")
            driver.send_signal(signal.SIGINT)
            assert driver.wait(PATIENCE_SECONDS) != 0
            driver = cluster.start_driver()
            cluster.interrupt_training(QUEUED_AGAIN, driver, "scontrol", "requeue")
            driver.kill()  # its job trains on, and whoever asks for the same model waits for it
            driver.wait()
            cluster.unlock()
            driver = cluster.start_driver()
            assert driver.wait(PATIENCE_SECONDS) == 0, cluster.said()
            yield cluster
        finally:
            driver.kill()
            driver.wait()


def test_the_report_is_finished_and_whole(finished):
    assert (finished.run / "report/index.html").is_file()
    assert verify(finished.run) == []
    assert "The report is results/smoke/report/index.html" in finished.said()


@pytest.mark.parametrize("key", [CANCELLED, QUEUED_AGAIN])
def test_a_job_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(finished, key, tmp_path):
    for name in ("data", "models"):
        shutil.copytree(finished.run / name, tmp_path / name)
    interrupted = finished.run / f"models/{key}.pt"
    again = tmp_path / f"models/{key}.pt"
    again.unlink()
    command = [sys.executable, "-m", "dhl", "train", key, "--folder", str(tmp_path)]
    command += ["--configfile", str(finished.run / "config.yaml")]
    whole = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    assert "resuming" not in whole.stderr
    assert again.read_bytes() == interrupted.read_bytes()


def test_what_a_driver_finished_is_not_made_again(finished):
    assert finished.all_said().count("\nrule data:") == 3  # denoising, classification, segmentation


def test_jobs_ask_for_the_partitions_memory_and_gpus_of_their_rule(finished):
    whole = finished.all_said()
    training = whole.split("rule train:")[1].split("[")[0]
    assert "gpu=1" in training
    assert "slurm_partition=gpu" in training
    assert "mem_mb=4000" in training
    assert "slurm_partition=cpu" in whole.split("rule noise:")[1].split("[")[0]


def test_a_job_that_failed_asks_for_more_memory_in_its_next_try(finished):
    jobs = re.findall(r"^rule train:\n((?:    .*\n)+)", finished.all_said(), re.MULTILINE)
    tries = [job for job in jobs if f"wildcards: model={CANCELLED}\n" in job]
    assert {re.search(r"mem_mb=(\d+)", job)[1] for job in tries} == {"4000", "8000"}


def test_slurms_own_logs_of_failed_jobs_are_kept_where_the_profile_says(finished):
    assert list((finished.folder / "results/slurm-logs/rule_train").rglob("*.log"))
