"""What the evaluation of each part, sigma and training measures: methods, their models, holes."""

from __future__ import annotations

from dhl.config.methods import TASKS, is_baseline, model_of
from dhl.config.schema import Config
from dhl.run.failures import first_hole
from dhl.run.folder import RunFolder
from dhl.run.model_keys import sigma_key, task_network_key
from dhl.run.shards import shards


def evaluated_models(config: Config, part: str, sigma: float, seed: int = 1) -> dict[str, str]:
    """Return the model keys that the evaluation of a part at a sigma and a training reads.

    Returns
    -------
    dict of str to str
        From method to key; the task network itself under `task-network`.
    """
    models = {
        method: sigma_key(name, sigma, seed)
        for method in config.parts[part].methods
        if (name := model_of(method, part))
    }
    if part in TASKS:
        models["task-network"] = task_network_key(part)
    return models


def measured_methods(config: Config, part: str, seed: int) -> tuple[str, ...]:
    """Return the methods that the evaluation of a training measures: after the first, the trained.

    What is not trained would come out the same.
    """
    methods = config.parts[part].methods
    return tuple(method for method in methods if seed == 1 or model_of(method, part))


def evaluated_seeds(config: Config, part: str) -> range:
    """Return the numbers of the trainings of which a part has an evaluation each."""
    trained = measured_methods(config, part, seed=2)
    return range(1, (config.seeds if trained else 1) + 1)


def failed_methods(
    config: Config, folder: RunFolder, part: str, sigma: float, seed: int = 1
) -> dict[str, str]:
    """Return the methods in whose results of a training there is a hole, with the reasons.

    All fail if their measuring did, or the task network behind them.
    """
    models = evaluated_models(config, part, sigma, seed)
    failed = {}
    for method in measured_methods(config, part, seed):
        paths = [folder.evaluation(part, sigma, seed)]
        paths += [folder.model(models[name]) for name in (method, "task-network") if name in models]
        if is_baseline(method):
            total = config.parts[part].shards
            paths += [folder.baseline(part, method, sigma, shard) for shard in shards(total)]
        if (reason := first_hole(paths)) is not None:
            failed[method] = reason
    return failed
