"""The report: its numbers are those of the results, and it needs no other file."""

import json
import re
import shutil

import numpy as np
import pytest
from html_tree import parse
from report_run import MANIFEST, TEMPLATES, denoising_only, render, write_run
from settings import PUBLISHED

from dhl.config.methods import METHODS, METRICS, TABLES
from dhl.errors import UserError
from dhl.report.content import read_claims
from dhl.report.formats import (
    format_difference,
    format_duration,
    format_interval,
    format_p,
    format_value,
)
from dhl.report.page import render_report
from dhl.run.evaluations import studies
from dhl.run.outputs import figure_names
from dhl.run.results import CLAIM_COLUMNS, TABLE_COLUMNS, read_csv, write_csv


def claims_of(page):
    """Return the rows of the claims by their ids."""
    return {node.attributes["id"]: node for node in page.find("details", class_="claim")}


def test_each_verdict_is_that_of_the_claims_file(folder, page):
    rows = {row["claim"]: row for row in read_claims(folder)}
    shown = claims_of(page)
    assert set(shown) == set(rows)
    for name, row in rows.items():
        claim = shown[name]
        (badge,) = claim.find("span", class_="badge")
        assert badge.text.split(" ", 1)[1] == row["verdict_adjusted"]
        assert claim.attributes["data-verdict"] == row["verdict_adjusted"]
        (summary,) = claim.find("summary")
        first = [row["share"] if row["over"] else row["difference"]]
        if row["over"] and np.isnan(row["share_low"]):  # a share without an interval says nothing
            first = []
        assert [float(one.attributes["value"]) for one in summary.find("data")] == first
        assert next(claim.find("p", class_="statement")).text == row["statement"]
        measure = next(claim.find("p", class_="measure"))
        assert [float(one.attributes["value"]) for one in measure.find("data")] == first
        text = measure.text.replace("\xa0", " ")
        assert f"n = {row['n']:.0f}." in text
        assert (f"Without the correction: {row['verdict']}." in text) == (
            row["verdict"] != row["verdict_adjusted"]
        )
        assert row["reason"][1:] in text


def test_each_claim_s_rows_are_those_of_the_claims_file(folder, page):
    rows = read_csv(folder.claims, CLAIM_COLUMNS)
    for name, claim in claims_of(page).items():
        single = rows[(rows["claim"] == name) & rows["sigma"].notna()]
        (body,) = claim.find("tbody")
        lines = list(body.find("tr"))
        assert len(lines) == len(single)
        for line, row in zip(lines, single.itertuples(), strict=True):
            shown = [float(node.attributes["value"]) for node in line.find("data")]
            share = row.share if np.isfinite(row.share_low) else np.nan
            effect = share if isinstance(row.over, str) else row.difference
            numbers = (row.mean_a, row.mean_b, effect, row.p_value, row.p_adjusted)
            assert shown == [number for number in numbers if not np.isnan(number)]
            assert next(line.find("td")).text.startswith(row.verdict_adjusted)


def test_a_share_that_is_kept_stands_alone_with_its_own_test(folder, page):
    name = "segmentation-cross-keeps-joint-over-separate"
    (row,) = (row for row in read_claims(folder) if row["claim"] == name)
    claim = claims_of(page)[name]
    measure = next(claim.find("p", class_="measure")).text.replace("\xa0", " ")
    assert f"that Joint, cross-task keeps, of the gains' means over sigma: {row['share']:.0%}" in (
        measure.replace(" %", "%")
    )
    assert "Tested against a share of 50 %: p " in measure
    for other in ("minus", "Slope", "Better on", "carries"):
        assert other not in measure
    heads = [head.text for head in next(claim.find("thead")).find("th")]
    assert heads[4:] == ["Share kept", "Interval", "n", "p, against 50 %", "p, corrected"]
    for line, single in zip(next(claim.find("tbody")).find("tr"), row["rows"], strict=True):
        cells = [cell.text for cell in line.find("td")]
        ends = [f"{100 * single[end]:.0f} %" for end in ("share", "share_low", "share_high")]
        assert cells[3:5] == [ends[0], f"{ends[1]} to {ends[2]}"]


