"""photo-digits: handwritten digits as textured strokes on photographs, all from pip packages.

As in MNIST-M (Ganin and Lempitsky, 2015), digits of `sklearn.datasets.load_digits` are blended into
crops of the colour photographs of scikit-image, scikit-learn and matplotlib. Base seed, part, split
and index determine each image. Each photograph and handwritten sample is in one split only.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dhl.config.data_sets import PhotoDigits
from dhl.data.image_set import ImageSet
from dhl.progress import Progress
from dhl.seeding import numpy_generator

SPLITS = ("train", "validation", "test")
SHORT_SIDE = 224  # photographs are shrunk to this, so that a 32 px crop has structure
TRAINING_SHORT_SIDES = (160, 224, 320, 448)  # a denoiser learns from fine and coarse texture
DIGIT_SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}


@dataclass(frozen=True)
class Photograph:
    """A photograph inside a pip package, with its split and its credit."""

    name: str
    split: str
    credit: str
    package: Callable[[str], np.ndarray]
    file: str


def _skimage(name: str) -> np.ndarray:
    """Load a picture of scikit-image; a grey one gets three equal channels."""
    import skimage.data

    image = getattr(skimage.data, name)()
    image = image[0] if isinstance(image, tuple) else image
    return image if image.ndim == 3 else np.stack([image] * 3, axis=-1)


def _sklearn(name: str) -> np.ndarray:
    """Load a sample picture of scikit-learn."""
    return _read(_sklearn_datasets() / "images" / name)


def _matplotlib(name: str) -> np.ndarray:
    """Load a sample picture of matplotlib."""
    import matplotlib

    return _read(Path(matplotlib.get_data_path()) / "sample_data" / name)


def _sklearn_datasets() -> Path:
    """Return the folder of scikit-learn's data sets, without its import, which takes seconds."""
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None, "dhl depends on scikit-learn"
    return Path(package.origin).parent / "datasets"


def _read(path: Path) -> np.ndarray:
    """Read a colour picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


PHOTOGRAPHS = (
    Photograph("astronaut", "train", "NASA, public domain", _skimage, "astronaut"),
    Photograph(
        name="motorcycle",
        split="train",
        credit="Scharstein et al., Middlebury Stereo 2014, by way of scikit-image",
        package=_skimage,
        file="stereo_motorcycle",
    ),
    Photograph(
        name="immunohistochemistry",
        split="train",
        credit="CMMI, no known copyright restrictions",
        package=_skimage,
        file="immunohistochemistry",
    ),
    Photograph("china", "train", "danielbuechele, CC BY 2.0", _sklearn, "china.jpg"),
    Photograph("rocket", "validation", "SpaceX, public domain", _skimage, "rocket"),
    Photograph("retina", "validation", "Häggström 2014, CC0", _skimage, "retina"),
    Photograph("chelsea", "test", "Stefan van der Walt, CC0", _skimage, "chelsea"),
    Photograph("coffee", "test", "Rachel Michetti, CC0", _skimage, "coffee"),
    Photograph("flower", "test", "vultilion, CC BY 2.0", _sklearn, "flower.jpg"),
    Photograph(
        name="grace_hopper",
        split="test",
        credit="US Navy, public domain; matplotlib",
        package=_matplotlib,
        file="grace_hopper.jpg",
    ),
    Photograph("camera", "test", "Lav Varshney, CC0", _skimage, "camera"),
    Photograph("coins", "test", "Brooklyn Museum, no known restrictions", _skimage, "coins"),
    Photograph("brick", "test", "CC0Textures, CC0", _skimage, "brick"),
    Photograph("grass", "test", "linolafett, CC0", _skimage, "grass"),
    Photograph("gravel", "test", "CC0Textures, CC0", _skimage, "gravel"),
    Photograph("clock", "test", "Stefan van der Walt, public domain", _skimage, "clock"),
    Photograph("hubble", "test", "NASA, public domain", _skimage, "hubble_deep_field"),
)


@functools.cache
def photographs(split: str, short_side: int = SHORT_SIDE) -> dict[str, np.ndarray]:
    """Return the photographs of a split by name, uint8 (H, W, 3), shrunk to `short_side` px."""
    return {
        photo.name: _shrink(photo.package(photo.file), short_side)
        for photo in PHOTOGRAPHS
        if photo.split == split
    }


def _shrink(image: np.ndarray, short_side: int) -> np.ndarray:
    """Shrink a photograph with an antialiasing filter; a smaller one stays as it is."""
    height, width = image.shape[:2]
    scale = min(1, short_side / min(height, width))
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


@functools.cache
def digits(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return indices, images (n, 8, 8) in [0, 1] and classes of a split's handwritten samples."""
    table = np.loadtxt(_sklearn_datasets() / "data" / "digits.csv.gz", delimiter=",")
    images, classes = table[:, :-1], table[:, -1].astype(int)
    order = numpy_generator("photo-digits", "digit split").permutation(len(images))
    bounds = np.cumsum([0, *(round(share * len(order)) for share in DIGIT_SHARES.values())])
    number = SPLITS.index(split)
    chosen = np.sort(order[bounds[number] : bounds[number + 1]])
    return chosen, images[chosen].reshape(-1, 8, 8) / 16, classes[chosen]


