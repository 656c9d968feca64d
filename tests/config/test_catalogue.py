"""The catalogue agrees with torchvision, and a configuration's needs follow from it."""

from __future__ import annotations

import pytest
from settings import refused, with_parts

from dhl.config.catalogue import CATALOGUE
from dhl.config.data_sets import Folder
from dhl.config.image_data_sets import Ilsvrc2012, Imagenette, Voc2012
from dhl.config.networks import Network
from dhl.config.parse import load_config, parse_config
from dhl.config.schema import Downloads
from dhl.data.archives import UNPACKERS
from dhl.errors import UserError
from dhl.files import PROJECT
from dhl.planning.image_counts import IMAGENETTE
from dhl.run.downloads import (
    SECRETS,
    downloaded_weights,
    downloads_of,
    mirrors_of,
    needed_sets,
    secrets_of,
)


def test_addresses_and_digests_are_torchvisions():
    from torchvision.datasets import Imagenette, SBDataset
    from torchvision.datasets.imagenet import ARCHIVE_META
    from torchvision.datasets.voc import DATASET_YEAR_DICT
    from torchvision.models import ResNet50_Weights, VGG16_Weights

    voc = DATASET_YEAR_DICT["2012"]
    published = {"voc2012": (voc["filename"], voc["url"], f"md5:{voc['md5']}"),
                 "sbd": (SBDataset.filename, SBDataset.url, f"md5:{SBDataset.md5}")}  # fmt: skip
    names = {"full": "imagenette", "320px": "imagenette-320", "160px": "imagenette-160"}
    for size, (url, md5) in Imagenette._ARCHIVES.items():
        published[names[size]] = (url.rpartition("/")[2], url, f"md5:{md5}")
    for name, weights in (("vgg16", VGG16_Weights), ("resnet50", ResNet50_Weights)):
        url = weights.IMAGENET1K_V1.url
        file = url.rpartition("/")[2]
        digits = file.partition("-")[2].removesuffix(".pth")
        published[f"{name}-imagenet"] = (file, url, f"sha256:{digits}")
    for name, (file, url, digest) in published.items():
        (archive,) = CATALOGUE[name].archives
        assert (archive.name, archive.urls[0], archive.digest) == (file, url, digest), name
    official = {archive.name: archive.digest for archive in CATALOGUE["ilsvrc2012"].archives}
    assert official == {file: f"md5:{md5}" for file, md5 in ARCHIVE_META.values()}


def test_kodak_is_24_files_and_bsds500_has_its_400_and_100():
    names = [archive.name for archive in CATALOGUE["kodak"].archives]
    assert names == [f"kodim{number:02d}.png" for number in range(1, 25)]
    assert list(CATALOGUE["bsds500"].members.values()) == [200, 100, 200]


@pytest.mark.parametrize("name", ["imagenette", "imagenette-320", "imagenette-160"])
def test_all_images_of_imagenette_are_trained_or_tested_on(name):
    assert sum(CATALOGUE[name].members.values()) == sum(IMAGENETTE) == 13_394


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_can_be_unpacked_and_has_an_address_or_a_way_to_an_account(name):
    data_set = CATALOGUE[name]
    assert data_set.name == name
    for archive in data_set.archives:
        assert archive.unpack in UNPACKERS
        assert bool(archive.urls) == (data_set.account is None)
        assert archive.bytes > 0
    assert min(data_set.members.values()) > 0


@pytest.mark.parametrize("path", [PROJECT / "config/mini.yaml", PROJECT / "config/smoke.yaml"])
def test_the_embedded_data_needs_no_download(path):
    assert needed_sets(load_config(path)) == ()


