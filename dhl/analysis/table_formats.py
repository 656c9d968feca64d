"""Markdown, LaTeX and HTML for a table: marks, intervals and the grid around the cells."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from dhl.run.free_text import to_markdown


@dataclass(frozen=True)
class Dialect:
    """A format of tables.

    Attributes
    ----------
    best, second, plain : str
        Templates of a value, by its rank in the column.
    spread, span, interval : str
        Templates of the standard deviation after a value, of an interval, and of the intervals
        after the values. LaTeX prints the text after a line break below the values.
    sigma : str
        Template of a column's head.
    none : str
        A cell that the paper does not have.
    escape : callable
        Makes plain text safe.
    render : callable
        Turns a grid of formatted cells (columns: sigma, then `paper` or `ours`), a caption and the
        table's number, such as 1 or 1b, into text.
    """

    best: str
    second: str
    spread: str
    span: str
    interval: str
    sigma: str
    none: str
    escape: Callable[[str], str]
    render: Callable[[pd.DataFrame, str, str], str]
    plain: str = "{}"


def _markdown(grid: pd.DataFrame, caption: str, number: str) -> str:
    """Write a pipe table under its caption."""
    head = ["Method", *(f"{sigma}, {side}" for sigma, side in grid.columns)]
    lines = [head, ["---"] * len(head), *([label, *row] for label, row in _rows(grid))]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**Table {number}.** {caption}\n\n{table}\n"


_LATEX = r"""% Made by dhl. In the preamble: \usepackage{{booktabs,graphicx}}
% Lines below \midrule that begin with & hold intervals; without them, the table is compact.
\begin{{table*}}
\centering
\small
\setlength{{\tabcolsep}}{{4pt}}
\caption{{{caption}}}
\label{{tab:dhl-{number}}}
\vspace{{4pt}}
\sbox2{{\begin{{tabular}}{{l{columns}}}
\toprule
{groups}
{rules}
{sides}
\midrule
{body}
\bottomrule
\end{{tabular}}}}
\ifdim\wd2>\textwidth\resizebox{{\textwidth}}{{!}}{{\usebox2}}\else\usebox2\fi
\end{{table*}}
"""


def _latex(grid: pd.DataFrame, caption: str, number: str) -> str:
    """Write a `table*` for a two-column page, with the intervals in separate lines."""
    sigmas = list(grid.columns.get_level_values(0))
    spans = [
        (sigma, sigmas.index(sigma) + 2, sigmas.count(sigma)) for sigma in dict.fromkeys(sigmas)
    ]
    groups = [rf"\multicolumn{{{width}}}{{c}}{{{sigma}}}" for sigma, _, width in spans]
    rules = [rf"\cmidrule(lr){{{first}-{first + width - 1}}}" for _, first, width in spans]
    lines = []
    for label, row in _rows(grid):
        values, _, intervals = zip(*(cell.partition("\n") for cell in row), strict=True)
        lines.append(_latex_line(label, *values))
        lines += [_latex_line("", *intervals) + "[2pt]"] if any(intervals) else []
    return _LATEX.format(
        caption=caption,
        number=number,
        columns="r" * len(sigmas),
        groups=_latex_line("", *groups),
        rules=" ".join(rules),
        sides=_latex_line("Method", *(side for _, side in grid.columns)),
        body="\n".join(lines),
    )


def _latex_line(*cells: str) -> str:
    """Write one line of a LaTeX table."""
    return " & ".join(cells).strip() + r" \\"


def _html(grid: pd.DataFrame, caption: str, number: str) -> str:
    """Write a plain table with classes, for a page with a style sheet."""
    sigmas = grid.columns.get_level_values(0)
    groups = "".join(
        f'<th scope="colgroup" colspan="{(sigmas == sigma).sum()}">{sigma}</th>'
        for sigma in sigmas.unique()
    )
    sides = "".join(f'<th scope="col" class="{side}">{side}</th>' for _, side in grid.columns)
    body = "\n".join(
        f'<tr><th scope="row">{label}</th>'
        + "".join(
            f'<td class="{side}">{cell}</td>'
            for (_, side), cell in zip(grid.columns, row, strict=True)
        )
        + "</tr>"
        for label, row in _rows(grid)
    )
    return (
        f'<table class="results" id="table{number}">\n'
        f"<caption><strong>Table {number}.</strong> {caption}</caption>\n"
        f'<thead>\n<tr><th scope="col" rowspan="2">Method</th>{groups}</tr>\n'
        f"<tr>{sides}</tr>\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
    )


def _rows(grid: pd.DataFrame) -> list[tuple[str, list[str]]]:
    return [(str(label), list(row)) for label, row in zip(grid.index, grid.to_numpy(), strict=True)]


_LATEX_MARKS: dict[str, int | str | None] = {
    **{mark: f"\\{mark}" for mark in "%_&#${}"},
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}


# pdfLaTeX stops at characters that it does not know; it knows most of Latin-1.
_NOT_IN_LATEX = re.compile("(?:[^\x00-\x7f\xa0-\xff]|[«»ÐÞðþ])+")


def _escape_latex(text: str) -> str:
    """Escape what LaTeX would not print, and keep a percent sign on the line of its number."""
    escaped = " ".join(text.splitlines()).translate(str.maketrans(_LATEX_MARKS))
    escaped = re.sub("(?<=[-'])(?=[-'])", "{}", escaped.replace(r" \%", r"~\%"))
    return _NOT_IN_LATEX.sub(_if_known, escaped)


def _if_known(found: re.Match[str]) -> str:
    """Write characters for LuaLaTeX and XeLaTeX, and their code points for pdfLaTeX."""
    points = " ".join(f"U+{ord(character):04X}" for character in found[0])
    return rf"\ifdefined\Umathchar {found[0]}\else {points}\fi{{}}"


DIALECTS = {
    "md": Dialect(
        "**{}**", "<u>{}</u>", " ± {}", "{}–{}", " ({})", "σ = {}", "–", to_markdown, _markdown
    ),
    "tex": Dialect(
        r"\textbf{{{}}}", r"\underline{{{}}}", r" $\pm$ {}", "{}--{}", "\n{{\\scriptsize ({})}}",
        r"$\sigma = {}$", "--", _escape_latex, _latex,
    ),
    "html": Dialect(
        "<strong>{}</strong>", "<u>{}</u>", ' <span class="spread">± {}</span>', "{}–{}",
        ' <small class="interval">({})</small>', "σ = {}", "–", html.escape, _html,
    ),
}  # fmt: skip
