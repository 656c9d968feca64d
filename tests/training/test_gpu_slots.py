"""Slots on pretended GPUs, held by real processes that are really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from dhl.training.gpu_slots import gpu_slot

HOLD = """
import logging, sys
from dhl.training.gpu_slots import gpu_slot
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
with gpu_slot(sys.argv[2:], jobs_per_gpu=int(sys.argv[1])) as place:
    print(place, flush=True)
    sys.stdin.read()
"""


class Machine:
    """A machine with two pretended GPUs, and the jobs that were started on it."""

    def __init__(self, folder: str):
        self.environment = os.environ | {"TMPDIR": folder}
        self.jobs: list[subprocess.Popen] = []

    def start(
        self, *, jobs_per_gpu: int = 1, gpus: Sequence[str] = ("gpu-a", "gpu-b")
    ) -> subprocess.Popen:
        """Start a job; its next line says that it waits, or which GPU it has."""
        command = [sys.executable, "-uc", HOLD, str(jobs_per_gpu), *gpus]
        pipe = subprocess.PIPE
        self.jobs.append(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=self.environment)
        )
        return self.jobs[-1]

    def line_of_new_job(self, **options) -> str:
        """Start a job and return its first line."""
        return line(self.start(**options))


def line(job: subprocess.Popen) -> str:
    """Read the next line of a job."""
    return job.stdout.readline().strip()


def end(job: subprocess.Popen) -> None:
    """Kill a job, and wait until the system has released its locks."""
    job.send_signal(signal.SIGKILL)
    job.wait()


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    """Two GPUs of this test alone."""
    machine = Machine(str(tmp_path))
    yield machine
    for job in machine.jobs:
        end(job)
        job.stdin.close()
        job.stdout.close()


def test_jobs_take_different_gpus_and_a_third_waits_until_one_is_killed(machine):
    first, second = machine.start(), machine.start()
    assert {line(first), line(second)} == {"0", "1"}
    third = machine.start()
    assert line(third).startswith("waiting for a free GPU")
    end(second)
    freed = line(third)
    end(first)
    assert {freed, machine.line_of_new_job()} == {"0", "1"}


def test_a_slot_is_released_at_the_end_of_the_block(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for _ in range(2):
        with gpu_slot(["only"]) as place:
            assert place == 0


def test_a_job_that_waits_for_one_gpu_does_not_keep_others_from_another(machine):
    assert machine.line_of_new_job(gpus=["gpu-a"]) == "0"
    assert machine.line_of_new_job(gpus=["gpu-a"]).startswith("waiting")
    assert machine.line_of_new_job() == "1"


def test_three_jobs_share_a_gpu_and_the_emptiest_one_comes_first(machine):
    places = [machine.line_of_new_job(jobs_per_gpu=3) for _ in range(6)]
    assert [sorted(places[begin : begin + 2]) for begin in (0, 2, 4)] == [["0", "1"]] * 3
    assert machine.line_of_new_job(jobs_per_gpu=3).startswith("waiting")
