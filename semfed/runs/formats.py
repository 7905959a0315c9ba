"""A table of arms as text that others take: LaTeX, CSV, Markdown, HTML. Names are shown as they stand."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from semfed.errors import RunFolderError
from semfed.runs import folder as folders
from semfed.runs.arm_table import ArmRow, ArmTable, Cell, arm_table
from semfed.runs.marks import ALIKE, BEST, UNTESTED, legend, over_seeds
from semfed.runs.side_by_side import told_by
from semfed.runs.statistics import half_width
from semfed.runs.summary import headline_names, swept
from semfed.scenario import read
from semfed.scenario.settings import suggest

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≥": r"$\ge$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
"""What LaTeX would take for a command or not find in its fonts."""


def in_latex(text: str) -> str:
    r"""Return a text as LaTeX shows it.

    Examples
    --------
    >>> in_latex("50_% & {a}")
    '50\\_\\% \\& \\{a\\}'
    """
    return "".join(LATEX.get(sign, sign) for sign in text)


def in_markdown(text: str) -> str:
    r"""Return a text as Markdown shows it.

    Examples
    --------
    >>> in_markdown("a|b_c*")
    'a\\|b\\_c\\*'
    """
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", text)


COLUMN, PAGE = 56, 116
"""Characters of 8 pt beside each other in a column of a two-column page (3.5 in), and across the page."""


def latex(made: ArmTable, caption: str) -> str:
    r"""Write a ``table`` for the package booktabs; the best arm is bold, what is like it has a raised sign.

    It is of footnotes' size, as IEEE's are, and a ``table*`` across both columns of a page where one is too narrow. The
    number of seeds has a column only where arms differ in it, since the caption tells it.
    """

    def cell(told: Cell) -> str:
        text = re.sub(r"(?<![\w.])-(?=[\d.])|(?<=e)-", "$-$", in_latex(told.text))  # a hyphen is no minus
        if told.best:
            return rf"\textbf{{{text}}}"
        return text + (rf"\textsuperscript{{{in_latex(told.mark)}}}" if told.mark in (ALIKE, UNTESTED) else "")

    counted = len({row.n for row in made.rows}) > 1
    names = [[*_named(row)] if counted else [*_named(row)][:-1] for row in made.rows]
    headings = [word for k, word in enumerate(_headings(made)) if counted or k != 1 + len(made.settings)]
    head = [in_latex(word) for word in headings]
    body = [[*map(in_latex, name), *map(cell, row.cells)] for name, row in zip(names, made.rows, strict=True)]
    columns = "l" * (1 + len(made.settings)) + "r" * (counted + len(made.columns))
    plain = [headings, *([*n, *(c.text for c in row.cells)] for n, row in zip(names, made.rows, strict=True))]
    width = sum(3 + max(map(len, column)) for column in zip(*plain, strict=True)) - 3
    table = "table" if width <= COLUMN else "table*"
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            *(["% wider than a page: choose columns by --metric"] if width > PAGE else []),
            f"\\begin{{{table}}}",
            "  \\centering",
            f"  \\caption{{{in_latex(caption)}}}",
            "  \\smallskip\\footnotesize",
            f"  \\begin{{tabular}}{{{columns}}}",
            "    \\toprule",
            f"    {' & '.join(head)} \\\\",
            "    \\midrule",
            *(f"    {' & '.join(line)} \\\\" for line in body),
            "    \\bottomrule",
            "  \\end{tabular}",
            f"\\end{{{table}}}",
        ]
    )


def markdown(made: ArmTable, caption: str) -> str:
    """Write a table of GitHub's kind under its caption; the best arm is bold."""

    def cell(told: Cell) -> str:
        return f"**{told.text}**" if told.best else f"{told.text} {told.mark}".strip()

    headings = [in_markdown(word) for word in _headings(made)]
    rule = ["---"] * (1 + len(made.settings)) + ["---:"] * (1 + len(made.columns))
    body = [[*(in_markdown(word) for word in _named(row)), *map(cell, row.cells)] for row in made.rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *body))
    return f"{in_markdown(caption)}\n\n{table}"


def comma_separated(made: ArmTable, caption: str) -> str:
    """Write a line an arm and metric, with all digits, in the unit that is named; a caption has no place here."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    standing = ("metric", "unit", "n", "mean", "half_interval_95", "sd", "standing")
    writer.writerow(["arm", *made.settings, *standing])
    for row in made.rows:
        for cell in row.cells:
            if cell.entry is not None:
                scale, half, sd = cell.metric.scale, half_width(cell.entry), cell.entry["sd"]
                numbers = [None if value is None else scale * value for value in (cell.entry["mean"], half, sd)]
                unit, n = cell.metric.shown_unit, cell.entry["n"]
                writer.writerow([row.arm, *row.values, cell.name, unit, n, *numbers, STANDING[cell.mark]])
    return text.getvalue().rstrip("\n")


def html_table(made: ArmTable, caption: str) -> str:
    """Write a table element; the best arm is bold."""

    def line(tag: str, words: Sequence[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{word}</{tag}>' for word in words)}</tr>"

    def cell(told: Cell) -> str:
        text = html.escape(told.text)
        return f"<b>{text}</b>" if told.best else f"{text} {told.mark}".strip()

    body = [line("td", [*map(html.escape, _named(row)), *map(cell, row.cells)]) for row in made.rows]
    head = line("th", list(map(html.escape, _headings(made))))
    return f"<table><caption>{html.escape(caption)}</caption>{head}{''.join(body)}</table>"


STANDING = {BEST: "best", ALIKE: "indistinguishable", UNTESTED: "untested", " ": "worse", "": ""}
"""What marks say to programs."""
FORMATS: dict[str, Callable[[ArmTable, str], str]] = {"latex": latex, "csv": comma_separated, "markdown": markdown}


def of_run(folder: Path, format_: str, names: Sequence[str] = ()) -> str:
    """Write the table of a run.

    Parameters
    ----------
    folder : Path
        A run folder.
    format_ : {"latex", "csv", "markdown"}
    names : sequence of str
        Metrics as they are recorded, a column each; those of the headline by default.

    Raises
    ------
    RunFolderError
        If it is no run folder, there is no such format, or the run has no such metric.
    """
    if format_ not in FORMATS:
        raise RunFolderError(f"--format {format_!r} is unknown; {suggest(format_, FORMATS)}")
    summary, metrics = told_by(folder), folders.read_metrics(folder)
    known = {name for arm in summary["arms"].values() for name in arm["final"]}
    for name in names:
        if name not in known:
            raise RunFolderError(f"run '{folder}' has no metric {name!r}; {suggest(name, sorted(known))}")
    chosen = list(dict.fromkeys(names)) or headline_names(summary, metrics)
    made = arm_table(summary, metrics, swept(read(folder / folders.SCENARIO)), chosen)
    return FORMATS[format_](made, caption(summary, chosen))


def caption(summary: Mapping[str, Any], names: Sequence[str]) -> str:
    """Say what a table of a summary is, and what its marks mean."""
    explained = legend(summary, names, best="bold:")
    ended = "" if summary["complete"] else f"not complete ({summary['error']})"
    about = f"{summary['scenario']}: after the last round, {over_seeds(summary)}"
    return "; ".join(filter(None, (about, explained, ended)))


def _headings(made: ArmTable) -> list[str]:
    return ["arm", *made.settings, "n", *made.columns]


def _named(row: ArmRow) -> Iterator[str]:
    yield from (row.arm, *map(str, row.values), row.n)
