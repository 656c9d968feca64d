"""Checks of the weights that networks start from."""

from __future__ import annotations

from dhl.config.architectures import PUBLISHED, entry_of
from dhl.config.catalogue import CATALOGUE
from dhl.config.image_data_sets import CLASSES_OF_IMAGENET
from dhl.config.methods import PEERS, model_of
from dhl.config.networks import Network
from dhl.config.recipes import DenoiserRecipes
from dhl.config.schema import Config
from dhl.errors import ConfigError, UserError
from dhl.sigma import format_sigma


def check_weights(config: Config) -> None:
    """Check that networks are trained or have weights, and that the weights fit their use."""
    _check_denoisers(config)
    _check_published_sigmas(config)
    _check_published_classes(config)


def published_whole(task: str, network: Network) -> bool:
    """Tell whether a task network has all weights from a file, so that it needs no recipe.

    ImageNet's weights fill a whole classifier, but only the first layers of a segmenter.
    """
    if task == "segmentation":
        return network.weights not in (None, "imagenet")
    return network.weights is not None


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
                do="add `parts.denoising.training.separate`, or name a file in `weights` of the "
                "network.",
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
