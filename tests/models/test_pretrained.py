"""Published weights: taken over to the bit, or refused with the layer that does not fit."""

from __future__ import annotations

import pytest
import torch
import torchvision

from dhl.config.architectures import NETWORKS
from dhl.config.networks import Network, check_network
from dhl.errors import ConfigError, UserError
from dhl.models.build import build_network
from dhl.models.pretrained import load_pretrained


@pytest.fixture(scope="module")
def resnet_state():
    """A state as torchvision publishes it, every tensor different from a fresh one's."""
    state = torchvision.models.resnet50().state_dict()
    generator = torch.Generator().manual_seed(0)
    for value in state.values():
        if value.is_floating_point():
            value.uniform_(0.01, 0.02, generator=generator)
    return state


@pytest.fixture(scope="module")
def vgg_state():
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
    """Write a state; returns its path."""
    torch.save(state, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_classifier_takes_every_weight_over(tmp_path, resnet_state, zipped):
    network = build_network("classifier", "resnet50")
    load_pretrained(
        network,
        saved(resnet_state, tmp_path / "r.pth", _use_new_zipfile_serialization=zipped),
    )
    for name, value in network.network.state_dict().items():
        assert torch.equal(value, resnet_state[name]), name


def test_a_file_of_before_batch_norm_counted_its_steps_is_taken(tmp_path, resnet_state):
    older = {k: v for k, v in resnet_state.items() if not k.endswith("num_batches_tracked")}
    network = build_network("classifier", "resnet50")
    load_pretrained(network, saved(older, tmp_path / "r.pth"))
    assert torch.equal(network.network.bn1.running_var, resnet_state["bn1.running_var"])


def test_deeplab_takes_the_convolutions_of_vgg16_and_nothing_else(tmp_path, vgg_state):
    network = build_network("segmenter", "deeplab-largefov", classes=21)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_pretrained(network, saved(vgg_state, tmp_path / "vgg.pth"))
    taken = set()
    for name, value in network.state_dict().items():
        if name in vgg_state:
            assert torch.equal(value, vgg_state[name]), name
            taken.add(name)
        else:
            assert torch.equal(value, before[name]), name
    assert taken == {name for name in vgg_state if name.startswith("features.")}
    assert len(taken) == 26


def test_deeplabs_first_layers_compute_what_vgg16_computes(tmp_path, vgg_state):
    network = build_network("segmenter", "deeplab-largefov", classes=21)
    load_pretrained(network, saved(vgg_state, tmp_path / "vgg.pth"))
    with torch.device("meta"):
        vgg = torchvision.models.vgg16()
    vgg.load_state_dict(vgg_state, assign=True)
    images = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # conv1_1 to conv1_2: before the poolings that differ
        torch.testing.assert_close(network.features[:4](images), vgg.features[:4](images))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s | {"fc.weight": torch.zeros(10, 2048), "fc.bias": torch.zeros(10)},
         r"`fc\.weight` with shape \(10, 2048\), which here has \(1000, 2048\)"),
        (lambda s: s | {"layer1.0.bn1.bias": torch.zeros(3)},
         r"`layer1\.0\.bn1\.bias` with shape \(3,\), which here has \(64,\)"),
        (lambda s: {k: v for k, v in s.items() if k != "layer4.2.conv3.weight"},
         r"no `layer4\.2\.conv3\.weight`, which here has shape \(2048, 512, 1, 1\)"),
        (lambda s: s | {"layer5.0.weight": torch.zeros(1)}, r"`layer5\.0\.weight`, which this"),
    ],
)  # fmt: skip
def test_the_first_layer_that_does_not_fit_is_named(tmp_path, resnet_state, change, named):
    network = build_network("classifier", "resnet50")
    first = network.network.conv1.weight.clone()
    with pytest.raises(UserError, match=named):
        load_pretrained(network, saved(change(resnet_state), tmp_path / "r.pth"))
    assert torch.equal(network.network.conv1.weight, first)


def test_weights_of_another_network_are_refused(tmp_path, resnet_state):
    network = build_network("segmenter", "deeplab-largefov", classes=21)
    with pytest.raises(UserError, match=r"no `features\.0\.weight`"):
        load_pretrained(network, saved(resnet_state, tmp_path / "r.pth"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, zipped, kept):
    small = {"features.0.weight": torch.rand(64, 3, 3, 3)}
    path = saved(small, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    network = build_network("segmenter", "deeplab-largefov", classes=2)
    with pytest.raises(UserError, match=r"w\.pth: truncated, or of another kind"):
        load_pretrained(network, path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3, "state": {}}])
def test_a_file_that_holds_something_else_is_refused(tmp_path, content):
    network = build_network("segmenter", "deeplab-largefov", classes=2)
    with pytest.raises(UserError, match=r"w\.pth: holds something else"):
        load_pretrained(network, saved(content, tmp_path / "w.pth"))
    with pytest.raises(UserError, match=r"no file .*missing\.pth"):
        load_pretrained(network, tmp_path / "missing.pth")


def test_weights_are_configured_only_where_a_network_has_published_ones():
    vgg = Network(name="vgg16", weights="imagenet")
    deeplab = Network(name="deeplab-largefov", weights="imagenet")
    assert vgg.builder_options() == deeplab.builder_options() == {}
    assert NETWORKS["classifier"]["vgg16"].pretrained == "vgg16-imagenet"
    assert NETWORKS["segmenter"]["deeplab-largefov"].pretrained == "vgg16-imagenet"
    for role, network, option, owner in (
        ("classifier", Network(name="small-vgg", weights="imagenet"), "weights", "`vgg16`"),
        ("denoiser", Network(name="released", weights="imagenet"), "weights", ""),
        ("classifier", Network(name="vgg16", width=32), "width", "`small-vgg`"),
        ("denoiser", Network(name="dncnn", input="authors"), "input", "`released`"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_network(network, role, place="here")
        assert f"`{option}`" in caught.value.mistake
        assert f"`here.{option}: " in caught.value.came
        assert owner in caught.value.came


def test_the_authors_scale_reaches_the_builder_only_where_it_is_chosen():
    assert Network(name="released", width=8).builder_options() == {"width": 8}
    network = Network(name="released", width=8, input="authors")
    assert network.builder_options() == {"width": 8, "input": "authors"}


@pytest.mark.parametrize("name", ["released", "paper"])
@pytest.mark.parametrize("form", ["forward", "forward_unpadded"])
def test_the_authors_scale_is_bgr_on_0_to_255_without_the_mean_colour(name, form):
    wrapped = build_network("denoiser", name, width=4, input="authors").double().eval()
    torch.nn.init.normal_(wrapped.network.out.weight)
    noisy = torch.rand(2, 3, 24, 28, generator=torch.Generator().manual_seed(0)).double()
    mean = torch.tensor([104.0, 117.0, 123.0], dtype=torch.double).view(3, 1, 1)
    with torch.no_grad():
        inner = getattr(wrapped.network, form)(255 * noisy[:, [2, 1, 0]] - mean)
        expected = ((inner + mean) / 255)[:, [2, 1, 0]]
        torch.testing.assert_close(getattr(wrapped, form)(noisy), expected)
        assert (expected.mean() - noisy.mean()).abs() > 0.01
        torch.nn.init.zeros_(wrapped.network.out.weight)
        identity = getattr(wrapped, form)(noisy)
    border = wrapped.border if form == "forward_unpadded" else 0
    expected = noisy[..., border : 24 - border, border : 28 - border]
    torch.testing.assert_close(identity, expected, rtol=0, atol=1e-14)