def make_part(part: str, spec: PhotoDigits, *, base_seed: int) -> dict[str, ImageSet]:
    """Make the splits of one part, by name.

    With the same seed, a longer split begins with the images of a shorter one.
    """
    make = _denoising_split if part == "denoising" else _digit_split
    return {split: make(spec, part=part, split=split, base_seed=base_seed) for split in SPLITS}


def _denoising_split(spec: PhotoDigits, *, part: str, split: str, base_seed: int) -> ImageSet:
    """Cut scenes without digits from each photograph in turn.

    Training scenes are random crops at several scales. The others are tiles that do not overlap,
    then random crops.
    """
    photos = photographs(split)
    tiles = {name: _tiles(photo, spec.size) for name, photo in photos.items()}
    images, names = [], []
    with Progress(f"{part}, {split}", getattr(spec, split)) as progress:
        for index in range(getattr(spec, split)):
            generator = numpy_generator(base_seed, "photo-digits", part, split, index)
            turn, number = divmod(index, len(photos))
            name = list(photos)[number]
            if split == "train":
                short_side = int(generator.choice(TRAINING_SHORT_SIDES))
                images.append(_crop(photographs(split, short_side)[name], spec.size, generator))
            elif turn < len(tiles[name]):
                images.append(tiles[name][turn])
            else:
                images.append(_crop(photos[name], spec.size, generator))
            names.append(name)
            progress.advance()
    ids = [f"{name}-{index:04d}" for index, name in enumerate(names)]
    return ImageSet(ids, np.stack(images), origins={"photographs": np.array(names)})


