"""The job of an untrained denoiser: the images of a part at one noise level, and their files."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from dhl.config.methods import BASELINES
from dhl.config.plugins import load_plugin, running
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.data.noise import read_noise, recorded_noisy_image
from dhl.errors import UserError
from dhl.evaluation.untrained import (
    BATCHES,
    PROFILE_NF,
    EqualImages,
    batch_pixels,
    cbm3d_package,
    plugin_denoised,
)
from dhl.gpu_slots import may_have_gpu
from dhl.progress import Progress
from dhl.run.folder import RunFolder
from dhl.run.results import Arrays, open_arrays, result_path
from dhl.run.shards import WHOLE, Shard
from dhl.signals import end_with_parent

T = TypeVar("T")  # an image or a batch


@contextmanager
def denoised_stream(
    denoise: Callable[[T], T], noisy: Iterable[T], *, processes: int
) -> Iterator[Iterator[T]]:
    """Denoise images, or batches, in parallel processes, in order; only a few are read ahead.

    The next image is a `UserError` if one of the processes is killed.
    """
    if processes == 1:
        yield map(denoise, noisy)
        return
    with ProcessPoolExecutor(processes, initializer=_use_one_thread) as pool:
        yield _ordered(pool, denoise, noisy, ahead=2 * processes)


def _use_one_thread() -> None:
    """Let PyTorch use one thread in each process: there are as many processes as cores."""
    end_with_parent()
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _ordered(
    pool: Executor, function: Callable[[T], T], inputs: Iterable[T], *, ahead: int
) -> Iterator[T]:
    """Yield the results in order, with at most `ahead` inputs in the pool."""
    waiting: deque[Future] = deque()
    try:
        for value in inputs:
            waiting.append(pool.submit(function, value))
            if len(waiting) == ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "A process that denoises was killed.",
            came="the system killed it, most likely because memory was short",
            do="give the job more memory, or fewer `--processes` (the rule's threads).",
        ) from None


@dataclass(frozen=True)
class BaselineJob:
    """A shard of a part's test images at a sigma (0-255), denoised by an untrained method."""

    part: str
    method: str
    sigma: float
    shard: Shard = WHOLE


@dataclass(frozen=True)
class _Method:
    """An untrained method of a job."""

    denoise: Callable[[EqualImages], EqualImages]  # can be sent to another process
    pixels: int = 1  # of a batch; 1 is a batch of one image
    on_gpu: bool = False


def write_baseline(config: Config, job: BaselineJob, folder: RunFolder, *, processes: int) -> None:
    """Denoise the images of a job, and write each as soon as it is done.

    Raises
    ------
    UserError
        If the configuration has no such untrained method, the method fails, `bm3d` is missing, or
        the noise differs from the recorded noise.
    """
    with _method(config, job) as method:
        _write(config, job, folder, method, processes=1 if method.on_gpu else processes)


def _write(
    config: Config, job: BaselineJob, folder: RunFolder, method: _Method, *, processes: int
) -> None:
    """Denoise the images of a job by a method."""
    clean = load_split(folder.data(job.part), "test")
    positions = job.shard.of(len(clean))
    noise = read_noise(folder.noise(job.part, job.sigma), clean.ids)[positions]
    indices = range(len(clean))[positions]
    noisy = (
        recorded_noisy_image(
            clean.images[index], sigma=job.sigma, record=record, model=config.noise
        )
        for index, record in zip(indices, noise.itertuples(), strict=True)
    )
    title = f"{job.method}, {job.part}, sigma {job.sigma:g}, {job.shard}"
    with (
        Progress(title, len(indices)) as progress,
        denoised_stream(
            method.denoise, equal_batches(noisy, method.pixels), processes=processes
        ) as batches,
        result_path(folder.baseline(job.part, job.method, job.sigma, job.shard)) as temporary,
        zipfile.ZipFile(temporary, "w", allowZip64=True) as archive,
    ):
        images = _guarded(config, job, chain.from_iterable(batches))
        for name, image in zip(clean.ids[positions], images, strict=True):
            if not np.isfinite(image).all():
                raise UserError(
                    f"The method {job.method} has no finite result for an image.",
                    came=f"NaN or infinite values for `{name}` at sigma {job.sigma:g}",
                    do="leave out the method or the image, or use another noise model.",
                )
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, image, allow_pickle=False)
            progress.advance()


