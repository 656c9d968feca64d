"""The jobs of a run as Snakemake has them: how long each takes, and which jobs come first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import PluginData
from dhl.config.methods import is_baseline
from dhl.config.schema import Config
from dhl.planning.machine import Machine
from dhl.planning.operations import Workload, network_flops, parameter_count
from dhl.run.downloads import needed_sets
from dhl.run.evaluations import evaluated_models, evaluations, experiments, studies
from dhl.run.model_graph import all_models, model_spec
from dhl.run.shards import Shard, shards

# Seconds of one core of an AMD EPYC (AVX2), beyond the start of a job. `JOB` is what Snakemake and
# reading and writing files take; the others are of `config/smoke.yaml`'s own jobs.
JOB = 1.0
RULES = {"data": 2.0, "figures": 22.0, "report": 3.0}
# Seconds of one core: noise and metrics, per pixel and method; a photograph of 500 x 375 px.
PIXEL, DECODING = 1e-7, 0.004
ROW_BYTES = 120  # of the CSV of per-image results
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Job:
    """One job of Snakemake.

    Attributes
    ----------
    rule, subject : str
        The subject is a part, a kind of model, or both a method and a part.
    seconds : float
        From its start to its end.
    parents : tuple of str
        Names of the jobs that must end first.
    amount : int
        Steps of a training, or images of the other jobs.
    threads : int
    on_gpu : bool
        Whether it uses a GPU where there is one.
    flops : float
        Operations of its networks.
    disk_bytes : int
        What it leaves.
    """

    rule: str
    subject: str
    seconds: float
    parents: tuple[str, ...] = ()
    amount: int = 0
    threads: int = 1
    on_gpu: bool = False
    flops: float = 0
    disk_bytes: int = 0


def list_jobs(workload: Workload, machine: Machine) -> dict[str, Job]:
    """List all jobs of a run by name, parents first."""
    config, jobs = workload.config, _Jobs(workload, machine)
    for part in config.parts:
        jobs.add_data(part)
        for sigma in config.parts[part].sigmas:
            jobs.add_noise(part, sigma)
    jobs.add_trainings()
    for part, sigma, seed in evaluations(config):
        jobs.add_evaluation(part, sigma, seed)
    jobs.add_analysis()
    downloads = {f"download/{name}": _download(name) for name in needed_sets(config)}
    return downloads | jobs.jobs


def _download(name: str) -> Job:
    """Describe a download: an archive needs room beside its unpacked files; its time is unknown."""
    data_set = CATALOGUE[name]
    disk = sum(
        (archive.bytes or 0) * (1 if archive.unpack == "file" or data_set.account else 2)
        for archive in data_set.archives
    )
    return Job("download", name, 0, disk_bytes=disk)


def decoding_seconds(config: Config, part: str) -> float:
    """Return the seconds to read an image file; 0 if the run keeps the pixels."""
    data = config.parts[part].data
    kept = data.kind == "photo-digits" or isinstance(data, PluginData)
    return 0 if kept or part == "denoising" else DECODING


class _Jobs:
    """Collects the jobs of a run by name."""

    def __init__(self, workload: Workload, machine: Machine):
        self.config, self.counts, self.steps = workload.config, workload.counts, workload.steps
        self.machine = machine
        self.start = machine.start_without_torch_seconds + JOB
        self.start_with_torch = machine.start_seconds + JOB
        self.jobs: dict[str, Job] = {}

    def add_data(self, part: str) -> None:
        """Add the job that makes or reads the images of a part."""
        train, test = self.counts[part].train, self.counts[part].test
        decoding = test.count * decoding_seconds(self.config, part)
        count = test.count + (train.count if train else 0)
        pixels = test.pixels + (train.pixels if train else 0)
        self.jobs[f"data/{part}"] = Job(
            "data", part, self.start + RULES["data"] + decoding, amount=count,
            threads=self.config.threads, disk_bytes=0 if decoding else 3 * pixels,
        )  # fmt: skip

    def add_noise(self, part: str, sigma: float) -> None:
        """Add the noise of the test images, and the untrained methods that denoise them."""
        test, noise = self.counts[part].test, f"noise/{part}/{sigma:g}"
        seconds = test.count * decoding_seconds(self.config, part) + PIXEL * test.pixels
        data = (f"data/{part}",)
        self.jobs[noise] = Job("noise", part, self.start + seconds, data, test.count)
        for method, shard, name in self._baselines(part, sigma):
            images = shard.of(test.count)
            count = images.stop - images.start
            subject = f"{method}, {part}"
            seconds = self.start + count * self.machine.cbm3d_seconds.get(subject, 0)
            disk = 3 * FLOAT_BYTES * test.pixels * count // test.count
            self.jobs[name] = Job("baseline", subject, seconds, (noise,), count, disk_bytes=disk)

    def _baselines(self, part: str, sigma: float) -> Iterator[tuple[str, Shard, str]]:
        """Yield method, shard and name of the jobs of untrained methods."""
        for method in filter(is_baseline, self.config.parts[part].methods):
            for shard in shards(self.config.parts[part].shards):
                yield method, shard, f"baseline/{part}/{method}/{sigma:g}/{shard}"

    def add_trainings(self) -> None:
        """Add the training of each model; published weights are only copied."""
        disk: dict[str, int] = {}
        for key in all_models(self.config):
            spec, kind = model_spec(self.config, key), key.partition("/")[0]
            if kind not in disk:
                disk[kind] = FLOAT_BYTES * parameter_count(spec)
            seconds, count, flops = self.start_with_torch, 0, 0
            if spec.recipe is not None:
                count, flops = spec.recipe.steps, spec.recipe.steps * self.steps[kind].flops
                each = self.steps[kind].flops / self.machine.training_flops
                each = self.machine.step_seconds.get(kind, each)
                reading = spec.recipe.batch * decoding_seconds(self.config, spec.part)
                seconds += count * max(each, reading / max(1, self.config.workers))
            self.jobs[f"train/{key}"] = Job(
                "train", kind, seconds,
                (f"data/{spec.part}", *(f"train/{parent}" for parent in spec.parents)), count,
                self.config.threads + self.config.workers, True, flops, disk[kind],
            )  # fmt: skip

    def add_evaluation(self, part: str, sigma: float, seed: int) -> None:
        """Add the evaluation of all methods and experiments of a part at a sigma."""
        test = self.counts[part].test
        found = experiments(self.config, part, sigma, seed)
        passes = [key for key in dict.fromkeys(one.source for one in found) if "/" in key]
        passes += [one.task_network for one in found if one.task_network]
        flops = 0
        for key in passes:
            spec = model_spec(self.config, key)
            flops += network_flops(spec.role, spec.build_options, test.height, test.width)
        flops *= test.count
        seconds = self.start_with_torch + flops / self.machine.evaluation_flops
        seconds += test.count * decoding_seconds(self.config, part)
        seconds += (1 + len(found)) * test.pixels * PIXEL
        models = evaluated_models(self.config, part, sigma, seed)
        parents = [f"noise/{part}/{sigma:g}", *(f"train/{key}" for key in models)]
        parents += [name for *_, name in self._baselines(part, sigma)]
        self.jobs[f"evaluate/{part}/{sigma:g}/{seed}"] = Job(
            "evaluate", part, seconds, tuple(parents), test.count, self.config.threads, True, flops,
            disk_bytes=test.count * len(found) * ROW_BYTES,
        )  # fmt: skip

    def add_analysis(self) -> None:
        """Add the jobs from the tables to the report: each rule waits for those before it."""
        evaluated = [name for name, job in self.jobs.items() if job.rule == "evaluate"]
        inputs = dict.fromkeys((f"table/{part}" for part in self.config.parts), evaluated)
        inputs["claims"] = evaluated
        if studies(self.config):
            inputs["sensitivity"] = evaluated
        inputs |= {
            "figures": list(inputs), "configuration": [],
            "manifest": [*inputs, "figures", "configuration"], "report": ["manifest"],
        }  # fmt: skip
        for name, parents in inputs.items():
            rule, _, part = name.partition("/")
            seconds = 0 if rule == "configuration" else self.start + RULES.get(rule, 0)
            self.jobs[name] = Job(rule, part, seconds, tuple(parents))
