"""Published weights: copied to the bit, or refused with the layer that does not fit."""

from __future__ import annotations

import argparse

import pytest
import torch
import torchvision

from dhl.config.networks import Network, check_network
from dhl.errors import ConfigError, UserError
from dhl.files import PROJECT
from dhl.models.build import build_network
from dhl.models.normalised import IMAGENET_MEAN, IMAGENET_STD, Normalised
from dhl.models.pretrained import load_pretrained
from dhl.models.small_resnet import SmallResNet


@pytest.fixture
def network() -> Normalised:
    """A small classifier with BatchNorm."""
    return Normalised(SmallResNet(width=4))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """The published weights of this classifier."""
    return SmallResNet(width=4).state_dict()


@pytest.fixture(scope="module")
def vgg_state() -> dict[str, torch.Tensor]:
    """VGG-16's state; its linear layers are one number each, which a file stores once."""
    with torch.device("meta"):
        state = torchvision.models.vgg16().state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator)
        if name.startswith("features")
        else torch.tensor(0.5).expand(value.shape)
        for name, value in state.items()
    }


def saved(state, path, **options):
    torch.save(state, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("counted", [True, False])  # old files of BatchNorm have no count of steps
def test_a_classifier_gets_every_weight(tmp_path, network, state, zipped, counted):
    kept = {name: state[name] for name in state if counted or not name.endswith("tracked")}
    path = saved(kept, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    load_pretrained(network, path)
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_deeplab_gets_the_convolutions_of_vgg16_and_nothing_else(tmp_path, vgg_state):
    network = build_network("segmenter", "deeplab-largefov", classes=21)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_pretrained(network, saved(vgg_state, tmp_path / "vgg.pth"))
    convolutions = {name for name in vgg_state if name.startswith("features.")}
    assert len(convolutions) == 26
    for name, value in network.state_dict().items():
        assert torch.equal(value, (vgg_state if name in convolutions else before)[name]), name
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    vgg.load_state_dict(vgg_state, assign=True)
    images = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # conv1_1 to conv1_2: before the poolings that differ
        torch.testing.assert_close(network.features[:4](images), vgg.features[:4](images))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"head.weight": torch.zeros(7, 16)}, "`head.weight` with shape (7, 16), but the network"),
        ({"features.1.bias": torch.zeros(3)}, "`features.1.bias` with shape (3,), but the network"),
        ({"features.5.conv2.weight": None}, "no `features.5.conv2.weight`"),
        ({"features.9.weight": torch.zeros(1)}, "`features.9.weight`, which this network"),
    ],
)  # fmt: skip
def test_the_first_layer_that_does_not_fit_is_named(tmp_path, network, state, change, named):
    content = {name: value for name, value in (state | change).items() if value is not None}
    first = network.network.features[0].weight.clone()
    with pytest.raises(UserError) as caught:
        load_pretrained(network, saved(content, tmp_path / "w.pth"))
    assert named in caught.value.came
    assert torch.equal(network.network.features[0].weight, first)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, network, state, zipped, kept):
    path = saved(state, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError) as caught:
        load_pretrained(network, path)
    assert caught.value.came == f"{path}: truncated, or of another kind"


def test_the_weights_of_a_parallel_training_are_read_from_its_checkpoint(tmp_path, network, state):
    weights = {f"module.{name}": value for name, value in state.items()}
    load_pretrained(network, saved({"epoch": 3, "state_dict": weights}, tmp_path / "w.pth"))
    assert all(torch.equal(one, state[name]) for name, one in network.network.state_dict().items())


def test_the_weights_are_read_from_a_checkpoint_of_torchvisions_script(tmp_path, network, state):
    content = {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1, device="cuda")}
    load_pretrained(network, saved(content, tmp_path / "checkpoint.pth"))
    assert all(torch.equal(one, state[name]) for name, one in network.network.state_dict().items())


def test_the_example_of_the_documentation_gets_torchvisions_weights(tmp_path):
    reference = f"{PROJECT / 'docs/examples/torchvision_resnet.py'}:resnet18"
    network = build_network("classifier", reference, classes=3)
    published = torchvision.models.resnet18(num_classes=3).eval()
    load_pretrained(network, saved(published.state_dict(), tmp_path / "resnet18.pth"))
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), published((images - mean) / std))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3, "state": {}}, None])
def test_a_missing_file_or_one_without_tensors_is_refused(tmp_path, network, content):
    path = tmp_path / "w.pth"
    if content is not None:
        saved(content, path)
    with pytest.raises(UserError) as caught:
        load_pretrained(network, path)
    assert str(path) in caught.value.mistake
    assert caught.value.came.startswith("no file" if content is None else str(path))


@pytest.mark.parametrize(
    ("role", "network", "option", "owner"),
    [
        ("classifier", Network(name="small-vgg", weights="imagenet"), "weights", "`vgg16`"),
        ("classifier", Network(name="vgg16", width=32), "width", "`small-vgg`"),
        ("denoiser", Network(name="dncnn", input="authors"), "input", "`released`"),
    ],
)
def test_an_option_is_refused_by_a_network_without_it(role, network, option, owner):
    with pytest.raises(ConfigError) as caught:
        check_network(network, role, place="here")
    assert f"`{option}`" in caught.value.mistake
    assert f"`here.{option}: " in caught.value.came
    assert owner in caught.value.came


def test_the_builder_gets_the_chosen_options_only():
    assert Network(name="vgg16", weights="imagenet").builder_options() == {}
    assert Network(name="released", width=8).builder_options() == {"width": 8}
    network = Network(name="released", width=8, input="authors")
    assert network.builder_options() == {"width": 8, "input": "authors"}


@pytest.mark.parametrize("name", ["released", "paper"])
@pytest.mark.parametrize("form", ["forward", "forward_unpadded"])
def test_the_authors_scale_is_bgr_on_0_to_255_without_the_mean_colour(name, form):
    wrapped = build_network("denoiser", name, width=4, input="authors").double().eval()
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(wrapped.network.out.weight, generator=generator)
    noisy = torch.rand(2, 3, 24, 28, generator=generator).double()
    mean = torch.tensor([104.0, 117.0, 123.0], dtype=torch.double).view(3, 1, 1)
    with torch.no_grad():
        inner = getattr(wrapped.network, form)(255 * noisy[:, [2, 1, 0]] - mean)
        expected = ((inner + mean) / 255)[:, [2, 1, 0]]
        torch.testing.assert_close(getattr(wrapped, form)(noisy), expected)
        assert expected.max() > 1.5
        torch.nn.init.zeros_(wrapped.network.out.weight)
        identity = getattr(wrapped, form)(noisy)
    border = wrapped.border if form == "forward_unpadded" else 0
    expected = noisy[..., border : 24 - border, border : 28 - border]
    torch.testing.assert_close(identity, expected, rtol=0, atol=1e-14)
