"""Data sets of the catalogue at a handful of bytes, their archives laid out as the real ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from misbehaving_server import Site
from tiny_sets import encoded

from dhl.config.catalogue import CATALOGUE, DataSet

NAME = "imagenette-160"
FILE = "imagenette2-160.tgz"

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
BSDS = "BSR/BSDS500/data"


def picture(seed: int, kind: str = "jpeg") -> bytes:
    """Return the file of a small picture that differs from seed to seed."""
    return encoded(str(seed), 60, 72, kind)  # large enough to be cut in two places


def tar_of(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a tar file of files, written as they are named."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


# The true layouts: what lies in the archive that a set comes in.
LAYOUTS: dict[str, dict[str, bytes]] = {
    "bsds500": {
        f"{BSDS}/{place}": picture(index) if place.endswith("jpg") else b"truth"
        for index, place in enumerate(
            ("images/train/2092.jpg", "images/train/8049.jpg", "images/val/3096.jpg",
             "images/test/2018.jpg", "images/train/Thumbs.db", "groundTruth/train/2092.mat")
        )
    },
    "imagenette-160": {
        f"imagenette2-160/{path}.JPEG": picture(index)
        for index, path in enumerate(
            ("train/n01440764/n01440764_10026", "train/n02102040/n02102040_1009",
             "train/n02102040/ILSVRC2012_val_00020959", "val/n02102040/n02102040_1082",
             "val/n01440764/ILSVRC2012_val_00009111")
        )
    },
    "voc2012": {
        f"{VOC}/JPEGImages/2007_000032.jpg": picture(0),
        f"{VOC}/JPEGImages/2007_000033.jpg": picture(1),
        f"{VOC}/SegmentationClass/2007_000032.png": picture(2, "png"),
        f"{VOC}/SegmentationClass/2007_000033.png": picture(3, "png"),
        f"{VOC}/ImageSets/Segmentation/train.txt": b"2007_000032\n",
        f"{VOC}/ImageSets/Segmentation/val.txt": b"2007_000033\n",
    },
    "sbd": {
        f"{SBD}/img/2008_000002.jpg": picture(0),
        f"{SBD}/cls/2008_000002.mat": b"labels",
        f"{SBD}/inst/2008_000002.mat": b"instances",
        f"{SBD}/train.txt": b"2008_000002\n",
        f"{SBD}/val.txt": b"\n",
        "benchmark_RELEASE/BharathICCV2011.pdf": b"paper",
    },
}  # fmt: skip


def tiny_set(name: str, *, place: str) -> tuple[DataSet, bytes]:
    """Shrink a set of one archive.

    Parameters
    ----------
    name : str
        A key of `LAYOUTS`.
    place : str
        The address below which the archive is served.

    Returns
    -------
    DataSet, bytes
        The set, its digest known where the real one's is, and the archive.
    """
    real = CATALOGUE[name]
    archive = real.archives[0]
    content = tar_of(LAYOUTS[name], "w" if archive.name.endswith(".tar") else "w:gz")
    digest = f"md5:{hashlib.md5(content).hexdigest()}" if archive.digest else None
    tiny = replace(
        archive, urls=(f"{place}/{archive.name}",), digest=digest, bytes=len(content)
    )  # fmt: skip
    prefix = f"{archive.inside}/" if archive.inside else ""
    names = [PurePosixPath(path.removeprefix(prefix)) for path in LAYOUTS[name]]
    members = {pattern: sum(path.match(pattern) for path in names) for pattern in real.members}
    return replace(real, archives=(tiny,), members=members), content


def offer(name: str, site: Site, monkeypatch) -> bytes:
    """Put a tiny set into the catalogue and its archive on the server."""
    data_set, content = tiny_set(name, place=site.address)
    monkeypatch.setitem(CATALOGUE, name, data_set)
    site.files[f"/{data_set.archives[0].name}"] = content
    return content
