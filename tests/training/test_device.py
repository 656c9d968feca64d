"""Which GPU a job takes, on pretended GPUs."""

from __future__ import annotations

import os
import types
import uuid
from collections.abc import Iterator

import pytest
import torch

from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.training.device import held_gpus, reserved_device
from dhl.training.launch import launch, visible


@pytest.fixture
def two_gpus(monkeypatch) -> Iterator[list[torch.device]]:
    """Pretend two GPUs; yields the devices that were made the current one."""
    names, current = [uuid.uuid4(), uuid.uuid4()], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: types.SimpleNamespace(uuid=names[index]),
    )
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TORCH_CPP_LOG_LEVEL"):  # are restored afterwards
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield current
    torch.use_deterministic_algorithms(False)


def config_on(device: str, content: dict, **more: int):
    """Return the tiny configuration on another device."""
    return parse_config(content | {"device": device, **more}, source="tiny.yaml")


def test_jobs_of_one_machine_are_on_different_gpus(two_gpus, tiny_content):
    config = config_on("auto", tiny_content)
    with reserved_device(config) as first, reserved_device(config) as second:
        assert [str(first), str(second)] == ["cuda:0", "cuda:1"]
    assert two_gpus == [first, second]


def test_a_gpu_computes_repeatably_and_float32_is_not_rounded(two_gpus, tiny_content):
    assert not torch.are_deterministic_algorithms_enabled()
    with reserved_device(config_on("auto", tiny_content)):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.backends.cudnn.allow_tf32


def test_a_process_of_several_is_on_the_gpu_of_its_place(two_gpus, tiny_content, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with reserved_device(config_on("cuda", tiny_content, processes=2)) as device:
        assert str(device) == "cuda:1"


def test_a_run_on_the_cpu_holds_no_gpu(two_gpus, tiny_content):
    with reserved_device(config_on("cpu", tiny_content)) as device:
        assert device.type == "cpu"
    assert two_gpus == []


def test_more_processes_than_gpus_are_refused(two_gpus, tiny_content):
    config = config_on("auto", tiny_content, processes=4)
    with pytest.raises(UserError, match="4 wanted, and 2 visible"), held_gpus(config, 4):
        pass


def test_several_processes_are_started_on_the_gpus_that_are_held(
    two_gpus, tiny_content, monkeypatch
):
    started = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    monkeypatch.setattr(
        "torch.distributed.run.main",
        lambda arguments: started.append((os.environ["CUDA_VISIBLE_DEVICES"], arguments)),
    )
    with pytest.raises(SystemExit, match="0"):
        launch(config_on("auto", tiny_content, processes=2), ["train", "separate/sigma30"])
    assert started == [
        ("5,7", [
            "--standalone", "--nproc-per-node", "2", "-m", "dhl", "train", "separate/sigma30",
        ])
    ]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), [(None, "0,2"), ("4,5,GPU-ab", "4,GPU-ab")])
def test_gpus_are_named_as_they_are_visible(before, after):
    environment = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    assert visible((0, 2), environment) == after
