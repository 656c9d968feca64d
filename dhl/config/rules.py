"""Checks of the sections of a configuration against each other."""

from __future__ import annotations

from dhl.config.image_data_sets import ImagenetSamples
from dhl.config.methods import TASKS, base_of, model_of, part_name
from dhl.config.recipes import DenoiserRecipes, JointRecipe, Recipe, WarmStart
from dhl.config.schema import Config
from dhl.config.sensitivity import MISMATCHED, Sensitivity
from dhl.config.weights import check_weights, published_whole
from dhl.errors import ConfigError

# The recipe in a task's `training` that each kind of model follows.
RECIPES = {
    **dict.fromkeys(("joint", "matched", "permuted", "perceptual"), "joint"),
    "retrained": "retrained",
}


def check_rules(config: Config) -> None:
    """Check the sections of a configuration against each other."""
    for part in config.parts.of_paper:
        for method in config.parts[part].methods:
            _require_recipe(config, method, part)
            _require_pairs(config, method, part)
    if config.sensitivity is not None:
        _check_sensitivity(config, config.sensitivity)
    check_weights(config)
    _check_halves(config)
    _check_joint_crops(config)
    _check_task_seeds(config)
    recipes = used_recipes(config)
    _check_patches(config, recipes)
    _check_warm_starts(config, recipes)


def used_recipes(config: Config) -> dict[str, tuple[str, Recipe]]:
    """Return the recipes of all models that a run trains.

    Returns
    -------
    dict of str to (str, Recipe)
        Key path, and then the part with the training images, and the recipe.
    """
    parts = config.parts.of_paper
    methods = [(name, part) for part in parts for name in config.parts[part].methods]
    models = {model for method in methods if (model := model_of(*method)) is not None}
    tasks = [task for task in TASKS if task in config.parts]
    if config.sensitivity is not None and config.sensitivity.guides:
        models |= {f"joint-{task}" for task in tasks}
    found: dict[str, tuple[str, Recipe | None]] = {
        _path(task, "task_network"): (task, _recipe(config, task, "task_network")) for task in tasks
    }
    for name in models:
        kind, _, task = name.partition("-")
        if task:
            recipe = RECIPES[kind]
            found[_path(task, recipe)] = (task, _recipe(config, task, recipe))
        if kind != "retrained":  # each denoiser is, or starts from, one trained for the MSE alone
            key_path, training = "parts.denoising.training", config.parts.denoising.training
            recipes = training.of(kind)
            key_path += f".{kind}" if recipes is not training else ""
            for field in DenoiserRecipes.model_fields:
                found[f"{key_path}.{field}"] = ("denoising", getattr(recipes, field))
    return {
        key_path: (part, recipe)
        for key_path, (part, recipe) in sorted(found.items())
        if recipe is not None
    }


def unequal_images(config: Config) -> dict[str, tuple[int, int]]:
    """Return the tasks in which the retrained network and the joint denoiser see unequal data.

    Returns
    -------
    dict of str to (int, int)
        By task, how many images (steps x batch) `retrained` and `joint` see.
    """
    found = {}
    for task in (task for task in TASKS if task in config.parts):
        if {"retrained", "joint"} <= set(config.parts[task].methods):
            training = config.parts[task].training
            found[task] = training.retrained.images, training.joint.images
    return {task: counts for task, counts in found.items() if counts[0] != counts[1]}


def _path(task: str, recipe: str) -> str:
    """Return the key path of a task's recipe."""
    return f"parts.{task}.training.{recipe}"


def _recipe(config: Config, task: str, name: str) -> Recipe | None:
    """Return a recipe of a task; None if it is not configured."""
    return getattr(config.parts[task].training, name) if task in config.parts else None


def _require_recipe(config: Config, method: str, part: str) -> None:
    """Check that the recipe of a method, and the data of its task, are configured."""
    kind, _, task = (model_of(method, part) or "").partition("-")
    needed = [(task, RECIPES[kind]), (task, "task_network")] if kind in RECIPES else []
    if part in TASKS:
        needed.append((part, "task_network"))
    for task, name in needed:
        if task not in config.parts:
            raise ConfigError(
                f"The method `{method}` of {part} needs the part `{task}`.",
                came=f"`{method}` in `parts.{part}.methods`, and no `parts.{task}`",
                do=f"add `parts.{task}`, or remove the method.",
            )
        if name == "task_network" and published_whole(task, config.task_networks(task)[0]):
            continue
        if _recipe(config, task, name) is None:
            file = f"or name a file in `parts.{task}.task_network.weights`, "
            raise ConfigError(
                f"The method `{method}` of {part} needs the recipe `{_path(task, name)}`.",
                came=f"`{method}` in `parts.{part}.methods`, and no such recipe",
                do=f"add `{_path(task, name)}`, {file if name == 'task_network' else ''}or remove "
                "the method.",
            )


