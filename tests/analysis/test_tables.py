"""Tables: cells against pandas, marks, status of published values, and the three formats."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from settings import PUBLISHED, laboratory_config
from synthetic_run import drop_method, write_synthetic_run

from dhl.analysis.published import read_literature, read_published
from dhl.analysis.table_formats import DIALECTS
from dhl.analysis.tables import build_table, table_averages, write_table
from dhl.config.methods import FURTHER_METRICS, METHODS
from dhl.errors import UserError
from dhl.run.results import TABLE_COLUMNS, read_csv

HEAD = "table,source,method,sigma,metric,image_id,value,status\n"


@pytest.fixture(scope="module")
def config():
    sigmas = {"denoising": [15, 25], "classification": [30], "segmentation": [30, 60]}
    return laboratory_config({part: {"sigmas": sigmas[part]} for part in sigmas})


@pytest.fixture
def folder(config, tmp_path):
    return write_synthetic_run(config, tmp_path / "run", images=20)


def written(config, folder, part, number, published=PUBLISHED):
    """Write a part's table and read it back."""
    write_table(config, part, folder, published)
    return read_csv(folder.table(number), TABLE_COLUMNS)


def cell(frame, method, sigma, metric, image_id="average"):
    cells = frame.set_index(["method", "sigma", "metric", "image_id"])
    assert cells.index.is_unique
    return cells.loc[(method, sigma, metric, image_id)]


def html_tables(folder, number):
    """Return the elements of the paper's metrics and of the further ones."""
    return list(ElementTree.fromstring(f"<p>{folder.table(number, 'html').read_text()}</p>"))


def html_cells(folder, number, *, table=0):
    """Return {label: [markup of each cell]} of a written HTML table."""
    rows = {}
    for row in html_tables(folder, number)[table].find("tbody"):
        markup = [ElementTree.tostring(one, encoding="unicode") for one in row.findall("td")]
        rows[row.find("th").text] = markup
    return rows


def test_with_noise_of_the_user_the_caption_names_it_and_no_column_is_the_papers(
    config, folder, tmp_path
):
    (tmp_path / "own.py").write_text("def poisson(clean, *, noise_std, generator): ...\n")
    own = config.model_copy(update={"noise": f"{tmp_path / 'own.py'}:poisson"})
    table = written(own, folder, "denoising", 1)
    assert set(table["status"]) == {"not in the paper"}
    for suffix in DIALECTS:
        text = folder.table(1, suffix).read_text()
        assert "poisson noise" in text
        assert "paper" not in text.replace("not in the paper", "")


def test_averages_and_images_are_those_of_the_evaluation(config, folder):
    table = written(config, folder, "denoising", 1)
    frame = pd.read_csv(folder.evaluation("denoising", 25))
    means = frame.groupby("method")[["psnr", "ssim", "gmsd", "gradient"]].mean()
    for method in config.parts.denoising.methods:
        for metric in means:
            row = cell(table, method, 25, metric)
            assert row["value"] == pytest.approx(means.loc[method, metric], rel=1e-14)
            low, high = ttest_1samp(
                frame.loc[frame["method"] == method, metric], 0
            ).confidence_interval()
            if metric == "psnr":  # the made-up SSIM has no spread, so no interval
                assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high))
            assert (row["n"], row["units"], row["unit"]) == (20, 20, "images")
            assert row["protocol"] == "authors"
    one = frame[(frame["method"] == "dncnn") & (frame["image_id"] == "test-0007")].iloc[0]
    row = cell(table, "dncnn", 25, "psnr", "test-0007")
    assert row["value"] == one["psnr"]
    assert row["n"] == 1
    assert np.isnan(row["ci_low"])
    assert len(table) == 2 * len(config.parts.denoising.methods) * 4 * 21


def test_task_tables_hold_averages_in_the_order_of_the_configuration(config, folder):
    table = written(config, folder, "classification", 2)
    assert set(table["image_id"]) == {"average"}
    assert list(table["method"]) == [
        m for m in config.parts.classification.methods for _ in range(3)
    ]
    assert list(table["metric"]) == ["top1", "top5", "cross_entropy"] * len(
        config.parts.classification.methods
    )


