"""Folder layouts of data sets with label maps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Folders of images, label maps and lists, and the file endings of label maps."""

    images: str
    labels: str
    lists: str
    endings: tuple[str, ...]


VOC = Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", (".png",))
SBD = Layout("img", "cls", ".", (".mat",))
