"""Tiny copies of the public data sets, with the real layouts and names.

`make_*` writes an unpacked set; `pack_*` makes the official archives from it.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from dhl.data.classification import IMAGENETTE, imagenet_synsets

DEVKIT = "ILSVRC2012_devkit_t12"
VOC_TRAIN = ("2007_000032", "2007_000039", "2007_000063")
VOC_VAL = ("2007_000033", "2007_000042")
# SBD shares images with both lists of VOC.
SBD_TRAIN = ("2007_000032", "2008_000002", "2008_000007", "2007_000042")
SBD_VAL = ("2007_000033", "2008_000008")


def picture(name: str, height: int, width: int) -> np.ndarray:
    """Return a picture of waves that depends on the name, uint8 (height, width, 3)."""
    generator = np.random.default_rng(list(name.encode()))
    rows, columns = np.mgrid[:height, :width] / 16
    slopes = generator.normal(size=(3, 2, 1, 1))
    waves = np.sin(slopes[:, 0] * rows + slopes[:, 1] * columns + generator.uniform(0, 6))
    return np.rint(127.5 + 120 * waves.transpose(1, 2, 0)).astype(np.uint8)


def write_picture(path: Path, *, height: int = 36, width: int = 48) -> None:
    """Write a picture that depends on the stem and the split, in the format of the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    split = "test " if {"test", "val"} & set(path.parts) else ""
    Image.fromarray(picture(split + path.stem, height, width)).save(path)


def write_png(
    path: Path, numbers: np.ndarray, *, bits: int, colour_type: int, extra: bytes = b""
) -> None:
    """Write a PNG by hand: signature, IHDR, the chunks `extra`, IDAT, IEND.

    `numbers` are of shape (H, W) or (H, W, channels), each with 1, 2, 4, 8 or 16 bits.
    """
    height, width = numbers.shape[:2]
    places = numbers.reshape(height, -1, 1).astype(int) >> np.arange(bits)[::-1]
    packed = np.packbits(places.reshape(height, -1) & 1, axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    content = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + content)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG: length, kind, content, check."""
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def encoded(name: str, height: int, width: int, kind: str = "jpeg") -> bytes:
    """Return a picture as the bytes of a file."""
    content = io.BytesIO()
    Image.fromarray(picture(name, height, width)).save(content, kind)
    return content.getvalue()


def label_map(name: str, height: int, width: int, *, classes: int = 21) -> np.ndarray:
    """Return a label map of two halves with a border that is ignored."""
    one, other = np.random.default_rng(list(name.encode())).integers(0, classes, 2)
    labels = np.full((height, width), one, np.uint8)
    labels[:, width // 2 :] = other
    labels[:, width // 2] = 255
    return labels


def make_kodak(root: Path) -> Path:
    """Write 24 images with the names of Kodak's images."""
    for number in range(1, 25):
        write_picture(root / f"kodak/kodim{number:02d}.png")
    return root / "kodak"


def make_bsds500(
    root: Path, *, train: int = 4, val: int = 3, test: int = 2, height: int = 36
) -> Path:
    """Write BSDS500's folders of images."""
    folder = root / "bsds500/BSR/BSDS500/data/images"
    number = 100
    for split, count in (("train", train), ("val", val), ("test", test)):
        for _ in range(count):
            write_picture(folder / split / f"{number}.jpg", height=height)
            number += 7
        (folder / split / "Thumbs.db").write_bytes(b"as in the archive")
    return root / "bsds500"


def make_imagenette(root: Path, *, suffix: str = "", train: int = 3, val: int = 2) -> Path:
    """Write `train` training and `val` validation images of each class, mixed as in the archive."""
    folder = root / f"imagenette{suffix}/imagenette2{suffix}"
    for index, synset in enumerate(IMAGENETTE):
        for number in range(train):
            split = ("train", "val")[(index + number) % 2]
            write_picture(folder / f"{split}/{synset}/{synset}_{number + 1}.JPEG")
        for number in range(val):
            split = ("val", "train")[(index + number) % 2]
            name = f"ILSVRC2012_val_{10 * index + number + 1:08d}.JPEG"
            write_picture(folder / split / synset / name, height=40, width=30)
    return root / f"imagenette{suffix}"


def make_voc_layout(folder: Path, lists: dict[str, Iterable[str]]) -> Path:
    """Write images, label maps and lists in VOC's layout."""
    for name in sorted({name for names in lists.values() for name in names}):
        height, width = 36 + sum(name.encode()) % 7, 48
        write_picture(folder / f"JPEGImages/{name}.jpg", height=height, width=width)
        labels = Image.fromarray(label_map(name, height, width)).convert("P")
        labels.putpalette([value for value in range(256) for _ in range(3)])
        path = folder / f"SegmentationClass/{name}.png"
        path.parent.mkdir(exist_ok=True)
        labels.save(path)
    for list_name, names in lists.items():
        path = folder / f"ImageSets/Segmentation/{list_name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in names))
    return folder


