"""Tables for papers and programs: values by hand, marks, and names that would break a format."""

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from semfed.cli import app
from semfed.errors import RunFolderError
from semfed.events.metrics import Metric, Metrics
from semfed.events.records import Record
from semfed.runs.arm_table import ArmTable, arm_table
from semfed.runs.formats import FORMATS, html_table, in_latex, in_markdown, latex, of_run
from semfed.runs.summary import summarise
from semfed.scenario import Axis, Sweep

from .test_side_by_side import A, B, written

HARD = r"50% & a_b #1 {x} ~^\ <|>*`$[y]"
METRICS = Metrics([Metric("m_1", "50%", better="higher")])


def made(arms: dict[str, dict[int, float]], points: Any = None) -> tuple[ArmTable, dict[str, Any]]:
    records = [Record(arm, seed, 1, None, "m_1/t", v) for arm, seeds in arms.items() for seed, v in seeds.items()]
    points = points or {}
    summary = summarise("s", list(arms), records, [], metrics=METRICS, headline="m_1/t", points=points)
    return arm_table(summary, METRICS, points), summary


def test_csv_has_all_digits(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    one, two = csv.DictReader(io.StringIO(of_run(run, "csv")))
    assert (one["arm"], one["metric"], one["unit"], one["n"], one["standing"]) == (
        "one",
        "accuracy/average",
        "%",
        "4",
        "best",
    )
    assert float(one["mean"]) == pytest.approx(85.25, rel=1e-12)
    assert float(one["sd"]) == pytest.approx(100 * stats.tstd(list(A.values())), rel=1e-12)
    assert float(one["half_interval_95"]) == pytest.approx(float(one["sd"]) / 2 * stats.t.ppf(0.975, 3), rel=1e-12)
    p = stats.ttest_rel(list(A.values()), list(B.values())).pvalue
    assert two["standing"] == ("indistinguishable" if p >= 0.05 else "worse")


def test_latex_and_markdown_have_the_best_in_bold(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    half = 100 * stats.t.ppf(0.975, 3) * stats.tstd(list(A.values())) / 2
    in_tex, in_md = of_run(run, "latex"), of_run(run, "markdown")
    assert rf"one & \textbf{{85.25 $\pm$ {half:.2f}}} \\" in in_tex
    assert r"mean $\pm$ 95 \% interval, n = 4 seeds; bold: best mean" in in_tex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert f"\\{rule}" in in_tex
    assert f"| one | 4 | **85.25 ± {half:.2f}** |" in in_md.splitlines()
    assert "| arm | n | average accuracy (%) |" in in_md.splitlines()


def test_swept_settings_are_columns() -> None:
    points = Sweep(axes=(Axis(setting="a_b", values=(0, 5)),), arms=("x",)).points()
    told, _ = made({"x@0": {0: 1.0}, "x@5": {0: 2.0}}, points)
    assert (told.settings, [(row.arm, row.values) for row in told.rows]) == (("a_b",), [("x", (0,)), ("x", (5,))])
    assert r"arm & a\_b & m 1 of t (50\%) \\" in latex(told, "")
    assert r"x & 5 & \textbf{2.00} \\" in latex(told, "")


def test_one_seed_has_no_interval_and_what_is_untested_is_marked() -> None:
    told, _ = made({"x": {0: -1.0}, "y": {0: -2.0}})
    assert r"x & \textbf{$-$1.00} \\" in latex(told, "")
    assert r"y & $-$2.00\textsuperscript{?} \\" in latex(told, "")


def test_hard_names_are_escaped() -> None:
    assert in_latex(HARD) == (
        r"50\% \& a\_b \#1 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}*`\$[y]"
    )
    assert in_markdown("a|b_c*d`e") == r"a\|b\_c\*d\`e"
    told, _ = made({HARD: {0: 1.0}, "<b>": {0: 2.0}})
    row = next(line for line in FORMATS["markdown"](told, "").splitlines() if line.startswith("| 50"))
    assert row.replace(r"\|", "").count("|") == 4
    assert "<b>2.00</b>" in html_table(told, "")
    assert "&lt;b&gt;" in html_table(told, "")
    assert next(csv.DictReader(io.StringIO(FORMATS["csv"](told, ""))))["arm"] == HARD


def test_latex_counts_seeds_only_where_arms_differ_in_them() -> None:
    told, _ = made({"x": {0: 1.0, 1: 2.0}, "y": {0: 1.0}})
    assert r"arm & n & m 1 of t (50\%) \\" in latex(told, "")
    assert r"y & 1 & 1.00" in latex(told, "")


PAGE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage{booktabs}
\usepackage[margin=0.67in,columnsep=0.17in]{geometry}  %% columns of 3.5 in
\begin{document}
%s
%s
\end{document}"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
@pytest.mark.parametrize("metrics", [1, 2, 4])
def test_latex_is_compiled_and_fits_column_or_page(metrics: int, tmp_path: Path) -> None:
    told, _ = made({HARD: {0: 1.0, 1: -2.0}, "y": {0: 1.0, 1: -3.0}})
    rows = tuple(replace(row, arm=row.arm[:12], cells=row.cells * metrics) for row in told.rows)
    told = replace(told, columns=("accuracy of t1 (%)",) * metrics, rows=rows)
    text = latex(told, HARD)
    assert text.count("table*") == (0 if metrics < 3 else 2)
    (tmp_path / "t.tex").write_text(PAGE % (text, latex(made({HARD: {0: 1.0}})[0], HARD)))
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert b"Overfull" not in done.stdout, done.stdout


def test_an_unknown_format_and_metric_are_refused(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A})
    with pytest.raises(RunFolderError, match="--format 'latx' is unknown; did you mean 'latex'"):
        of_run(run, "latx")
    with pytest.raises(RunFolderError, match="has no metric 'accuracy/averge'; did you mean 'accuracy/average'"):
        of_run(run, "csv", ["accuracy/averge"])


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    run = written(tmp_path / "x", {"one": A, "two": B})
    result = CliRunner().invoke(app, ["table", str(run), "--format", "csv", "--metric", "cost/bytes_up"])
    assert result.stdout.splitlines() == [
        "arm,metric,unit,n,mean,half_interval_95,sd,standing",
        "one,cost/bytes_up,bytes,4,200.0,0.0,0.0,",
        "two,cost/bytes_up,bytes,4,200.0,0.0,0.0,",
    ]
