"""BatchNorm over a batch that several processes share; torch's own refuses the CPU."""

from __future__ import annotations

import torch
from torch import nn

from dhl.data import processes
from dhl.errors import UserError
from dhl.training.averaging import mean_over_processes


class SyncedBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose statistics are those of all processes' images together.

    Every process must hold equally many images. State and result with one process are
    `nn.BatchNorm2d`'s.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training or processes.count() == 1:
            return super().forward(images)
        values = images.float()
        average = mean_over_processes(values.mean((0, 2, 3)))
        centred = values - average[:, None, None]
        variance = mean_over_processes(centred.square().mean((0, 2, 3)))
        self._follow(average.detach(), variance.detach(), values.numel() // self.num_features)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(images.dtype)

    @torch.no_grad()
    def _follow(self, average: torch.Tensor, variance: torch.Tensor, own: int) -> None:
        """Move the running statistics; the variance is the unbiased one, as in torch."""
        values = own * processes.count()
        self.num_batches_tracked += 1
        self.running_mean.lerp_(average, self.momentum)
        self.running_var.lerp_(variance * values / (values - 1), self.momentum)


def synchronise(network: nn.Module) -> None:
    """Turn each BatchNorm of a network into a synced one, in place, with the same parameters.

    Raises
    ------
    UserError
        If one is of a kind that cannot be synchronised.
    """
    for name, layer in network.named_modules():
        plain = type(layer) is nn.BatchNorm2d and layer.affine and layer.track_running_stats
        if plain and layer.momentum is not None:
            layer.__class__ = SyncedBatchNorm
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                "where several processes train a network, each BatchNorm in it is an "
                "`nn.BatchNorm2d` with weights, running statistics and a momentum.",
                came=f"`{name}` is {layer}",
                do="use such layers, or `processes: 1`.",
            )
