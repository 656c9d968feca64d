"""Denoisers that are not trained here: CBM3D by the `bm3d` package."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np

from dhl.data.image_set import load_split
from dhl.errors import UserError
from dhl.noise import noise_std, recorded_noisy_image
from dhl.progress import Progress
from dhl.results import NOISE_COLUMNS, RunFolder, atomic_path, read_csv

# The classical algorithm for white noise, which the paper compared with, and the exact transform
# variances of the 2020 one: `nf` is the size at which noise spectra are computed.
PROFILE_NF = {"cbm3d": 0, "cbm3d-2020": 32}


def require_bm3d() -> None:
    """Check that the `bm3d` package can be imported.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import bm3d  # noqa: F401
    except ImportError as error:
        raise UserError(
            "CBM3D is computed by the package `bm3d` (non-commercial licence).",
            came=f"{error}",
            do="`pip install bm3d`, or take the cbm3d methods out of the configuration.",
        ) from None


def cbm3d(noisy: np.ndarray, *, sigma: float, profile: str = "cbm3d") -> np.ndarray:
    """Denoise one colour image.

    Parameters
    ----------
    noisy : ndarray of shape (H, W, 3), on the [0, 1] scale, unclipped
    sigma : float
        Standard deviation on the 0-255 scale.
    profile : {"cbm3d", "cbm3d-2020"}

    Returns
    -------
    ndarray of float32, shape (H, W, 3), unclipped

    References
    ----------
    .. [1] Dabov et al., Color image denoising via sparse 3D collaborative filtering, ICIP 2007.
    .. [2] Mäkinen et al., Collaborative filtering of correlated noise, IEEE TIP 29, 2020.
    """
    from bm3d import BM3DProfile, bm3d_rgb

    settings = BM3DProfile()
    settings.nf = PROFILE_NF[profile]
    settings.num_threads = 1
    return bm3d_rgb(noisy.astype(np.float64), noise_std(sigma), settings).astype(np.float32)


@contextmanager
def cbm3d_stream(
    noisy: Iterator[np.ndarray], *, sigma: float, profile: str, processes: int
) -> Iterator[Iterator[np.ndarray]]:
    """Denoise a stream of images in parallel processes, in order."""
    one = functools.partial(cbm3d, sigma=sigma, profile=profile)
    if processes == 1:
        yield map(one, noisy)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield pool.map(one, noisy, chunksize=8)


def write_cbm3d(part: str, method: str, sigma: float, folder: RunFolder, *, processes: int) -> None:
    """Denoise a part's test images with CBM3D and keep the results as a file.

    Raises
    ------
    UserError
        If `bm3d` is not installed, or the noise is not the recorded one.
    """
    require_bm3d()
    clean = load_split(folder.data(part), "test")
    records = read_csv(folder.noise(part, sigma), NOISE_COLUMNS).itertuples()
    noisy = (
        recorded_noisy_image(image, sigma=sigma, record=record)
        for image, record in zip(clean.images, records, strict=True)
    )
    images = {}
    with (
        Progress(f"{method}, {part}, sigma {sigma:g}", len(clean)) as progress,
        cbm3d_stream(noisy, sigma=sigma, profile=method, processes=processes) as stream,
    ):
        for name, image in zip(clean.ids, stream, strict=True):
            images[name] = image
            progress.advance()
    with atomic_path(folder.cbm3d(part, method, sigma)) as temporary, open(temporary, "wb") as file:
        np.savez(file, **images)
