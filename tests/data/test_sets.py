"""Sets that come in another way: from a folder, by hand, with an account, or as weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from real_images import KODAK, needs
from tiny_archives import NAME

from dhl.config.catalogue import CATALOGUE, Archive
from dhl.data.download import fetch
from dhl.data.locations import data_root
from dhl.errors import UserError


def refused(root: Path, name: str = NAME, **mirrors: list[str]) -> str:
    """Fetch in vain, and return the message."""
    with pytest.raises(UserError) as caught:
        fetch(name, root=root, mirrors=mirrors)
    return str(caught.value)


@needs(KODAK)
def test_the_24_kodak_images_come_from_a_folder(tmp_path):
    folder = fetch("kodak", root=tmp_path, mirrors={"kodak": [str(KODAK)]})
    images = sorted(folder.glob("*.png"))
    assert len(images) == 24
    assert images[22].read_bytes() == (KODAK / "kodim23.png").read_bytes()
    assert len(json.loads((tmp_path / "digests.json").read_text())["kodak"]) == 24


def test_weights_are_compared_with_the_digits_in_their_name(site, monkeypatch, tmp_path):
    weights = b"weights"
    digits = hashlib.sha256(weights).hexdigest()[:8]
    archive = Archive("net.pth", (f"{site.address}/net.pth",), f"sha256:{digits}", unpack="file")
    entry = replace(CATALOGUE["vgg16-imagenet"], archives=(archive,), members={"net.pth": 1})
    monkeypatch.setitem(CATALOGUE, "vgg16-imagenet", entry)
    site.files["/net.pth"] = weights + b"!"
    assert f"not sha256:{digits}" in refused(tmp_path, "vgg16-imagenet")
    site.files["/net.pth"] = weights
    assert (fetch("vgg16-imagenet", root=tmp_path, mirrors={}) / "net.pth").read_bytes() == weights


def test_a_set_that_was_put_there_by_hand_is_accepted_if_it_is_whole(site, content, tmp_path):
    made = fetch(NAME, root=tmp_path / "elsewhere", mirrors={})
    (made / "files.json").unlink()
    made.rename(tmp_path / NAME)
    assert fetch(NAME, root=tmp_path, mirrors={}) == tmp_path / NAME
    assert len(site.requests) == 1


def test_a_folder_that_is_not_the_set_is_left_alone(site, content, tmp_path):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "thesis.txt").write_text("years of work")
    message = refused(tmp_path)
    assert "0 of 3 files imagenette2-160/train/*/*.JPEG" in message
    assert "move it away" in message
    assert (tmp_path / NAME / "thesis.txt").read_text() == "years of work"
    assert site.requests == []


def test_wrong_weights_that_were_put_there_by_hand_are_refused(tmp_path):
    (tmp_path / "vgg16-imagenet").mkdir()
    (tmp_path / "vgg16-imagenet/vgg16-397923af.pth").write_bytes(b"other weights")
    assert "not sha256:397923af" in refused(tmp_path, "vgg16-imagenet")


def test_what_needs_an_account_says_where_to_get_it_and_where_to_put_it(tmp_path):
    message = refused(tmp_path, "ilsvrc2012")
    assert "without an account" in message
    assert "no ILSVRC2012_devkit_t12.tar.gz" in message
    assert "https://image-net.org/download-images" in message
    assert f"put ILSVRC2012_devkit_t12.tar.gz into {tmp_path}/archives/ilsvrc2012" in message
    assert "`ilsvrc2012: [/the/folder]`" in message


def test_an_unknown_set_is_named_with_the_known_ones(tmp_path):
    message = refused(tmp_path, "imagenot")
    assert "`imagenot`" in message
    assert "kodak, bsds500, imagenette" in message


def test_the_root_is_the_configurations_else_the_environments_else_datasets(monkeypatch):
    monkeypatch.delenv("DHL_DATA", raising=False)
    config = SimpleNamespace(downloads=SimpleNamespace(root=None))
    assert data_root(config) == Path("datasets")
    monkeypatch.setenv("DHL_DATA", "/big/disk")
    assert data_root(config) == Path("/big/disk")
    config.downloads.root = "/bigger/disk"
    assert data_root(config) == Path("/bigger/disk")