def equal_batches(images: Iterable[np.ndarray], pixels: int) -> Iterator[EqualImages]:
    """Group consecutive images of equal size into batches of at most `pixels`, or of one image."""
    batch: EqualImages = []
    for image in images:
        height, width = image.shape[:2]
        full = (len(batch) + 1) * height * width > pixels
        if batch and (full or image.shape != batch[0].shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


@contextmanager
def _method(config: Config, job: BaselineJob) -> Iterator[_Method]:
    """Prepare the method of a job; one that denoises batches holds its device."""
    if job.method not in BATCHES:
        yield _Method(functools.partial(_one_by_one, _denoiser(config, job)))
        return
    denoise = functools.partial(BATCHES[job.method], sigma=job.sigma)
    if job.method == "cbm3d" and not may_have_gpu(config.device):  # this needs no torch
        yield _Method(denoise, batch_pixels("cpu"))
        return
    from dhl.training.device import reserved_device

    with reserved_device(config) as device:
        denoise = functools.partial(denoise, device=str(device))
        yield _Method(denoise, batch_pixels(device.type), on_gpu=device.type != "cpu")


def _one_by_one(denoise: Callable[[np.ndarray], np.ndarray], noisy: EqualImages) -> EqualImages:
    """Denoise the images of a batch by a function of one image."""
    return [denoise(image) for image in noisy]


def _denoiser(config: Config, job: BaselineJob) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that denoises an image; it can be sent to another process."""
    if job.method in PROFILE_NF:
        if importlib.util.find_spec("bm3d") is None:
            raise UserError(
                f"`{job.method}` needs the package `bm3d` (non-commercial licence).",
                came="it is not installed",
                do="`pip install bm3d`, or use `cbm3d`, which does not need it.",
            )
        return functools.partial(cbm3d_package, sigma=job.sigma, profile=job.method)
    if job.method not in config.plugin_methods:
        raise UserError(
            f"`{job.method}` is not an untrained method of this configuration.",
            came=f"--method {job.method}",
            do=f"name one of {', '.join((*BASELINES, *config.plugin_methods))}.",
        )
    reference = config.plugin_methods[job.method]
    load_plugin(reference)  # finds a mistake in the file once, before any process starts
    return functools.partial(plugin_denoised, sigma=job.sigma, reference=reference)


def _guarded(
    config: Config, job: BaselineJob, images: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield the images; an exception of a plug-in in any process becomes one message."""
    if job.method in BASELINES:
        yield from images
        return
    while True:
        with running(config.plugin_methods[job.method]):
            try:
                image = next(images)
            except StopIteration:
                return
        yield image


class DenoisedImages:
    """An untrained method's images of all shards by name, read one at a time.

    Parameters
    ----------
    paths : iterable of Path
        The files of all shards.
    ids : sequence of str
        The images that the files must hold.

    Raises
    ------
    UserError
        If a file is missing or damaged, or an image is in none of the files.
    """

    def __init__(self, paths: Iterable[Path], ids: Sequence[str]):
        self._open: Arrays | None = None  # one file at a time: a part can have hundreds of shards
        self._paths = {name: path for path in paths for name in self._arrays(path)}
        if missing := [name for name in ids if name not in self._paths]:
            raise UserError(
                "Denoised images of an untrained method are missing.",
                came=f"{len(missing)} of {len(ids)} images in none of the files, such as "
                f"{missing[0]}",
                do="delete the run's `baselines` folder and run again.",
            )

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one image, float32 of shape (H, W, 3)."""
        return self._arrays(self._paths[name])[name]

    def _arrays(self, path: Path) -> Arrays:
        """Return the arrays of a file, which stays open until another one is asked for."""
        if self._open is None or self._open.path != path:
            if self._open is not None:
                self._open.close()
            self._open = open_arrays(path)
        return self._open
