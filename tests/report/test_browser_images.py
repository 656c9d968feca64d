"""The image browser of the report in headless Chromium: slider, zoom, swipes and choices."""

from __future__ import annotations

import numpy as np
import pytest


def test_the_slider_uncovers_the_other_image_and_keys_move_it(open_page):
    page = open_page()
    slider = page.locator("#browse-split")
    left = page.locator("#browse-stage .left")
    slider.fill("25")
    assert left.evaluate("node => getComputedStyle(node).clipPath") == "inset(0px 75% 0px 0px)"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert left.evaluate("node => getComputedStyle(node).clipPath") == "inset(0px 74% 0px 0px)"


# The scale of every image, and its offset as a share of its width.
TRANSFORMS = """() => [...document.querySelectorAll(".browser img")].map((image) => {
  const { a: scale, e: x } = new DOMMatrix(getComputedStyle(image).transform);
  return [scale, x / scale / image.clientWidth];
})"""


def wait_for_transforms(page, *, scale: float, share: float) -> None:
    """Wait until all images have this scale and offset."""
    for _ in range(100):
        found = page.evaluate(TRANSFORMS)
        if np.allclose(found, (scale, share), atol=1e-3):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"not ({scale}, {share}): {found}")


def test_all_images_zoom_and_move_together(open_page):
    page = open_page()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    wait_for_transforms(page, scale=2.56, share=0)
    page.locator("#browser").evaluate("section => section.scrollIntoView()")
    stage = page.locator("#browse-stage").bounding_box()
    page.mouse.move(stage["x"] + 60, stage["y"] + 60)
    page.mouse.down()
    page.mouse.move(stage["x"] + 90, stage["y"] + 75, steps=3)
    page.mouse.up()
    moved = 30 / 2.56 / stage["width"]
    wait_for_transforms(page, scale=2.56, share=moved)
    assert len(page.evaluate(TRANSFORMS)) > 6
    page.keyboard.press("ArrowRight")  # the image has the focus
    wait_for_transforms(page, scale=2.56, share=moved - 0.1 / 2.56)
    page.keyboard.press("ArrowLeft")
    page.get_by_label("Right").select_option("Separate")
    page.get_by_label("Label maps").check()
    page.locator("#browse-sigma").select_option("60")
    wait_for_transforms(page, scale=2.56, share=moved)  # the same position after another choice
    page.get_by_role("button", name="Next").click()
    wait_for_transforms(page, scale=1, share=0)
    page.get_by_role("button", name="Zoom in").click()
    wait_for_transforms(page, scale=1.6, share=0)
    page.locator("#browse-part").select_option(label="Classification")
    wait_for_transforms(page, scale=1, share=0)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Reset zoom").click()
    wait_for_transforms(page, scale=1, share=0)


def swipe_up(page) -> float:
    """Move a finger up the large image; return the scroll position before."""
    stage = page.locator("#browse-stage")
    stage.evaluate("node => node.scrollIntoView({ block: 'center' })")
    box, before = stage.bounding_box(), page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    for distance in range(0, 110, 10):
        point = {"x": box["x"] + 150, "y": box["y"] + 200 - distance}
        kind = "touchMove" if distance else "touchStart"
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    return before


def test_a_swipe_scrolls_the_page_until_the_image_is_zoomed(open_page):
    page = open_page(viewport={"width": 375, "height": 700}, has_touch=True)
    page.wait_for_function("before => scrollY > before + 50", arg=swipe_up(page))
    page.get_by_role("button", name="Zoom in").click()
    before = swipe_up(page)
    matrix = "new DOMMatrix(getComputedStyle(document.images['browse-after']).transform)"
    page.wait_for_function(f"{matrix}.f < -20")
    assert page.evaluate("scrollY") == before


def test_each_choice_shows_its_images(open_page):
    page = open_page()
    page.locator("#browse-part").select_option(label="Classification")
    assert "true class 3" in page.locator("#browse-status").inner_text()
    assert page.locator("#browse-views ol").first.locator("li").count() == 5
    page.locator("#browse-part").select_option(label="Segmentation")
    picture = page.locator("#browse-after").get_attribute("src")
    assert "dB" in page.locator("#browse-views li").nth(1).inner_text()
    page.get_by_label("Label maps").check()
    assert page.locator("#browse-after").get_attribute("src") != picture
    assert "dB" not in page.locator("#browse-views").inner_text()
    legend = page.locator(".legend").first
    assert legend.inner_text().split("\n")[0] == "background"
    swatch = legend.locator("span").first
    assert swatch.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(43, 43, 51)"
    first = page.locator("#browse-status").inner_text()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#browse-status").inner_text() != first
    page.get_by_role("button", name="Next").click()
    assert page.locator("#browse-status").inner_text() == first  # the first of two again
    page.get_by_label("Right").select_option("Separate")
    assert page.locator("#browse-after").get_attribute("alt").startswith("Separate; ")


def test_another_sigma_keeps_the_selected_methods_that_it_has(open_page):
    page = open_page()
    page.evaluate("""() => {
        for (const example of PARTS[2].sigmas[1].examples) example.views.splice(1, 1);
    }""")
    chosen = page.locator("#browse-left, #browse-right")
    assert chosen.evaluate_all("all => all.map((one) => one.value)") == ["noisy", "joint"]
    page.get_by_label("Right").select_option("Separate")
    page.locator("#browse-sigma").select_option(index=1)
    assert "noisy" not in page.locator("#browse-left").inner_html()
    assert chosen.evaluate_all("all => all.map((one) => one.value)") == ["clean", "separate"]
