"""Measure what only a GPU can show, a section at a time: `benchmarks/gpu.sh` runs them all.

Each section prints its results as they come, and rewrites OUT/<section>.json each time, so that a
machine that is taken away loses little. Without a GPU, a section runs at tiny size on the CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_speed import mean_step, peak_rate, step_seconds, synchronize, trained_kinds

from dhl.config.parse import load_config
from dhl.config.recipes import Recipe
from dhl.data.folder import read_image
from dhl.data.image_files import ImageFiles, Preparation
from dhl.data.image_set import ImageSet
from dhl.data.noise import noisy_image
from dhl.evaluation.metrics import image_psnr
from dhl.files import PROJECT
from dhl.models.build import build_network
from dhl.planning.flops import step_flops
from dhl.planning.image_counts import count_all_images
from dhl.run.model_graph import ModelSpec, model_spec
from dhl.seeding import torch_generator
from dhl.training.batches import BatchSampler
from dhl.training.device import device_name, precision_name, reserved_device, resolve_precision
from dhl.training.train import build_objective
from dhl.training.trainer import Trainer, TrainerSettings

SIGMA = 25
# Mean PSNR on Kodak at sigma 25, in dB: docs/results.md, and FFDNet's released network.
BESIDE = {"CBM3D": 31.87, "FFDNet": 32.28}


@dataclass
class Section:
    """What a section has found, and what it may use."""

    path: Path
    device: torch.device
    seconds: float
    kodak: Path | None
    train: Path | None

    def __post_init__(self) -> None:
        self.begin = time.perf_counter()
        self.found: dict[str, Any] = {
            "device": device_name(self.device),
            "torch": torch.__version__,
            "results": [],
        }
        self._write()

    @property
    def tiny(self) -> bool:
        """Without a GPU, only the script itself is tested."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.perf_counter() - self.begin)

    def add(self, **result: Any) -> None:
        """Print a result and write all of them."""
        print(f"{self.path.stem}:", json.dumps(result), flush=True)
        self.found["results"].append(result)
        self._write()

    @contextlib.contextmanager
    def may_fail(self, **what: Any) -> Iterator[None]:
        """Record an exception as the result, so that the others can follow."""
        try:
            yield
        except Exception as error:
            self.add(**what, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")

    def _write(self) -> None:
        seconds = round(time.perf_counter() - self.begin, 1)
        text = json.dumps(self.found | {"seconds": seconds}, indent=1) + "\n"
        self.path.write_text(text, "utf-8")


def machine(section: Section) -> None:
    """Name the card and its driver, and measure the peak of a matrix product."""
    if section.device.type == "cuda":
        card = torch.cuda.get_device_properties(section.device)
        section.add(
            memory_bytes=card.total_memory, multiprocessors=card.multi_processor_count,
            compute_capability=f"{card.major}.{card.minor}", cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(), driver=torch._C._cuda_getDriverVersion(),
        )  # fmt: skip
    size = 512 if section.tiny else 8192
    for precision in (torch.bfloat16, torch.float32):
        peak = peak_rate(section.device, precision, size=size, seconds=0.2 if section.tiny else 2)
        section.add(product=size, precision=precision_name(precision), tflops=peak / 1e12)


class Outcomes:
    """A plug-in of pytest that records each test."""

    def __init__(self, section: Section):
        self.section = section

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a test once it has run, been skipped, or failed to start."""
        if report.when == "call" or report.outcome != "passed":
            reason = None
            if report.longrepr:  # of a skipped test: file, line, reason
                parts = report.longrepr
                reason = parts[2] if isinstance(parts, tuple) else str(parts).splitlines()[-1]
            self.section.add(
                test=report.nodeid, outcome=report.outcome, seconds=round(report.duration, 2),
                reason=reason, **dict(report.user_properties),
            )  # fmt: skip


def tests(section: Section) -> None:
    """Run the tests that are marked `gpu`; without a GPU on the CPU."""
    files = [
        str(PROJECT / "tests" / name)
        for name in ("training/test_gpu.py", "evaluation/test_gpu_cbm3d.py")
    ]
    status = pytest.main(
        ["-m", "gpu", "-p", "no:cacheprovider", "--on-cpu", *files], plugins=[Outcomes(section)]
    )
    section.add(exit_status=int(status))


def steps(section: Section) -> None:
    """Compare the step of each kind of model with the peak, plain and then compiled."""
    config = load_config(PROJECT / f"config/{'smoke' if section.tiny else 'paper'}.yaml")
    counts = count_all_images(config)
    precision = resolve_precision(config, section.device)
    size = 512 if section.tiny else 8192
    peak = peak_rate(section.device, precision, size=size, seconds=1)
    settings = TrainerSettings(("benchmark",), section.device, precision)
    chosen = trained_kinds(config)
    if section.tiny:
        chosen = {kind: chosen[kind] for kind in ("separate", "joint-classification")}
    for compiled in (False,) if section.tiny else (False, True):
        for kind, spec in chosen.items():
            if section.left < (45 if compiled else 10):  # a compilation takes most of a minute
                break
            with section.may_fail(kind=kind, compiled=compiled):
                count = 2 if section.tiny else 20
                seconds = step_seconds(
                    config, spec, replace(settings, compiled=compiled), steps=count
                )
                flop = sum(step_flops(config, counts, spec).values())
                section.add(
                    kind=kind, compiled=compiled, precision=precision_name(precision),
                    batch=spec.recipe.batch, patch=spec.recipe.patch, gflop=flop / 1e9,
                    milliseconds=1e3 * seconds, floor_milliseconds=1e3 * flop / peak,
                    share_of_peak=flop / seconds / peak,
                )  # fmt: skip


def loader(section: Section) -> None:
    """Time the reading of training batches from files, as VGG-16's, with each number of workers."""
    recipe = Recipe(steps=10**6, batch=4 if section.tiny else 10, patch=232, augment="mirror")
    sizes = np.tile([256, 384], (32, 1))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number}.jpg" for number in range(len(sizes))]
        for name in names:  # as large as a usual photograph, with a texture
            coarse = rng.integers(0, 256, (75, 100, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((500, 333)).save(Path(folder, name), quality=90)
        files = ImageFiles(Path(folder), names, sizes, preparation=Preparation(resize=256))
        for workers in (0,) if section.tiny else (0, 8, 16):
            sampler = BatchSampler(
                ImageSet(names, files, None), recipe, seed_names=("gpu",), device=section.device,
                workers=workers,
            )  # fmt: skip
            for step in range(5):  # starts the workers
                sampler(step, torch_generator("gpu", step))
            begin, count, seconds = time.perf_counter(), 0, 0.0
            while seconds < (0.2 if section.tiny else 4):
                sampler(5 + count, torch_generator("gpu", count))
                synchronize(section.device)
                count, seconds = count + 1, time.perf_counter() - begin
            section.add(workers=workers, images_per_second=count * recipe.batch / seconds)
            sampler.source.reads = iter(())  # ends the workers


def cbm3d(section: Section) -> None:
    """Time CBM3D at the sizes of both tasks, and compare two runs bit by bit."""
    from dhl.evaluation.cbm3d import cbm3d as denoise
    from dhl.evaluation.untrained import batch_pixels

    for side in (32, 224):
        if section.tiny and side > 32:
            break
        count = 4 if section.tiny else batch_pixels(section.device.type) // side**2
        # Smooth images have the largest groups of similar blocks.
        clean = torch.linspace(0.2, 0.8, side).view(side, 1)
        noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
        noisy = (clean + SIGMA / 255 * noise).to(section.device)
        first = denoise(noisy, sigma=SIGMA)
        synchronize(section.device)
        begin, repeats, same = time.perf_counter(), 0, True
        while repeats < 2 or (time.perf_counter() - begin < 5 and not section.tiny):
            same &= torch.equal(denoise(noisy, sigma=SIGMA), first)
            repeats += 1
        seconds = (time.perf_counter() - begin) / repeats
        error = (first.cpu().clip(0, 1) - clean).square().mean((1, 2, 3))
        section.add(
            side=side, batch=count, images_per_second=count / seconds, repeats=repeats,
            same_bits=same, psnr=float(-10 * error.log10().mean()),
        )  # fmt: skip


def training(section: Section) -> None:
    """Train the full-width denoiser at one sigma for the time that is left."""
    if section.kodak is None or section.train is None:
        section.add(skipped="name the folders of Kodak's and of the training images")
        return
    photographs, kodak = (images_in(folder) for folder in (section.train, section.kodak))
    batch, patch, width = (2, 16, 4) if section.tiny else (64, 48, 64)
    config = load_config(PROJECT / "config/kodak-cpu.yaml")
    spec = model_spec(config, f"separate/sigma{SIGMA}")
    start = config.parts.denoising.training.warm_start
    options = start.model_dump(include=set(Recipe.model_fields)) | {"batch": batch, "patch": patch}
    trained: Callable[[int], Trainer] = lambda steps: _trainer(  # noqa: E731
        section, spec, photographs, Recipe(**options | {"steps": steps}), width=width
    )
    rate = 1 / mean_step(trained(10**6), section.device, steps=2 if section.tiny else 60)
    evaluation = 1 if section.tiny else 8  # seconds, some of them each minute
    total = max(4, int(rate * (section.left - 2 * evaluation) * (1 - evaluation / 60)))
    total = min(total, 8) if section.tiny else total
    section.add(**options | {"steps": total}, steps_per_second=rate, beside=BESIDE)
    trainer, every = trained(total), 0.1 if section.tiny else 60.0
    due = every
    begin = time.perf_counter()
    while trainer.steps_done < total and section.left > evaluation:
        trainer.step()
        if time.perf_counter() - begin > due and trainer.steps_done < total:
            add_psnr(section, trainer, kodak, minutes=(time.perf_counter() - begin) / 60)
            due = time.perf_counter() - begin + every
    add_psnr(section, trainer, kodak, minutes=(time.perf_counter() - begin) / 60)


def images_in(folder: Path) -> ImageSet:
    """Read the pictures of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    return ImageSet([path.stem for path in paths], [read_image(path) for path in paths], None)


def _trainer(
    section: Section, spec: ModelSpec, images: ImageSet, recipe: Recipe, *, width: int
) -> Trainer:
    """Prepare the training of the denoiser from fresh weights."""
    torch.manual_seed(0)
    network = build_network("denoiser", "released", width=width)
    spec = replace(spec, recipe=recipe, start=None)
    sampler = BatchSampler(images, recipe, seed_names=("gpu",), device=section.device)
    precision = torch.float32 if section.tiny else torch.bfloat16
    settings = TrainerSettings(("gpu",), section.device, precision)
    return Trainer(build_objective(network, spec), sampler, recipe, settings)


def add_psnr(section: Section, trainer: Trainer, kodak: ImageSet, *, minutes: float) -> None:
    """Measure the mean PSNR on Kodak's images, on complete images in float32."""
    network = trainer.network.eval()
    values = []
    for seed, clean in enumerate(kodak.images):
        noisy = torch.from_numpy(noisy_image(clean, sigma=SIGMA, seed=seed)).to(section.device)
        with torch.inference_mode():
            denoised = network(noisy.permute(2, 0, 1)[None])[0].permute(1, 2, 0).cpu().numpy()
        values.append(image_psnr(clean=clean, denoised=denoised, protocol="plain"))
    network.train()
    section.add(minutes=minutes, steps=trainer.steps_done, psnr=float(np.mean(values)))


SECTIONS = {one.__name__: one for one in (machine, tests, cbm3d, loader, steps, training)}


def main() -> int:
    """Run one section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=120, help="most seconds to take")
    for name in ("kodak", "train"):
        parser.add_argument(f"--{name}", default="", help="folder of images")
    arguments = parser.parse_args()
    folders = (Path(one) if one else None for one in (arguments.kodak, arguments.train))
    config = load_config(PROJECT / "config/mini.yaml")
    with reserved_device(config) as device:
        path = arguments.out / f"{arguments.section}.json"
        section = Section(path, device, arguments.seconds, *folders)
        with section.may_fail():
            SECTIONS[arguments.section](section)
    return int(any("error" in result for result in section.found["results"]))


if __name__ == "__main__":
    sys.exit(main())
