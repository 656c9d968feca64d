"""The experiments of each evaluation, and the comparisons of the studies beyond the paper.

An experiment is a source of images (clean, noisy or denoised) and a task network that reads them.
Each method of the tables is one. Three studies, configured by `sensitivity`, add others.
`task-weight` trains joint denoisers with other task weights. `sigma-mismatch` tests a denoiser on
noise of another sigma. `transfer` puts each denoiser in front of other task networks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dhl.config.methods import PEERS, TASKS, is_baseline, model_of
from dhl.config.schema import Config
from dhl.config.sensitivity import MISMATCHED, Sensitivity
from dhl.run.failures import first_failure
from dhl.run.folder import RunFolder
from dhl.run.model_keys import key_in_draw, sigma_key, task_network_key, with_label
from dhl.run.shards import shards
from dhl.seeding import FIRST, Draw

STUDIES = ("task-weight", "sigma-mismatch", "transfer")


@dataclass(frozen=True)
class Experiment:
    """Images, and the task network that reads them."""

    name: str  # a method of the table, or `<source> + <task network>`; the same for every training
    source: str  # `clean`, `noisy`, an untrained method, or the key of a denoiser's first training
    task_network: str | None  # its key; None: only images are measured

    def draws(self, config: Config) -> Draw:
        """Return how many trainings of the task networks and denoisers give other results."""
        first = self.models(config, FIRST)
        task_seeds = config.task_seeds if self.models(config, Draw(task=2)) != first else 1
        others = self.models(config, Draw(seed=2)) != first
        several = others and not _is_published(config, self.source)
        return Draw(task_seeds, config.seeds if several else 1)

    @property
    def has_psnr(self) -> bool:
        """Whether PSNR is reported: not for clean images, nor for a retrained network's input."""
        return self.source != "clean" and self.name != "retrained"

    @property
    def is_untrained(self) -> bool:
        """Whether the job of an untrained method makes its images."""
        return "/" not in self.source and is_baseline(self.source)

    def source_in(self, config: Config, draw: Draw) -> str:
        """Return the source in one draw of the trainings."""
        return key_in_draw(config, self.source, draw) if "/" in self.source else self.source

    def task_network_in(self, config: Config, draw: Draw) -> str | None:
        """Return the key of the task network in one draw of the trainings."""
        return self.task_network and key_in_draw(config, self.task_network, draw)

    def models(self, config: Config, draw: Draw) -> tuple[str, ...]:
        """Return the keys of the models in one draw of the trainings."""
        names = (self.source_in(config, draw), self.task_network_in(config, draw))
        return tuple(name for name in names if name and "/" in name)


def _is_published(config: Config, source: str) -> bool:
    """Tell whether a source is a denoiser with weights of others that the run does not train."""
    kind = source.partition("/")[0]
    return (
        kind in ("separate", *PEERS) and config.parts.denoising.training.of(kind).separate is None
    )


@dataclass(frozen=True)
class StudyPair:
    """An experiment of a study, and its reference."""

    study: str  # one of `STUDIES`
    experiment: Experiment
    reference: Experiment | None  # None for the reference itself, or if none is fair
    task_weight: float | None = None  # of the denoiser's loss, in `task-weight`
    trained_sigma: float | None = None  # of the denoiser, on the 0-255 scale


def experiments(
    config: Config, part: str, sigma: float, draw: Draw = FIRST
) -> tuple[Experiment, ...]:
    """List the experiments in the evaluation of a part at a sigma.

    First the methods in the order of the table, then the experiments of the studies. Studies use
    only the first training of the task networks. An experiment whose models are the same in several
    draws is evaluated only in the first of them.
    """
    found = dict.fromkeys(_methods(config, part, sigma))
    for comparison in comparisons(config, part, sigma) if draw.task == 1 else ():
        found |= dict.fromkeys(filter(None, (comparison.reference, comparison.experiment)))
    counts = ((one, one.draws(config)) for one in found)
    return tuple(one for one, n in counts if draw.task <= n.task and draw.seed <= n.seed)


def evaluated_draws(config: Config, part: str, sigma: float) -> tuple[Draw, ...]:
    """List the draws of the trainings that are evaluated for a part at a sigma."""
    grid = itertools.product(range(1, config.task_seeds + 1), range(1, config.seeds + 1))
    draws = itertools.starmap(Draw, grid)
    return tuple(one for one in draws if one == FIRST or experiments(config, part, sigma, one))


def evaluations(config: Config) -> Iterator[tuple[str, float, Draw]]:
    """Yield part, sigma and draw of each evaluation of a run."""
    for part in config.parts:
        for sigma in config.parts[part].sigmas:
            for draw in evaluated_draws(config, part, sigma):
                yield part, sigma, draw


def evaluated_models(
    config: Config, part: str, sigma: float, draw: Draw = FIRST
) -> tuple[str, ...]:
    """Return the keys of the models that an evaluation reads."""
    planned = experiments(config, part, sigma, draw)
    return tuple(dict.fromkeys(key for one in planned for key in one.models(config, draw)))


