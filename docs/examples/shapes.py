"""A data set of your own: coloured shapes on coloured slopes, for all three parts."""

import numpy as np

SHAPES = {
    "disk": lambda x, y: x**2 + y**2 < 0.5,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.6,
    "diamond": lambda x, y: abs(x) + abs(y) < 0.8,
    "cross": lambda x, y: np.minimum(abs(x), abs(y)) < 0.2,
}


def shapes(part: str, *, seed: int, train: int = 64, test: int = 16, size: int = 32) -> dict:
    """Draw one shape an image; neither split knows anything of the other."""
    return {
        split: draw_split(part, np.random.default_rng([seed, number]), count, size)
        for number, (split, count) in enumerate([("train", train), ("test", test)])
    }


def draw_split(part: str, generator: np.random.Generator, count: int, size: int) -> dict:
    """Draw images (count, size, size, 3) with classes 0 to 3, or label maps from 1 to 4."""
    classes = np.arange(count) % len(SHAPES)
    drawn = [draw(generator, list(SHAPES.values())[label], size) for label in classes]
    split = {"images": np.stack([image for image, _ in drawn])}
    if part == "classification":
        split["targets"] = classes
    if part == "segmentation":
        split["targets"] = np.stack([mask * (1 + c) for (_, mask), c in zip(drawn, classes)])
    return split


def draw(generator: np.random.Generator, shape, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image, uint8 (size, size, 3), and the mask of its shape."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    left, right, colour = generator.uniform(0, 255, (3, 3))
    image = left + (right - left) * (x[..., None] + 1) / 2
    centre = generator.uniform(-0.3, 0.3, 2)
    mask = shape((x - centre[0]) / 0.6, (y - centre[1]) / 0.6)
    image[mask] = colour
    return image.astype(np.uint8), mask
