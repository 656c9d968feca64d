"""How files lie in sets of pictures; needs nothing that reads pictures."""

from __future__ import annotations

from dataclasses import dataclass

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm")


@dataclass(frozen=True)
class Layout:
    """Where a data set has its images, label maps and lists; label maps end in `endings`."""

    images: str
    labels: str
    lists: str
    endings: tuple[str, ...]


VOC = Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", (".png",))
SBD = Layout("img", "cls", ".", (".mat",))
