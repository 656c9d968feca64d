"""Tables, figures and citations in a manuscript, set by LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from report_run import small_config, write_run

from dhl.config.methods import TABLES
from dhl.files import PROJECT

MANUSCRIPT = r"""\documentclass[10pt,twocolumn]{article}
\usepackage[textwidth=7in,textheight=9.25in]{geometry}
\setlength{\columnsep}{0.25in}
\usepackage{booktabs,graphicx}
\begin{document}
Tables~\ref{tab:dhl-1}, \ref{tab:dhl-2} and~\ref{tab:dhl-3}, after~\cite{liu2018when,dhl}.
FLOATS
\bibliographystyle{plain}
\bibliography{citation}
\end{document}
"""
FIGURE = r"\begin{figure*}\includegraphics{run/figures/NAME.pdf}\caption{NAME}\end{figure*}"


def run_tex(program, folder):
    command = [program, "manuscript"]
    if program == "pdflatex":
        command[1:1] = ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def said(drawn_run, tmp_path_factory):
    """The output of LaTeX and BibTeX for a manuscript with figures and tables of four sigmas."""
    for program in ("pdflatex", "bibtex"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH: install TeX Live")
    if subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode:
        pytest.skip("TeX Live has no booktabs: install texlive-latex-recommended")
    folder = tmp_path_factory.mktemp("manuscript")
    grid = [15, 30, 45, 60]
    sigmas = {"denoising": [15, 25, 35, 50], "classification": grid, "segmentation": grid}
    config = small_config({part: {"sigmas": sigmas[part]} for part in sigmas}, seeds=3)
    shutil.copytree(drawn_run.figures, write_run(config, folder / "run").figures)
    floats = [rf"\input{{run/tables/table{number}.tex}}" for number in TABLES.values()]
    floats += [FIGURE.replace("NAME", path.stem) for path in drawn_run.figures.glob("*.pdf")]
    text = MANUSCRIPT.replace("FLOATS", "\n".join(floats))
    # LaTeX does not accept the underscore of a file name in text.
    text = re.sub(r"\\caption\{(\w+)\}", lambda found: found[0].replace("_", " "), text)
    (folder / "manuscript.tex").write_text(text)
    shutil.copy(PROJECT / "citation.bib", folder)
    run_tex("pdflatex", folder)
    bibliography = run_tex("bibtex", folder)
    run_tex("pdflatex", folder)
    return run_tex("pdflatex", folder), bibliography


def test_nothing_is_wider_than_the_text(said):
    setting, _ = said
    assert "Output written on manuscript.pdf" in setting
    assert not re.findall(r"Overfull \\hbox.*|Float too large.*", setting)


def test_every_citation_and_reference_is_found(said):
    setting, bibliography = said
    assert "Warning" not in bibliography
    assert not re.findall(r"LaTeX Warning: (?:Citation|Reference).*", setting)
