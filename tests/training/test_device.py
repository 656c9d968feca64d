"""The device of a job, on a machine with two pretended GPUs."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import types
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import torch

from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.training.device import reserved_device


@pytest.fixture
def two_gpus(monkeypatch, tmp_path) -> Iterator[list[torch.device]]:
    """Pretend two GPUs; yields the list of devices that were made current."""
    names, current = [uuid.uuid4(), uuid.uuid4()], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: types.SimpleNamespace(uuid=names[index]),
    )
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is restored afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield current
    torch.use_deterministic_algorithms(False)


def config_on(device: str, content: dict, **more: int):
    return parse_config(content | {"device": device, **more}, source="tiny.yaml")


@pytest.mark.parametrize("jobs", [1, 5])
def test_jobs_of_one_machine_share_its_gpus(two_gpus, tiny_content, jobs):
    config = config_on("auto", tiny_content, jobs_per_gpu=jobs)
    with ExitStack() as held:
        devices = [held.enter_context(reserved_device(config)) for _ in range(2 * jobs)]
    assert [str(device) for device in devices] == ["cuda:0", "cuda:1"] * jobs
    assert two_gpus == devices


def test_a_gpu_computes_repeatably_and_float32_is_not_rounded(two_gpus, tiny_content):
    assert not torch.are_deterministic_algorithms_enabled()
    with reserved_device(config_on("auto", tiny_content)):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.allow_tf32


def test_a_run_on_the_cpu_holds_no_gpu(two_gpus, tiny_content):
    with reserved_device(config_on("cpu", tiny_content)) as device:
        assert device.type == "cpu"
    assert two_gpus == []


def test_one_gpu_by_number_is_the_only_choice(two_gpus, tiny_content, monkeypatch):
    monkeypatch.setattr("dhl.training.device.find_device", torch.device)
    with reserved_device(config_on("cuda:1", tiny_content)) as device:
        assert str(device) == "cuda:1"


def test_a_missing_gpu_is_named(two_gpus, tiny_content, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError) as caught:
        reserved_device(config_on("cuda", tiny_content)).__enter__()
    assert "`cuda`" in caught.value.mistake


FORWARD = """
import resource, sys, torch
from dhl.training.device import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
network = torch.nn.Sequential(*(torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(6)))
image = torch.rand(1, 16, 512, 512)
with torch.inference_mode():
    network(image)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        network(image)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_tensors_use_the_memory_of_freed_ones():
    """Page faults are counted in processes of their own: the C library keeps the setting."""
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", FORWARD, how]))
        for how in ("returned", "kept")
    }
    assert faults["kept"] < faults["returned"] / 4