def test_status_tells_missing_transcription_from_absence(config, folder):
    table = written(config, folder, "denoising", 1)
    assert cell(table, "cbm3d", 25, "psnr")["status"] == "not transcribed"
    assert cell(table, "cbm3d", 15, "psnr")["status"] == "not in the paper"
    assert cell(table, "cbm3d", 25, "ssim")["status"] == "not in the paper"
    assert cell(table, "noisy", 25, "psnr")["status"] == "not in the paper"
    assert table["published"].isna().all()


def test_a_transcribed_value_is_shown_next_to_ours(config, folder, tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(
        HEAD
        + "2,Liu et al. 2018,joint,30,top1,average,0.5678,transcribed\n"
        + "2,Liu et al. 2018,joint,30,top5,average,,not transcribed\n"
        + "2,Liu et al. 2018,mine,30,top1,average,0.5,transcribed\n"
    )
    table = written(config, folder, "classification", 2, path)
    row = cell(table, "joint", 30, "top1")
    assert (row["published"], row["status"]) == (0.5678, "transcribed")
    cells = html_cells(folder, 2)
    assert cells["Joint"][0] == '<td class="paper">56.8 / n.t.</td>'
    assert cells["Separate"][0] == '<td class="paper">–</td>'
    assert "not run: mine" in folder.table(2, "md").read_text()


def test_a_sigma_that_the_paper_lacks_has_no_column_of_the_paper(config, folder):
    write_table(config, "denoising", folder, PUBLISHED)
    text = folder.table(1, "md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| Method"))
    assert head == "| Method | σ = 15, ours | σ = 25, paper | σ = 25, ours |"
    separate = next(line for line in text.splitlines() if line.startswith("| Separate"))
    assert separate.split(" | ")[2] == "n.t."


def test_a_method_without_rows_keeps_its_row_and_a_reason(config, folder):
    drop_method(folder.evaluation("classification", 30), "cross")
    table = written(config, folder, "classification", 2)
    row = cell(table, "cross", 30, "top1")
    assert np.isnan(row["value"])
    assert row["n"] == 0
    assert row["status"] == (
        "not measured: no rows of `cross` in evaluation/classification/sigma30.csv"
    )
    text = folder.table(2, "md").read_text()
    assert "| Joint, cross-task | n.t. | n.m. |" in text
    assert "n.m. or failed: not measured" in text


def test_the_best_value_is_bold_and_the_second_underlined(config, folder):
    psnr = dict.fromkeys(config.parts.denoising.methods, 21) | {
        "noisy": 20, "cbm3d": 26.004, "dncnn": 26.0, "separate": 27.0,
        "joint-classification": 27.001, "joint-segmentation": 25,
    }  # fmt: skip
    path = folder.evaluation("denoising", 15)
    frame = pd.read_csv(path)
    frame.assign(psnr=frame["method"].map(psnr), ssim=0.5).to_csv(path, index=False)
    write_table(config, "denoising", folder, PUBLISHED)
    ours = {label: cells[0] for label, cells in html_cells(folder, 1).items()}
    # 27.000 and 27.001 print the same, as do 26.004 and 26.000; SSIM is the same everywhere.
    marked = {
        "noisy": "20.00 / 0.5000",
        "cbm3d": "<u>26.00</u> / 0.5000",
        "dncnn": "<u>26.00</u> / 0.5000",
        "separate": "<strong>27.00</strong> / 0.5000",
        "joint-classification": "<strong>27.00</strong> / 0.5000",
        "joint-segmentation": "25.00 / 0.5000",
    }
    for method, text in marked.items():
        assert ours[METHODS[method].label].startswith(f'<td class="ours">{text} <small')