def _tiles(photo: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut a photograph into squares that do not overlap, row by row."""
    rows, columns = photo.shape[0] // size, photo.shape[1] // size
    return [
        photo[row * size : (row + 1) * size, column * size : (column + 1) * size]
        for row in range(rows)
        for column in range(columns)
    ]


def _digit_split(spec: PhotoDigits, *, part: str, split: str, base_seed: int) -> ImageSet:
    """Paint digits on crops: one centred digit, or up to four with their label map."""
    photos = photographs(split)
    targets: list[int | np.ndarray] = []
    images, names, samples = [], [], []
    with Progress(f"{part}, {split}", getattr(spec, split)) as progress:
        for index in range(getattr(spec, split)):
            generator = numpy_generator(base_seed, "photo-digits", part, split, index)
            name = str(generator.choice(list(photos)))
            canvas = _crop(photos[name], spec.size, generator).astype(np.float32) / 255
            texture = _crop(photos[str(generator.choice(list(photos)))], spec.size, generator)
            painter = _Painter(canvas, texture.astype(np.float32) / 255, spec.contrast, split)
            if part == "classification":
                painter.paint_centred(generator)
                targets.append(painter.classes[0])
            else:
                painter.paint_scattered(generator, count=int(generator.integers(1, 5)))
                targets.append(painter.labels)
            images.append(np.rint(np.clip(painter.canvas, 0, 1) * 255).astype(np.uint8))
            names.append(name)
            samples.append(painter.samples + [-1] * (4 - len(painter.samples)))
            progress.advance()
    return ImageSet(
        ids=[f"{split}-{index:05d}" for index in range(len(images))],
        images=np.stack(images),
        targets=np.asarray(targets, dtype=np.uint8),
        origins={"photographs": np.array(names), "digits": np.array(samples)},
        classes=spec.classes_of(part),
    )


def _crop(photo: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Cut a random square out of a photograph, and mirror it with probability 0.5."""
    top = generator.integers(photo.shape[0] - size + 1)
    left = generator.integers(photo.shape[1] - size + 1)
    crop = photo[top : top + size, left : left + size]
    return crop[:, ::-1] if generator.random() < 0.5 else crop


class _Painter:
    """Paints handwritten digits on one canvas, and records their label map."""

    def __init__(self, canvas: np.ndarray, texture: np.ndarray, contrast: float, split: str):
        self.canvas = canvas
        self.texture = texture - texture.mean((0, 1))
        self.contrast = contrast
        self.split = split
        self.labels = np.zeros(canvas.shape[:2], np.uint8)
        self.classes: list[int] = []
        self.samples: list[int] = []

    def paint_centred(self, generator: np.random.Generator) -> None:
        """Paint one digit near the middle, filling most of the canvas."""
        side = self.canvas.shape[0]
        centre = side / 2 + generator.uniform(-0.06, 0.06, 2) * side
        self._paint(generator, centre, generator.uniform(0.7, 0.9) * side)

    def paint_scattered(self, generator: np.random.Generator, *, count: int) -> None:
        """Paint digits in different quarters of the canvas."""
        side = self.canvas.shape[0]
        for quarter in generator.permutation(4)[:count]:
            centre = (np.array(divmod(int(quarter), 2)) + 0.5) * side / 2
            centre += generator.uniform(-0.06, 0.06, 2) * side
            self._paint(generator, centre, generator.uniform(0.34, 0.46) * side)

    def _paint(self, generator: np.random.Generator, centre: np.ndarray, size: float) -> None:
        """Blend one digit into the canvas, lighter or darker than the photograph."""
        indices, images, classes = digits(self.split)
        pick = int(generator.integers(len(indices)))
        alpha = _opacity(images[pick], centre, size, self.canvas.shape[0], generator)
        colour = (self.canvas * alpha[..., None]).sum((0, 1)) / max(float(alpha.sum()), 1e-6)
        direction = generator.choice([-1.0, 1.0])
        if not 0.25 < colour.mean() < 0.75:
            direction = np.sign(0.5 - colour.mean())
        tint = generator.uniform(0.6, 1.0, 3) * self.contrast * direction
        ink = np.clip(colour + tint + 0.5 * self.texture, 0, 1)
        self.canvas = (self.canvas * (1 - alpha[..., None]) + ink * alpha[..., None]).astype("f4")
        self.labels[alpha > 0.5] = classes[pick] + 1
        self.classes.append(int(classes[pick]))
        self.samples.append(int(indices[pick]))


def _opacity(
    digit: np.ndarray, centre: np.ndarray, size: float, side: int, generator: np.random.Generator
) -> np.ndarray:
    """Enlarge, turn and shear an 8x8 digit onto a (side, side) canvas; return its opacity."""
    from scipy.ndimage import affine_transform  # the jobs of the noise do without

    angle, shear = generator.uniform(-0.2, 0.2), generator.uniform(-0.2, 0.2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, 0], [shear, 1]]) * (8 / size)
    offset = np.array([3.5, 3.5]) - matrix @ centre
    stroke = affine_transform(digit, matrix, offset, (side, side), order=3, mode="constant")
    return np.clip((stroke - 0.3) * 3, 0, 1).astype(np.float32)
