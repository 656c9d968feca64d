"""The parts of the paper, and a row for each method: its label, kind, parts and trained model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TASKS = ("classification", "segmentation")
PARTS = ("denoising", *TASKS)
TABLES = {"denoising": 1, "classification": 2, "segmentation": 3}
TASK_METRICS = {
    "classification": ("top1", "top5", "cross_entropy"),
    "segmentation": ("miou", "cross_entropy"),
}
METRICS = {"denoising": ("psnr", "ssim", "gmsd", "gradient"), **TASK_METRICS}
FURTHER_METRICS = ("cross_entropy", "gmsd", "gradient")  # not in the paper's tables
TASK_NETWORKS = {"classification": "classifier", "segmentation": "segmenter"}
TASK_OF_NETWORK = {network: task for task, network in TASK_NETWORKS.items()}
OTHER_TASK = {"classification": "segmentation", "segmentation": "classification"}

# The kinds of methods:
#   input      the clean or the noisy images, as they are
#   untrained  a denoiser without training, which runs image by image on the CPU, as plug-ins do
#   batched    a denoiser without training, which runs on batches, on a GPU if there is one
#   peer       a denoiser of others that is trained here, with its own network and recipes
#   trained    the paper's denoiser, trained alone, jointly or as a control; a retrained network
Kind = Literal["input", "untrained", "batched", "peer", "trained"]


@dataclass(frozen=True)
class Method:
    """A method as a row of the tables; the defaults are those of a plug-in."""

    label: str  # in tables and figures
    explanation: str  # one sentence for the report
    kind: Kind = "untrained"
    parts: tuple[str, ...] = PARTS  # whose configuration may list it
    in_paper: bool = False  # whether the paper's tables have this row
    model: str = ""  # the name of its trained model, if it is not the method's


METHODS = {
    "clean": Method("Clean image", "No noise: the ceiling.", "input", TASKS),
    "noisy": Method("Noisy image", "No denoiser.", "input", in_paper=True),
    "cbm3d": Method("CBM3D", "BM3D for colour images with white noise.", "batched", in_paper=True),
    "cbm3d-package": Method("CBM3D (package)", "The same by the authors' package bm3d."),
    "cbm3d-2020": Method(
        "CBM3D (2020)", "The package's later version, with exact transform variances."
    ),
    "mcwnnm": Method(
        "MCWNNM", "Groups of similar patches as matrices of low rank; not trained.",
        "batched", in_paper=True,
    ),
    "tnrd": Method("TNRD", "A trained diffusion, one network per sigma.", "peer", in_paper=True),
    "dncnn": Method("DnCNN", "A learned denoiser, one network per sigma.", "peer", in_paper=True),
    "separate": Method(
        "Separate", "The denoiser trained for MSE alone (lambda = 0).", "trained", in_paper=True
    ),
    "separate-matched": Method(
        "Separate, matched",
        "The separate denoiser, trained further with the images, steps and schedule of the joint "
        "one, still with lambda = 0: the control for longer training.",
        "trained", TASKS, model="matched-{task}",
    ),
    "joint": Method(
        "Joint", "The denoiser trained with the loss of this task.",
        "trained", TASKS, in_paper=True, model="joint-{task}",
    ),
    "cross": Method(
        "Joint, cross-task", "The denoiser trained with the other task's loss.",
        "trained", TASKS, in_paper=True, model="joint-{other_task}",
    ),
    "cross-matched": Method(
        "Cross-task, matched",
        "The separate denoiser, trained further with the images, steps and schedule of the "
        "cross-task one, still with lambda = 0: the control for the other task's images.",
        "trained", TASKS, model="matched-{other_task}",
    ),
    "joint-permuted": Method(
        "Permuted labels",
        "The joint loss with the label of another image of the batch, which says nothing about "
        "this image: the control for labels that belong to their images.",
        "trained", TASKS, model="permuted-{task}",
    ),
    "joint-perceptual": Method(
        "Perceptual loss",
        "Instead of the task's loss, the distance between the task network's features of the "
        "denoised and of the clean image: the control for guidance without labels.",
        "trained", TASKS, model="perceptual-{task}",
    ),
    "retrained": Method(
        "Retrained network",
        "No denoiser: the task network itself trained on noisy images of this sigma.",
        "trained", TASKS, model="retrained-{task}",
    ),
    "joint-classification": Method(
        "Joint (classification)", "The denoiser trained with the classifier's loss.",
        "trained", ("denoising",),
    ),
    "joint-segmentation": Method(
        "Joint (segmentation)", "The denoiser trained with the segmenter's loss.",
        "trained", ("denoising",), in_paper=True,
    ),
    **{
        f"matched-{task}": Method(
            f"Matched ({task})",
            "The separate denoiser, trained further with the images, steps and schedule of "
            f"Joint ({task}), still with lambda = 0: its control.",
            "trained", ("denoising",),
        )
        for task in TASKS
    },
}  # fmt: skip


def _of_kind(*kinds: Kind) -> tuple[str, ...]:
    """Return the names of the methods of these kinds."""
    return tuple(name for name, method in METHODS.items() if method.kind in kinds)


ALLOWED = {
    part: tuple(name for name, method in METHODS.items() if part in method.parts) for part in PARTS
}
BASELINES = _of_kind("untrained", "batched")
BATCHED = _of_kind("batched")
PEERS = _of_kind("peer")
TRAINED = _of_kind("peer", "trained")
NO_DENOISER = ("clean", "noisy", "retrained")
# Names that no plug-in may have.
NOT_METHODS = (*METHODS, "task-network")


def base_of(part: str) -> str:
    """Return the part of the paper: `denoising` for `denoising-mine`, a further test set."""
    return part.partition("-")[0]


def table_number(part: str, letter: str = "") -> str:
    """Return the number of a part's table: `1`, or `1-mine` for a test set; `1b` for its second."""
    base, dash, test_set = part.partition("-")
    return f"{TABLES[base]}{letter}{dash}{test_set}"


def part_name(part: str) -> str:
    """Return the name of a part for readers: `denoising`, or `denoising (mine)` for a test set."""
    base, _, test_set = part.partition("-")
    return f"{base} ({test_set})" if test_set else base


def label_of(method: str) -> str:
    """Return the label of a row; a plug-in's label is made from its function's name."""
    known = METHODS.get(method)
    return known.label if known else method.replace("-", " ").capitalize()


def is_baseline(method: str) -> bool:
    """Tell whether a method denoises without training: CBM3D, MCWNNM and plug-ins do."""
    return method in BASELINES or method not in METHODS


def is_trained(method: str) -> bool:
    """Tell whether a method's results depend on the random draws of a training."""
    return method in TRAINED


def model_of(method: str, part: str) -> str | None:
    """Return the name of the trained denoiser or network behind a row; None if it is untrained."""
    if not is_trained(method):
        return None
    model = METHODS[method].model or method
    return model.format(task=part, other_task=OTHER_TASK.get(part))
