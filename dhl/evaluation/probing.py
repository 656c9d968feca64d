"""The probes of a part at a sigma, image by image: denoisers in front of task networks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from dhl.config.schema import Config
from dhl.evaluation.evaluate import (
    Batch,
    Bench,
    Output,
    forward,
    load_network,
    measure_all,
    read_noisy_images,
    working,
)
from dhl.run.folder import RunFolder
from dhl.run.probes import failed_probes, probes


def measure_probes(
    config: Config, part: str, sigma: float, folder: RunFolder, *, seed: int = 1
) -> None:
    """Measure the probes of a part at a sigma and write rows and arrays.

    They are as those of `evaluate`, with a probe's name for the method; so are the
    parameters. After the first training, what has no denoiser is not measured again.

    Raises
    ------
    UserError
        As `evaluate`, or if all probes have failed.
    """
    test_images = read_noisy_images(config, folder, part, sigma)
    bench = ProbeBench(config, part, sigma, folder, seed=seed)
    measure_all(config, test_images, bench, folder.probes(part, sigma, seed), examples=0)


class ProbeBench(Bench):
    """The models of a part's probes."""

    def __init__(
        self, config: Config, part: str, sigma: float, folder: RunFolder, *, seed: int = 1
    ):
        super().__init__()
        wanted = {probe.name: probe for probe in probes(config, part, sigma, seed)}
        self.names = working(list(wanted), failed_probes(config, folder, part, sigma, seed))
        self.probes = [wanted[name] for name in self.names]
        self.seed = seed
        keys = dict.fromkeys(key for probe in self.probes for key in probe.models(seed))
        self.networks = {key: load_network(config, folder, key) for key in keys}

    def outputs(self, batch: Batch) -> Iterator[Output]:
        """Yield what each probe makes of a batch; a denoiser runs once for all its readers."""
        by_denoiser = sorted(self.probes, key=lambda probe: probe.denoiser)
        for denoiser, own in itertools.groupby(by_denoiser, lambda probe: probe.denoiser):
            probes_of_one = list(own)
            images = self.images(probes_of_one[0].denoiser_of(self.seed), batch)
            for probe in probes_of_one:
                reader = probe.reader and self.networks[probe.reader]
                logits = forward(reader, images, self.device) if reader else None
                yield Output(probe.name, images, logits, denoised=denoiser != "clean")
