"""A noise model of your own: photon noise, which is stronger where the image is brighter."""

import torch


def poisson_gaussian(
    clean: torch.Tensor, *, noise_std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Let the variance grow with brightness; at a middle grey it is that of sigma."""
    variance = noise_std**2 * (0.2 + 1.6 * clean)
    draw = torch.randn(clean.shape, generator=generator, device=clean.device)
    return clean + variance.sqrt() * draw