def test_a_claim_names_its_sources_of_error_and_the_unit_that_carries_it(config, copy):
    name = "segmentation-joint-over-noisy"
    rows = read_csv(copy.claims, CLAIM_COLUMNS).astype({"unit": object, "largest_unit": object})
    rows.loc[rows["claim"] == name, [
        "low", "high", "units_low", "units_high", "seed_low", "seed_high",
        "units", "unit", "largest_unit", "largest_share",
    ]] = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 4, "photographs", "chelsea", 0.72]  # fmt: skip
    write_csv(rows, copy.claims, CLAIM_COLUMNS)
    claim = claims_of(render(config, copy))[name]
    assert next(claim.find("span", class_="bounds")).text == "+1.0 to +2.0"
    measure = next(claim.find("p", class_="measure")).text
    assert "interval +1.0 to +2.0; by test images alone +3.0 to +4.0" in measure
    assert "by trainings alone +5.0 to +6.0" in measure
    assert "of 4 photographs." in measure
    assert "chelsea carries 72 % of the difference." in measure


def test_a_claim_about_a_measure_with_a_best_value_says_which_is_nearer(page):
    claim = claims_of(page)["denoising-gradient-joint-segmentation-over-separate"]
    assert next(claim.find("span", class_="short")).text == (
        "Joint (segmentation) nearer to 1 than Separate"
    )
    measure = next(claim.find("p", class_="measure")).text
    assert "by how much Joint (segmentation) is nearer to 1 than Separate, mean over" in measure
    assert "Nearer to 1 by" in [head.text for head in claim.find("th")]


def test_claims_are_grouped_by_their_origin(folder, page):
    rows = read_csv(folder.claims, CLAIM_COLUMNS)
    for origin in ("paper", "control", "beyond"):
        (group,) = page.find("section", id=f"claims-{origin}")
        assert list(claims_of(group)) == list(rows[rows["origin"] == origin]["claim"].unique())
    assert not list(page.find("section", id="claims-own"))


def test_short_tables_have_the_main_metric_and_mark_the_best(config, folder, page):
    for table, part in zip(page.find("table", class_="main"), config.parts, strict=True):
        rows = read_csv(folder.table(TABLES[part]), TABLE_COLUMNS)
        rows = rows[(rows["image_id"] == "average") & (rows["metric"] == METRICS[part][0])]
        wide = rows.pivot(index="method", columns="sigma", values="value")
        wide = wide.loc[list(config.parts[part].methods)]
        shown = [float(node.attributes["value"]) for node in table.find("data")]
        assert shown == wide.to_numpy().ravel().tolist()
        best = [float(next(cell.find("data")).attributes["value"])
                for cell in table.find("td", class_="best")]  # fmt: skip
        assert set(wide.drop(index="clean", errors="ignore").max()) <= set(best)


def test_tables_stand_in_the_page_as_written(config, folder, page):
    for part in config.parts:
        number = TABLES[part]
        tables = list(parse(folder.table(number, "html").read_text("utf-8")).find("table"))
        names = [f"table{number}", f"table{number}b"]
        for name, written in zip(names, tables, strict=True):
            (shown,) = page.find("table", id=name)
            cells = [cell.text for cell in written.find("td")]
            assert len(cells) >= len(config.parts[part].methods)
            assert [cell.text for cell in shown.find("td")] == cells
            assert next(shown.find("caption")).text == next(written.find("caption")).text


def test_table_1_image_by_image_has_every_psnr(config, folder, page):
    rows = read_csv(folder.table(1), TABLE_COLUMNS)
    rows = rows[(rows["metric"] == "psnr") & (rows["image_id"] != "average")]
    wide = rows.pivot(index="image_id", columns="method", values="value")
    (table,) = page.find("table", class_="per-image")
    shown = [float(node.attributes["value"]) for node in table.find("data")]
    assert shown == wide[list(config.parts.denoising.methods)].to_numpy().ravel().tolist()


