"""Endings of image files, and folder layouts of data sets with label maps."""

from __future__ import annotations

from dataclasses import dataclass

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


@dataclass(frozen=True)
class Layout:
    """Folders of images, label maps and lists, and the file endings of label maps."""

    images: str
    labels: str
    lists: str
    endings: tuple[str, ...]


VOC = Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", (".png",))
SBD = Layout("img", "cls", ".", (".mat",))
