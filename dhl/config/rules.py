"""What must hold between the sections of a configuration."""

from __future__ import annotations

from dhl.config.image_data_sets import CLASSES_OF_IMAGENET
from dhl.config.methods import TASKS, model_of
from dhl.config.networks import Network
from dhl.config.recipes import DenoiserTraining, Recipe, WarmStart
from dhl.config.schema import Config
from dhl.config.sensitivity import MISMATCHED
from dhl.errors import ConfigError, UserError

# Which section of `training` has the recipe of a kind of model that belongs to a task.
SECTIONS = {"joint": "joint", "matched": "joint", "retrained": "retrained"}


def check_rules(config: Config) -> None:
    """Check the sections of a configuration against each other.

    Raises
    ------
    ConfigError
        At the first rule that is broken.
    """
    for part in config.parts:
        _check_part(config, part)
    if config.sensitivity is not None:
        _check_sensitivity(config)
    _check_joint_crops(config)
    _check_published_classes(config)
    recipes = used_recipes(config)
    _check_shares(config, recipes)
    _check_patches(config, recipes)
    _check_warm_starts(config, recipes)


def used_recipes(config: Config) -> dict[str, tuple[str, Recipe]]:
    """Return the recipes that a run trains by.

    Returns
    -------
    dict of str to (str, Recipe)
        From the key path to the part whose images are trained on, and the recipe.
    """
    methods = [(name, part) for part in config.parts for name in getattr(config.methods, part)]
    models = {model_of(*method) for method in methods} - {None}
    tasks = [task for task in TASKS if task in config.parts]
    if config.sensitivity is not None and config.sensitivity.guides:
        models |= {f"joint-{task}" for task in tasks}
    found = {f"training.task.{task}": (task, _recipe(config, "task", task)) for task in tasks}
    own = config.training.dncnn
    for name in models:
        kind, _, task = name.partition("-")
        if task:
            section = SECTIONS[kind]
            found[f"training.{section}.{task}"] = (task, _recipe(config, section, task))
        if kind != "retrained":  # each denoiser is, or starts from, one trained for MSE alone
            place, recipes = "training", config.training
            if kind == "dncnn" and own:
                place, recipes = "training.dncnn", own
            for field in DenoiserTraining.model_fields:
                found[f"{place}.{field}"] = ("denoising", getattr(recipes, field))
    return {place: found[place] for place in sorted(found) if found[place][1] is not None}


def _check_part(config: Config, part: str) -> None:
    """Check that a part has sigmas, methods, and the recipes of its methods."""
    for section in ("sigmas", "methods"):
        if getattr(getattr(config, section), part) is None:
            raise ConfigError(
                "a part with data has sigmas and methods.",
                came=f"`data.{part}`, and no `{section}.{part}`",
                do=f"add `{section}.{part}`, or take `data.{part}` out.",
            )
    for method in getattr(config.methods, part):
        _require_recipe(config, method, part)


def _require_recipe(config: Config, method: str, part: str) -> None:
    """Check that the recipe behind a method, and its task's data, are configured."""
    kind, _, task = (model_of(method, part) or "").partition("-")
    sections = [SECTIONS[kind], "task"] if kind in SECTIONS else []
    task = task or part
    if part in TASKS:
        sections.append("task")
    for section in sections:
        known = task in config.parts and section == "task"
        if known and published_whole(task, config.task_networks(task)[0]):
            continue
        recipe = f"training.{section}.{task}"
        absent = [] if task in config.parts else [f"`data.{task}`"]
        absent += [] if _recipe(config, section, task) else [f"`{recipe}`"]
        if absent:
            raise ConfigError(
                "what a method needs is configured.",
                came=f"`{method}` in `methods.{part}`, and no {' and no '.join(absent)}",
                do=f"add {' and '.join(absent)}, or take the method out of `methods.{part}`.",
            )


def _recipe(config: Config, section: str, task: str) -> Recipe | None:
    """Return the recipe of a task in a section of `training`."""
    return getattr(getattr(config.training, section), task)


def _check_sensitivity(config: Config) -> None:
    """Check that `sensitivity` varies what is run."""
    if not (config.sensitivity.mismatch or config.sensitivity.guides):
        raise ConfigError(
            "`sensitivity` asks for an experiment.",
            came="no `weight_factors`, `mismatch`, `classifiers` or `segmenters`",
            do="add one of them, as docs/sensitivity.md does, or take `sensitivity` out.",
        )
    for part in config.sensitivity.mismatch:
        _check_mismatch(config, part)
    for task in TASKS:
        _check_task_of_sensitivity(config, task)
    if config.sensitivity.weight_factors:
        _check_varied_weights(config)


def _check_mismatch(config: Config, part: str) -> None:
    """Check that a part has other noise, and a denoiser that meets it."""
    if part not in config.parts or len(getattr(config.sigmas, part)) < 2:
        raise ConfigError(
            "parts in `sensitivity.mismatch` have two sigmas or more.",
            came=f"`{part}` in `sensitivity.mismatch`",
            do=f"take it out, or give it data and more `sigmas.{part}`.",
        )
    if not set(MISMATCHED[part]) & set(getattr(config.methods, part)):
        names = " nor ".join(f"`{name}`" for name in MISMATCHED[part])
        raise ConfigError(
            "a part in `sensitivity.mismatch` has a denoiser that meets other noise.",
            came=f"`{part}` in `sensitivity.mismatch`, and neither {names} in `methods.{part}`",
            do=f"add one of them, or take `{part}` out of `mismatch`.",
        )


