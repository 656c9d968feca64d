"""What a run will take, before anything of it starts and without its data: jobs, time, disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import OwnData
from dhl.config.methods import is_baseline
from dhl.config.recipes import WarmStart
from dhl.config.schema import Config
from dhl.data.image_set import ImageSet
from dhl.data.plugin_data import make_own_part
from dhl.planning.devices import Device, device_warnings
from dhl.planning.image_counts import Extent, Images, extent
from dhl.planning.operations import network_size, training_flops
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import evaluations, experiments, studies
from dhl.run.model_graph import ModelSpec, all_models, model_spec

# One core, measured. CBM3D: pixels and seconds of a small and a large image.
CBM3D_SECONDS = {
    "cbm3d": ((32 * 32, 0.015), (768 * 512, 12)),
    "cbm3d-2020": ((32 * 32, 0.9), (768 * 512, 47)),
}
# Seconds a pixel: drawing and checking the noise; PSNR of a method; SSIM or a confusion matrix.
NOISE, PSNR, SSIM, CONFUSION = 5.2e-8, 2.8e-8, 1.6e-7, 5.4e-8
DECODING = 0.004  # seconds a photograph of 500 x 375 px, with its resizing
ROW_BYTES = 120  # of the CSV of per-image results
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Row:
    """Jobs of one rule that are alike; operations, hours and bytes are those of all of them.

    `flops_each` is what a training step takes, or a test image with all methods; `cpu_hours` are of
    one core, `device_hours` of the device that trains; `workers` processes share a job's CPU hours.
    """

    rule: str
    what: str
    jobs: int
    work: str = ""
    flops_each: float = 0
    flops: float = 0
    device_hours: float = 0
    cpu_hours: float = 0
    disk_bytes: int = 0
    workers: int = 1

    @property
    def job_hours(self) -> float:
        """Hours of one of the jobs, whose device does not wait for its CPU."""
        return max(self.device_hours, self.cpu_hours / self.workers) / self.jobs


@dataclass(frozen=True)
class Plan:
    """All rows of a run, the bytes that are downloaded, and what to think about before."""

    run: str
    device: Device
    rows: tuple[Row, ...]
    download_bytes: int
    warnings: tuple[str, ...] = ()

    @property
    def jobs(self) -> dict[str, int]:
        """Jobs per rule, as Snakemake counts them."""
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts[row.rule] += row.jobs
        return dict(counts)

    @property
    def totals(self) -> dict[str, float]:
        """Operations, hours and bytes of all rows."""
        columns = ("flops", "device_hours", "cpu_hours", "disk_bytes")
        return {column: sum(getattr(row, column) for row in self.rows) for column in columns}

    @property
    def checkpoint_bytes(self) -> int:
        """What the largest training keeps while it runs: its weights, and two moments of each."""
        return max((3 * row.disk_bytes // row.jobs for row in self.rows if row.rule == "train"),
                   default=0)  # fmt: skip


def make_plan(config: Config, device: Device) -> Plan:
    """Count jobs, operations, hours and bytes of a configuration.

    Raises
    ------
    UserError
        If a user's own images cannot be counted.
    """
    extents = {part: _extent(config, part) for part in config.parts}
    names = needed_sets(config)
    rows = [
        *(_download(name) for name in names),
        *(row for item in extents.items() for row in _images(config, *item)),
        *_training(config, extents, device),
        *_evaluations(config, extents, device),
        *(Row("table", part, 1) for part in config.parts),
        *(Row("sensitivity", "", 1) for _ in studies(config)[:1]),
        *(Row(rule, "", 1) for rule in ("claims", "figures", "manifest", "write_report", "report")),
    ]
    # What needs an account lies in the user's own folder, and is only unpacked.
    fetched = [CATALOGUE[name] for name in names if not CATALOGUE[name].account]
    warnings = (*device_warnings(config, device), *_warnings_of_warm_starts(config))
    return Plan(config.run, device, tuple(rows), sum(one.bytes for one in fetched), warnings)


def _warnings_of_warm_starts(config: Config) -> Iterator[str]:
    """Name the sigmas whose denoisers start from one that was trained on others alone."""
    unseen: dict[str, list[float]] = {}
    for key in all_models(config):
        spec = model_spec(config, key)
        start = spec.start and model_spec(config, spec.start).recipe
        if isinstance(start, WarmStart) and not start.covers(spec.sigma):
            unseen.setdefault(spec.start.partition("/")[0], []).append(spec.sigma)
    for name, sigmas in unseen.items():
        listed = ", ".join(f"{sigma:g}" for sigma in sorted(set(sigmas)))
        yield f"denoisers of sigma {listed} start from `{name}`, which is not trained on that."


def _extent(config: Config, part: str) -> Extent:
    """Return the images of a part; those of the user's own code are made for it."""
    data = config.parts[part].data
    if not isinstance(data, OwnData):
        return extent(data)
    splits = make_own_part(config, part)
    return Extent(*(_measured(splits[name]) for name in ("train", "test")))


def _measured(images: ImageSet) -> Images:
    """Count images and average their sides."""
    height, width = (round(side) for side in images.sizes.mean(axis=0).tolist())
    return Images(len(images), height, width)


def _download(name: str) -> Row:
    """Describe a download; a fetched archive needs its room beside what is unpacked."""
    data_set = CATALOGUE[name]
    room = sum(
        (archive.bytes or 0) * (1 if archive.unpack == "file" or data_set.account else 2)
        for archive in data_set.archives
    )
    return Row("download", name, 1, disk_bytes=room)


