"""Draw the strip of images in README.md: `python docs/build_strip.py results/photos`.

It needs the images of a run at sigma 60, which are not in the repository: the run makes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dhl.analysis.measurements import read_measurements
from dhl.config.methods import METHODS
from dhl.config.parse import load_config
from dhl.config.schema import Config
from dhl.data.class_names import IGNORED_LABEL
from dhl.files import PROJECT
from dhl.report.example_figures import label_picture, read_examples
from dhl.report.figure_style import drawing_style
from dhl.run.folder import RunFolder

WIDTH = 7.2  # inches
STRIP = PROJECT / "docs" / "images" / "strip.png"
SHOWN = ("clean", "noisy", "cbm3d", "separate", "separate-matched", "joint")


def draw_strip(folder: RunFolder, sigma: float) -> None:
    """Draw the first example of segmentation: what the segmenter reads, and what it finds."""
    config = load_config(folder.config)
    everywhere = mean_right(config, folder, sigma)
    examples = read_examples(config, folder, "segmentation", sigma=sigma)
    with drawing_style():
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        panels = figure.subplots(2, len(SHOWN))
        for (image_axes, map_axes), method in zip(panels.T, SHOWN, strict=True):
            truth = method == "clean"
            labels = examples.arrays["labels/0" if truth else f"prediction/{method}/0"]
            image_axes.imshow(examples.image(method, 0), interpolation="nearest")
            image_axes.set_title("Ground truth" if truth else METHODS[method].label, loc="center")
            map_axes.imshow(label_picture(labels), interpolation="nearest")
            if not truth:
                image_axes.set_xlabel(f"{examples.psnr(method, 0):.2f} dB", fontsize=8)
                true = examples.arrays["labels/0"]
                right = 100 * (labels == true)[true != IGNORED_LABEL].mean()
                note = f"{right:.0f} % right\n(mean {100 * everywhere[method]:.0f} %)"
                map_axes.set_xlabel(note, fontsize=8)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
        figure.savefig(STRIP, metadata={"Software": None}, facecolor="white", dpi=140)


def mean_right(config: Config, folder: RunFolder, sigma: float) -> dict[str, float]:
    """Return each method's share of pixels with the right label, averaged over all images."""
    features = read_measurements(config, folder, "segmentation", sigma).features
    shares = {}
    for method in SHOWN:
        right, labelled, _ = np.split(features[method, "miou"], 3, axis=-1)
        shares[method] = float((right.sum(axis=-1) / labelled.sum(axis=-1)).mean())
    return shares


if __name__ == "__main__":
    draw_strip(RunFolder(Path(sys.argv[1])), sigma=60)
