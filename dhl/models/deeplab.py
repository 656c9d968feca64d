"""DeepLab-LargeFOV: VGG-16 with output stride 8, dilation and a large field of view.

The layers follow DeepLab's released network definition, which the paper's authors used. Two things
differ: images are RGB on [0, 1], normalised for torchvision's VGG-16; and fc6 and fc7 have random
initial weights like fc8, not those of the released initial model.

References
----------
.. [1] L.-C. Chen, G. Papandreou, I. Kokkinos, K. Murphy, A. Yuille. Semantic Image Segmentation
   with Deep Convolutional Nets and Fully Connected CRFs. ICLR 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dhl.models.normalised import IMAGENET_MEAN, IMAGENET_STD, Normalise

# Channels of each convolution of a block, the block's dilation, and the stride of its pooling.
BLOCKS = (
    ((64, 64), 1, 2),
    ((128, 128), 1, 2),
    ((256, 256, 256), 1, 2),
    ((512, 512, 512), 1, 1),
    ((512, 512, 512), 2, 1),
)


def vgg16_features() -> nn.Sequential:
    """Build conv1_1 to pool5, then pool5a; indices are those of torchvision's VGG-16."""
    layers: list[nn.Module] = []
    channels_in = 3
    for widths, dilation, stride in BLOCKS:
        for channels in widths:
            layers.append(nn.Conv2d(channels_in, channels, 3, 1, dilation, dilation))
            layers.append(nn.ReLU(inplace=True))
            channels_in = channels
        # Caffe rounds a pooled size up.
        layers.append(nn.MaxPool2d(3, stride, 1, ceil_mode=True))
    layers.append(nn.AvgPool2d(3, 1, 1))
    return nn.Sequential(*layers)


class DeepLabLargeFOV(nn.Module):
    """VGG-16's convolutions with output stride 8, then fc6 with dilation 12, fc7 and fc8.

    Coarse position (i, j) is centred on pixel (8 i, 8 j): an image of 321 px has 41 positions.
    With VOC's 21 classes it has 20,505,429 parameters.

    Attributes
    ----------
    stride : int
        Pixels between the positions of `forward_coarse`.
    """

    stride = 8

    def __init__(self, classes: int = 21):
        super().__init__()
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.features = vgg16_features()
        self.fc6 = nn.Conv2d(512, 1024, 3, padding=12, dilation=12)
        self.fc7 = nn.Conv2d(1024, 1024, 1)
        self.fc8 = nn.Conv2d(1024, classes, 1)
        self.dropout = nn.Dropout(0.5)
        for layer in (self.fc6, self.fc7, self.fc8):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward_coarse(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits at every eighth pixel.

        Returns
        -------
        Tensor of shape (N, classes, ceil((H - 1) / 8) + 1, ceil((W - 1) / 8) + 1)
            The last position is outside the image if a side is not of the form 8 k + 1.
        """
        features = self.features(self.normalise(images))
        features = self.dropout(F.relu(self.fc6(features)))
        return self.fc8(self.dropout(F.relu(self.fc7(features))))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, H, W) on the [0, 1] scale to logits (N, classes, H, W), by interpolation."""
        coarse = self.forward_coarse(images)
        size = [self.stride * (side - 1) + 1 for side in coarse.shape[-2:]]
        scores = F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)
        return scores[..., : images.shape[-2], : images.shape[-1]]

    def pretrained_part(self) -> dict[str, torch.Tensor]:
        """Return the weights up to conv5_3, by their names in the published file of VGG-16."""
        return self.features.state_dict(prefix="features.")
