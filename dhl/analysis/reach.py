"""Which comparisons a run can judge: the reasons of the verdict `not tested`."""

from __future__ import annotations

import math

from dhl.analysis.calibration import released_weights_psnr
from dhl.analysis.claims_file import Claim, Limits
from dhl.analysis.measurements import Measurements
from dhl.config.methods import (
    BASELINES,
    PEERS,
    TASK_METRICS,
    TASK_NETWORKS,
    TASKS,
    is_trained,
    label_of,
    model_of,
)
from dhl.config.plugins import is_reference
from dhl.config.schema import Config
from dhl.run.model_graph import ModelSpec, all_models, model_spec
from dhl.run.model_keys import is_trained_here, sigma_key

_OTHERS = (*BASELINES, *PEERS)  # the denoisers that the paper's Table 1 compares Separate with


class Reach:
    """What the measurements of a part can tell.

    Parameters
    ----------
    config : Config
    limits : Limits
        From `report/claims.yaml`.
    part : str
    measurements : list of Measurements
        At all sigmas of the part.
    """

    def __init__(self, config: Config, limits: Limits, part: str, measurements: list[Measurements]):
        self.config, self.limits, self.part = config, limits, part
        self._clean = math.nan
        if part in TASKS:  # the same at each sigma, but a failed evaluation has none
            scores = (one.score("clean", TASK_METRICS[part][0]) for one in measurements)
            self._clean = next((score for score in scores if not math.isnan(score)), math.nan)
        self._is_trial = is_trial(config, limits.steps)

    def why_not_tested(
        self, claim: Claim, measurements: list[Measurements], *, tested: float, share_low: float
    ) -> str:
        """Return why a run cannot judge a comparison, or an empty text.

        Parameters
        ----------
        claim : Claim
        measurements : list of Measurements
            At the sigmas of the comparison.
        tested : float
            The value that the claim says is above zero.
        share_low : float
            Lower end of the share that is kept; NaN if there is no gain to keep.
        """
        return (
            self._few_units(measurements[0])
            or self._trial()
            or self._untrained_task_network()
            or self._given_denoiser(claim)
            or self._unknown_level(claim, measurements)
            or self._short_training(claim, tested)
            or self._no_gain(claim, share_low)
        )

    def single_trainings(self, claim: Claim) -> str:
        """Return which networks behind a comparison were trained only once; empty if none was."""
        found = []
        specs = self._models(*claim.methods)
        if self.config.seeds == 1 and any(spec.recipe is not None for spec in specs):
            found.append("each denoiser was trained once")
        if self.config.task_seeds == 1:
            # Their networks read the images, or guided a denoiser.
            parents = [model_spec(self.config, key) for spec in specs for key in spec.parents]
            tasks = {self.part, *(one.part for one in parents if one.role != "denoiser")}
            found += [
                f"the {TASK_NETWORKS[task]} was trained once"
                for task in TASKS
                if task in tasks and is_trained_here(self.config, task)
            ]
        return "; ".join(found)

    def _models(self, *methods: str) -> list[ModelSpec]:
        """Return the trained or published networks behind methods, at the first sigma."""
        sigma = self.config.parts[self.part].sigmas[0]
        names = filter(None, (model_of(method, self.part) for method in methods))
        return [model_spec(self.config, sigma_key(name, sigma)) for name in names]

    def _few_units(self, measurements: Measurements) -> str:
        kind, count = measurements.fewest_units
        if count >= self.limits.units:
            return ""
        return f"{count} {kind} are too few test units for an interval"

    def _trial(self) -> str:
        if not self._is_trial:
            return ""
        return f"no training has {self.limits.steps} steps or more: a test run"

    def _untrained_task_network(self) -> str:
        """Name a task network that is poor on clean images: it tells nothing about denoisers."""
        if self.part not in TASKS:
            return ""
        rules = self.config.statistics
        least = rules.least_top1 if self.part == "classification" else rules.least_miou
        if not self._clean < least:
            return ""
        return (
            f"the {TASK_NETWORKS[self.part]} reaches {100 * self._clean:.1f} % on clean images, "
            f"below {100 * least:g} %: it is not trained enough"
        )

    def _given_denoiser(self, claim: Claim) -> str:
        """Name a `separate` that is not trained: whether training for MSE is best is not seen."""
        if self.part != "denoising" or claim.a != "separate" or claim.b not in _OTHERS:
            return ""
        if any(spec.recipe is not None for spec in self._models(claim.a)):
            return ""
        return (
            f"{label_of(claim.a)} has given weights, which this run did not train, so it does not "
            "test training for MSE"
        )

    def _unknown_level(self, claim: Claim, measurements: list[Measurements]) -> str:
        """Name a learned peer if it is not known to be as good as the published one."""
        peer = next((name for name in PEERS if name in claim.methods), None)
        if peer is None or claim.origin == "own":
            return ""
        if network := self.config.stand_in(peer):
            return f"the network of {label_of(peer)} is `{network}`, not that of the paper"
        if is_reference(self.config.noise):
            return f"{label_of(peer)} has no published level for this noise"
        tested = str(getattr(self.config.parts[self.part].data, "test", ""))
        protocol = self.config.evaluation.protocol
        for one in measurements:
            level = released_weights_psnr(peer, one.sigma, tested, protocol)
            if level is None:
                return (
                    f"{label_of(peer)} has no published level on this data at sigma "
                    f"{one.sigma:g}, so ours may be a weak opponent"
                )
            if (below := level - one.score(peer, "psnr")) > self.limits.published:
                return (
                    f"our {label_of(peer)} is {below:.2f} dB below its published weights at sigma "
                    f"{one.sigma:g}"
                )
        return ""

    def _short_training(self, claim: Claim, tested: float) -> str:
        """Name a denoiser that lost to an untrained method after a short training."""
        winner, loser = (claim.a, claim.b) if tested > 0 else (claim.b, claim.a)
        name = model_of(loser, self.part)
        if name is None or is_trained(winner) or winner == "clean":
            return ""
        sigma = self.config.parts[self.part].sigmas[0]
        seen = training_pixels(self.config, sigma_key(name, sigma))
        if seen >= self.limits.pixels:
            return ""
        percent = seen / self.limits.pixels  # the limit is 1 % of those of the released code
        return (
            f"{label_of(loser)} saw {percent:.2g} % of the training pixels of the released "
            "code, so that a longer training may win"
        )

    def _no_gain(self, claim: Claim, share_low: float) -> str:
        if not claim.over or not math.isnan(share_low):
            return ""
        return f"{label_of(claim.b)} has no clear gain over {label_of(claim.over)} to keep"


def is_trial(config: Config, steps: int) -> bool:
    """Tell whether all trainings have fewer steps than this, so that the numbers mean nothing."""
    recipes = (model_spec(config, key).recipe for key in all_models(config))
    counts = [recipe.steps for recipe in recipes if recipe is not None]
    return bool(counts) and max(counts) < steps


def training_pixels(config: Config, key: str) -> float:
    """Return the pixels of all training images that a denoiser saw, those of its start included.

    It is infinite for a denoiser that starts from published weights, or if the sizes of complete
    training images are not known.
    """
    spec: ModelSpec | None = model_spec(config, key)
    total = 0.0
    while spec is not None and spec.recipe is not None:
        side = spec.recipe.patch or config.parts[spec.part].data.smallest_side or math.inf
        total += spec.recipe.steps * spec.recipe.batch * side**2
        if spec.start is None and spec.network.weights is not None:
            return math.inf
        spec = model_spec(config, spec.start) if spec.start else None
    return total if spec is None else math.inf