def _require_pairs(config: Config, method: str, part: str) -> None:
    """Check that a batch has other images, whose labels `joint-permuted` takes."""
    recipe = _recipe(config, part, "joint") if method == "joint-permuted" else None
    if recipe is not None and recipe.batch < 2:
        raise ConfigError(
            f"The method `{method}` of {part} needs at least two images in a batch.",
            came=f"`{_path(part, 'joint')}.batch: {recipe.batch}`",
            do="write a batch of 2 or more, or remove the method.",
        )


def _check_sensitivity(config: Config, asked: Sensitivity) -> None:
    """Check that `sensitivity` varies what is run."""
    if not (asked.mismatch or asked.guides):
        raise ConfigError(
            "`sensitivity` has no experiment.",
            came="no `weight_factors`, `mismatch`, `classifiers` or `segmenters`",
            do="add one of them, as docs/sensitivity.md does, or remove `sensitivity`.",
        )
    for part in asked.mismatch:
        _check_mismatch(config, part)
    for task in TASKS:
        _check_task_of_sensitivity(config, asked, task)
    if asked.weight_factors:
        _check_varied_weights(config)


def _check_mismatch(config: Config, part: str) -> None:
    """Check that a part has other noise levels, and a denoiser to test on them."""
    if part not in config.parts or len(config.parts[part].sigmas) < 2:
        raise ConfigError(
            f"`sensitivity.mismatch` needs two sigmas of {part}.",
            came=f"`{part}` in `sensitivity.mismatch`",
            do=f"remove it, or add more `parts.{part}.sigmas`.",
        )
    if not set(MISMATCHED[part]) & set(config.parts[part].methods):
        names = " nor ".join(f"`{name}`" for name in MISMATCHED[part])
        raise ConfigError(
            f"`sensitivity.mismatch` needs a trained denoiser of {part}.",
            came=f"neither {names} in `parts.{part}.methods`",
            do=f"add one of them, or remove `{part}` from `mismatch`.",
        )


def _check_task_of_sensitivity(config: Config, asked: Sensitivity, task: str) -> None:
    """Check that a task has what `sensitivity` needs."""
    networks = asked.others(task)
    if task not in config.parts:
        if networks:
            raise ConfigError(
                f"`sensitivity` has a network for {task}, which is not run.",
                came=f"`{next(iter(networks))}`, and no `parts.{task}`",
                do=f"add `parts.{task}`, or remove the network.",
            )
        return
    sigmas = config.parts[task].sigmas
    if asked.sigma not in sigmas:
        raise ConfigError(
            f"`sensitivity.sigma` is not a sigma of {task}.",
            came=f"`sensitivity.sigma: {asked.sigma:g}`",
            do=f"choose from `parts.{task}.sigmas`: {', '.join(f'{sigma:g}' for sigma in sigmas)}.",
        )
    if asked.guides and _recipe(config, task, "joint") is None:
        raise ConfigError(
            f"`sensitivity` needs the recipe `{_path(task, 'joint')}`.",
            came="no such recipe",
            do="add it, or remove `weight_factors` and further networks from `sensitivity`.",
        )
    for network in networks.values():
        if not published_whole(task, network) and _recipe(config, task, "task_network") is None:
            raise ConfigError(
                f"The network `{network.name}` needs the recipe `{_path(task, 'task_network')}`.",
                came=f"`{network.name}` in `sensitivity`, and no such recipe",
                do="add the recipe, or name a file in `weights`, or remove the network.",
            )


def _check_varied_weights(config: Config) -> None:
    """Check that every task weight to multiply is above 0, and that there is one."""
    tasks = [task for task in TASKS if task in config.parts]
    recipes = {task: _recipe(config, task, "joint") for task in tasks}
    zero = [
        task
        for task, recipe in recipes.items()
        if isinstance(recipe, JointRecipe) and recipe.task_weight == 0
    ]
    if zero or not tasks:
        came = [f"`{_path(task, 'joint')}.task_weight: 0`" for task in zero]
        raise ConfigError(
            "`sensitivity.weight_factors` needs task weights above 0 to multiply.",
            came=" and ".join(came) or f"no part {' or '.join(TASKS)}",
            do="remove `weight_factors`, or run a task with a weight above 0.",
        )