def test_the_page_needs_no_other_file(folder, page):
    assert folder.report.stat().st_size < 8e6
    for node in page.walk():
        assert node.tag not in ("link", "iframe", "object", "embed")
        assert node.tag != "script" or "src" not in node.attributes
        assert not [name for name in node.attributes if name.startswith("on")]
        for name, value in node.attributes.items():
            if re.match("https?:|//", value):
                assert (node.tag, name) == ("a", "href")
        if node.tag == "img" and "src" in node.attributes:  # a script fills in the others
            assert node.attributes["src"].startswith("data:image/")
    (policy,) = page.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data:;")
    (style,) = page.find("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_anchors_lead_somewhere_and_names_are_unique(page):
    names = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(names) == len(set(names))
    targets = [node.attributes["href"] for node in page.find("a")]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(names)


def test_figures_have_captions_and_say_their_data(config, folder, page):
    figures = {node.attributes["id"]: node for node in page.find("figure")}
    figures.pop("strip")
    names = {f"figure-{name}" for name in figure_names(config.parts, studies(config))}
    assert set(figures) == names
    table = read_csv(folder.table(2), TABLE_COLUMNS)
    best = table[(table["method"] == "joint") & (table["metric"] == "top1")]
    (plot,) = page.find("figure", id="figure-accuracy_over_sigma")
    alternative = next(plot.find("img")).attributes["alt"]
    for row in best.itertuples():
        assert f"{100 * row.value:.1f} % at sigma {row.sigma:g}" in alternative
    for figure in figures.values():
        caption = next(figure.find("figcaption")).text
        assert len(caption) > 40
        assert "{" not in caption


def test_missing_files_are_named(config, copy):
    for missing in (
        "tables/table1.csv", "tables/table3.html", "claims.csv", "manifest.json",
        "figures/psnr_over_sigma.svg", "figures/example_denoising.png",
    ):  # fmt: skip
        file = copy.root / missing
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(UserError, match=re.escape(missing)):
            render(config, copy)
        file.write_bytes(content)


def test_text_from_files_is_escaped_in_elements_and_scripts(config, copy):
    manifest = MANIFEST | {"hardware": {"processor": "<script>alert(1)</script>"}}
    copy.manifest.write_text(json.dumps(manifest))
    path = copy.evaluation("denoising", 25).with_suffix(".npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["example_ids"] = np.array(["</script><b>", "b"])
    np.savez(path, **arrays)
    page = render_report(config, copy, templates=TEMPLATES, published=PUBLISHED)
    assert "<script>alert" not in page
    assert "</script><b>" not in page


def test_a_second_report_is_the_same(config, folder):
    again = render_report(config, folder, templates=TEMPLATES, published=PUBLISHED)
    assert folder.report.read_text("utf-8") == again


def test_a_run_of_denoising_alone_has_its_report(drawn_run, tmp_path):
    config = denoising_only()
    folder = write_run(config, tmp_path)
    shutil.copytree(drawn_run.figures, folder.figures)
    page = render(config, folder)
    tables = [node.attributes["id"] for node in page.find("table", class_="results")]
    assert tables == ["table1", "table1b"]
    assert "classification" not in next(page.find("section", id="deviations")).text.lower()


def test_numbers_are_printed_in_their_units():
    assert format_value(0.8314, "top1") == "83.1 %"
    assert format_value(27.1249, "psnr") == "27.12 dB"
    assert format_value(float("nan"), "psnr") == "–"
    assert format_difference(-0.0131, "miou") == "-1.3 points"
    assert format_difference(0.3, "psnr") == "+0.30 dB"
    assert format_difference(-0.00001, "top1") == "0.0 points"
    assert format_interval({"low": -0.01, "high": 0.02}, "top1") == "-1.0 to +2.0"
    assert format_interval({"x_low": float("nan"), "x_high": 0.0}, "psnr", "x_") == "unknown"
    assert format_p(0.0004) == "< 0.001"
    assert format_p(0.0312) == "0.031"
    assert [format_duration(s) for s in (None, 61, 125, 7380)] == [
        "not recorded", "61.0 s", "2 min 05 s", "2 h 03 min",
    ]  # fmt: skip


def test_every_method_of_the_page_is_explained(config, page):
    (methods,) = page.find("dl", class_="methods")
    used = {name for part in config.parts for name in config.parts[part].methods}
    assert [node.text for node in methods.find("dd")] == [
        method.explanation for name, method in METHODS.items() if name in used
    ]
