"""Networks in Caffe's two files, definition and weights, as another implementation reads them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dhl.models.caffe import net_parameter


class CaffeNet:
    """Collects layers; `text` is the definition and `net` the message with the weights."""

    def __init__(self, height: int, width: int, *, seed: int = 0):
        self.text = f'input: "data"\ninput_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}\n'
        self.net = net_parameter()()
        self.random = np.random.default_rng(seed)

    def add(self, name, kind, bottoms, top, parameters="", blobs=()) -> str:
        """Add a layer with blobs of weights; returns its top."""
        bottoms = [bottoms] if isinstance(bottoms, str) else bottoms
        lines = "".join(f' bottom: "{bottom}"' for bottom in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{kind}"{lines} top: "{top}" {parameters} }}\n'
        layer = self.net.layer.add(name=name, type=kind)
        for blob in blobs:
            written = layer.blobs.add(data=np.asarray(blob, np.float32).ravel())
            written.shape.dim.extend(np.shape(blob))
        return top

    def convolution(self, name, bottom, shape, *, kind="Convolution", bias=True, **sizes):
        """Add a convolution with random weights; a deconvolution's shape begins with its inputs."""
        fan_in = shape[0] * 4 if kind == "Deconvolution" else np.prod(shape[1:])
        blobs = [self.random.normal(0, fan_in**-0.5, shape)]
        if bias:
            blobs.append(self.random.normal(0, 1, shape[1 if kind == "Deconvolution" else 0]))
        return self.weighted(name, bottom, blobs, kind=kind, **sizes)

    def weighted(self, name, bottom, blobs, *, kind="Convolution", **sizes):
        """Add a convolution with these weights and, if there are two blobs, this bias."""
        shape = np.shape(blobs[0])
        sizes |= {
            "num_output": shape[1 if kind == "Deconvolution" else 0],
            "kernel_size": shape[-1],
            "bias_term": str(len(blobs) == 2).lower(),
        }
        text = " ".join(f"{key}: {value}" for key, value in sizes.items())
        return self.add(name, kind, bottom, name, f"convolution_param {{ {text} }}", blobs)

    def batch_norm(self, name, scale, top, channels):
        """Add BatchNorm, its sums times a random factor, and Scale."""
        factor = self.random.uniform(2, 900)
        mean = self.random.normal(0, 20, channels)
        variance = self.random.uniform(500, 4000, channels)
        self.add(name, "BatchNorm", top, top, "", [factor * mean, factor * variance, [factor]])
        blobs = [self.random.uniform(20, 60, channels), self.random.normal(0, 10, channels)]
        self.add(scale, "Scale", top, top, "scale_param { bias_term: true }", blobs)

    def relu(self, top):
        """Add a ReLU in place."""
        return self.add(f"{top}_ReLU", "ReLU", top, top)

    def write(self, folder: Path) -> Path:
        """Write `net.prototxt` and `net.caffemodel`; returns the latter."""
        (folder / "net.prototxt").write_text(self.text)
        (folder / "net.caffemodel").write_bytes(self.net.SerializeToString())
        return folder / "net.caffemodel"

    def opencv(self, folder: Path) -> cv2.dnn.Net:
        """Return OpenCV's reading of the written files."""
        return cv2.dnn.readNetFromCaffe(
            str(folder / "net.prototxt"), str(folder / "net.caffemodel")
        )


def authors_denoiser(width: int = 64, height: int = 44, length: int = 36) -> CaffeNet:
    """Return the network of the authors' deployment with random weights, for images of one size."""
    net = CaffeNet(height, length)

    def module(number, bottom, inputs, channels, stride):
        name, middle = f"conv{number}", channels // 4
        net.convolution(name, bottom, (channels, inputs, 3, 3), pad=1, stride=stride)
        net.batch_norm(f"{name}_bn", f"{name}_Scale", name, channels)
        top = begin = net.relu(name)
        for branch, shape in (("a", (middle, channels, 1, 1)), ("b", (middle, middle, 3, 3)),
                              ("c", (channels, middle, 1, 1))):  # fmt: skip
            names = [f"residual_{number}_{part}branch2{branch}" for part in ("", "bn_", "scale_")]
            top = net.convolution(names[0], top, shape, bias=False, pad=shape[-1] // 2)
            net.batch_norm(*names[1:], top, shape[0])
            if branch != "c":
                net.relu(top)
        return net.relu(net.add(f"residual_{number}", "Eltwise", [begin, top], f"sum{number}"))

    def up(name, bottom, shape):
        return net.convolution(name, bottom, shape, kind="Deconvolution", pad=1, stride=2)

    scale0 = net.convolution("conv0", "data", (width, 3, 5, 5))
    scale1 = module(1, scale0, width, 2 * width, 2)
    scale2 = module(2, scale1, 2 * width, 2 * width, 2)
    raised = up("upsample_r2", scale2, (2 * width, width // 2, 4, 4))
    fused = net.add("concat_r2", "Concat", [scale1, raised], "concat_r2")
    decoded = module(3, fused, 2 * width + width // 2, 4 * width, 1)
    raised = up("upsample", decoded, (4 * width, width, 4, 4))
    fused = net.add("concat_r3", "Concat", [scale0, raised], "concat_r3")
    residual = net.convolution("concat_reduction", fused, (3, 2 * width, 3, 3))
    crop = "crop_param { axis: 2 offset: 3 }"
    skip = net.add("noisy_data_crop", "Crop", ["data", residual], "crop_input", crop)
    net.add("sum", "Eltwise", [residual, skip], "output")
    return net
