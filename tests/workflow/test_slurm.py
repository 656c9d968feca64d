"""`smoke` in a real SLURM: jobs are cancelled and requeued, drivers are stopped and killed."""

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
from settings import shipped, write_settings
from slurm_node import slurm_node, why_not

from dhl.files import PROJECT
from dhl.run.manifest import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "SLURM is here"),
]
CANCELLED = "separate/sigma30"
REQUEUED = "joint-classification/sigma30"  # starts from the cancelled training
TIMEOUT_SECONDS = 600
STORAGE = ("slurmdbd", "mariadbd", "mariadb-install-db")


def wait_until(done: Callable[[], object], said: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not done():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


class Cluster:
    """A folder with a run, the driver that submits its jobs, and SLURM's commands."""

    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment | {"PYTHONPATH": str(PROJECT)}
        self.run = folder / "results/smoke"
        content = shipped("smoke")
        slow = {"steps": 400, "checkpoint_every": 20}
        content["parts"]["denoising"]["training"]["separate"] |= slow
        content["parts"]["classification"]["training"]["joint"] |= slow
        self.config = folder / "slow.yaml"
        self.snakemake = [sys.executable, "-m", "snakemake", "--directory", str(folder)]
        self.snakemake += ["--configfile", write_settings(self.config, content)]

    def start_driver(self, *options: str) -> subprocess.Popen:
        """Start Snakemake with the profile, but with more frequent status checks."""
        command = [*self.snakemake, "--profile", "profiles/slurm", *options]
        command += ["--slurm-init-seconds-before-status-checks", "1"]
        command += ["--seconds-between-status-checks", "1", "--latency-wait", "10"]
        with open(self.folder / "driver.txt", "a", encoding="utf-8") as output:
            return subprocess.Popen(
                command,
                cwd=PROJECT,
                env=self.environment,
                stdout=output,
                stderr=output,
                # A background job of a shell ignores Ctrl-C, and its children inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def job_training(self, key: str) -> str:
        """Return the number of the running job that trains a model; "" if there is none."""
        listed = self.ask("squeue", "--noheader", "--states", "RUNNING", "--format", "%i %k")
        jobs = dict(line.split(maxsplit=1) for line in listed.splitlines())
        name = key.replace("/", "_")  # as in the job's comment, which the executor writes
        return next((number for number, comment in jobs.items() if comment.endswith(name)), "")

    def ask(self, *command: str) -> str:
        """Run a command that talks to SLURM, or to Snakemake."""
        return subprocess.run(
            command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def interrupt_training(self, key: str, driver: subprocess.Popen, *command: str) -> None:
        """Run a command of SLURM on the job of a training that has a checkpoint."""
        checkpoints = self.run / "checkpoints" / Path(key).parent
        name = f"{Path(key).name}-{12 * '[0-9a-f]'}.pt"  # not that of another task weight
        log = self.run / f"logs/train/{key}.log"

        def wait_for(done: Callable[[], object]) -> None:
            wait_until(lambda: driver.poll() is not None or done(), self.end_of_output)
            assert driver.poll() is None, self.end_of_output()

        wait_for(lambda: list(checkpoints.glob(name)) and self.job_training(key))
        self.ask(*command, self.job_training(key))
        wait_for(lambda: log.exists() and "resuming from step" in log.read_text())

    def output(self) -> str:
        """Return the output of the drivers."""
        return (self.folder / "driver.txt").read_text()

    def log(self) -> str:
        """Return Snakemake's logs of the drivers, with the details of each job."""
        logs = sorted((self.folder / ".snakemake/log").glob("*.log"))
        return "".join(path.read_text() for path in logs)

    def end_of_output(self) -> str:
        """Return the last part of the output."""
        return self.output()[-6000:]


# First, because two clusters cannot run at the same time.
@pytest.mark.skipif(bool(why_not(*STORAGE)), reason=why_not(*STORAGE) or "it is here")
@pytest.mark.parametrize("status_command", ["squeue", "sacct"])
def test_with_accounting_both_status_commands_work(tmp_path, status_command):
    for name in ("node", "run"):
        (tmp_path / name).mkdir()
    with slurm_node(tmp_path / "node", accounting=True) as environment:
        cluster = Cluster(tmp_path / "run", environment)
        driver = cluster.start_driver("--until", "noise", "--slurm-status-command", status_command)
        assert driver.wait(TIMEOUT_SECONDS) == 0, cluster.end_of_output()
        # Data and noise of three parts; the database gets the end of a job a little later.
        sacct = ("sacct", "--noheader", "--allocations", "--format", "State")
        wait_until(lambda: cluster.ask(*sacct).split() == ["COMPLETED"] * 6)


def test_the_processes_of_jobs_end_with_the_node(tmp_path):
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


def test_a_training_fails_only_after_its_last_try(tmp_path):
    for name in ("node", "run"):
        (tmp_path / name).mkdir()
    with slurm_node(tmp_path / "node") as environment:
        cluster = Cluster(tmp_path / "run", environment)
        content = yaml.safe_load(cluster.config.read_text())
        content["parts"]["denoising"]["training"]["separate"]["optimizer"]["lr"] = 1e30
        write_settings(cluster.config, content)
        driver = cluster.start_driver(
            "results/smoke/models/separate/sigma30.pt", "--config", "retries=1"
        )
        assert driver.wait(TIMEOUT_SECONDS) == 1
    assert cluster.log().count("Trying to restart job") == 1
    assert "mem_mb=8000" in cluster.log()
    assert "models/separate/sigma30.pt: The training loss is not finite." in cluster.output()


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Iterator[Cluster]:
    """A complete run after all interruptions."""
    with slurm_node(tmp_path_factory.mktemp("slurm")) as environment:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), environment)
        driver = cluster.start_driver()
        try:
            cluster.interrupt_training(CANCELLED, driver, "scancel")
            driver.send_signal(signal.SIGINT)
            assert driver.wait(TIMEOUT_SECONDS) != 0
            driver = cluster.start_driver()
            cluster.interrupt_training(REQUEUED, driver, "scontrol", "requeue")
            driver.kill()  # its job continues, and a new job for the same model waits
            driver.wait()
            cluster.ask(*cluster.snakemake, "--unlock")
            driver = cluster.start_driver()
            assert driver.wait(TIMEOUT_SECONDS) == 0, cluster.end_of_output()
            yield cluster
        finally:
            driver.kill()
            driver.wait()


def test_the_report_and_the_manifest_are_complete(complete):
    assert (complete.run / "report/index.html").is_file()
    assert verify(complete.run) == []
    assert "The report is results/smoke/report/index.html" in complete.end_of_output()
    assert list((complete.folder / "results/slurm-logs/rule_train").rglob("*.log"))
    assert complete.log().count("\nrule data:") == 3  # one per part: nothing is made twice


@pytest.mark.parametrize("key", [CANCELLED, REQUEUED])
def test_an_interrupted_training_has_the_weights_of_an_uninterrupted_one(complete, key, tmp_path):
    for name in ("data", "models"):
        shutil.copytree(complete.run / name, tmp_path / name)
    interrupted = complete.run / f"models/{key}.pt"
    again = tmp_path / f"models/{key}.pt"
    again.unlink()
    command = [sys.executable, "-m", "dhl", "train", key, "--folder", str(tmp_path)]
    command += ["--configfile", str(complete.run / "config.yaml")]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    assert "resuming" not in done.stderr
    assert again.read_bytes() == interrupted.read_bytes()


def test_jobs_have_the_resources_of_their_rule_and_more_memory_in_the_next_try(complete):
    output = complete.log()
    training = output.split("rule train:")[1].split("[")[0]
    assert "gpu=1" in training
    assert "slurm_partition=gpu" in training
    assert "mem_mb=4000" in training
    assert "slurm_partition=cpu" in output.split("rule noise:")[1].split("[")[0]
    jobs = re.findall(r"^rule train:\n((?:    .*\n)+)", output, re.MULTILINE)
    tries = [job for job in jobs if f"wildcards: model={CANCELLED}\n" in job]
    assert {re.search(r"mem_mb=(\d+)", job)[1] for job in tries} == {"4000", "8000"}
