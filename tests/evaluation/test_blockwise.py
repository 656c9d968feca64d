"""The authors' block-wise inference: their loop, their frame, and what a network's padding does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dhl.config.architectures import NETWORKS
from dhl.evaluation.inference import denoise_blockwise, denoise_tiles
from dhl.models.build import build_network

CPU = torch.device("cpu")
MEAN_RGB = np.array([123, 117, 104]) / 255


class Unpadded(nn.Module):
    """Three convolutions without padding inside: loses 3 px a side, sees 7."""

    border = 3

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3) for _ in range(3)))
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            weight.data.normal_(std=0.3, generator=generator)

    def forward_unpadded(self, noisy):
        return self.layers(noisy)


def randomised(name: str, **options) -> nn.Module:
    """Build a narrow denoiser whose BatchNorm and last layer do something."""
    network = build_network("denoiser", name, width=4, **options)
    generator = torch.Generator().manual_seed(0)
    for key, tensor in network.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.2, generator=generator)
    return network.eval()


def noisy_image(height: int, width: int) -> np.ndarray:
    """Return random pixels."""
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def run(network: nn.Module, image: np.ndarray) -> np.ndarray:
    """Run an image (H, W, 3) through the unpadded form."""
    with torch.no_grad():
        batch = torch.from_numpy(image).float().permute(2, 0, 1)[None]
        return network.forward_unpadded(batch)[0].permute(1, 2, 0).numpy()


def framed(image: np.ndarray, border: int = 3) -> np.ndarray:
    """Surround an image with the authors' mean colour."""
    result = np.tile(MEAN_RGB, (image.shape[0] + 2 * border, image.shape[1] + 2 * border, 1))
    result[border:-border, border:-border] = image
    return result


@pytest.mark.parametrize(("height", "width"), [(134, 140), (150, 263), (199, 135)])
def test_blocks_of_a_network_without_inner_padding_equal_the_whole_image(height, width):
    network, noisy = Unpadded().eval(), noisy_image(height, width)
    blocks = denoise_blockwise(network, noisy, device=CPU)
    np.testing.assert_allclose(blocks, run(network, framed(noisy)), atol=1e-5)
    np.testing.assert_allclose(blocks[3:-3, 3:-3], run(network, noisy), atol=1e-5)


def starts(side: int) -> list[int]:
    """Return where the released code's blocks begin; its coordinates have the frame in them."""
    crop, block, framed_side = 3, 134, side + 6
    grid = [*range(crop, framed_side - block - crop, 64), framed_side - block - crop]
    return [begin - crop for begin in grid]


@pytest.mark.parametrize("input", ["unit", "authors"])
@pytest.mark.parametrize(("height", "width"), [(150, 199), (198, 262), (134, 135)])
def test_blocks_are_those_of_the_authors_loop(input, height, width):
    network, noisy = randomised("released", input=input), noisy_image(height, width)
    source = framed(noisy)
    total, count = np.zeros(noisy.shape), np.zeros(noisy.shape)
    for top in starts(height):
        for left in starts(width):
            block = run(network, source[top : top + 140, left : left + 140])
            total[top : top + 134, left : left + 134] += block
            count[top : top + 134, left : left + 134] += 1
    expected = total / count
    blocks = denoise_blockwise(network, noisy, device=CPU)
    np.testing.assert_allclose(blocks, expected, rtol=1e-4, atol=1e-4)


def test_a_kodak_image_takes_77_blocks_of_140_pixels():
    network, shapes = Unpadded().eval(), []
    network.layers.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    denoise_blockwise(network, noisy_image(512, 768), device=CPU)
    assert sum(shape[0] for shape in shapes) == 7 * 11
    assert {shape[0] for shape in shapes} == {4, 1}
    assert {tuple(shape[1:]) for shape in shapes} == {(3, 140, 140)}


def test_where_blocks_overlap_the_networks_own_padding_is_averaged_in():
    network, noisy = randomised("released"), noisy_image(134, 198)
    blocks = denoise_blockwise(network, noisy, device=CPU)
    tiles = denoise_tiles(network, noisy, device=CPU)
    # Columns 64 to 133 are in both blocks; 39 px from every block's end nothing is padding.
    np.testing.assert_allclose(blocks[40:94, 40:63], tiles[40:94, 40:63], atol=1e-4)
    assert np.abs(blocks[40:94, 64:70] - tiles[40:94, 64:70]).max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS["denoiser"])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (61, 83), (133, 17), (30, 150), (134, 134)])
def test_any_size_comes_back_at_its_own_size(name, height, width):
    noisy = noisy_image(height, width)
    blocks = denoise_blockwise(randomised(name), noisy, device=CPU)
    assert blocks.shape == noisy.shape
    assert blocks.dtype == np.float32
    assert np.isfinite(blocks).all()
    assert np.abs(blocks - noisy).max() > 0.01


def test_a_small_image_is_one_block_in_a_longer_frame():
    network, noisy = randomised("released"), noisy_image(23, 35)
    source = np.tile(MEAN_RGB, (32, 44, 1))  # 29 and 41, up to multiples of four
    source[3:26, 3:38] = noisy
    expected = run(network, source)[:23, :35]
    np.testing.assert_allclose(denoise_blockwise(network, noisy, device=CPU), expected, atol=1e-5)