def test_further_metrics_are_ranked_by_their_own_direction(config, folder):
    methods = config.parts.denoising.methods
    six = [method for method in methods if not method.startswith("matched")]
    gmsd = dict.fromkeys(methods, 0.5)
    gmsd |= zip(six, (0.2, 0.05, 0.1, 0.05, 0.3, 0.4), strict=True)
    gradient = dict.fromkeys(methods, 0.4)
    gradient |= zip(six, (2.9, 0.93, 1.07, 0.9, 1.08, 0.5), strict=True)
    path = folder.evaluation("denoising", 15)
    frame = pd.read_csv(path)
    columns = {"gmsd": frame["method"].map(gmsd), "gradient": frame["method"].map(gradient)}
    frame.assign(**columns).to_csv(path, index=False)
    write_table(config, "denoising", folder, PUBLISHED)
    marked = {
        "noisy": "0.2000 / 2.900",
        "cbm3d": "<strong>0.0500</strong> / <strong>0.930</strong>",
        "dncnn": "<u>0.1000</u> / <strong>1.070</strong>",
        "separate": "<strong>0.0500</strong> / 0.900",
        "joint-classification": "0.3000 / <u>1.080</u>",
        "joint-segmentation": "0.4000 / 0.500",
    }
    ours = {label: cells[0] for label, cells in html_cells(folder, 1, table=1).items()}
    for method, text in marked.items():
        assert ours[METHODS[method].label].startswith(f'<td class="ours">{text} <small')
    text = folder.table(1, "md").read_text()
    assert "GMSD (lower is better), Relative gradient (best: 1, as the clean image)" in text


def test_an_image_without_a_value_has_an_empty_cell_and_does_not_count(config, folder):
    path = folder.evaluation("denoising", 15)
    frame = pd.read_csv(path)
    constant = frame["image_id"] == "test-0003"
    frame["gradient"] = np.where(constant, np.nan, frame["gradient"])
    frame.to_csv(path, index=False)
    table = written(config, folder, "denoising", 1)
    for method, rows in frame.groupby("method"):
        row = cell(table, method, 15, "gradient")
        assert row["value"] == pytest.approx(rows["gradient"].mean())  # pandas skips the empty one
        assert row["n"] == 19
        assert cell(table, method, 15, "gmsd")["n"] == 20
    row = cell(table, "cbm3d", 15, "gradient", "test-0003")
    assert np.isnan(row["value"])
    assert (row["n"], row["status"]) == (0, "not measured: this image has no gradient")


def test_a_run_of_an_older_version_has_no_second_table(config, folder):
    for sigma in config.parts.classification.sigmas:
        path = folder.evaluation("classification", sigma)
        pd.read_csv(path).drop(columns=list(FURTHER_METRICS)).to_csv(path, index=False)
    table = written(config, folder, "classification", 2)
    row = cell(table, "joint", 30, "cross_entropy")
    assert (row["n"], row["status"]) == (
        0, "not measured: no cross_entropy of `joint` in evaluation/classification/sigma30.csv"
    )  # fmt: skip
    assert cell(table, "joint", 30, "top5")["n"] == 20
    assert "2b" not in folder.table(2, "md").read_text()


def test_the_clean_image_is_not_ranked(config, folder):
    write_table(config, "segmentation", folder, PUBLISHED)
    table = build_table(config, "segmentation", folder, PUBLISHED)
    table = table[table["metric"] == "miou"].set_index(["sigma", "method"])
    ranked = table.loc[60, "value"].drop("clean").sort_values()
    assert table.loc[(60.0, "clean"), "value"] > ranked.iloc[-1]
    cells = {label: row[3] for label, row in html_cells(folder, 3).items()}
    bold = [label for label, text in cells.items() if "<strong>" in text]
    underlined = [label for label, text in cells.items() if "<u>" in text]
    assert bold == [METHODS[ranked.index[-1]].label]
    assert underlined == [METHODS[ranked.index[-2]].label]


def test_cells_show_percent_with_their_interval(config, folder):
    table = written(config, folder, "segmentation", 3)
    row = cell(table, "noisy", 30, "miou")
    expected = "{:.1f} ({:.1f}–{:.1f})".format(
        *(100 * row[name] for name in ("value", "ci_low", "ci_high"))
    )
    assert f"| Noisy image | n.t. | {expected} |" in folder.table(3, "md").read_text()


