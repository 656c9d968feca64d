"""Slots on pretended GPUs: held, waited for, and released even if the holder is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from killed_holder import killed_when_logged

from dhl import gpu_slots
from dhl.gpu_slots import gpu_slot, parallel_gpu_jobs

HOLD = """
import sys
from dhl.gpu_slots import gpu_slot
with gpu_slot(["gpu-a", "gpu-b"]) as index:
    print(index, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path, monkeypatch) -> Iterator[ExitStack]:
    """A machine whose GPUs no other test uses; the slots entered here are released at the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpu_slots, "PAUSE_SECONDS", 0.01)
    with ExitStack() as held:
        yield held


def test_a_job_waits_until_the_holder_of_a_slot_is_killed(held, tmp_path, caplog):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=environment,
    ) as job:  # fmt: skip
        assert job.stdout.readline() == "0\n"
        assert held.enter_context(gpu_slot(["gpu-a", "gpu-b"])) == 1
        caplog.set_level("INFO", "dhl")
        with killed_when_logged(job, "waiting for a free GPU"):
            assert held.enter_context(gpu_slot(["gpu-a", "gpu-b"])) == 0
        assert caplog.messages == ["waiting for a free GPU: all slots (2) are in use"]


def test_a_slot_is_released_at_the_end_of_the_block(held):
    for _ in range(2):
        with gpu_slot(["only"]) as index:
            assert index == 0


@pytest.mark.parametrize(
    ("device", "visible", "jobs"), [("cuda", "0,1", 6), ("auto", "", 0), ("cuda:1", "0,1", 3)]
)
def test_jobs_at_once_are_those_of_the_gpus_that_the_device_names(
    device, visible, jobs, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert parallel_gpu_jobs(device, 3) == jobs
