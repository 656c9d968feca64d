"""Each kind of data is credited in the report, and its deviations are listed."""

from __future__ import annotations

import jinja2
import pytest
import yaml
from jinja2.nodes import Getattr, Name, Node
from report_run import TEMPLATES, deviations
from settings import shipped

from dhl.config.parse import parse_config
from dhl.files import PROJECT
from dhl.report import page as report
from dhl.report.deviations import known_values

SHAPES = f"{PROJECT}/docs/examples/shapes.py:shapes"
FOLDER = {"kind": "folder", "name": "kodak24", "train": "bsds500", "test": "kodak"}
OTHER_DATA = (
    {"denoising": FOLDER, "classification": {"kind": "imagenette"},
     "segmentation": {"kind": "voc2012", "extra": "sbd"}},
    {"denoising": FOLDER | {"test": "mine"},
     "classification": {"kind": "image_folder", "name": "mine", "test": "mine"},
     "segmentation": {"kind": "voc", "name": "mine", "path": "mine", "test": "val"}},
    {"denoising": FOLDER, "classification": {"kind": "ilsvrc2012", "path": "mine",
                                             "test_images": 5000},
     "segmentation": {"kind": "voc2012"}},
    {"denoising": {"kind": SHAPES}, "classification": {"kind": SHAPES, "classes": 4},
     "segmentation": {"kind": SHAPES, "classes": 5, "name": "mine"}},
)  # fmt: skip


def laboratory_with(data: dict) -> dict:
    """Return the settings of the laboratory run with other data."""
    content = shipped("laboratory")
    for part, settings in content["parts"].items():
        settings["data"] = data[part]
    return content


def sources(data: dict) -> list[dict[str, str]]:
    """Return the sources that the report of the laboratory run with other data credits."""
    config = parse_config(laboratory_with(data), source="laboratory.yaml")
    return report._sources(config, TEMPLATES)


def test_every_key_of_the_deviations_exists():
    contents = [shipped("laboratory"), *map(laboratory_with, OTHER_DATA)]
    recipes = contents[0]["parts"]["denoising"]["training"]
    recipes["tnrd"] = recipes["dncnn"]
    runs = [known_values(parse_config(one, source="laboratory.yaml")) for one in contents]
    for entry in yaml.safe_load((TEMPLATES / "deviations.yaml").read_text()):
        at = entry.get("at", "")
        for key in keys_of(f"{{{{ {entry.get('when', 'true')} }}}}{entry['ours']}"):
            assert any(has(run, key) or (at and has(run, f"{at}.{key}")) for run in runs), (at, key)
        assert not at or any(has(run, at) for run in runs), at


def keys_of(template: str) -> set[str]:
    """Return the dotted keys that a Jinja template reads."""
    nodes = jinja2.Environment().parse(template).find_all((Name, Getattr))
    return {key for node in nodes if (key := dotted(node))} - {"parts.values"}


def dotted(node: Node) -> str:
    """Return a node of a template as a dotted key; empty for other expressions."""
    if isinstance(node, Name):
        return node.name
    head = dotted(node.node) if isinstance(node, Getattr) else ""
    return head and f"{head}.{node.attr}"


def has(settings: dict, key: str) -> bool:
    """Tell whether settings have a dotted key."""
    for name in key.split("."):
        if not isinstance(settings, dict) or name not in settings:
            return False
        settings = settings[name]
    return True


def test_deviations_of_the_data_follow_its_kind():
    found = [deviations(laboratory_with(data)) for data in OTHER_DATA]
    assert not {"Denoising data", "Segmentation data"} & set(found[0])  # the paper's own
    assert "ten of the 1,000 classes" in found[0]["Classification data"]
    assert "those of mine to test on" in found[1]["Denoising data"]
    assert "data set mine, 21 classes" in found[1]["Segmentation data"]
    assert "Classification data" not in found[2]
    assert "5,000 to test on" in found[2]["Number of images for classification"]
    assert "1,464 images" in found[2]["Segmentation data"]
    assert found[3]["Denoising data"] == f"data set shapes, made by plug-in {SHAPES}"
    assert found[3]["Segmentation data"].endswith(f"mine, made by plug-in {SHAPES}, 5 classes")


def test_noise_and_denoiser_of_plug_ins_are_deviations(tmp_path):
    source = "def f(clean=0, *, noise_std=0, generator=0): ..."
    (tmp_path / "own.py").write_text(source)
    reference = f"{tmp_path}/own.py:f"
    plain = set(deviations(shipped("laboratory")))
    assert "Noise" not in plain
    content = shipped("laboratory", noise=reference)
    content["parts"]["denoising"]["denoiser"] = {"name": reference}
    found = deviations(content)
    assert found["Noise"] == found["Architecture of the denoiser"] == f"plug-in {reference}"
    assert "Width of the denoiser" in plain - set(found)


@pytest.mark.parametrize("data", OTHER_DATA[:3])
def test_the_sources_of_all_data_are_credited(data):
    credited = [source["name"] for source in sources(data)]
    assert any("Kodak" in name or "own folder" in name for name in credited)
    assert any("ImageNet" in name or "own folders" in name for name in credited)
    assert any("PASCAL" in name or "label maps" in name for name in credited)
    assert any("Boundaries" in name for name in credited) == ("extra" in data["segmentation"])


def test_the_images_of_a_plug_in_are_credited():
    (source,) = sources(OTHER_DATA[3])
    assert "plug-in" in source["name"]


@pytest.mark.parametrize(("method", "credited"), [("cbm3d", False), ("cbm3d-2020", True)])
def test_the_package_bm3d_is_credited_where_it_is_used(method, credited):
    content = shipped("laboratory")
    content["parts"]["denoising"]["methods"] = ["noisy", method, "separate"]
    found = report._sources(parse_config(content, source="laboratory.yaml"), TEMPLATES)
    assert any("bm3d" in source["name"] for source in found) == credited
