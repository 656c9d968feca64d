"""Archives: the true layouts come out, nothing leaves its folder, nothing is half there."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from tiny_archives import LAYOUTS, picture, tar_of, tiny_set

from dhl.config.catalogue import CATALOGUE, Archive, DataSet
from dhl.data import archives
from dhl.data.archives import Verified, extract_tar, unpack
from dhl.data.download import fetch
from dhl.errors import UserError

SYNSETS = ("n02119789", "n02100735", "n02110185")


def written(content: bytes, path: Path) -> Path:
    """Write an archive."""
    path.write_bytes(content)
    return path


def unpacked(data_set: DataSet, content: bytes, root: Path) -> Path:
    """Unpack a set of one archive."""
    name = data_set.archives[0].name
    unpack(data_set, {name: Verified(written(content, root / name), "md5:0")}, root / "set")
    return root / "set"


def files_in(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder, but for the list of them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "files.json"
    }


@pytest.mark.parametrize("name", ["bsds500", "imagenette-160", "voc2012"])
def test_a_set_lies_as_in_its_archive(name, tmp_path):
    assert files_in(unpacked(*tiny_set(name, place=""), tmp_path)) == LAYOUTS[name]


def test_sbd_lies_as_torchvision_expects_it(tmp_path):
    folder = unpacked(*tiny_set("sbd", place=""), tmp_path)
    top = "benchmark_RELEASE/dataset/"
    inside = {key.removeprefix(top): LAYOUTS["sbd"][key] for key in LAYOUTS["sbd"] if top in key}
    assert files_in(folder) == inside
    assert sorted(path.name for path in folder.iterdir()) == [
        "cls", "files.json", "img", "inst", "train.txt", "val.txt",
    ]  # fmt: skip


def test_a_set_lists_its_files_with_their_sizes_and_where_they_are_from(tmp_path):
    listing = json.loads(
        (unpacked(*tiny_set("voc2012", place=""), tmp_path) / "files.json").read_text()
    )
    assert listing["files"] == {name: len(content) for name, content in LAYOUTS["voc2012"].items()}
    assert listing["archives"] == {"VOCtrainval_11-May-2012.tar": "md5:0"}


def test_too_few_files_are_named_and_what_was_there_is_kept(tmp_path):
    data_set, content = tiny_set("voc2012", place="")
    folder = unpacked(data_set, content, tmp_path)
    before = files_in(folder)
    pattern = "VOCdevkit/VOC2012/JPEGImages/*.jpg"
    larger = replace(data_set, members=data_set.members | {pattern: 17125})
    with pytest.raises(UserError, match=r"2 of 17125 files VOCdevkit/VOC2012/JPEGImages/\*\.jpg"):
        unpacked(larger, content, tmp_path)
    assert files_in(folder) == before


def test_a_wrong_folder_inside_is_named(tmp_path):
    data_set, _ = tiny_set("sbd", place="")
    with pytest.raises(UserError, match="no folder benchmark_RELEASE/dataset"):
        unpacked(data_set, tar_of({"other/img/1.jpg": b""}), tmp_path)


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "a/../inside", "/tmp/outside"])
def test_a_name_that_leaves_the_folder_is_refused(name, tmp_path):
    data_set, _ = tiny_set("imagenette-160", place="")
    evil = tar_of({"good": b"1", name: b"2"})
    with pytest.raises(UserError, match="stays inside its folder") as caught:
        unpacked(data_set, evil, tmp_path)
    assert "outside" in str(caught.value) or "inside" in name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["imagenette2-160.tgz"]


@pytest.mark.parametrize(
    ("kind", "target"),
    [(tarfile.SYMTYPE, "../../outside"), (tarfile.SYMTYPE, "/etc/passwd"),
     (tarfile.LNKTYPE, "../outside"), (tarfile.FIFOTYPE, "")],
)  # fmt: skip
def test_links_to_the_outside_and_special_files_are_refused(kind, target, tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        member = tarfile.TarInfo("member")
        member.type, member.linkname = kind, target
        tar.addfile(member)
    with pytest.raises(archives.tarfile.FilterError):
        extract_tar(tmp_path / "evil.tar", tmp_path / "folder")
    assert files_in(tmp_path / "folder") == {} if (tmp_path / "folder").exists() else True


def test_a_link_inside_is_followed(tmp_path):
    with tarfile.open(tmp_path / "good.tar", "w") as tar:
        real, link = tarfile.TarInfo("real"), tarfile.TarInfo("link")
        real.size, link.type, link.linkname = 3, tarfile.SYMTYPE, "real"
        tar.addfile(real, io.BytesIO(b"abc"))
        tar.addfile(link)
    extract_tar(tmp_path / "good.tar", tmp_path / "folder")
    assert (tmp_path / "folder/link").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["imagenette-160", "voc2012"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_a_truncated_archive_leaves_nothing(name, share, tmp_path):
    data_set, content = tiny_set(name, place="")
    with pytest.raises(UserError) as caught:
        unpacked(data_set, content[: int(share * len(content))], tmp_path)
    assert data_set.archives[0].name in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [data_set.archives[0].name]


def test_a_killed_unpacking_never_looks_whole_and_is_done_again(tmp_path, monkeypatch):
    data_set, content = tiny_set("imagenette-160", place="")
    taken = iter(range(3))

    def killed(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
        if next(taken) == 2:
            os._exit(9)
        return member

    child = os.fork()
    if not child:
        try:
            archives._inside = killed
            unpacked(data_set, content, tmp_path)
        finally:
            os._exit(1)  # or it would go on as a second pytest
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(files_in(tmp_path / ".set.unpacking")) == 2
    assert not (tmp_path / "set").exists()
    assert files_in(unpacked(data_set, content, tmp_path)) == LAYOUTS["imagenette-160"]
    assert not (tmp_path / ".set.unpacking").exists()


def official_archives(folder: Path) -> dict[str, bytes]:
    """Write ILSVRC2012's archives with three classes; returns the images by their place."""
    kinds = [("ILSVRC2012_ID", int), ("WNID", object), ("words", object), ("gloss", object),
             ("num_children", int)]  # fmt: skip
    rows = [(i + 1, synset, f"word {i}, other", "", 0) for i, synset in enumerate(SYNSETS)]
    rows.append((4, "n00001740", "entity", "", 3))  # an inner node of WordNet
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kinds)})
    kit = "ILSVRC2012_devkit_t12/data"
    truth = (2, 0, 1, 2)
    validation = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": picture(i) for i in range(len(truth))}
    training = {
        synset: {f"{synset}_{i}.JPEG": picture(10 * (k + 1) + i) for i in range(2)}
        for k, synset in enumerate(SYNSETS)
    }
    lines = "".join(f"{index + 1}\n" for index in truth).encode()
    for name, content in {
        "ILSVRC2012_devkit_t12.tar.gz": tar_of({
            f"{kit}/meta.mat": meta.getvalue(),
            f"{kit}/ILSVRC2012_validation_ground_truth.txt": lines,
        }),
        "ILSVRC2012_img_val.tar": tar_of(validation, "w"),
        "ILSVRC2012_img_train.tar": tar_of(
            {f"{synset}.tar": tar_of(images, "w") for synset, images in training.items()}, "w"
        ),
    }.items():  # fmt: skip
        written(content, folder / name)
    named = {
        f"val/{SYNSETS[index]}/{name}": image
        for index, (name, image) in zip(truth, validation.items(), strict=True)
    }
    for synset, images in training.items():
        named |= {f"train/{synset}/{name}": image for name, image in images.items()}
    return named


