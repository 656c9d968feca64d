"""A changed user file changes the digest that repeats the data step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from settings import with_parts, write_settings
from tiny_sets import encoded, make_folders, make_kodak, make_voc_layout, write_picture
from workflow_runs import planned, snakemake

from dhl.config.data_sets import Folder
from dhl.config.image_data_sets import Ilsvrc2012, ImageFolder, Voc
from dhl.data import user_folders
from dhl.data.user_folders import files_digest

SPLITS = {"name": "mine", "train": "mine/train", "test": "mine/test"}
DATA = {
    "folder": Folder(kind="folder", **SPLITS),
    "image_folder": ImageFolder(kind="image_folder", **SPLITS),
    "ilsvrc2012": Ilsvrc2012(kind="ilsvrc2012", path="mine"),
    "voc": Voc(kind="voc", name="mine", path="mine", train="one", test="two"),
}


@pytest.fixture
def digest(tiny_config, tmp_path, monkeypatch):
    """Return a function from a kind of data in `tmp_path / "mine"` to its digest."""
    monkeypatch.chdir(tmp_path)

    def of_kind(kind: str) -> str:
        data = DATA[kind]
        part = "denoising" if kind == "folder" else "classification"
        return files_digest(with_parts(tiny_config, **{part: {"data": data}}), part)

    return of_kind


def write_sets(root: Path, kind: str) -> None:
    """Write a tiny set of a kind."""
    if kind == "voc":
        make_voc_layout(root, {"one": "ab", "two": "cd"})
    elif kind == "folder":
        for split in ("train", "test"):
            write_picture(root / split / "a.png")
    else:
        splits = ("train", "val") if kind == "ilsvrc2012" else ("train", "test")
        for split in splits:
            make_folders(root / split, {"n01440764": 2, "n02102040": 1})


def write_into(path: Path) -> None:
    """Change a byte and the time of a file in place."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("folder", "train/a.png"), ("folder", "test/a.png"),
     ("image_folder", "test/n01440764/1.png"), ("ilsvrc2012", "val/n02102040/0.png"),
     ("voc", "JPEGImages/c.jpg"), ("voc", "SegmentationClass/a.png"),
     ("voc", "ImageSets/Segmentation/one.txt")],
)  # fmt: skip
def test_a_changed_or_removed_file_changes_the_digest(digest, tmp_path, kind, name):
    write_sets(tmp_path / "mine", kind)
    digests = [digest(kind), digest(kind)]
    assert digests[0] == digests[1]
    write_into(tmp_path / "mine" / name)
    digests.append(digest(kind))
    (tmp_path / "mine" / name).unlink()
    digests.append(digest(kind))
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    ("kind", "name"),
    [("folder", "test/Thumbs.db"), ("folder", "test/below/b.png"), ("folder", "c.png"),
     ("voc", "results/d.png"), ("ilsvrc2012", "logs/e.txt")],
)  # fmt: skip
def test_a_file_that_no_run_reads_changes_nothing(digest, tmp_path, kind, name):
    write_sets(tmp_path / "mine", kind)
    before = digest(kind)
    path = tmp_path / "mine" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"content")
    assert digest(kind) == before


def test_the_digest_of_a_huge_set_is_of_the_times_of_its_folders(digest, tmp_path, monkeypatch):
    folder = tmp_path / "mine/train/n01440764"
    write_sets(tmp_path / "mine", "image_folder")
    monkeypatch.setattr(user_folders, "MAX_FILES", 1)
    before = digest("image_folder")
    write_into(folder / "1.png")
    assert digest("image_folder") == before
    replaced = folder / "1.png"
    replaced.with_name("new").write_bytes(b"other")
    os.replace(replaced.with_name("new"), replaced)
    os.utime(folder, ns=(0, folder.stat().st_mtime_ns + 1_000))
    assert digest("image_folder") != before


def test_missing_files_have_a_digest(digest, tmp_path):
    assert digest("voc") == digest("voc")
    (tmp_path / "mine/train").mkdir(parents=True)
    (tmp_path / "mine/train/lost.png").symlink_to("nowhere")
    assert digest("folder") == digest("folder")


@pytest.mark.slow
def test_the_workflow_downloads_once_and_repeats_the_data_step_for_a_changed_image(
    tiny_content, tmp_path, site
):
    write_picture(tmp_path / "test/a.bmp", height=64, width=64)
    query = "?token=s3cr3t"
    for path in make_kodak(tmp_path / "mirror").iterdir():
        site.files[f"/{path.name}{query}"] = path.read_bytes()
    mirror = site.address.replace("//", "//me:s3cr3t@") + query
    part = tiny_content["parts"]["denoising"]
    data = {"kind": "folder", "name": "mine", "train": "kodak", "test": "test"}
    tiny_content["parts"] = {"denoising": part | {"methods": ["noisy"], "data": data}}
    tiny_content["downloads"] = {"root": "sets", "mirrors": {"kodak": [str(mirror)]}}
    file = write_settings(tmp_path / "tiny.yaml", tiny_content)
    target = ("results/tiny/data/denoising.npz", "--configfile", file)
    result = snakemake(tmp_path, *target)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "sets/kodak").glob("*.png"))) == 24
    receipt = json.loads((tmp_path / "results/tiny/downloads/kodak.json").read_text())
    assert (receipt["name"], receipt["files"]) == ("kodak", 24)
    assert planned(snakemake(tmp_path, *target, "--dry-run")) == {}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != Path(file)]
    assert not [path for path in written if b"s3cr3t" in path.read_bytes()]
    image = tmp_path / "test/a.bmp"
    size = image.stat().st_size
    image.write_bytes(encoded("other", 64, 64, "bmp"))
    assert image.stat().st_size == size
    assert planned(snakemake(tmp_path, *target, "--dry-run")) == {"data": 1}
    tiny_content["downloads"]["root"] = "moved"
    write_settings(Path(file), tiny_content)
    result = snakemake(tmp_path, *target)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "moved/kodak").glob("*.png"))) == 24
    tiny_content["downloads"]["root"] = "sets"
    write_settings(Path(file), tiny_content)
    assert planned(snakemake(tmp_path, *target, "--dry-run")) == {}
