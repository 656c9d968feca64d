"""Model files: complete or refused, and an old one is never lost."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dhl.errors import UserError
from dhl.models import checkpoint
from dhl.models.build import build_network


def model_content(**changes) -> dict:
    network = build_network("denoiser", "released", width=4)
    return {
        "key": "separate/sigma30", "role": "denoiser", "network": {"name": "released", "width": 4},
        "sigma": 30.0, "steps": 5, "fingerprint": "abc", "state": network.state_dict(), **changes,
    }  # fmt: skip


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "models" / "separate.pt"
    torch.manual_seed(0)
    checkpoint.save(model_content(), path)
    return path


def test_a_model_comes_back_with_its_weights_in_evaluation_mode(model):
    network, content = checkpoint.load_model(model, fingerprint="abc")
    assert content["sigma"] == 30.0
    assert not any(module.training for module in network.modules())
    for name, value in network.state_dict().items():
        assert torch.equal(value, content["state"][name]), name


def test_equal_content_gives_equal_bytes_whatever_the_file_is_called(tmp_path):
    content = model_content()
    for name in ("one.pt", "a-much-longer-name.pt"):
        checkpoint.save(content, tmp_path / name)
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "a-much-longer-name.pt").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_with_its_path(model, share):
    content = model.read_bytes()
    model.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError) as caught:
        checkpoint.load_model(model)
    assert caught.value.came.startswith(f"{model}: truncated")


@pytest.mark.parametrize(
    "content",
    [b"hello", b"\x80\x02.", b"PK\x03\x04", bytes(100), bytes(range(256)),
     b"version https://git-lfs.github.com/spec/v1\n"],
)  # fmt: skip
def test_a_file_of_another_program_is_refused_with_its_path(model, content):
    model.write_bytes(content)
    with pytest.raises(UserError) as caught:
        checkpoint.load(model)
    assert str(model) in caught.value.mistake


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    class Touches:
        """Creates a file when it is unpickled."""

        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Touches()))
    with pytest.raises(UserError):
        checkpoint.load(path)
    checkpoint.save({"key": Touches()}, path)
    with pytest.raises(UserError):
        checkpoint.load(path)
    assert not (tmp_path / "ran").exists()


def test_another_format_is_refused_with_its_path(tmp_path):
    path = tmp_path / "other.pt"
    checkpoint.save({"format": checkpoint.FORMAT + 1}, path)
    with pytest.raises(UserError) as caught:
        checkpoint.load(path)
    assert caught.value.came == f"{path}: another format"


@pytest.mark.parametrize("change", ["unchanged", "zeroed"])
def test_a_file_that_another_program_saved_is_refused(model, change):
    content = torch.load(model, weights_only=True)  # a model is a file of torch
    if change == "zeroed":
        content["state"] = {name: 0 * value for name, value in content["state"].items()}
    torch.save(content, model)
    with pytest.raises(UserError) as caught:
        checkpoint.load(model)
    assert str(model) in caught.value.came


def test_a_flipped_bit_is_noticed_wherever_it_is(model):
    content = model.read_bytes()
    ends = [*range(0, 600), *range(len(content) - 600, len(content))]
    inside = np.random.default_rng(0).integers(0, len(content), 400).tolist()
    for place in (*ends, *inside):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        model.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            checkpoint.load(model)
        assert str(model) in caught.value.mistake


def flawed(change: str) -> dict:
    """Return a model's content with weights that no network can use."""
    content = model_content()
    state = content["state"]
    if change == "zero":
        content["state"] = {name: torch.zeros_like(value) for name, value in state.items()}
    elif change == "variance":
        state["decode.conv.1.running_var"][1] = -0.5
    else:
        state["out.bias"][2] = float(change)
    return content


@pytest.mark.parametrize(
    ("change", "named"),
    [("nan", "`out.bias`"), ("inf", "`out.bias`"), ("-inf", "`out.bias`"),
     ("zero", "zero"), ("variance", "`decode.conv.1.running_var`")],
)  # fmt: skip
def test_weights_with_a_flaw_are_neither_written_nor_used(model, monkeypatch, change, named):
    before = model.read_bytes()
    with pytest.raises(UserError) as caught:
        checkpoint.save(flawed(change), model)
    assert named in caught.value.came
    assert model.read_bytes() == before
    with monkeypatch.context() as patch:  # as an older version would have written it
        patch.setattr(checkpoint, "flaw_of", lambda *_: "")
        checkpoint.save(flawed(change), model)
    with pytest.raises(UserError) as caught:
        checkpoint.load_model(model)
    assert str(model) in caught.value.mistake
    assert named in caught.value.came


class Masked(nn.Conv2d):
    """A convolution with the mask of an attention, as a constant of its state."""

    def __init__(self):
        super().__init__(3, 3, 1)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("running_mean", torch.zeros(2))


@pytest.mark.parametrize(
    ("name", "number", "flawed"),
    [("mask", -torch.inf, False), ("mask", torch.nan, True), ("weight", -torch.inf, True),
     ("running_mean", torch.inf, True)],
)  # fmt: skip
def test_infinite_numbers_are_a_flaw_of_weights_but_not_of_a_constant(
    tmp_path, name, number, flawed
):
    network, path = Masked(), tmp_path / "masked.pt"
    network.state_dict()[name].flatten()[-1] = number
    content = {"state": network.state_dict()}
    if not flawed:
        checkpoint.save(content, path, network=network)
        assert torch.equal(checkpoint.load(path)["state"]["mask"], network.mask)
        return
    with pytest.raises(UserError) as caught:
        checkpoint.save(content, path, network=network)
    assert f"`{name}`" in caught.value.came


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"network": {"name": "released", "width": 8}}, "separate.pt: Error"),
        ({"network": {"name": "paper", "width": 4}}, "separate.pt: Error"),
        ({"network": {"name": "unet", "width": 4}}, "unet"),
        ({"network": {"name": "released", "width": 4, "dropout": 1}}, "dropout"),
        ({"role": "classifier"}, "released"),
        ({"role": "captioner"}, "captioner"),
        ({"state": {}}, "separate.pt: Error"),
        ({"network": None}, "separate.pt"),
    ],
)
def test_weights_of_another_architecture_are_refused_with_the_path(model, change, named):
    checkpoint.save(model_content(**change), model)
    with pytest.raises(UserError) as caught:
        checkpoint.load_model(model)
    assert str(model) in caught.value.mistake
    assert named in caught.value.came


def test_a_model_of_another_configuration_is_refused_with_the_path(model):
    with pytest.raises(UserError) as caught:
        checkpoint.load_model(model, fingerprint="def")
    assert str(model) in caught.value.mistake


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_keeps_the_old_file(model, monkeypatch, error):
    before = model.read_bytes()

    def stop(self, content):
        with open(self, "wb") as file:
            file.write(content[:100])
        raise error

    monkeypatch.setattr(Path, "write_bytes", stop)
    with pytest.raises((KeyboardInterrupt, UserError)) as caught:
        checkpoint.save({"state": {}}, model)
    if isinstance(caught.value, UserError):
        assert str(model) in caught.value.mistake
        assert "No space left" in caught.value.came
    assert model.read_bytes() == before
    assert [path.name for path in model.parent.iterdir()] == ["separate.pt"]
