"""Imported Caffe weights against OpenCV's reading of the same files, and files that do not fit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from caffe_net import authors_denoiser
from PIL import Image
from settings import SIGMA
from skimage import data as pictures

from dhl.cli.parser import main
from dhl.config.parse import parse_config
from dhl.data.image_set import load_split
from dhl.data.noise import recorded_noisy_image
from dhl.errors import UserError
from dhl.evaluation.baseline import BaselineJob, write_baseline
from dhl.files import PROJECT
from dhl.models import checkpoint
from dhl.models.caffe import import_denoiser, net_parameter
from dhl.run.folder import RunFolder
from dhl.run.results import NOISE_COLUMNS, read_csv

MEAN_BGR = np.array([104, 117, 123], np.float32)


@pytest.fixture
def small(tmp_path):
    """A narrow network's message, to be changed, and a function that imports it."""
    net = authors_denoiser(width=4).net

    def imported() -> dict:
        (tmp_path / "small.caffemodel").write_bytes(net.SerializeToString())
        import_denoiser(tmp_path / "small.caffemodel", tmp_path / "small.pt")
        return checkpoint.load(tmp_path / "small.pt")["state"]

    return net, imported


def layer(net, name: str):
    return next(layer for layer in net.layer if layer.name == name)


def through_opencv(net, pixels: np.ndarray) -> np.ndarray:
    """Run RGB pixels on 0-255 through a Caffe network that OpenCV read."""
    blob = (pixels[..., ::-1].astype(np.float32) - MEAN_BGR).transpose(2, 0, 1)
    net.setInput(np.ascontiguousarray(blob[None]))
    return (net.forward()[0].transpose(1, 2, 0) + MEAN_BGR)[..., ::-1]


def test_the_imported_network_gives_the_output_of_opencv(tmp_path):
    caffe = authors_denoiser()
    import_denoiser(caffe.write(tmp_path), tmp_path / "denoiser.pt", sigma=30)
    noisy = pictures.astronaut()[:44, :36] + np.random.default_rng(0).normal(0, 30, (44, 36, 3))
    noisy = noisy.astype(np.float32)
    expected = through_opencv(caffe.opencv(tmp_path), noisy)
    assert np.abs(expected - noisy[3:-3, 3:-3]).mean() > 20  # weights that do something
    network, content = checkpoint.load_model(tmp_path / "denoiser.pt")
    with torch.no_grad():
        batch = torch.from_numpy(noisy / 255).permute(2, 0, 1)[None]
        denoised = network.forward_unpadded(batch)[0].permute(1, 2, 0).numpy()
    # In levels of 0-255: 2e-5 of the range.
    np.testing.assert_allclose(255 * denoised, expected, atol=5e-3, rtol=0)
    assert content["network"] == {"name": "released", "width": 64, "input": "authors"}
    assert (content["role"], content["sigma"]) == ("denoiser", 30)


def test_denoising_in_blocks_equals_the_authors_loop_with_opencv(tmp_path):
    caffe = authors_denoiser(width=16, height=140, length=140)
    model = str(tmp_path / "denoiser.pt")
    assert main(["import-caffe", str(caffe.write(tmp_path)), "--output", model]) == 0
    pixels = pictures.chelsea()[60:210, 80:280]
    Image.fromarray(pixels).save(tmp_path / "noisy.png")
    arguments = [str(tmp_path / name) for name in ("noisy.png", "out.png")]
    assert main(["denoise", *arguments, "--model", model, "--blocks", "--device", "cpu"]) == 0
    net = caffe.opencv(tmp_path)
    framed = np.empty((156, 206, 3), np.float32)
    framed[:] = MEAN_BGR[::-1]
    framed[3:-3, 3:-3] = pixels
    total, count = np.zeros((150, 200, 3)), np.zeros((150, 200, 1))
    for top in (0, 16):
        for left in (0, 64, 66):
            block = through_opencv(net, framed[top : top + 140, left : left + 140])
            total[top : top + 134, left : left + 134] += block
            count[top : top + 134, left : left + 134] += 1
    expected = np.clip(np.rint(total / count), 0, 255)
    saved = np.asarray(Image.open(tmp_path / "out.png")).astype(float)
    assert np.abs(saved - expected).max() <= 1
    assert (saved != expected).mean() < 0.001  # a half may be rounded either way
    assert np.abs(saved - pixels).mean() > 10


def test_shapes_and_numbers_of_older_files_mean_the_same(small):
    net, imported = small
    state = imported()
    for name in ("conv0", "conv1_bn", "residual_2_scale_branch2b", "upsample"):
        for blob in layer(net, name).blobs:
            shape = [1, 1, 1, 1, *blob.shape.dim][-4:]
            blob.ClearField("shape")
            blob.num, blob.channels, blob.height, blob.width = shape
    for blob in layer(net, "conv2").blobs:
        blob.double_data.extend(blob.data)
        blob.ClearField("data")
    older = imported()
    assert older.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(older[key], value), key


