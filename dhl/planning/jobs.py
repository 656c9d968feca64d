"""The jobs of a run, as in Snakemake: the time of each, and the jobs that it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import PluginData
from dhl.config.methods import base_of, is_baseline, table_number
from dhl.config.schema import Config
from dhl.planning.flops import forward_flops, network_name, parameter_count, step_flops
from dhl.planning.image_counts import PartCounts
from dhl.planning.machine import Machine
from dhl.planning.schedule import Job, uses_torch
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import evaluated_models, evaluations, experiments, studies
from dhl.run.model_graph import all_models, model_spec
from dhl.run.shards import Shard, shards
from dhl.sigma import format_sigma

# Seconds on one core of an AMD EPYC (AVX2): overhead of a job (Snakemake and files), and all
# figures, together a third of `smoke`; noise or metrics of a pixel (per method), and decoding of a
# photograph of 500 x 375 px, which take as long as the networks with ImageNet on a GPU.
JOB, FIGURES = 1.0, 22.0
PIXEL, DECODING = 1e-7, 0.004
WITHOUT_TORCH = 0.6  # start-up time of a job without torch, relative to a job with torch
FLOAT_BYTES = 4


def list_jobs(config: Config, counts: dict[str, PartCounts], machine: Machine) -> list[Job]:
    """List all jobs of a run, parents first."""
    run = _Run(config, counts, machine)
    jobs = [*run.downloads(), *run.noisy_images(), *run.trainings(), *run.evaluations()]
    return [*jobs, *run.analysis([job.name for job in jobs if job.rule == "evaluate"])]


@dataclass(frozen=True)
class _Run:
    """The jobs of each stage."""

    config: Config
    counts: dict[str, PartCounts]
    machine: Machine

    def _start(self, name: str) -> float:
        """Return the seconds for start-up and files of a job or of a rule's jobs."""
        share = 1 if uses_torch(name) else WITHOUT_TORCH
        return JOB + share * self.machine.start_seconds

    def _decoding(self, part: str) -> float:
        """Return the seconds to read an image file; 0 if the run stores the pixels."""
        data = self.config.parts[part].data
        kept = data.kind == "photo-digits" or isinstance(data, PluginData)
        return 0 if kept or base_of(part) == "denoising" else DECODING

    def downloads(self) -> Iterator[Job]:
        """Yield the downloads, whose time is unknown."""
        for name in needed_sets(self.config):
            data_set = CATALOGUE[name]
            # An archive and its unpacked files are on the disk together.
            disk = sum(
                (archive.bytes or 0) * (1 if archive.unpack == "file" or data_set.account else 2)
                for archive in data_set.archives
            )
            yield Job(f"download/{name}", 0, disk_bytes=disk)

    def noisy_images(self) -> Iterator[Job]:
        """Yield the jobs of data, noise, untrained methods, and their preview."""
        shown: list[str] = []
        for part in self.config.parts:
            train, test = self.counts[part].train, self.counts[part].test
            decoding = self._decoding(part)
            # A further test set has no training images of its own.
            splits = [test, train] if train and part == base_of(part) else [test]
            pixels = sum(split.pixels for split in splits)
            yield Job(
                f"data/{part}", self._start("data") + test.count * decoding,
                amount=sum(split.count for split in splits),
                threads=self.config.threads, disk_bytes=0 if decoding else 3 * pixels,
            )  # fmt: skip
            seconds = self._start("noise") + test.count * decoding + PIXEL * test.pixels
            for sigma in self.config.parts[part].sigmas:
                noise = f"noise/{part}/sigma{format_sigma(sigma)}"
                yield Job(noise, seconds, (f"data/{part}",), test.count)
                shown.append(noise)
                for method, shard, name in self._baselines(part, sigma):
                    images = shard.of(test.count)
                    count = images.stop - images.start
                    pixels = count * test.height * test.width
                    work = pixels * self.machine.baseline_seconds.get(method, 0)
                    yield Job(
                        name, self._start(name) + work, (noise,), count,
                        disk_bytes=3 * FLOAT_BYTES * pixels,
                    )  # fmt: skip
                    shown.append(name)
        yield Job("preview", self._start("preview"), tuple(shown))

    def _baselines(self, part: str, sigma: float) -> Iterator[tuple[str, Shard, str]]:
        """Yield method, shard and name of the jobs of untrained methods."""
        for method in filter(is_baseline, self.config.parts[part].methods):
            for shard in shards(self.config.parts[part].shards):
                noisy = f"{method}-sigma{format_sigma(sigma)}"
                yield method, shard, f"baseline/{part}/{noisy}/{shard}"

    def trainings(self) -> Iterator[Job]:
        """Yield the training of each model; published weights are only copied."""
        config = self.config
        steps: dict[str, dict[str, int]] = {}  # models that differ in sigma or seed cost the same
        for key in all_models(config):
            spec, kind = model_spec(config, key), key.partition("/")[0]
            seconds, count, flops = self._start("train"), 0, 0
            if spec.recipe is not None:
                if kind not in steps:
                    steps[kind] = step_flops(config, self.counts, spec)
                step = steps[kind]
                count = spec.recipe.steps
                flops = count * sum(step.values())
                each = sum(one / self.machine.rates[name].training for name, one in step.items())
                reading = spec.recipe.batch * self._decoding(spec.part) / max(1, config.workers)
                seconds += count * max(each, reading)
            yield Job(
                f"train/{key}", seconds,
                (f"data/{spec.part}", *(f"train/{parent}" for parent in spec.parents)), count,
                config.threads + config.workers, flops, FLOAT_BYTES * parameter_count(spec),
            )  # fmt: skip

    def evaluations(self) -> Iterator[Job]:
        """Yield the evaluation of all experiments of each part, sigma and draw."""
        config = self.config
        for part, sigma, draw in evaluations(config):
            test = self.counts[part].test
            found = experiments(config, part, sigma, draw)
            passes = [key for key in dict.fromkeys(one.source for one in found) if "/" in key]
            passes += [one.task_network for one in found if one.task_network]
            seconds = self._start("evaluate") + test.count * self._decoding(part)
            seconds += (1 + len(found)) * test.pixels * PIXEL
            flops = 0
            for spec in (model_spec(config, key) for key in passes):
                each = test.count * forward_flops(spec, test.height, test.width)
                seconds += each / self.machine.rates[network_name(spec)].evaluation
                flops += each
            models = evaluated_models(config, part, sigma, draw)
            level = f"sigma{format_sigma(sigma)}"
            parents = [f"noise/{part}/{level}", *(f"train/{key}" for key in models)]
            parents += [name for *_, name in self._baselines(part, sigma)]
            yield Job(
                f"evaluate/{part}/{level}{draw.suffix}", seconds, tuple(parents), test.count,
                config.threads, flops,
            )  # fmt: skip

    def analysis(self, evaluated: Sequence[str]) -> Iterator[Job]:
        """Yield the jobs from the tables to the report."""
        names = [*(f"table/{table_number(part)}" for part in self.config.parts), "claims"]
        if studies(self.config):
            names.append("sensitivity")
        parents = dict.fromkeys(names, evaluated) | {
            "figures": names, "configuration": (),
            "manifest": (*names, "figures", "configuration"), "report": ("manifest",),
        }  # fmt: skip
        for name, needed in parents.items():
            seconds = self._start(name) + FIGURES * (name == "figures")
            yield Job(name, seconds, tuple(needed))
