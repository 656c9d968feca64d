"""Copies of trained models: in a folder that runs, machines and users share, and of one run."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.run.folder import RunFolder
from dhl.run.results import TRAINING_COLUMNS, edited_by_hand, read_csv, result_path

logger = logging.getLogger("dhl")
VARIABLE = "DHL_MODELS"


def shared_model(arithmetic: str, digest: str) -> ModelStore | None:
    """Return a model's files in the folder `$DHL_MODELS`; None if this variable is not set."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    return ModelStore(Path(name).expanduser() / arithmetic, digest)


def kept_model(folder: RunFolder, digest: str) -> ModelStore | None:
    """Return a second name of a finished model in its run; None if no Snakemake trains it.

    Snakemake deletes a model if it cannot finish the job, and before the job runs again, also if
    only test images have changed. `dhl manifest` removes the models that the run no longer has.
    """
    return ModelStore(folder.finished, digest, linked=True) if "DHL_STARTED" in os.environ else None


class ModelStore:
    """A model's files in a folder outside the run's `models/`.

    Runs share them, or a run keeps them.

    Parameters
    ----------
    root : Path
    digest : str
        Digest of everything that determines the weights: recipe, code, bytes of data and parents,
        kind of device, number format and version of PyTorch.
    linked : bool
        Whether both names of a file share its place on the disk, where hard links are possible.
    """

    def __init__(self, root: Path, digest: str, *, linked: bool = False):
        self.linked = linked
        self.weights = root / digest[:2] / f"{digest}.pt"
        self.curve = self.weights.with_suffix(".csv")

    def take(self, key: str, folder: RunFolder, *, fingerprint: str) -> bool:
        """Copy the model into a run; return False if it is missing or damaged."""
        if not is_complete(self.weights, self.curve, fingerprint=fingerprint):
            return False
        self._copy(self.curve, folder.training(key))
        self._copy(self.weights, folder.model(key))
        logger.info("taking %s from %s", key, self.weights)
        return True

    def give(self, key: str, folder: RunFolder) -> bool:
        """Copy a run's model here, the weights last: if they exist, the model is complete.

        A failure only logs a warning, because the run has its model; the result is then False.
        """
        try:
            self._copy(folder.training(key), self.curve)
            self._copy(folder.model(key), self.weights)
        except (OSError, UserError) as error:
            logger.warning("%s was not copied to %s: %s", key, self.weights, error)
            return False
        return True

    def _copy(self, source: Path, target: Path) -> None:
        """Give a file its second name, or copy it, atomically."""
        with result_path(target) as temporary:
            if self.linked:
                with contextlib.suppress(OSError):  # no hard links on this file system
                    os.link(source, temporary)
                    return
            shutil.copyfile(source, temporary)


def is_complete(weights: Path, curve: Path, *, fingerprint: str) -> bool:
    """Return whether a model with this fingerprint and its curve exist; log a damaged model."""
    if not (weights.exists() and curve.exists()):
        return False
    try:
        _, content = checkpoint.load_model(weights, fingerprint=fingerprint)
        steps = read_csv(curve, TRAINING_COLUMNS)["step"]
        if steps.empty or steps.iloc[-1] != content["steps"]:
            raise edited_by_hand(curve, f"not the curve of {content['steps']} steps")
    except UserError as error:
        logger.warning("%s", error)
        return False
    return True