def _check_halves(config: Config) -> None:
    """Check that no denoiser is tested on the half of `imagenet-samples` that it is trained on."""
    data = config.parts["classification"].data if "classification" in config.parts else None
    if not isinstance(data, ImagenetSamples):
        return
    trained = getattr(config.parts["denoising"].data, "train", None)
    if trained == f"{data.kind}-{data.test}":
        raise ConfigError(
            "Denoisers are trained on the photographs that classification is tested on.",
            came=f"`parts.denoising.data.train: {trained}`, and `test: {data.test}` in "
            "`parts.classification.data`",
            do="write the other half at one of the two.",
        )
    other = next(half for half in ("even", "odd") if half != data.test)
    for part in (part for part in config.parts if base_of(part) == "denoising"):
        guided = [
            method
            for method in config.parts[part].methods
            if (model_of(method, part) or "").endswith("-classification")
        ]
        if guided and getattr(config.parts[part].data, "test", None) == f"{data.kind}-{other}":
            raise ConfigError(
                f"The denoiser of `{guided[0]}` is tested on photographs that it is trained on.",
                came=f"{data.kind}-{other} as test images of {part_name(part)}, and "
                f"`test: {data.test}` in `parts.classification.data`",
                do=f"test {part_name(part)} on `{data.kind}-{data.test}` or on other images.",
            )


def _check_joint_crops(config: Config) -> None:
    """Check that the classifier's crop fits into the joint denoiser's output."""
    if "classification" not in config.parts:
        return
    part = config.parts["classification"]
    crop, recipe = getattr(part.data, "crop", None), part.training.joint
    if crop is None or recipe is None or recipe.patch in (None, crop):
        return
    if recipe.patch % 4 or recipe.patch < crop + 6:
        least = crop + 6 + -(crop + 6) % 4
        raise ConfigError(
            f"The joint patch of {recipe.patch} px does not fit the classifier's crop.",
            came=f"`{_path('classification', 'joint')}.patch: {recipe.patch}`, and a crop of "
            f"{crop} px",
            do=f"write {crop}, or a multiple of 4 from {least}.",
        )


def _check_task_seeds(config: Config) -> None:
    """Raise if no task network is trained, but each is to be trained several times."""
    tasks = [task for task in TASKS if task in config.parts]
    recipes = [config.parts[task].training.task_network for task in tasks]
    if config.task_seeds > 1 and tasks and not any(recipes):
        missing = " or ".join(f"`{_path(task, 'task_network')}`" for task in tasks)
        raise ConfigError(
            "No task network is trained, so none can have several trainings.",
            came=f"`task_seeds: {config.task_seeds}`, and no {missing}",
            do="set `task_seeds: 1`, or add a recipe that trains a task network.",
        )


def _check_patches(config: Config, recipes: dict[str, tuple[str, Recipe]]) -> None:
    """Check that patches fit into images of known size; segmentation pads small images."""
    for key_path, (part, recipe) in recipes.items():
        side = config.parts[part].data.smallest_side
        if part != "segmentation" and side and recipe.patch and recipe.patch > side:
            raise ConfigError(
                f"The patch of {recipe.patch} px is larger than the training images.",
                came=f"`{key_path}.patch: {recipe.patch}`, and images of {side} px in "
                f"`parts.{part}.data`",
                do=f"write {side // 4 * 4} or less, or use larger images.",
            )


def _check_warm_starts(config: Config, recipes: dict[str, tuple[str, Recipe]]) -> None:
    """Check that a warm start covers a sigma of the run; `dhl plan` warns of uncovered ones."""
    sigmas = {sigma for part in config.parts for sigma in config.parts[part].sigmas}
    for key_path, (_, recipe) in recipes.items():
        if isinstance(recipe, WarmStart) and not any(map(recipe.covers, sigmas)):
            raise ConfigError(
                f"The warm start `{key_path}` covers no sigma of the run.",
                came=f"sigma {recipe.sigma_low:g} to {recipe.sigma_high:g}; the run has "
                f"{', '.join(f'{sigma:g}' for sigma in sorted(sigmas))}",
                do="widen `sigma_low` and `sigma_high`, or write `warm_start: null`.",
            )