def test_a_task_network_behind_the_denoiser_is_left_out(small):
    net, imported = small
    state = imported()
    behind = net.layer.add(name="conv1_1", type="Convolution")
    behind.blobs.add(data=[1, 2]).shape.dim.append(2)
    assert all(torch.equal(value, state[key]) for key, value in imported().items())


def cut(name):
    return lambda net: net.layer.remove(layer(net, name))


def change(name, blob, *, data=None, shape=None):
    """Change a blob's numbers or shape."""

    def apply(net):
        target = layer(net, name).blobs[blob]
        if data is not None:
            target.ClearField("data")
            target.data.extend(data)
        if shape is not None:
            target.shape.dim[:] = shape

    return apply


def retype(net):
    """Call a deconvolution a convolution."""
    layer(net, "upsample_r2").type = "Convolution"


def drop_blob(net):
    """Remove a bias."""
    del layer(net, "conv3").blobs[1]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (cut("conv0"), "layer `conv0` (Convolution) is missing"),
        (cut("residual_3_bn_branch2c"), "`residual_3_bn_branch2c` (BatchNorm) is missing"),
        (retype, "`upsample_r2` (Deconvolution) is of type Convolution"),
        (drop_blob, "layer `conv3` has 1 blobs, not 2"),
        (change("conv1_bn", 2, data=[0]), "`conv1_bn` has the moving-average factor [0.0]"),
        (change("conv2_bn", 2, data=[-3]), "`conv2_bn` has the moving-average factor [-3.0]"),
        (change("residual_1_bn_branch2a", 1, data=[3, -1]),
         "layer `residual_1_bn_branch2a` has a negative variance"),
        (change("upsample", 0, shape=[4, 16, 4, 4]), "`upsample` has the shape (4, 16, 4, 4), "
                                                     "not (16, 4, 4, 4)"),
        (change("conv0", 1, shape=[5]), "layer `conv0` has 4 numbers for the shape (5,)"),
        (change("conv0", 1, shape=[2, 4], data=range(8)), "`conv0` has the shape (2, 4), not (4,)"),
        (change("concat_reduction", 1, data=[1, np.nan, 0]), "`concat_reduction` has numbers "
                                                             "that are not finite"),
    ],
)  # fmt: skip
def test_a_layer_that_does_not_fit_is_named_and_nothing_is_written(small, tmp_path, damage, named):
    net, imported = small
    damage(net)
    with pytest.raises(UserError) as caught:
        imported()
    assert named in caught.value.came
    assert not (tmp_path / "small.pt").exists()


def test_the_old_format_of_layers_is_refused_with_the_way_to_convert_it(tmp_path):
    net = net_parameter()(layers=[b"\x0a\x05conv0"])
    (tmp_path / "old.caffemodel").write_bytes(net.SerializeToString())
    with pytest.raises(UserError) as caught:
        import_denoiser(tmp_path / "old.caffemodel", tmp_path / "out.pt")
    assert "before 2015" in caught.value.came
    assert "upgrade_net_proto_binary" in caught.value.do


def test_a_truncated_file_is_refused_at_every_length(tmp_path):
    content = authors_denoiser(width=4).net.SerializeToString()
    for length in np.linspace(0, len(content) - 1, 60).astype(int):
        (tmp_path / "cut.caffemodel").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"truncated|is missing"):
            import_denoiser(tmp_path / "cut.caffemodel", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n and more", b'name: "net"\nlayer {}\n'])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "other.caffemodel"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_denoiser(path, tmp_path / "out.pt")
    assert str(path) in caught.value.mistake


def test_the_example_of_a_method_puts_imported_denoisers_into_a_run(
    small, tiny_content, tiny_data, tmp_path, monkeypatch
):
    (tmp_path / "imported").mkdir()
    small[1]()
    (tmp_path / "small.pt").rename(tmp_path / f"imported/sigma{SIGMA:g}.pt")
    method = f"{PROJECT}/docs/examples/imported.py:authors"
    tiny_content["parts"]["denoising"]["methods"] = ["noisy", method]
    config = parse_config(tiny_content, source="tiny.yaml")
    folder = RunFolder(shutil.copytree(tiny_data.root, tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    write_baseline(config, BaselineJob("denoising", "authors", SIGMA), folder, processes=2)
    network, _ = checkpoint.load_model(tmp_path / f"imported/sigma{SIGMA:g}.pt")
    record = next(read_csv(folder.noise("denoising", SIGMA), NOISE_COLUMNS).itertuples())
    clean = load_split(folder.data("denoising"), "test").images[0]
    noisy = recorded_noisy_image(clean, sigma=SIGMA, record=record, model=config.noise)
    with torch.inference_mode():
        batch = torch.from_numpy(noisy).permute(2, 0, 1)[None]
        expected = network(batch)[0].permute(1, 2, 0).numpy()
    with np.load(folder.baseline("denoising", "authors", SIGMA)) as arrays:
        np.testing.assert_array_equal(arrays[arrays.files[0]], expected)
