"""The paths of the files of a run."""

from __future__ import annotations

from pathlib import Path

from dhl.run.outputs import BY_NAME
from dhl.run.shards import WHOLE, Shard
from dhl.seeding import FIRST, Draw
from dhl.sigma import format_sigma


class RunFolder:
    """The paths of a run in `root`, usually `results/<run>`."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.config = self.path("config")
        self.claims = self.path("claims")
        self.sensitivity = self.path("sensitivity")
        self.report = self.path("report")
        self.preview = self.path("preview")
        self.manifest = self.path("manifest")
        self.figures = self.root / "figures"
        self.benchmarks = self.root / "benchmarks"
        self.finished = self.root / "checkpoints" / "finished"  # models that a run may lose

    def pattern(self, name: str) -> str:
        """Return the path of the output `name`, with wildcards in braces."""
        return str(self.root / BY_NAME[name].pattern)

    def benchmark(self, name: str) -> str:
        """Return the path of the time and memory of an output's jobs, with wildcards in braces."""
        return str(self.benchmarks / BY_NAME[name].benchmark)

    def path(self, name: str, **wildcards: object) -> Path:
        """Return the path of the output `name`."""
        return self.root / BY_NAME[name].pattern.format(**wildcards)

    def data(self, part: str) -> Path:
        """Return the file of a part's clean images."""
        return self.path("images", part=part)

    def skipped(self, part: str) -> Path:
        """Return the list of a part's damaged images, which were left out."""
        return self.path("skipped", part=part)

    def download(self, name: str) -> Path:
        """Return the receipt of a downloaded set: its archives, digests and sizes."""
        return self.path("download", set=name)

    def noise(self, part: str, sigma: float) -> Path:
        """Return the file of noise seeds, digests and moments."""
        return self.path("noise", part=part, sigma=format_sigma(sigma))

    def model(self, key: str) -> Path:
        """Return the file of a trained model; `key` is like `joint-segmentation/sigma30`."""
        return self.path("model", model=key)

    def training(self, key: str) -> Path:
        """Return the file of a model's training curve."""
        return self.path("training", model=key)

    def checkpoint(self, key: str, fingerprint: str) -> Path:
        """Return the checkpoint that an interrupted training resumes from.

        It is not an output of the workflow, which would delete it when the training fails.
        """
        return self.root / "checkpoints" / f"{key}-{fingerprint[:12]}.pt"

    def baseline(self, part: str, method: str, sigma: float, shard: Shard = WHOLE) -> Path:
        """Return the file of one shard of an untrained method's denoised images."""
        return self.path(
            "baseline", part=part, method=method, sigma=format_sigma(sigma), shard=shard
        )

    def evaluation(self, part: str, sigma: float, draw: Draw = FIRST) -> Path:
        """Return the file of per-image results; `.npz` beside it has arrays for pooled metrics."""
        return self.path("evaluation", part=part, sigma=format_sigma(sigma), draw=draw.suffix)

    def arrays(self, part: str, sigma: float, draw: Draw = FIRST) -> Path:
        """Return the file of confusion matrices and example images."""
        return self.path("arrays", part=part, sigma=format_sigma(sigma), draw=draw.suffix)

    def table(self, number: int | str, suffix: str = "csv") -> Path:
        """Return the file of a table: `number` is 1, 2, 3, or `1-mine` for a further test set."""
        return self.path("table", number=number, suffix=suffix)
