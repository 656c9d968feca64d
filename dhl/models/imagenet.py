"""Classifiers of torchvision: images on the [0, 1] scale in, logits out.

References
----------
.. [1] K. Simonyan, A. Zisserman. Very Deep Convolutional Networks for Large-Scale Image
   Recognition. ICLR 2015; configuration D.
.. [2] K. He, X. Zhang, S. Ren, J. Sun. Deep Residual Learning for Image Recognition. CVPR 2016;
   torchvision strides the 3x3 convolution of a block and not the first 1x1 ("v1.5").
"""

from __future__ import annotations

import torchvision

from dhl.models.normalised import Normalised


def vgg16(classes: int = 1000) -> Normalised:
    """Build the paper's classifier, VGG-16 [1]_; 138,357,544 parameters at 1000 classes."""
    return Normalised(torchvision.models.vgg16(num_classes=classes))


def resnet50(classes: int = 1000) -> Normalised:
    """Build ResNet-50 [2]_; 25,557,032 parameters at 1000 classes."""
    return Normalised(torchvision.models.resnet50(num_classes=classes))
