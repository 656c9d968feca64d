"""The probes of a part at a sigma, image by image: denoisers in front of task networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from dhl.config import Config
from dhl.evaluation import (
    Batch,
    Output,
    denoise,
    forward,
    load_network,
    measure_all,
    read_noisy_images,
    working,
)
from dhl.probes import Probe, failed_probes, probes
from dhl.results import RunFolder


def measure_probes(
    config: Config, part: str, sigma: float, folder: RunFolder, *, seed: int = 1
) -> None:
    """Measure the probes of a part at a sigma and write rows and arrays.

    They are as those of `dhl.evaluation.evaluate`, with a probe's name for the method; so are the
    parameters. After the first training, what has no denoiser is not measured again.

    Raises
    ------
    UserError
        As `evaluate`, or if all probes have failed.
    """
    test_images = read_noisy_images(config, folder, part, sigma)
    bench = ProbeBench(config, part, sigma, folder, seed=seed)
    measure_all(config, test_images, bench, folder.probes(part, sigma, seed), examples=0)


class ProbeBench:
    """The models of a part's probes; on the CPU until they are moved."""

    def __init__(
        self, config: Config, part: str, sigma: float, folder: RunFolder, *, seed: int = 1
    ):
        self.device = torch.device("cpu")
        wanted = {probe.name: probe for probe in probes(config, part, sigma, seed)}
        self.names = working(list(wanted), failed_probes(config, folder, part, sigma, seed))
        self.probes = [wanted[name] for name in self.names]
        self.seed = seed
        keys = dict.fromkeys(key for probe in self.probes for key in probe.models(seed))
        self.networks = {key: load_network(config, folder, key) for key in keys}

    def move(self, device: torch.device) -> None:
        """Move the networks to a device."""
        self.device = device
        for network in self.networks.values():
            network.to(device)

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield what each probe makes of a batch; a denoiser runs once for all its readers."""
        by_denoiser = sorted(self.probes, key=lambda probe: probe.denoiser)
        for denoiser, own in itertools.groupby(by_denoiser, lambda probe: probe.denoiser):
            probes_of_one = list(own)
            images = self._images(probes_of_one[0], batch)
            for probe in probes_of_one:
                reader = probe.reader and self.networks[probe.reader]
                logits = forward(reader, images, self.device) if reader else None
                yield Output(probe.name, images, logits, denoised=denoiser != "clean")

    def _images(self, probe: Probe, batch: Batch) -> np.ndarray:
        """Return what a probe's task network reads, raw images (N, H, W, 3)."""
        if probe.denoiser == "clean":
            return batch.clean.astype(np.float32) / 255
        if probe.denoiser == "noisy":
            return batch.noisy
        return denoise(self.networks[probe.denoiser_of(self.seed)], batch.noisy, self.device)
