"""The paths of the files of a run."""

from __future__ import annotations

from pathlib import Path

from dhl.run.shards import WHOLE, Shard
from dhl.seeding import seed_suffix
from dhl.sigma import format_sigma


class RunFolder:
    """The paths of a run; the library writes to no others.

    Parameters
    ----------
    root : str or Path
        Usually `results/<run>`.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.config = self.root / "config.yaml"
        self.claims = self.root / "claims.csv"
        self.sensitivity = self.root / "sensitivity.csv"
        self.figures = self.root / "figures"
        self.report = self.root / "report" / "index.html"
        self.manifest = self.root / "manifest.json"
        self.benchmarks = self.root / "benchmarks"

    def data(self, part: str) -> Path:
        """Return the file of a part's clean images."""
        return self.root / "data" / f"{part}.npz"

    def skipped(self, part: str) -> Path:
        """Return the list of a part's damaged images, which were left out."""
        return self.root / "data" / f"{part}.skipped.csv"

    def download(self, name: str) -> Path:
        """Return the receipt of a downloaded set: its archives, digests and sizes."""
        return self.root / "downloads" / f"{name}.json"

    def noise(self, part: str, sigma: float) -> Path:
        """Return the file of noise seeds, digests and moments."""
        return self.root / "noise" / part / f"sigma{format_sigma(sigma)}.csv"

    def model(self, key: str) -> Path:
        """Return the file of a trained model; `key` is like `joint-segmentation/sigma30`."""
        return self.root / "models" / f"{key}.pt"

    def training(self, key: str) -> Path:
        """Return the file of a model's training curve."""
        return self.root / "training" / f"{key}.csv"

    def checkpoint(self, key: str, fingerprint: str) -> Path:
        """Return the checkpoint that an interrupted training resumes from."""
        return self.root / "checkpoints" / f"{key}-{fingerprint[:12]}.pt"

    def baseline(self, part: str, method: str, sigma: float, shard: Shard = WHOLE) -> Path:
        """Return the file of one shard of the images that an untrained method denoised."""
        name = f"{method}-sigma{format_sigma(sigma)}"
        return self.root / "baselines" / part / name / f"{shard}.npz"

    def evaluation(self, part: str, sigma: float, seed: int = 1) -> Path:
        """Return the file of per-image results; `.npz` beside it has arrays for pooled metrics.

        That of a later training than the first has the trained methods alone.
        """
        name = f"sigma{format_sigma(sigma)}{seed_suffix(seed)}.csv"
        return self.root / "evaluation" / part / name

    def table(self, number: int, suffix: str = "csv") -> Path:
        """Return the file of one of the paper's tables."""
        return self.root / "tables" / f"table{number}.{suffix}"
