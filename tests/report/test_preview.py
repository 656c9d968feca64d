"""The preview: the PSNR of noise and untrained methods, before any network is trained."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from html_tree import parse
from report_run import TEMPLATES
from settings import SIGMA, with_parts

from dhl.errors import UserError
from dhl.report import preview
from dhl.report.preview import write_preview
from dhl.run.failures import record_failure
from dhl.run.folder import RunFolder
from dhl.run.results import IMAGE_COLUMNS, read_csv


@pytest.fixture
def folder(tiny_run, tmp_path) -> RunFolder:
    """A run of which only data, noise and baselines exist, besides the evaluation to compare."""
    folder = RunFolder(tmp_path / "run")
    for name in ("data", "noise", "baselines", "evaluation"):
        shutil.copytree(tiny_run.root / name, folder.root / name)
    return folder


def shown(config, folder):
    write_preview(config, folder, templates=TEMPLATES)
    return parse(folder.preview.read_text("utf-8"))


def means(page, part):
    (section,) = page.find("section", id=part)
    return {
        next(line.find("th")).text: [float(one.attributes["value"]) for one in line.find("data")]
        for line in next(section.find("tbody")).find("tr")
    }


def test_the_psnr_is_that_of_the_evaluation(tiny_config, folder):
    page = shown(tiny_config, folder)
    for part in tiny_config.parts:
        rows = read_csv(folder.evaluation(part, SIGMA), IMAGE_COLUMNS)
        noisy = rows.loc[rows["method"] == "noisy", "psnr"].mean()
        assert means(page, part)["Noisy image"] == pytest.approx([noisy])
    rows = read_csv(folder.evaluation("denoising", SIGMA), IMAGE_COLUMNS)
    cbm3d = rows.loc[rows["method"] == "cbm3d", "psnr"].mean()
    assert means(page, "denoising")["CBM3D"] == pytest.approx([cbm3d])


def test_it_shows_sheets_and_images_and_says_where_the_report_will_be(tiny_config, folder):
    page = shown(tiny_config, folder)
    sections = list(page.find("section"))
    assert [one.attributes["id"] for one in sections] == list(tiny_config.parts)
    for section in sections:
        pictures = [node.attributes["src"] for node in section.find("img")]
        assert len(pictures) > preview.SHOWN
        assert all(url.startswith("data:image/webp;base64,") for url in pictures)
    assert "still being computed" in page.text
    assert [node.attributes["href"] for node in page.find("a")] == ["index.html"]
    assert folder.preview.stat().st_size < 1e6


def test_a_failed_method_is_named(tiny_config, folder, tmp_path):
    log = tmp_path / "log"
    log.write_text("no memory\n")
    record_failure([folder.baseline("denoising", "cbm3d", SIGMA)], status=1, log=log)
    page = shown(tiny_config, folder)
    assert means(page, "denoising")["CBM3D"] == []
    (reason,) = page.find("p", class_="failures")
    assert reason.text == f"CBM3D at sigma {SIGMA} failed: no memory"


def test_many_images_are_measured_in_part(tiny_config, folder, monkeypatch):
    monkeypatch.setattr(preview, "PIXELS", 3 * 40 * 40)
    page = shown(tiny_config, folder)
    (section,) = page.find("section", id="denoising")
    assert "mean over the first 3 of 4 test images" in next(section.find("caption")).text
    rows = read_csv(folder.evaluation("denoising", SIGMA), IMAGE_COLUMNS)
    noisy = rows.loc[rows["method"] == "noisy", "psnr"].to_numpy()[:3]
    assert means(page, "denoising")["Noisy image"] == pytest.approx([np.mean(noisy)])


def test_a_missing_baseline_names_its_command(tiny_config, folder):
    folder.baseline("denoising", "cbm3d", SIGMA).unlink()
    with pytest.raises(UserError, match="dhl baseline --part denoising --method cbm3d"):
        shown(tiny_config, folder)


def test_a_part_without_untrained_methods_has_its_noise(tiny_config, folder):
    config = with_parts(tiny_config, denoising={"methods": ("noisy", "separate")})
    assert list(means(shown(config, folder), "denoising")) == ["Noisy image"]


def test_it_loads_neither_torch_nor_a_plotting_library():
    program = "import sys, dhl.report.preview; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert not {"torch", "matplotlib", "scipy.stats"} & set(loaded)