def test_the_official_archives_of_ilsvrc2012_become_a_folder_per_synset(tmp_path, monkeypatch):
    from torchvision.datasets import imagenet

    (tmp_path / "mine").mkdir()
    images = official_archives(tmp_path / "mine")
    real = CATALOGUE["ilsvrc2012"]
    tiny: list[Archive] = []
    for archive in real.archives:
        digest = hashlib.md5((tmp_path / "mine" / archive.name).read_bytes()).hexdigest()
        tiny.append(replace(archive, digest=f"md5:{digest}", bytes=None))
        key = next(key for key, (name, _) in imagenet.ARCHIVE_META.items() if name == archive.name)
        monkeypatch.setitem(imagenet.ARCHIVE_META, key, (archive.name, digest))
    members = {"train/*/*.JPEG": 6, "val/**/*.JPEG": 4}
    monkeypatch.setitem(
        CATALOGUE, "ilsvrc2012", replace(real, archives=tuple(tiny), members=members)
    )
    folder = fetch("ilsvrc2012", root=tmp_path, mirrors={"ilsvrc2012": [str(tmp_path / "mine")]})
    found = files_in(folder)
    assert {name: found[name] for name in images} == images
    assert set(found) - set(images) == {"meta.bin"}
    data = imagenet.ImageNet(folder, "val")
    assert data.wnids == sorted(SYNSETS)
    assert data.targets == [0, 1, 1, 2]  # n02100735; n02110185 twice; n02119789
