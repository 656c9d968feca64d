"""What a training shows its network: training images with the noise of its key, and its crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plugin_samples import NOISE, write
from torch import nn

from dhl.config.parse import parse_config
from dhl.config.schema import Config
from dhl.data.image_set import load_split
from dhl.models import checkpoint
from dhl.models.build import build_network
from dhl.run.folder import RunFolder
from dhl.run.model_graph import model_spec
from dhl.training import objectives
from dhl.training.batches import BatchSampler
from dhl.training.train import build_objective, train_model

KEY = "separate/sigma30"


class Record:
    """Records the clean batches of trainings, their noisy ones, and the asked noise."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.clean, self.noisy, self.noises = [], [], []
        sample, add = BatchSampler.__call__, objectives.add_noise

        def record_batch(sampler, step, generator):
            images, targets = sample(sampler, step, generator)
            self.clean.append(images)
            return images, targets

        def record_noise(clean, *, sigma, generator, model):
            self.noises.append((sigma, model))
            self.noisy.append(add(clean, sigma=sigma, generator=generator, model=model))
            return self.noisy[-1]

        patch.setattr(BatchSampler, "__call__", record_batch)
        patch.setattr(objectives, "add_noise", record_noise)


def configured(content: dict, *, separate: dict | None = None, **sections: object) -> Config:
    """Return settings whose separate denoiser has no parent and sees complete images."""
    training = content["parts"]["denoising"]["training"]
    training["warm_start"] = None
    training["separate"] |= {"patch": None} | (separate or {})
    return parse_config(content | sections, source="tiny.yaml")


def train(config: Config, key: str, folder: RunFolder) -> Record:
    """Train a model after its parents; return what its own training was shown."""
    for parent in model_spec(config, key).parents:
        train_model(config, parent, folder)
    with pytest.MonkeyPatch.context() as patch:
        record = Record(patch)
        train_model(config, key, folder)
    return record


def pixels(image: np.ndarray) -> bytes:
    """Identify an image, even if it was mirrored or turned."""
    return np.sort(image.reshape(-1, 3), axis=0).tobytes()


@pytest.mark.parametrize(
    ("key", "sigma"),
    [
        (KEY, 30), ("joint-segmentation/sigma30", 30), ("classifier/clean", None),
        ("retrained-classification/sigma30", 30),
    ],
)  # fmt: skip
def test_a_model_sees_training_images_with_the_noise_of_its_key(
    tiny_content, data_copy, key, sigma
):
    config = configured(tiny_content)
    record = train(config, key, data_copy)
    path = data_copy.data(model_spec(config, key).part)
    training, test = (set(map(pixels, load_split(path, name).images)) for name in ("train", "test"))
    batches = (255 * torch.cat(record.clean).permute(0, 2, 3, 1)).round().byte().numpy()
    assert set(map(pixels, batches)) <= training - test
    assert set(record.noises) == ({(sigma, "gaussian")} if sigma else set())


def test_a_training_adds_the_noise_of_a_plug_in(tiny_content, data_copy, tmp_path):
    noise = write(tmp_path, "noise.py", NOISE) + ":brighter"
    record = train(configured(tiny_content, noise=noise), KEY, data_copy)
    assert set(record.noises) == {(30, noise)}


@pytest.mark.parametrize(("base_seed", "key"), [(2, KEY), (1, f"{KEY}-seed2")])
def test_another_seed_or_training_has_other_weights_batches_and_noise(
    tiny_content, data_copy, base_seed, key
):
    recipe = {"steps": 1, "optimizer": {"name": "sgd", "lr": 1e-12}}
    drawn = []
    for seed, name in ((1, KEY), (base_seed, key)):
        config = configured(tiny_content, separate=recipe, seeds=2, base_seed=seed)
        record = train(config, name, data_copy)
        weights = checkpoint.load(data_copy.model(name))["state"]["conv0.weight"]
        drawn.append((weights, record.clean[0], record.noisy[0] - record.clean[0]))
    for one, other in zip(*drawn, strict=True):
        assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("key", "side"),
    [
        (KEY, 48 - 6), ("dncnn/sigma30", 48), ("joint-classification/sigma30", 224),
        ("matched-classification/sigma30", 224), ("joint-segmentation/sigma30", None),
    ],
)  # fmt: skip
def test_losses_compare_the_centre_that_no_padding_decides(tiny_content, key, side):
    parts = tiny_content["parts"]
    parts["denoising"]["training"]["separate"]["patch"] = 48
    parts["denoising"]["data"]["size"] = 48
    parts["classification"]["training"]["joint"]["patch"] = 232
    parts["classification"]["data"] = {"kind": "imagenette"}
    spec = model_spec(parse_config(tiny_content, source="tiny.yaml"), key)
    network = build_network(spec.role, **spec.build_options)
    assert build_objective(network, spec, task_network=nn.Identity()).output_side == side
