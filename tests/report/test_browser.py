"""The report in a real browser, opened from disk without a network: headless Chromium."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dhl.report.figure_style import WIDTH

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, of the extra `dev`")
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}  # all else is as in light


def column(page, number: int) -> list[str]:
    """Return the texts of a column of the table of every number in their current order."""
    return page.locator(f"#every-number tbody tr > :nth-child({number})").all_inner_texts()


OPEN = "document.querySelectorAll('details').forEach((one) => { one.open = true; })"
# The words of the page that a reader sees before opening anything, without the options of lists.
VISIBLE_WORDS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let words = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (node.checkVisibility() && !node.closest("select, script, style, noscript"))
      words += walker.currentNode.textContent.split(/\\s+/).filter(Boolean).length;
  }
  return words;
}"""


def test_the_first_screen_has_answers_figure_and_images(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    for name in (".kicker", ".limits", ".answers", "#figure-overview", "#strip"):
        box = page.locator(name).bounding_box()
        assert box["y"] + box["height"] <= 800, name
        assert box["x"] + box["width"] <= 1280
    assert page.locator(".answers > li").count() == 5
    line = page.locator(".kicker").evaluate("node => parseFloat(getComputedStyle(node).lineHeight)")
    assert page.locator(".kicker").bounding_box()["height"] < 1.5 * line


def test_the_answers_and_the_figure_fit_two_screens_of_a_phone(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    box = page.locator("#figure-overview img").bounding_box()
    assert box["y"] + box["height"] <= 2 * 844


def test_the_closed_page_is_short(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    assert page.evaluate("document.documentElement.scrollHeight") <= 6 * 800
    assert page.evaluate(VISIBLE_WORDS) <= 1200


def test_a_comparison_opens_by_keyboard(open_page):
    page = open_page()
    claim = page.locator("#segmentation-joint-over-separate")
    assert not claim.locator("table").is_visible()
    claim.locator("summary").focus()
    page.keyboard.press("Enter")
    assert claim.locator("table").is_visible()
    assert claim.locator("a").first.get_attribute("href") == "../claims.csv"


def test_clicks_sort_by_value_and_the_keyboard_sorts_by_method(open_page):
    page = open_page("#numbers")
    page.locator("#numbers select").nth(1).select_option("PSNR")
    head = page.locator("#every-number thead th").nth(5)
    for order in ("ascending", "descending"):
        head.click()
        sync_api.expect(head).to_have_attribute("aria-sort", order)
        values = [float(text.split()[0]) for text in column(page, 6) if text != "–"]
        assert values == sorted(values, reverse=order == "descending")
        assert len(set(values)) > 3
    before = column(page, 4)
    head = page.locator("#every-number thead th").nth(3)
    head.locator("[tabindex='0']").focus()
    page.keyboard.press("Enter")
    sync_api.expect(head).to_have_attribute("aria-sort", "ascending")
    assert column(page, 4) == sorted(before, key=str.lower) != before


def test_filters_and_search_narrow_the_table(open_page):
    page = open_page("#numbers")
    everything = len(column(page, 1))
    selects = page.locator("#numbers select")
    selects.nth(0).select_option("Segmentation")
    selects.nth(3).select_option("Joint")
    assert set(column(page, 1)) == {"Segmentation"}
    assert set(column(page, 4)) == {"Joint"}  # without "Joint, cross-task"
    selects.nth(0).select_option("")
    selects.nth(3).select_option("")
    assert len(column(page, 1)) == everything
    page.get_by_label("Search").fill("matched")
    found = set(column(page, 4))
    assert "Separate, matched" in found
    assert all("matched" in text.lower() for text in found)


def test_a_number_leads_to_its_files(open_page):
    page = open_page("#numbers")
    row = page.locator("#every-number tbody tr").filter(has_text="Segmentation").last
    row.get_by_role("link").click()
    assert page.locator(page.url[page.url.index("#") :]).is_visible()
    page = open_page("#made-segmentation-30-joint")
    page.locator("#made-segmentation-30-joint").wait_for(state="visible")
    opened = page.locator("details.origin[open]").inner_text()
    assert "models/joint-segmentation/sigma30-seed2.pt" in opened


def background(page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_the_page_is_light_or_dark_as_the_system_or_the_reader_wants(open_page):
    dark, light = open_page(color_scheme="dark"), open_page(color_scheme="light")
    assert (background(dark), background(light)) == ("rgb(22, 24, 28)", "rgb(252, 251, 249)")
    dark.get_by_label("light").check()
    light.get_by_label("dark").check()
    assert (background(dark), background(light)) == ("rgb(252, 251, 249)", "rgb(22, 24, 28)")


def shade(page, name: str) -> float:
    """Return the median brightness of a figure, from 0 to 255."""
    page.evaluate(OPEN)
    picture = page.locator(f"#figure-{name} > img").screenshot()
    return float(np.median(np.asarray(Image.open(io.BytesIO(picture)).convert("L"))))


def test_plots_are_light_or_dark_as_the_page_and_examples_keep_their_colours(open_page):
    dark, light = open_page(color_scheme="dark"), open_page(color_scheme="light")
    plots = ("overview", "training_curves")
    assert [shade(dark, name) < 40 < 250 < shade(light, name) for name in plots] == [True, True]
    assert abs(shade(dark, "example_denoising") - shade(light, "example_denoising")) < 10
    dark.get_by_label("light").check()
    light.get_by_label("dark").check()
    assert shade(light, "overview") < 40 < 250 < shade(dark, "overview")
    light.emulate_media(media="print")
    assert shade(light, "overview") > 250


def test_nothing_is_wider_than_a_phone(open_page):
    page = open_page()
    page.evaluate(OPEN)
    for width in (320, 390, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_letters_of_a_figure_are_legible_on_a_phone(open_page):
    page = open_page(viewport={"width": 390, "height": 844})
    page.evaluate(OPEN)
    points = 9 / 72  # inches: the labels of axes
    for width in page.locator("figure > img").evaluate_all("all => all.map((one) => one.width)"):
        assert width / WIDTH * points > 9  # px


def test_a_claim_s_table_fits_the_page(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    page.evaluate(OPEN)
    wider = "nodes => nodes.map((node) => node.scrollWidth - node.clientWidth)"
    assert max(page.locator(".claim .scroll").evaluate_all(wider)) == 0
    heads = page.locator("#every-number thead th").evaluate_all(
        "nodes => nodes.map((node) => node.clientHeight)"
    )
    assert max(heads) < 40  # px: one line, with its arrow


def test_the_print_is_black_on_white_without_controls(open_page):
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    for name in (".theme", "#browser", ".filters", "nav"):
        assert not page.locator(name).first.is_visible()
    for name in (".answers", "table.main", ".claim summary"):
        assert page.locator(name).first.is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_without_javascript_the_page_has_tables_and_figures(open_page):
    page = open_page(java_script_enabled=False)
    for name in (".answers", "#figure-overview img", "#strip img", "table.main"):
        assert page.locator(name).first.is_visible()
    for name in ("#segmentation-joint-over-separate", "details:has(> #numbers)"):
        page.locator(f"{name} > summary").click()
    assert page.locator("#segmentation-joint-over-separate table").is_visible()
    assert page.locator("#every-number").is_visible()
    assert not page.locator(".filters").is_visible()
    assert "JavaScript" in page.locator("#browser").inner_text()
    page.get_by_label("dark").check()
    assert background(page) == "rgb(22, 24, 28)"


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "rules"), [("light", {}), ("dark", COLOURS)])
def test_an_accessibility_check_finds_nothing(open_page, scheme, rules):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="of the extra `dev`")
    page = open_page(color_scheme=scheme)
    page.evaluate(OPEN)
    # The other rows of a table look like its first ones, and the check takes long.
    page.evaluate("document.querySelectorAll('tbody tr:nth-child(n+4)').forEach((r) => r.remove())")
    found = axe.Axe().run(page, options=AXE | rules)
    assert found.violations_count == 0, found.generate_report()