def _check_task_of_sensitivity(config: Config, task: str) -> None:
    """Check that a task has what `sensitivity` asks of it."""
    asked, networks = config.sensitivity, config.sensitivity.others(task)
    if task not in config.parts:
        if networks:
            raise ConfigError(
                "further networks belong to a task that is run.",
                came=f"`{next(iter(networks))}` in `sensitivity`, and no `data.{task}`",
                do=f"add `data.{task}`, or take the network out.",
            )
        return
    sigmas = getattr(config.sigmas, task)
    if asked.sigma not in sigmas:
        raise ConfigError(
            "`sensitivity.sigma` is one of each task's, so that its values stand beside the "
            "table's.",
            came=f"`sensitivity.sigma: {asked.sigma:g}`",
            do=f"choose from `sigmas.{task}`: {', '.join(f'{sigma:g}' for sigma in sigmas)}.",
        )
    if asked.guides and _recipe(config, "joint", task) is None:
        raise ConfigError(
            "what `sensitivity` trains jointly has a recipe.",
            came=f"no `training.joint.{task}`",
            do="add it, or take `weight_factors` and further networks out of `sensitivity`.",
        )
    for network in networks.values():
        if not published_whole(task, network) and _recipe(config, "task", task) is None:
            raise ConfigError(
                "a network without all its weights is trained.",
                came=f"`{network.name}` in `sensitivity`, and no `training.task.{task}`",
                do=f"add `training.task.{task}`, or take the network out.",
            )


def _check_varied_weights(config: Config) -> None:
    """Check that there are weights for `sensitivity` to multiply, none of them zero."""
    weights = {
        task: _recipe(config, "joint", task).task_weight for task in TASKS if task in config.parts
    }
    zero = [f"`training.joint.{task}.task_weight: 0`" for task, own in weights.items() if own == 0]
    if zero or not weights:
        raise ConfigError(
            "`sensitivity.weight_factors` multiply the `task_weight` of each task's joint recipe, "
            "which is above 0.",
            came=" and ".join(zero) or f"no data of {' or '.join(TASKS)}",
            do="take `weight_factors` out, or run a task with a weight.",
        )


def _check_joint_crops(config: Config) -> None:
    """Check that the classifier's crop is cut from what the joint denoiser makes of a patch."""
    crop = getattr(config.data.classification, "crop", None)
    recipe = config.training.joint.classification
    if crop is None or recipe is None or recipe.patch in (None, crop):
        return
    if recipe.patch % 4 or recipe.patch < crop + 6:
        least = crop + 6 + -(crop + 6) % 4
        raise ConfigError(
            "a joint denoiser reads the classifier's crop, or at least 6 px more and a multiple "
            "of 4.",
            came=f"`training.joint.classification.patch: {recipe.patch}`, and a crop of {crop} px",
            do=f"write {crop}, or {least} or such.",
        )


def _check_published_classes(config: Config) -> None:
    """Check that a classifier with ImageNet's weights chooses among ImageNet's classes."""
    data = config.data.classification
    if data is None:
        return
    try:
        classes = data.classes_of("classification")
    except UserError:  # a folder that is not there is named by who reads it
        return
    for network in config.task_networks("classification"):
        if network.weights == "imagenet" and classes != CLASSES_OF_IMAGENET:
            raise ConfigError(
                f"ImageNet's weights of a classifier are for its {CLASSES_OF_IMAGENET} classes.",
                came=f"`{network.name}` with `weights: imagenet`, and {classes} classes in "
                "`data.classification`",
                do="take `weights` out and train it, or write the path of weights for these "
                "classes; folders named by synset need `classes: imagenet`.",
            )


def _check_shares(config: Config, recipes: dict[str, tuple[str, Recipe]]) -> None:
    """Check that the processes of a training can share its batches equally."""
    uneven = [
        f"`{place}.batch: {recipe.batch}`"
        for place, (_, recipe) in recipes.items()
        if recipe.batch % config.processes
    ]
    if uneven:
        raise ConfigError(
            "a batch is shared equally by the processes.",
            came=f"`processes: {config.processes}` and {', '.join(uneven)}",
            do=f"make each `batch` a multiple of {config.processes}, or change `processes`.",
        )


def _check_patches(config: Config, recipes: dict[str, tuple[str, Recipe]]) -> None:
    """Check that patches fit into images whose size is known; label maps are enlarged."""
    for place, (part, recipe) in recipes.items():
        side = getattr(config.data, part).smallest_side
        if part != "segmentation" and side and recipe.patch and recipe.patch > side:
            raise ConfigError(
                "a patch fits into the training images.",
                came=f"`{place}.patch: {recipe.patch}`, and images of {side} px in `data.{part}`",
                do=f"write {side // 4 * 4} or less, or have larger images.",
            )


def _check_warm_starts(config: Config, recipes: dict[str, tuple[str, Recipe]]) -> None:
    """Check that a warm start has seen one of the run's sigmas; `dhl plan` names the others."""
    sigmas = {sigma for part in config.parts for sigma in getattr(config.sigmas, part)}
    for place, (_, recipe) in recipes.items():
        if isinstance(recipe, WarmStart) and not any(map(recipe.covers, sigmas)):
            raise ConfigError(
                "a warm start is trained on one of the run's sigmas at least.",
                came=f"`{place}` with sigma {recipe.sigma_low:g} to {recipe.sigma_high:g}, and "
                f"`sigmas` {', '.join(f'{sigma:g}' for sigma in sorted(sigmas))}",
                do="widen `sigma_low` and `sigma_high`, or write `warm_start: null`.",
            )


def published_whole(task: str, network: Network) -> bool:
    """Tell whether a task network comes with all its weights: then it needs no recipe.

    ImageNet's weights are of a classifier; a segmenter has only its first layers from them.
    """
    if task == "segmentation":
        return network.weights not in (None, "imagenet")
    return network.weights is not None
