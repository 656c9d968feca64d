"""Fits that `tests/test_processes.py` runs in one process and under `torchrun` in several.

Usage: `torchrun --standalone --nproc-per-node N tests/several_processes.py FOLDER`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import distributed, nn

from dhl.config.recipes import Optimizer, Recipe
from dhl.data import processes
from dhl.models.build import build_network
from dhl.training.objective_denoise import Objective as DenoiseObjective
from dhl.training.objective_task import Objective as TaskObjective
from dhl.training.trainer import Fit, Stopped, fit

CPU = torch.device("cpu")
FITS = ("denoiser", "segmenter", "own_noise")
RECIPE = Recipe(
    steps=6, batch=4, optimizer=Optimizer(name="sgd", lr=0.02), clip_norm=1.0, checkpoint_every=100
)


def shared_batches(step: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return this process's share of a batch, of which the first half is mostly ignored."""
    share = processes.own_share(RECIPE.batch)
    images = torch.rand(RECIPE.batch, 3, 24, 24, generator=generator)
    labels = torch.randint(11, (RECIPE.batch, 24, 24), generator=generator)
    labels[:2, 2:] = 255
    return images[share], labels[share]


def denoiser_fit() -> tuple[nn.Module, list[float]]:
    """Train a denoiser with BatchNorm on noise of a range of sigmas."""
    torch.manual_seed(3)
    objective = DenoiseObjective(
        build_network("denoiser", "released", width=8), sigma=(10, 50), output=18
    )
    curve = fit(objective, shared_batches, RECIPE, Fit(("two",), CPU))
    return objective.network, curve["loss"].tolist()


def mixed_noise(
    clean: torch.Tensor, *, noise_std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Own noise that mixes the images of a batch, and follows their layout in memory."""
    draw = torch.empty_like(clean).normal_(generator=generator)
    return clean + noise_std * (draw + 0.1 * draw.flip(0))


def own_noise_fit() -> tuple[nn.Module, list[float]]:
    """Train a denoiser on own noise of a range of sigmas."""
    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8)
    objective = DenoiseObjective(
        network, sigma=(10, 50), output=18, noise=f"{__file__}:mixed_noise"
    )
    curve = fit(objective, shared_batches, RECIPE, Fit(("two",), CPU))
    return network, curve["loss"].tolist()


def segmenter_fit() -> tuple[nn.Module, list[float]]:
    """Train a segmenter, whose labels are unequally many in either process."""
    torch.manual_seed(3)
    objective = TaskObjective(
        build_network("segmenter", "small-largefov", width=4, classes=11), sigma=None
    )
    curve = fit(objective, shared_batches, RECIPE, Fit(("two",), CPU))
    return objective.network, curve["loss"].tolist()


def stoppable_fit(side_file: Path | None, *, signal_at: int | None = None) -> nn.Module:
    """Train a denoiser; a signal may come to one process in a step, and all must stop after it."""

    def batches(step: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        if step == signal_at and processes.rank() == processes.count() - 1:
            signal.raise_signal(signal.SIGTERM)
        return shared_batches(step, generator)

    torch.manual_seed(3)
    network = build_network("denoiser", "released", width=8)
    place = Fit(("several",), CPU, side_file=side_file, fingerprint="several")
    fit(DenoiseObjective(network, sigma=30, output=18), batches, RECIPE, place)
    return network


def stop(folder: Path) -> None:
    """Send a signal to one process in the middle, and keep what each has to say."""
    try:
        stoppable_fit(folder / "side.pt", signal_at=2)
    except Stopped as stopped:
        (folder / f"stopped-{processes.rank()}.txt").write_text(str(stopped))


def compare(folder: Path) -> None:
    """Run all fits and keep what each process has."""
    content = {}
    for name in FITS:
        network, losses = globals()[f"{name}_fit"]()
        content[name] = {"state": network.state_dict(), "losses": losses}
    torch.save(content, folder / f"rank{processes.rank()}.pt")


def resume(folder: Path) -> None:
    """Run a fit through, and another that is stopped and goes on; keep the first process's."""
    through = stoppable_fit(None).state_dict()
    stop(folder)
    distributed.barrier()  # until the first one has written
    resumed = stoppable_fit(folder / "side.pt").state_dict()
    if processes.rank() == 0:
        torch.save({"through": through, "resumed": resumed}, folder / "states.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with processes.process_group(int(os.environ["WORLD_SIZE"]), device_type="cpu"):
        compare(Path(sys.argv[1]))
        resume(Path(sys.argv[1]))
