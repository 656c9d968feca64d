"""A task network of your own: torchvision's ResNet-18, from a file of weights."""

import torchvision
from torch import nn

from dhl.models.normalised import Normalised


def resnet18(classes: int) -> nn.Module:
    """Build ResNet-18 behind ImageNet's normalisation of RGB on [0, 1]."""
    return Normalised(torchvision.models.resnet18(num_classes=classes))
