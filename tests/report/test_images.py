"""The image browser of the report has the pixels and labels of the evaluations."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from settings import with_parts

from dhl.config.image_data_sets import ImageFolder
from dhl.data.image_set import ImageSet, save_splits
from dhl.report.figure_data import write_figure_data
from dhl.report.images import browse_images, share_images


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


def test_classes_of_an_image_folder_have_the_names_of_their_folders(config, drawn_copy):
    names = ["ant", "bee <b>", "café", "dog", "e", "f", "g", "h", "i", "j"]
    data = ImageFolder(kind="image_folder", name="mine", test="gone", resize=32, crop=32)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    split = ImageSet(["a"], images, np.array([0]), classes=10, class_names=names)
    save_splits({"test": split}, drawn_copy.data("classification"))
    changed = with_parts(config, classification={"data": data})
    (part,) = [one for one in browse_images(changed, drawn_copy) if one["part"] == "classification"]
    examples = part["sigmas"][0]["examples"]
    assert {one["truth"] for one in examples} == {"dog"}
    assert {name for name, _ in examples[0]["views"][1]["top"]} <= set(names)
    write_figure_data(changed, drawn_copy)
    table = pd.read_csv(drawn_copy.figures / "example_classification.csv", dtype=str)
    assert set(table["class"]) <= set(names)


def test_the_browsers_images_stay_within_their_budget(config, drawn_run):
    complete = browse_images(config, drawn_run, budget=10**7)
    assert [len(part["sigmas"][0]["examples"]) for part in complete] == [2, 2, 2]
    for part in browse_images(config, drawn_run, budget=1):
        assert [len(one["examples"]) for one in part["sigmas"]] == [1] * len(part["sigmas"])


def test_each_image_is_stored_once(config, drawn_run):
    parts = browse_images(config, drawn_run)
    shared = share_images(browse_images(config, drawn_run))
    assert len(set(shared["images"])) == len(shared["images"])
    for before, after in zip(views_of(parts), views_of(shared["parts"]), strict=True):
        for key in before.keys() & {"image", "map"}:
            assert shared["images"][after[key]] == before[key]


def views_of(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the views of the browser in order."""
    examples = [example for part in parts for one in part["sigmas"] for example in one["examples"]]
    return [view for example in examples for view in example["views"]]
