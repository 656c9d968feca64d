"""Slots on pretended GPUs, held by real processes that are really killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence

import pytest

from dhl.training.gpu_slots import gpu_slots

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="abstract sockets, and CUDA, are Linux's"
)
HOLD = """
import logging, sys
from dhl.gpu_slots import gpu_slots
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
with gpu_slots(sys.argv[3:], count=int(sys.argv[1]), jobs_per_gpu=int(sys.argv[2])) as places:
    print(*places, flush=True)
    sys.stdin.read()
"""


class Machine:
    """A machine with so many pretended GPUs, and the jobs that were started on it."""

    def __init__(self, gpus: int):
        self.gpus = [str(uuid.uuid4()) for _ in range(gpus)]
        self.jobs: list[subprocess.Popen] = []

    def start(
        self, *, count: int = 1, jobs_per_gpu: int = 1, only: Sequence[int] = (0, 1)
    ) -> subprocess.Popen:
        """Start a job; its next line says what it waits for, or which GPUs it has."""
        gpus = [self.gpus[place] for place in only]
        command = [sys.executable, "-uc", HOLD, str(count), str(jobs_per_gpu), *gpus]
        pipe = subprocess.PIPE
        self.jobs.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True))
        return self.jobs[-1]

    def line_of_new_job(self, **options) -> str:
        """Start a job and return its first line."""
        return line(self.start(**options))


def line(job: subprocess.Popen) -> str:
    """Read the next line of a job."""
    return job.stdout.readline().strip()


def end(job: subprocess.Popen) -> None:
    """Kill a job, and wait until the system has taken back what it held."""
    job.send_signal(signal.SIGKILL)
    job.wait()


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Two GPUs of this test alone."""
    machine = Machine(2)
    yield machine
    for job in machine.jobs:
        end(job)
        job.stdin.close()
        job.stdout.close()


def test_jobs_take_different_gpus_and_a_third_waits_until_one_is_killed(machine):
    first, second = machine.start(), machine.start()
    assert {line(first), line(second)} == {"0", "1"}
    third = machine.start()
    assert line(third) == "waiting for 1 of 2 GPUs"
    end(second)
    freed = line(third)
    end(first)
    assert {freed, machine.line_of_new_job()} == {"0", "1"}


def test_a_slot_is_freed_at_the_end_of_the_block():
    for _ in range(2):
        with gpu_slots(["only"]) as places:
            assert places == (0,)


def test_two_that_want_every_gpu_do_not_block_each_other(machine):
    holder = machine.start()
    assert line(holder) in {"0", "1"}
    first = machine.start(count=2)
    assert line(first) == "waiting for 2 of 2 GPUs"
    second = machine.start(count=2)
    assert line(second) == "waiting for its turn"
    end(holder)
    assert line(first) == "0 1"
    assert line(second) == "waiting for 2 of 2 GPUs"
    end(first)
    assert line(second) == "0 1"


def test_who_waits_for_one_gpu_does_not_keep_others_from_another(machine):
    assert machine.line_of_new_job(only=[0]) == "0"
    assert machine.line_of_new_job(only=[0]) == "waiting for 1 of 1 GPUs"
    assert machine.line_of_new_job() == "1"


def test_jobs_share_gpus_only_when_asked_and_empty_ones_are_taken_first(machine):
    places = [machine.line_of_new_job(jobs_per_gpu=2) for _ in range(4)]
    assert sorted(places[:2]) == sorted(places[2:]) == ["0", "1"]
    assert machine.line_of_new_job(jobs_per_gpu=2) == "waiting for 1 of 2 GPUs"


def test_a_job_that_wants_a_gpu_for_itself_is_not_put_beside_one_that_shares(machine):
    sharing = [machine.start(jobs_per_gpu=2) for _ in range(4)]
    places = [line(job) for job in sharing]
    end(sharing[0])
    alone = machine.start()
    assert line(alone) == "waiting for 1 of 2 GPUs"
    end(sharing[places.index(places[0], 1)])
    assert line(alone) == places[0]
    assert machine.line_of_new_job(jobs_per_gpu=2) == "waiting for 1 of 2 GPUs"


def test_a_program_that_takes_the_place_of_the_holder_holds_on(machine):
    become = f"""
import os, sys
from dhl.gpu_slots import gpu_slots
with gpu_slots({machine.gpus}, count=2):
    os.execv(sys.executable, [sys.executable, "-c", "print('became', flush=True); input()"])
"""
    job = subprocess.Popen(
        [sys.executable, "-c", become], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    machine.jobs.append(job)
    assert line(job) == "became"
    waiting = machine.start()
    assert line(waiting) == "waiting for 1 of 2 GPUs"
    end(job)
    assert line(waiting) in {"0", "1"}
