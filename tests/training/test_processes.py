"""Processes that train together take the steps of one at the same global batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import several_processes
import torch
import yaml
from torch import nn

from dhl.config.parse import parse_config
from dhl.data import processes
from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.models.synced_batch_norm import SyncedBatchNorm, synchronise
from dhl.run.folder import RunFolder
from dhl.run.results import TRAINING_COLUMNS, read_csv
from dhl.training.train import train_model

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> Path:
    """A folder with what four processes have made: the sum of two has one value in any order."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "4", several_processes.__file__, folder]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", several_processes.FITS)
def test_several_processes_learn_what_one_learns(together, name):
    network, losses = getattr(several_processes, f"{name}_fit")()
    first, *others = [torch.load(together / f"rank{rank}.pt")[name] for rank in range(4)]
    np.testing.assert_allclose(first["losses"], losses, rtol=2e-5)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(first["state"][key], value, rtol=1e-4, atol=1e-5)
    for other in others:
        assert other["losses"] == first["losses"]
        for key, value in first["state"].items():
            assert torch.equal(other["state"][key], value), key


def test_a_signal_to_one_process_stops_all_at_one_step_and_the_first_keeps_it(together):
    *messages, signalled = [(together / f"stopped-{rank}.txt").read_text() for rank in range(4)]
    assert all("a signal to another process came at step 3" in message for message in messages)
    assert "SIGTERM came at step 3" in signalled
    assert checkpoint.load(together / "side.pt")["step"] == 3


def test_a_training_by_several_goes_on_to_the_same_weights(together):
    states = torch.load(together / "states.pt")
    for key, value in states["through"].items():
        assert torch.equal(states["resumed"][key], value), key


def test_the_command_trains_in_as_many_processes_as_configured(tiny_content, data_copy, tmp_path):
    tiny_content["parts"]["denoising"]["training"]["warm_start"] = None
    key = "separate/sigma30"
    train_model(parse_config(tiny_content, source="tiny.yaml"), key, data_copy)
    alone = read_csv(data_copy.training(key), TRAINING_COLUMNS)
    data_copy.model(key).unlink()

    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(tiny_content | {"processes": 2}))
    command = ["-m", "dhl", "train", key, "--configfile", path, "--folder", data_copy.root]
    subprocess.run([sys.executable, *command], env=ENVIRONMENT, check=True, capture_output=True)
    both = read_csv(data_copy.training(key), TRAINING_COLUMNS)
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=2e-4)
    assert data_copy.model(key).exists()


@contextmanager
def long_training(
    tiny_content, folder: RunFolder, path: Path
) -> Iterator[tuple[subprocess.Popen, list[psutil.Process]]]:
    """Train in two processes; yields the command, once both have taken steps, and the processes."""
    tiny_content["parts"]["denoising"]["training"]["warm_start"] = None
    tiny_content["parts"]["denoising"]["training"]["separate"] |= {"steps": 100_000}
    path.write_text(yaml.safe_dump(tiny_content | {"processes": 2}))
    command = [sys.executable, "-m", "dhl", "train", "separate/sigma30"]
    command += ["--configfile", str(path), "--folder", str(folder.root)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as job:
        while not list(folder.root.glob("checkpoints/separate/*.pt")):
            assert job.poll() is None
            time.sleep(0.1)
        found = psutil.Process(job.pid).children(recursive=True)
        ranks = [one for one in found if one.environ().get("LOCAL_RANK")]
        assert len(ranks) == 2
        yield job, ranks


@pytest.mark.parametrize("place", ["command", pytest.param("rank", marks=pytest.mark.slow)])
def test_a_training_by_several_that_is_stopped_has_not_failed(
    tiny_content, data_copy, tmp_path, place
):
    with long_training(tiny_content, data_copy, tmp_path / "two.yaml") as (job, ranks):
        (job if place == "command" else ranks[1]).send_signal(signal.SIGTERM)
        assert job.wait(60) == 143
    assert list(data_copy.root.glob("checkpoints/separate/*.pt"))


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_processes_of_a_training_end_with_a_command_that_is_killed(
    tiny_content, data_copy, tmp_path
):
    with long_training(tiny_content, data_copy, tmp_path / "two.yaml") as (job, ranks):
        job.kill()
    deadline = time.monotonic() + 60
    while any(is_alive(rank) for rank in ranks):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that ended may wait for its parent's notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_training_refuses_another_number_of_processes(tiny_content, data_copy):
    config = parse_config(tiny_content | {"processes": 2}, source="tiny.yaml")
    with pytest.raises(UserError, match=r"1 started, and `processes: 2`[\s\S]*dhl train"):
        train_model(config, "separate-start/all", data_copy)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, momentum=None),
        nn.BatchNorm2d(4, track_running_stats=False),
    ],
)  # fmt: skip
def test_batch_norm_that_cannot_be_synchronised_is_refused(layer):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(layer))
    with pytest.raises(UserError, match=r"`1\.0` is BatchNorm[\s\S]*processes: 1"):
        synchronise(network)
    assert type(network[0]) is SyncedBatchNorm


def test_a_batch_that_cannot_be_shared_equally_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(UserError, match=r"a batch of 16 and 3 processes"):
        processes.own_share(16)