def test_a_configuration_needs_the_sets_of_its_parts_and_the_weights_of_its_networks(tiny_config):
    bsds500 = Folder(kind="folder", name="kodak24", train="bsds500", test="kodak")
    config = with_parts(
        tiny_config,
        denoising={"data": bsds500},
        classification={
            "data": Imagenette(kind="imagenette"),
            "task_network": Network(name="vgg16", weights="imagenet"),
        },
        segmentation={
            "data": Voc2012(kind="voc2012", extra="sbd"),
            "task_network": Network(name="deeplab-largefov", weights="imagenet"),
        },
    )
    assert downloads_of(config, "segmentation") == ("voc2012", "sbd")
    assert needed_sets(config) == (
        "kodak", "bsds500", "imagenette", "voc2012", "sbd", "vgg16-imagenet",
    )  # fmt: skip
    without = with_parts(config, classification=None, segmentation=None)
    assert needed_sets(without) == ("kodak", "bsds500")


def test_official_archives_in_the_users_folder_are_unpacked(tiny_config, tmp_path):
    data = Ilsvrc2012(kind="ilsvrc2012", path=str(tmp_path))
    mirrors = Downloads(mirrors={"ilsvrc2012": ("/lab",)})
    config = with_parts(tiny_config, classification={"data": data})
    config = config.model_copy(update={"downloads": mirrors})
    assert needed_sets(config) == ()
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"")
    assert needed_sets(config) == ("ilsvrc2012",)
    assert mirrors_of(config) == {"ilsvrc2012": ("/lab", str(tmp_path))}


@pytest.mark.parametrize(
    ("mirror", "public"),
    [
        ("https://me:s3cr3t@mirror.org/kodak?token=s3cr3t", "https://mirror.org/kodak"),
        ("https://s3cr3t@mirror.org:8080/a@b/?s3cr3t", "https://mirror.org:8080/a@b/"),
        ("https://me:s3c/r3t?s@s3cr3t@mirror.org/x", "https://mirror.org/x"),
        ("me:s3cr3t@mirror.org/kodak", "mirror.org/kodak"),
        ("ftp://me:s3cr3t@mirror.org/kodak", "ftp://mirror.org/kodak"),
        ("https://mirror.org:8080/pkg@1/kodak", "https://mirror.org:8080/pkg@1/kodak"),
        ("/data/who?/me@home/1:2", "/data/who?/me@home/1:2"),
    ],
)
def test_no_file_and_no_message_has_the_password_or_query_of_a_mirror(
    mirror, public, tiny_content, monkeypatch
):
    tiny_content["downloads"] = {"mirrors": {"kodak": [mirror]}}
    config = parse_config(tiny_content, source="mine.yaml")
    (written,) = config.model_dump(mode="json")["downloads"]["mirrors"]["kodak"]
    assert written == public
    assert "s3cr3t" not in written
    # A job reads the written configuration.
    tiny_content["downloads"] = {"mirrors": {"kodak": [written]}}
    monkeypatch.setenv(SECRETS, secrets_of(config))
    job = parse_config(tiny_content, source="written.yaml")
    assert mirrors_of(job)["kodak"] == (mirror,)
    for wrong in ({"kodak": mirror}, {"kodak": [[mirror]]}, {mirror: ["x"]}, [mirror]):
        tiny_content["downloads"] = {"mirrors": wrong}
        with pytest.raises(UserError) as caught:
            parse_config(tiny_content, source="mine.yaml")
        assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "needed"), [("imagenet", "resnet50-imagenet"), ("my/own.pth", None), (None, None)]
)
def test_only_published_weights_are_downloaded(weights, needed):
    assert downloaded_weights("classifier", Network(name="resnet50", weights=weights)) == needed


def test_mirrors_are_those_of_known_sets(tiny_content):
    places = ["https://mirror.example/kodak", "/a/folder"]
    content = tiny_content | {"downloads": {"mirrors": {"kodak": places}}}
    config = parse_config(content, source="tiny.yaml")
    assert config.downloads.mirrors == {"kodak": tuple(places)}
    content["downloads"] = {"mirrors": {"kodac": ["/a/folder"]}}
    error = refused(content)
    assert "`kodac` in `downloads.mirrors`" in error.mistake
    assert ", ".join(CATALOGUE) in error.came