def failed_experiments(
    config: Config, folder: RunFolder, part: str, sigma: float, draw: Draw = FIRST
) -> dict[str, str]:
    """Return the names of the failed experiments, with the reasons.

    An experiment fails if its evaluation, one of its models or its denoised images failed.
    """
    failed = {}
    for one in experiments(config, part, sigma, draw):
        models = one.models(config, draw)
        paths = [folder.evaluation(part, sigma, draw), *map(folder.model, models)]
        if one.is_untrained:
            paths += denoised_files(config, folder, part, sigma, one.source)
        if (reason := first_failure(paths)) is not None:
            failed[one.name] = reason
    return failed


def denoised_files(
    config: Config, folder: RunFolder, part: str, sigma: float, method: str
) -> list[Path]:
    """List the files with the images of an untrained method, one for each shard."""
    parts = shards(config.parts[part].shards)
    return [folder.baseline(part, method, sigma, shard) for shard in parts]


def _methods(config: Config, part: str, sigma: float) -> Iterator[Experiment]:
    """Yield the methods of a table as experiments."""
    reader = task_network_key(part) if part in TASKS else None
    for method in config.parts[part].methods:
        name = model_of(method, part)
        if name and method == "retrained":
            yield Experiment(method, "noisy", sigma_key(name, sigma))
        else:
            yield Experiment(method, sigma_key(name, sigma) if name else method, reader)


def studies(config: Config) -> tuple[str, ...]:
    """Return the names of the studies of a run, in the order of the report."""
    found = {one.study for at in studied(config) for one in comparisons(config, *at)}
    return tuple(name for name in STUDIES if name in found)


def studied(config: Config) -> tuple[tuple[str, float], ...]:
    """List the parts and sigmas at which the studies have experiments."""
    return tuple(
        (part, sigma)
        for part in config.parts
        for sigma in config.parts[part].sigmas
        if comparisons(config, part, sigma)
    )


def comparisons(config: Config, part: str, sigma: float) -> tuple[StudyPair, ...]:
    """List the comparisons of all studies of a part at one noise level."""
    if config.sensitivity is None:
        return ()
    known = {(one.source, one.task_network): one for one in _methods(config, part, sigma)}

    def experiment(source: str, reader: str | None) -> Experiment:
        name = source if reader is None else f"{source} + {reader}"
        return known.get((source, reader), Experiment(name, source, reader))

    varied = part in TASKS and sigma == config.sensitivity.sigma
    found: list[StudyPair] = []
    if varied:
        found += _task_weights(config, config.sensitivity, part, experiment)
    if part in config.sensitivity.mismatch:
        found += _mismatches(config, part, sigma, experiment)
    if varied:
        found += _transfers(config, config.sensitivity, part, experiment)
    return tuple(found)


MakeExperiment = Callable[[str, str | None], Experiment]  # from a source and a task network


def _task_weights(
    config: Config, sensitivity: Sensitivity, part: str, experiment: MakeExperiment
) -> Iterator[StudyPair]:
    """Vary the task weight; the joint denoiser of weight 0 is the matched one."""
    sigma, factors = sensitivity.sigma, sensitivity.weight_factors
    if not factors:
        return
    reader = task_network_key(part)
    none = experiment(sigma_key(f"matched-{part}", sigma), reader)
    yield StudyPair("task-weight", none, None, task_weight=0.0, trained_sigma=sigma)
    weight = config.parts[part].training.joint.task_weight
    for factor in sorted((1.0, *factors)):
        one = experiment(sigma_key(f"joint-{part}", sigma, factor=factor), reader)
        yield StudyPair("task-weight", one, none, factor * weight, sigma)


def _mismatches(
    config: Config, part: str, sigma: float, experiment: MakeExperiment
) -> Iterator[StudyPair]:
    """Test the denoisers of all sigmas at one noise level."""
    reader = task_network_key(part) if part in TASKS else None
    for method in MISMATCHED[part]:
        name = model_of(method, part)
        if name is None or method not in config.parts[part].methods:
            continue
        right = experiment(sigma_key(name, sigma), reader)
        for trained in sorted(config.parts[part].sigmas):
            one = experiment(sigma_key(name, trained), reader)
            reference = None if trained == sigma else right
            yield StudyPair("sigma-mismatch", one, reference, trained_sigma=trained)


def _transfers(
    config: Config, sensitivity: Sensitivity, part: str, experiment: MakeExperiment
) -> Iterator[StudyPair]:
    """Put the denoisers of all task networks in front of the networks of one task."""
    sigma = sensitivity.sigma
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
        reference = experiment(matched, reader)
        for source in ("clean", "noisy", sigma_key("separate", sigma)):
            yield StudyPair("transfer", experiment(source, reader), reference)
        yield StudyPair("transfer", reference, None)
        for source in guided:
            yield StudyPair("transfer", experiment(source, reader), reference)
