"""The rows of the tables: the label of each method, and the trained model behind it."""

from __future__ import annotations

from dataclasses import dataclass

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
OTHER_TASK = {"classification": "segmentation", "segmentation": "classification"}


@dataclass(frozen=True)
class Method:
    """A method as a row of the tables."""

    label: str  # in tables and figures
    explanation: str  # one sentence for the report
    in_paper: bool  # whether the paper's tables have this row


METHODS = {
    "clean": Method("Clean image", "No noise: the ceiling.", False),
    "noisy": Method("Noisy image", "No denoiser.", True),
    "cbm3d": Method("CBM3D", "BM3D for colour images with white noise.", True),
    "cbm3d-package": Method("CBM3D (package)", "The same by the authors' package bm3d.", False),
    "cbm3d-2020": Method(
        "CBM3D (2020)", "The package's later version, with exact transform variances.", False
    ),
    "mcwnnm": Method(
        "MCWNNM", "Groups of similar patches as matrices of low rank; not trained.", True
    ),
    "tnrd": Method("TNRD", "A trained diffusion, one network per sigma.", True),
    "dncnn": Method("DnCNN", "A learned denoiser, one network per sigma.", True),
    "separate": Method("Separate", "The denoiser trained for MSE alone (lambda = 0).", True),
    "separate-matched": Method(
        "Separate, matched",
        "The separate denoiser, trained further with the images, steps and schedule of the joint "
        "one, still with lambda = 0: the control for longer training.",
        False,
    ),
    "joint": Method("Joint", "The denoiser trained with the loss of this task.", True),
    "cross": Method("Joint, cross-task", "The denoiser trained with the other task's loss.", True),
    "cross-matched": Method(
        "Cross-task, matched",
        "The separate denoiser, trained further with the images, steps and schedule of the "
        "cross-task one, still with lambda = 0: the control for the other task's images.",
        False,
    ),
    "joint-permuted": Method(
        "Permuted labels",
        "The joint loss with the label of another image of the batch, which says nothing about "
        "this image: the control for labels that belong to their images.",
        False,
    ),
    "joint-perceptual": Method(
        "Perceptual loss",
        "Instead of the task's loss, the distance between the task network's features of the "
        "denoised and of the clean image: the control for guidance without labels.",
        False,
    ),
    "retrained": Method(
        "Retrained network",
        "No denoiser: the task network itself trained on noisy images of this sigma.",
        False,
    ),
    "joint-classification": Method(
        "Joint (classification)", "The denoiser trained with the classifier's loss.", False
    ),
    "joint-segmentation": Method(
        "Joint (segmentation)", "The denoiser trained with the segmenter's loss.", True
    ),
    **{
        f"matched-{task}": Method(
            f"Matched ({task})",
            "The separate denoiser, trained further with the images, steps and schedule of "
            f"Joint ({task}), still with lambda = 0: its control.",
            False,
        )
        for task in TASKS
    },
}

ALLOWED = {
    "denoising": (
        "noisy", "cbm3d", "cbm3d-package", "cbm3d-2020", "mcwnnm", "tnrd", "dncnn", "separate",
        "joint-classification", "joint-segmentation",
        "matched-classification", "matched-segmentation",
    ),
    **{
        task: (
            "clean", "noisy", "cbm3d", "cbm3d-package", "cbm3d-2020", "mcwnnm", "tnrd", "dncnn",
            "separate", "separate-matched", "joint", "cross", "cross-matched", "joint-permuted",
            "joint-perceptual", "retrained",
        )
        for task in TASKS
    },
}  # fmt: skip

BASELINES = ("cbm3d", "cbm3d-package", "cbm3d-2020", "mcwnnm")
# Those that denoise whole batches, on a GPU if there is one.
BATCHED = ("cbm3d", "mcwnnm")
# Denoisers of others that are trained here, each with its own network and recipes.
PEERS = ("tnrd", "dncnn")
UNTRAINED = ("clean", "noisy", *BASELINES)
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
    return method in METHODS and method not in UNTRAINED


def model_of(method: str, part: str) -> str | None:
    """Return the name of the trained denoiser or network behind a row; None if it is untrained."""
    if not is_trained(method):
        return None
    names = {
        "separate-matched": f"matched-{part}",
        "joint": f"joint-{part}",
        "cross": f"joint-{OTHER_TASK.get(part)}",
        "cross-matched": f"matched-{OTHER_TASK.get(part)}",
        "joint-permuted": f"permuted-{part}",
        "joint-perceptual": f"perceptual-{part}",
        "retrained": f"retrained-{part}",
    }
    return names.get(method, method)
