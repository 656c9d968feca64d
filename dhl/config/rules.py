"""Checks of the sections of a configuration against each other."""

from __future__ import annotations

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.catalogue import CATALOGUE
from dhl.config.image_data_sets import CLASSES_OF_IMAGENET, ImagenetSamples
from dhl.config.methods import PEERS, TASKS, model_of
from dhl.config.networks import Network
from dhl.config.recipes import DenoiserRecipes, JointRecipe, Recipe, WarmStart
from dhl.config.schema import Config
from dhl.config.sensitivity import MISMATCHED, Sensitivity
from dhl.errors import ConfigError, UserError
from dhl.sigma import format_sigma

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
    _check_denoisers(config)
    _check_published_sigmas(config)
    _check_halves(config)
    _check_joint_crops(config)
    _check_published_classes(config)
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
            raise ConfigError(
                f"The method `{method}` of {part} needs the recipe `{_path(task, name)}`.",
                came=f"`{method}` in `parts.{part}.methods`, and no such recipe",
                do=f"add `{_path(task, name)}`, or remove the method.",
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
                do="add the recipe, or remove the network.",
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


def _check_denoisers(config: Config) -> None:
    """Check that each denoiser is trained, or starts from its own weights."""
    part = config.parts.denoising
    methods = {(name, part) for part in config.parts for name in config.parts[part].methods}
    used = {(model_of(*method) or "retrained").partition("-")[0] for method in methods}
    recipes: dict[str, DenoiserRecipes] = {
        peer: part.training.of(peer) for peer in PEERS if peer in used
    }
    if config.sensitivity or used - {*PEERS, "retrained"}:
        recipes["denoiser"] = part.training
    for name, of in recipes.items():
        network, key_path = getattr(part, name), f"parts.denoising.{name}"
        if of.separate is None and network.weights is None:
            raise ConfigError(
                f"The {name} `{network.name}` is not trained and has no weights.",
                came=f"`{key_path}.weights: null`, and no recipe `separate` for it",
                do="add `parts.denoising.training.separate`, or `weights` to the network.",
            )
        given = "weights" if network.weights else "name"
        if of.warm_start and (network.weights or entry_of("denoiser", network.name).of_one_sigma):
            raise ConfigError(
                f"The {name} `{network.name}` cannot have a warm start: it starts from weights, or "
                "knows one noise level.",
                came=f"`{key_path}.{given}: {getattr(network, given)}`, and a `warm_start` for it",
                do="write `warm_start: null`; the recipe `separate` trains each sigma's network.",
            )


def _check_published_sigmas(config: Config) -> None:
    """Check that published weights of one sigma each exist for the sigmas that need them."""
    for part in config.parts:
        models = filter(None, (model_of(name, part) for name in config.parts[part].methods))
        kinds = {name.partition("-")[0] for name in models} - {"retrained"}
        for name in {kind if kind in PEERS else "denoiser" for kind in kinds}:
            network: Network = getattr(config.parts.denoising, name)
            entry = entry_of("denoiser", network.name)
            file = entry.file or ""
            if network.weights != PUBLISHED["denoiser"] or "{sigma}" not in file:
                continue
            files = CATALOGUE[entry.pretrained or ""].members
            for sigma in config.parts[part].sigmas:
                if file.format(sigma=format_sigma(sigma)) not in files:
                    raise ConfigError(
                        f"`{network.name}` has no published weights for sigma {sigma:g}.",
                        came=f"`parts.{part}.sigmas` with {sigma:g}; published are "
                        f"{', '.join(files)}",
                        do="choose sigmas of this list, or train the network.",
                    )


def _check_halves(config: Config) -> None:
    """Check that no denoiser is trained on photographs that classification is tested on."""
    trained = getattr(config.parts["denoising"].data, "train", None)
    data = config.parts["classification"].data if "classification" in config.parts else None
    if isinstance(data, ImagenetSamples) and trained == f"{data.kind}-{data.test}":
        raise ConfigError(
            "Denoisers are trained on the photographs that classification is tested on.",
            came=f"`parts.denoising.data.train: {trained}`, and `test: {data.test}` in "
            "`parts.classification.data`",
            do="write the other half at one of the two.",
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


def _check_published_classes(config: Config) -> None:
    """Check that a classifier with ImageNet's weights has ImageNet's classes."""
    if "classification" not in config.parts:
        return
    try:
        classes = config.parts["classification"].data.classes_of("classification")
    except UserError:  # a missing folder is reported when it is read
        return
    for network in config.task_networks("classification"):
        if network.weights == "imagenet" and classes != CLASSES_OF_IMAGENET:
            raise ConfigError(
                f"The ImageNet weights of `{network.name}` are for {CLASSES_OF_IMAGENET} classes.",
                came=f"{classes} classes in `parts.classification.data`",
                do="remove `weights` and train the network, or write the path of weights for "
                "these classes; folders with synset names need `classes: imagenet`.",
            )


def _check_task_seeds(config: Config) -> None:
    """Raise if task networks that the run does not train are to be trained several times."""
    for task in (task for task in TASKS if task in config.parts):
        part = config.parts[task]
        if config.task_seeds > 1 and part.training.task_network is None:
            raise ConfigError(
                f"The task network of {task} is not trained, so it cannot have several trainings.",
                came=f"`task_seeds: {config.task_seeds}`, and no `{_path(task, 'task_network')}`",
                do="set `task_seeds: 1`, or add a recipe that trains the network.",
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


def published_whole(task: str, network: Network) -> bool:
    """Tell whether a task network has all weights from a file, so that it needs no recipe.

    ImageNet's weights fill a whole classifier, but only the first layers of a segmenter.
    """
    if task == "segmentation":
        return network.weights not in (None, "imagenet")
    return network.weights is not None