def make_voc2012(
    root: Path, *, train: Iterable[str] = VOC_TRAIN, val: Iterable[str] = VOC_VAL
) -> Path:
    """Write VOC 2012's development kit, with an image that is in no list."""
    folder = root / "voc2012/VOCdevkit/VOC2012"
    make_voc_layout(folder, {"train": train, "val": val, "trainval": sorted([*train, *val])})
    write_picture(folder / "JPEGImages/2007_000027.jpg")
    return root / "voc2012"


def make_sbd(root: Path) -> Path:
    """Write the Semantic Boundaries Dataset, with label maps in MATLAB files."""
    folder = root / "sbd"
    (folder / "cls").mkdir(parents=True)
    for list_name, names in (("train", SBD_TRAIN), ("val", SBD_VAL)):
        for name in names:
            write_picture(folder / f"img/{name}.jpg", height=30, width=40)
            labels = np.minimum(label_map(f"sbd {name}", 30, 40), 20)
            truth = {"Boundaries": np.zeros((20, 1)), "Segmentation": labels,
                     "CategoriesPresent": np.unique(labels)}  # fmt: skip
            savemat(folder / f"cls/{name}.mat", {"GTcls": truth}, do_compression=True)
        (folder / f"{list_name}.txt").write_text("\n".join(names) + "\n")
    return folder


def make_ilsvrc2012(folder: Path, *, flat: bool = False) -> Path:
    """Write a training and a validation image of each synset, and the development kit.

    `flat` puts all validation images into one folder, as in their archive.
    """
    synsets = list(imagenet_synsets())
    pictures = [encoded(name, 12, 16) for name in synsets[:10]]
    numbers = np.random.default_rng(0).permutation(1000)  # not in the order of the synsets
    for index, synset in enumerate(synsets):
        path = folder / f"train/{synset}/{synset}_{index + 1}.JPEG"
        path.parent.mkdir(parents=True)
        path.write_bytes(pictures[index % 10])
        below = "" if flat else f"{synset}/"
        path = folder / f"val/{below}ILSVRC2012_val_{numbers[index] + 1:08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures[index % 7])
    data = folder / DEVKIT / "data"
    data.mkdir(parents=True)
    ids = np.random.default_rng(1).permutation(1000) + 1
    truth = [ids[index] for index in np.argsort(numbers)]
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(
        "".join(f"{number}\n" for number in truth)
    )
    write_meta(data / "meta.mat", dict(zip(synsets, ids.tolist(), strict=True)))
    return folder


def write_meta(path: Path, ids: dict[str, int]) -> None:
    """Write the synset table of the development kit, with an inner node of the hierarchy."""
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children",
              "wordnet_height", "num_train_images")  # fmt: skip
    table = np.empty((len(ids) + 1, 1), dtype=[(field, object) for field in fields])
    for row, (synset, number) in enumerate(ids.items()):
        table[row, 0] = (number, synset, f"words of {synset}", "gloss", 0, [], 0, 1300)
    table[-1, 0] = (1001, "n00001740", "entity", "gloss", 2, [1.0, 2.0], 19, 0)
    savemat(path, {"synsets": table})


def pack(path: Path, members: dict[str, Path]) -> Path:
    """Write a tar archive of `members`, which are names and paths; the ending sets compression."""
    mode = "w:gz" if path.suffix in (".gz", ".tgz") else "w"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, file in members.items():
            archive.add(file, name)
    return path


# Archive, folder inside the archive, folder of the unpacked set.
ARCHIVES = (
    ("imagenette2.tgz", "imagenette2", "imagenette/imagenette2"),
    ("VOCtrainval_11-May-2012.tar", "VOCdevkit", "voc2012/VOCdevkit"),
    ("benchmark.tgz", "benchmark_RELEASE/dataset", "sbd"),
    ("BSR_bsds500.tgz", "BSR", "bsds500/BSR"),
)


def pack_sets(root: Path, to: Path) -> None:
    """Make the archives of Imagenette, VOC 2012, SBD and BSDS500."""
    for archive, inside, folder in ARCHIVES:
        pack(to / archive, {inside: root / folder})


def pack_ilsvrc2012(folder: Path, to: Path) -> list[Path]:
    """Make the three archives of ILSVRC2012; the training archive contains one per synset."""
    inner = [
        pack(to / f"{synset.name}.tar", {path.name: path for path in synset.iterdir()})
        for synset in sorted((folder / "train").iterdir())
    ]
    train = pack(to / "ILSVRC2012_img_train.tar", {path.name: path for path in inner})
    for path in inner:
        path.unlink()
    images = sorted(folder.glob("val/**/*.JPEG"), key=lambda path: path.name)
    return [
        pack(to / f"{DEVKIT}.tar.gz", {DEVKIT: folder / DEVKIT}),
        pack(to / "ILSVRC2012_img_val.tar", {path.name: path for path in images}),
        train,
    ]


def make_folders(folder: Path, counts: dict[str, int]) -> str:
    """Write `counts` images into the folders of the classes."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            write_picture(folder / f"{name}/{number}.png", height=20 + number, width=30)
    return str(folder)