def _images(config: Config, part: str, images: Extent) -> Iterator[Row]:
    """Describe a part's data, noise and untrained methods."""
    sigmas = len(config.parts[part].sigmas)
    train = images.train.count if images.train else 0
    pixels = images.test.pixels + (images.train.pixels if images.train else 0)
    decoding = _decoding(config, part)
    seconds = images.test.count * decoding
    yield Row(
        "data", part, 1, f"{train:,} to train, {images.test.count:,} to test",
        cpu_hours=seconds / 3600, disk_bytes=0 if decoding else 3 * pixels,
    )  # fmt: skip
    seconds += images.test.pixels * NOISE
    yield Row("noise", part, sigmas, _grid(sigmas, images), cpu_hours=sigmas * seconds / 3600)
    shards = config.parts[part].shards
    for method in config.parts[part].methods:
        if is_baseline(method):
            # How long a user's own code takes is not known.
            size = images.test.height * images.test.width
            seconds = cbm3d_seconds(method, size) if method in CBM3D_SECONDS else 0
            yield Row(
                "baseline", f"{method}, {part}", sigmas * shards, _grid(sigmas, images),
                cpu_hours=sigmas * images.test.count * seconds / 3600,
                disk_bytes=sigmas * images.test.pixels * 3 * FLOAT_BYTES,
            )  # fmt: skip


def _decoding(config: Config, part: str) -> float:
    """Return the seconds that reading an image takes; 0 where a run keeps the pixels."""
    data = config.parts[part].data
    kept = data.kind == "photo-digits" or isinstance(data, OwnData)
    return 0 if kept or part == "denoising" else DECODING


def _grid(sigmas: int, images: Extent) -> str:
    """Say how many test images are gone through, and how large they are."""
    test = images.test
    return f"{sigmas} x {test.count:,} images of {test.width} x {test.height} px"


def cbm3d_seconds(method: str, pixels: int) -> float:
    """Estimate one image's time on one core, on the line through the two measured ones."""
    (small, first), (large, last) = CBM3D_SECONDS[method]
    return max(first, first + (last - first) * (pixels - small) / (large - small))


def _training(config: Config, extents: dict[str, Extent], device: Device) -> Iterator[Row]:
    """Describe the training of each kind of model, whose sigmas cost the same."""
    keys = all_models(config)
    for kind, count in Counter(key.partition("/")[0] for key in keys).items():
        spec = next(model_spec(config, key) for key in keys if key.startswith(f"{kind}/"))
        height, width = _training_sides(spec, extents[spec.part])
        parameters = network_size(spec, height, width).parameters
        row = Row("train", kind, count, disk_bytes=count * parameters * FLOAT_BYTES)
        if spec.recipe is None:
            yield replace(row, work="published weights")
            continue
        frozen = model_spec(config, spec.frozen) if spec.frozen else None
        flops = spec.recipe.batch * training_flops(spec, frozen, height, width)
        step = max(device.step_seconds, flops / (device.training * device.share * 1e12))
        steps = count * spec.recipe.steps
        yield replace(
            row,
            work=f"{count} x {spec.recipe.steps:,} steps of {spec.recipe.batch} images of "
            f"{width} x {height} px",
            flops_each=flops, flops=steps * flops, device_hours=steps * step / 3600,
            cpu_hours=steps * spec.recipe.batch * _decoding(config, spec.part) / 3600,
            workers=max(1, config.workers),
        )  # fmt: skip


def _training_sides(spec: ModelSpec, images: Extent) -> tuple[int, int]:
    """Return height and width of what a training step reads."""
    if spec.recipe and spec.recipe.patch:
        return spec.recipe.patch, spec.recipe.patch
    whole = images.train or images.test
    return whole.height, whole.width


def _evaluations(config: Config, extents: dict[str, Extent], device: Device) -> Iterator[Row]:
    """Describe the evaluation of each part at each sigma and training."""
    for part, sigma, seed in evaluations(config):
        images, found = extents[part], experiments(config, part, sigma, seed)
        keys = {one.source for one in found if "/" in one.source}
        each = sum(_forward_flops(config, key, images) for key in keys)
        readers = [one.task_network for one in found if one.task_network]
        each += sum(_forward_flops(config, key, images) for key in readers)
        what = f"{part}, sigma {sigma:g}" + (f", training {seed}" if seed > 1 else "")
        yield _measuring(config, "evaluate", what, (1, len(found), each), images, device)


def _forward_flops(config: Config, key: str, images: Extent) -> float:
    """Return the operations of a model for one test image."""
    return network_size(model_spec(config, key), images.test.height, images.test.width).flops


def _measuring(
    config: Config,
    rule: str,
    what: str,
    size: tuple[int, int, float],
    images: Extent,
    device: Device,
) -> Row:
    """Describe jobs that measure; `size` is their number, and methods and operations an image."""
    (jobs, methods, each), test = size, images.test
    part = what.partition(",")[0]
    flops = jobs * test.count * each
    measured = PSNR + {"denoising": SSIM, "segmentation": CONFUSION}.get(part, 0)
    seconds = test.count * _decoding(config, part)
    seconds += test.pixels * (NOISE + methods * measured)
    return Row(
        rule, what, jobs, _grid(jobs, images), flops_each=each, flops=flops,
        device_hours=flops / (device.evaluation * device.share * 1e12) / 3600,
        cpu_hours=jobs * seconds / 3600,
        disk_bytes=jobs * test.count * methods * ROW_BYTES,
    )  # fmt: skip