def test_html_is_a_plain_table_with_scopes(config, folder):
    write_table(config, "classification", folder, PUBLISHED)
    assert "style" not in folder.table(2, "html").read_text()
    roots = html_tables(folder, 2)
    assert [(root.tag, root.get("id")) for root in roots] == [
        ("table", "table2"),
        ("table", "table2b"),
    ]
    for root in roots:
        assert all(head.get("scope") for head in root.iter("th"))
        widths = [int(head.get("colspan", 1)) for head in root.find("thead")[0][1:]]
        assert {len(row.findall("td")) for row in root.find("tbody")} == {sum(widths)}


def test_latex_is_booktabs_with_even_rows(config, folder):
    write_table(config, "classification", folder, PUBLISHED)
    text = folder.table(2, "tex").read_text()
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\textbf{"):
        assert command in text
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)%", re.sub(r"^%.*\n", "", text, flags=re.MULTILINE))
    assert text.isascii()
    for table, columns in zip(text.split("\\midrule\n")[1:], (2, 1), strict=True):
        body = table.split(r"\bottomrule")[0].strip().splitlines()
        values = [line for line in body if not line.startswith("&")]
        assert [line.split(" & ")[0] for line in values] == [
            METHODS[method].label for method in config.parts.classification.methods
        ]
        intervals = [line for line in body if line.startswith("&")]
        assert len(intervals) == len(values)
        assert {line.count("& ") for line in body} == {columns}
        assert all(r"{\scriptsize (" in line and "--" in line for line in intervals)


def test_latex_prints_every_mark():
    escape = DIALECTS["tex"].escape
    assert escape(r"a_b 5 % {x} ±1") == r"a\_b 5~\% \{x\} $\pm$1"
    assert escape("`|--") == r"\textasciigrave{}\textbar{}-{}-"
    assert escape("a\n\nb") == "a  b"
    assert escape("é 猫") == r"é \ifdefined\Umathchar 猫\else U+732B\fi{}"
    assert escape("~^\\<>") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}$<$$>$"


def test_literature_comes_with_its_sources():
    literature = read_literature(PUBLISHED)
    chosen = literature[(literature["method"] == "CBM3D") & (literature["sigma"] == 25)]
    assert chosen[["value", "source"]].to_numpy().tolist() == [[31.68, "FFDNet's table"]]
    assert literature["value"].notna().all()
    assert len(literature) == 26


def test_the_papers_tables_have_their_shape():
    assert read_published(1, PUBLISHED).sigmas == (25, 35, 50)
    assert read_published(1, PUBLISHED).methods == ("cbm3d", "tnrd", "mcwnnm", "dncnn", "separate")
    assert len(read_published(2, PUBLISHED).cells) == 5 * 4 * 2
    assert len(read_published(3, PUBLISHED).cells) == 5 * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("table,method\n", "columns table, method"),
        (HEAD + "2,L,joint,30,top1,average,56.8,transcribed\n", "0.563 for 56.3 %"),
        (HEAD + "1,L,cbm3d,25,psnr,average,31?,transcribed\n", "column `value`"),
        (HEAD + 2 * "1,L,cbm3d,25,psnr,average,,not transcribed\n", "two rows for psnr of cbm3d"),
    ],
)
def test_mistakes_in_the_published_file_are_explained(tmp_path, content, message):
    path = tmp_path / "published.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_published(1, path)
    assert str(path) in caught.value.mistake
    assert message in caught.value.came + caught.value.do


def half(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[: len(frame) // 2]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (half, "averages instead of"),
        (lambda frame: pd.concat([frame, frame[:1]]), "averages instead of"),
        (lambda frame: frame.replace({"method": {"joint": "mine"}}), "or others"),
        (lambda frame: frame.assign(value=frame["value"].where(frame["metric"] != "top1", 1.5)),
         "the top1 1.5 of `clean`"),
    ],
)  # fmt: skip
def test_a_table_that_was_cut_or_edited_is_refused(config, folder, change, named):
    frame = written(config, folder, "classification", 2)
    pd.testing.assert_frame_equal(table_averages(config, "classification", folder), frame)
    change(frame).to_csv(folder.table(2), index=False)
    with pytest.raises(UserError) as caught:
        table_averages(config, "classification", folder)
    assert named in caught.value.came
