"""A method of your own: the authors' trained denoisers, imported by `dhl import-caffe`."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from dhl.models.checkpoint import load_model


def authors(noisy: np.ndarray, *, sigma: float) -> np.ndarray:
    """Denoise by the network that the authors trained for this noise."""
    image = torch.from_numpy(noisy).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return network(sigma)(image)[0].permute(1, 2, 0).numpy()


@cache
def network(sigma: float) -> torch.nn.Module:
    """Read the model file of a sigma, once a job."""
    return load_model(Path(f"imported/sigma{sigma:g}.pt"))[0].eval()
