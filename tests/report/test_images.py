"""The image browser of the report has the pixels and labels of the evaluations."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from dhl.report.images import browse_images


def decode(url: str) -> np.ndarray:
    """Return the pixels of a data URL."""
    data = base64.b64decode(url.removeprefix("data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_browser_has_the_pixels_of_the_evaluations(config, drawn_run):
    parts = {part["part"]: part for part in browse_images(config, drawn_run)}
    assert list(parts) == list(config.parts)
    for name, part in parts.items():
        sigmas = config.parts[name].sigmas
        assert [one["sigma"] for one in part["sigmas"]] == list(sigmas)
        with np.load(drawn_run.evaluation(name, sigmas[0]).with_suffix(".npz")) as arrays:
            for index, example in enumerate(part["sigmas"][0]["examples"]):
                assert example["id"] == arrays["example_ids"][index]
                views = {view["method"]: view for view in example["views"]}
                assert next(iter(views)) == "clean"
                assert set(views) == {"clean", *config.parts[name].methods}
                for method in ("clean", "noisy", "separate"):
                    key = f"clean/{index}" if method == "clean" else f"image/{method}/{index}"
                    np.testing.assert_array_equal(decode(views[method]["image"]), arrays[key])
                assert ("map" in views["separate"]) == (name == "segmentation")
                if name == "classification":
                    assert example["truth"] == "3"
                    probability = arrays[f"probability/joint/{index}"]
                    assert [share for _, share in views["joint"]["top"]] == pytest.approx(
                        sorted(probability, reverse=True)[:5], abs=1e-4
                    )


def test_a_label_map_has_the_colours_of_its_legend(config, drawn_run):
    (part,) = [one for one in browse_images(config, drawn_run) if one["part"] == "segmentation"]
    view = part["sigmas"][0]["examples"][0]["views"][0]
    with np.load(drawn_run.evaluation("segmentation", 30).with_suffix(".npz")) as arrays:
        labels = arrays["labels/0"]
    picture = decode(view["map"])
    colors = {tuple(picture[labels == label][0]) for label in np.unique(labels)}
    assert len(colors) == len(np.unique(labels))
    for label in np.unique(labels):
        assert (picture[labels == label] == picture[labels == label][0]).all()
    names, shades = zip(*view["classes"], strict=True)
    assert names == ("background", *(str(label - 1) for label in np.unique(labels) if label))
    assert {tuple(bytes.fromhex(shade[1:])) for shade in shades} == colors


def test_the_browsers_images_stay_within_their_budget(config, drawn_run):
    complete = browse_images(config, drawn_run, budget=10**7)
    assert [len(part["sigmas"][0]["examples"]) for part in complete] == [2, 2, 2]
    for part in browse_images(config, drawn_run, budget=1):
        assert [len(one["examples"]) for one in part["sigmas"]] == [1] * len(part["sigmas"])
