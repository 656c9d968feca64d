"""The preview of a run: data, noise and untrained methods, before any network is trained.

It needs the images, the records of their noise, and the images that untrained methods denoised.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from dhl.config.methods import is_baseline, label_of, part_name
from dhl.config.plugins import noise_name
from dhl.config.schema import Config
from dhl.data.image_set import ImageSet, load_split
from dhl.data.noise import read_noise, recorded_noisy_image
from dhl.evaluation.baseline import DenoisedImages
from dhl.evaluation.metrics import image_psnr
from dhl.report.squares import square_to_show
from dhl.report.templates import environment, read_asset, webp_url
from dhl.run.evaluations import denoised_files
from dhl.run.failures import first_failure
from dhl.run.folder import RunFolder
from dhl.run.results import result_path
from dhl.sigma import format_sigma

SHOWN = 3  # test images per part
PIXELS = 600_000  # of the test images behind a mean: more would take longer than a few seconds
SHEET_SIDE = 1200  # px
# Not those of `dhl.report.formats`, which loads SciPy: the preview is made within seconds.
FILTERS: dict[str, Callable[..., str]] = {
    "count": "{:,}".format,
    "decibel": "{:.2f}".format,
    "sigma": format_sigma,
    "method_label": label_of,
    "part_name": part_name,
}


def write_preview(config: Config, folder: RunFolder, *, templates: Path) -> None:
    """Write the preview of a run to `folder.preview`.

    Parameters
    ----------
    config : Config
    folder : RunFolder
        With the sheets of images, the records of noise, and the images of untrained methods; the
        preview names a method that failed.
    templates : Path
        The folder with `templates/` and `assets/`.

    Raises
    ------
    UserError
        If a file is missing or was edited by hand.
    """
    context = {
        "config": config,
        "css": Markup(read_asset(templates / "assets" / "report.css").decode()),
        "noise_name": noise_name(config.noise),
        "parts": [_part(config, folder, part) for part in config.parts],
    }
    page = environment(templates, FILTERS).get_template("preview.html.j2").render(context)
    with result_path(folder.preview) as temporary:
        temporary.write_text(page, "utf-8")


def _part(config: Config, folder: RunFolder, part: str) -> dict[str, Any]:
    """Describe a part: its sheet, some images at each sigma, and a table of PSNR."""
    clean = load_split(folder.data(part), "test")
    methods = [name for name in config.parts[part].methods if is_baseline(name)]
    levels = [_level(config, folder, part, sigma, clean) for sigma in config.parts[part].sigmas]
    return {
        "name": part,
        "data": config.parts[part].data.name,
        "images": len(clean),
        "measured": levels[0]["measured"],
        "sheet": _sheet(folder.path("sheet", part=part)),
        "methods": ["noisy", *methods],
        "levels": levels,
    }


def _level(
    config: Config, folder: RunFolder, part: str, sigma: float, clean: ImageSet
) -> dict[str, Any]:
    """Describe the noise and the untrained methods of a part at one sigma.

    Returns
    -------
    dict
        `sigma`; `measured`, the number of images behind each mean; `psnr`, the mean in dB by
        method, NaN for a failed one; `failures` by method; and `rows`, for each shown image its
        name and `pictures`, pairs of a label and a data URL.
    """
    noise = list(read_noise(folder.noise(part, sigma), clean.ids).itertuples())
    denoised, failures = _denoised(config, folder, part, sigma, clean)
    values: dict[str, list[float]] = {name: [] for name in ("noisy", *denoised)}
    rows = []
    for index in range(_measured(clean)):
        image, name = np.asarray(clean.images[index]), str(clean.ids[index])
        noisy = recorded_noisy_image(image, sigma=sigma, record=noise[index], model=config.noise)
        outputs = {"noisy": noisy} | {method: images[name] for method, images in denoised.items()}
        for method, output in outputs.items():
            score = image_psnr(clean=image, denoised=output, protocol=config.evaluation.protocol)
            values[method].append(score)
        if index < SHOWN:
            rows.append({"id": name, "pictures": list(_pictures(image, outputs))})
    means = {method: float(np.mean(some)) for method, some in values.items()}
    return {
        "sigma": sigma,
        "measured": _measured(clean),
        "psnr": means | dict.fromkeys(failures, np.nan),
        "failures": failures,
        "rows": rows,
    }


def _measured(clean: ImageSet) -> int:
    """Return how many test images are measured: as many as have `PIXELS` pixels, at least one."""
    pixels = np.cumsum(clean.sizes.prod(axis=1))
    return max(1, int(np.searchsorted(pixels, PIXELS, side="right")))


def _denoised(
    config: Config, folder: RunFolder, part: str, sigma: float, clean: ImageSet
) -> tuple[dict[str, DenoisedImages], dict[str, str]]:
    """Open the images of each untrained method, and return the reasons of those that failed."""
    images, failures = {}, {}
    for method in filter(is_baseline, config.parts[part].methods):
        paths = denoised_files(config, folder, part, sigma, method)
        if (reason := first_failure(paths)) is not None:
            failures[method] = reason
        else:
            images[method] = DenoisedImages(paths, list(clean.ids))
    return images, failures


def _pictures(clean: np.ndarray, outputs: dict[str, np.ndarray]) -> Iterator[tuple[str, str]]:
    """Yield label and data URL of the clean image and of each output; large ones are cropped."""
    square = square_to_show(clean)
    yield "Ground truth", _data_url(clean[square])
    for method, output in outputs.items():
        levels = np.rint(255 * np.clip(output, 0, 1)).astype(np.uint8)
        yield label_of(method).removesuffix(" image"), _data_url(levels[square])


def _data_url(image: np.ndarray | Image.Image) -> str:
    """Encode a picture as a data URL."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return webp_url(picture, quality=85, method=2)


def _sheet(path: Path) -> str:
    """Return the sheet of images as a data URL."""
    with Image.open(io.BytesIO(read_asset(path))) as sheet:
        sheet.thumbnail((SHEET_SIDE, SHEET_SIDE))
        return _data_url(sheet.convert("RGB"))
