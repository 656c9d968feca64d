"""What is measured beyond the tables: denoisers in front of task networks, and what each tells.

Three experiments, configured by `sensitivity`. `task-weight` trains joint denoisers with other
weights: PSNR against the task's metric, which the paper shows for one weight alone.
`sigma-mismatch` meets the denoisers of one sigma with the noise of another. `transfer` puts each
denoiser in front of every task network, among them architectures that it was not trained with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhl.config.methods import TASKS, model_of
from dhl.config.schema import Config
from dhl.config.sensitivity import MISMATCHED
from dhl.run.failures import first_hole
from dhl.run.folder import RunFolder
from dhl.run.model_keys import sigma_key, task_network_key, with_label
from dhl.seeding import seed_suffix

EXPERIMENTS = ("task-weight", "sigma-mismatch", "transfer")


@dataclass(frozen=True)
class Probe:
    """A denoiser, and the task network that reads its images.

    Attributes
    ----------
    denoiser : str
        `clean` or `noisy`, which are none, or the key of a first training.
    reader : str or None
        The key of a task network; None measures the images alone.
    """

    denoiser: str
    reader: str | None

    @property
    def name(self) -> str:
        """What its rows are found by, whatever the training."""
        return self.denoiser if self.reader is None else f"{self.denoiser} + {self.reader}"

    @property
    def trained(self) -> bool:
        """Whether there is a denoiser, which another training would change."""
        return "/" in self.denoiser

    def denoiser_of(self, seed: int) -> str:
        """Return the key of the denoiser of a training, or `clean` or `noisy`."""
        return self.denoiser + (seed_suffix(seed) if self.trained else "")

    def models(self, seed: int) -> tuple[str, ...]:
        """Return the keys of the models that it needs."""
        denoiser = (self.denoiser_of(seed),) if self.trained else ()
        return denoiser if self.reader is None else (*denoiser, self.reader)


@dataclass(frozen=True)
class Finding:
    """A cell of an experiment: a probe, and the one that it is compared with.

    Attributes
    ----------
    experiment : {"task-weight", "sigma-mismatch", "transfer"}
    probe : Probe
    reference : Probe or None
        None where it is the reference, or where a comparison says nothing.
    task_weight : float or None
        Of the denoiser's loss, in `task-weight`.
    trained_sigma : float or None
        Of the denoiser, on the 0-255 scale.
    """

    experiment: str
    probe: Probe
    reference: Probe | None
    task_weight: float | None = None
    trained_sigma: float | None = None


def findings(config: Config, part: str, sigma: float) -> tuple[Finding, ...]:
    """List what is found out about a part at a sigma of the noise."""
    if config.sensitivity is None:
        return ()
    found: list[Finding] = []
    if sigma == config.sensitivity.sigma and part in TASKS:
        found += _task_weights(config, part)
    if part in config.sensitivity.mismatch and sigma in config.parts[part].sigmas:
        found += _mismatches(config, part, sigma)
    if sigma == config.sensitivity.sigma and part in TASKS:
        found += _transfers(config, part)
    return tuple(found)


def experiments(config: Config) -> tuple[str, ...]:
    """Name the experiments of a run, in the report's order."""
    found = {one.experiment for place in probed(config) for one in findings(config, *place)}
    return tuple(name for name in EXPERIMENTS if name in found)


def probed(config: Config) -> tuple[tuple[str, float], ...]:
    """List the parts and the sigmas of the noise that probes are measured at."""
    if config.sensitivity is None:
        return ()
    return tuple(
        (part, sigma)
        for part in config.parts
        for sigma in sorted({*config.parts[part].sigmas, config.sensitivity.sigma})
        if findings(config, part, sigma)
    )


def measurements(config: Config) -> Iterator[tuple[str, float, int]]:
    """Yield part, sigma and number of the training of each measurement of probes."""
    for part, sigma in probed(config):
        for seed in range(1, config.seeds + 1):
            yield part, sigma, seed


def probes(config: Config, part: str, sigma: float, seed: int = 1) -> tuple[Probe, ...]:
    """List the probes of a part at a sigma; after the first training, those of a denoiser."""
    found = dict.fromkeys(
        probe
        for finding in findings(config, part, sigma)
        for probe in (finding.reference, finding.probe)
        if probe is not None and (seed == 1 or probe.trained)
    )
    return tuple(found)


def probed_models(config: Config, part: str, sigma: float, seed: int = 1) -> tuple[str, ...]:
    """Return the keys of the models that a measurement of probes reads."""
    keys = (key for probe in probes(config, part, sigma, seed) for key in probe.models(seed))
    return tuple(dict.fromkeys(keys))


def failed_probes(
    config: Config, folder: RunFolder, part: str, sigma: float, seed: int = 1
) -> dict[str, str]:
    """Return the names of the probes that a failure leaves without results, with the reasons."""
    failed = {}
    for probe in probes(config, part, sigma, seed):
        paths = [folder.probes(part, sigma, seed), *map(folder.model, probe.models(seed))]
        if (reason := first_hole(paths)) is not None:
            failed[probe.name] = reason
    return failed


def _task_weights(config: Config, part: str) -> Iterator[Finding]:
    """Vary the weight of the task's loss; without it, the joint denoiser is the matched one."""
    sigma, factors = config.sensitivity.sigma, config.sensitivity.weight_factors
    if not factors:
        return
    reader = task_network_key(part)
    none = Probe(sigma_key(f"matched-{part}", sigma), reader)
    yield Finding("task-weight", none, None, task_weight=0.0, trained_sigma=sigma)
    weight = config.parts[part].training.joint.task_weight
    for factor in sorted((1.0, *factors)):
        probe = Probe(sigma_key(f"joint-{part}", sigma, factor=factor), reader)
        yield Finding("task-weight", probe, none, factor * weight, sigma)


def _mismatches(config: Config, part: str, sigma: float) -> Iterator[Finding]:
    """Meet the denoisers of all sigmas with the noise of one."""
    reader = task_network_key(part) if part in TASKS else None
    for method in MISMATCHED[part]:
        if method not in config.parts[part].methods:
            continue
        name = model_of(method, part)
        right = Probe(sigma_key(name, sigma), reader)
        for trained in sorted(config.parts[part].sigmas):
            probe = Probe(sigma_key(name, trained), reader)
            reference = None if trained == sigma else right
            yield Finding("sigma-mismatch", probe, reference, trained_sigma=trained)


def _transfers(config: Config, part: str) -> Iterator[Finding]:
    """Put the denoisers of all task networks in front of those of one task."""
    sensitivity, sigma = config.sensitivity, config.sensitivity.sigma
    tasks = [task for task in TASKS if task in config.parts]
    if not any(map(sensitivity.others, tasks)):
        return
    guided = [
        sigma_key(with_label(f"joint-{task}", label), sigma)
        for task in tasks
        for label in ("", *sensitivity.others(task))
    ]
    matched = sigma_key(f"matched-{part}", sigma)
    for label in ("", *sensitivity.others(part)):
        reader = task_network_key(part, label)
        reference = Probe(matched, reader)
        for denoiser in ("clean", "noisy", sigma_key("separate", sigma)):
            yield Finding("transfer", Probe(denoiser, reader), reference)
        yield Finding("transfer", reference, None)
        for denoiser in guided:
            yield Finding("transfer", Probe(denoiser, reader), reference)
