"""`semfed report`: one HTML page about one run or several, complete in itself."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import style

from semfed.errors import RunFolderError
from semfed.events.metrics import Metrics
from semfed.report import comparison, plots, svg
from semfed.report.departures import departures
from semfed.report.lines import Sweeping, unique
from semfed.report.sheets import Row, Sheet, below, cluster_sheets, pairs, sheet_of
from semfed.report.style import COLUMN, STYLE
from semfed.report.tables import column_table, cost_table, near_best_table, score_table, signal_table
from semfed.report.ticks import written
from semfed.runs import folder as folders
from semfed.runs.arm_table import written as shown
from semfed.runs.marks import legend
from semfed.runs.side_by_side import told_by
from semfed.runs.summary import headline_names, other_scores
from semfed.scenario import read
from semfed.scenario.flat import differing

LAST = 20_000
"""Characters of ``errors.log`` that a page shows, the last ones."""


@dataclass(frozen=True)
class Picture:
    """A figure of a page: what it shows, the graphic, and whether it is as wide as a page."""

    description: str
    graphic: Markup
    page: bool


@dataclass(frozen=True)
class Told:
    """What a page tells of a run.

    Attributes
    ----------
    name : str
        Of the run's folder, unique on the page.
    scenario, summary : mapping
    metrics : Metrics
        What the folder's files hold.
    facts : Sheet
        What was run.
    state : str
        What ended the run early; empty for a complete one.
    scores : sequence of (Sheet, str)
        Each with what its marks and columns mean.
    others : sequence of Sheet
    pictures : sequence of Picture
        Those of the headline first.
    departures : Markup or None
        From the paper, of a built-in scenario.
    changed : Sheet or None
        Where the run differs from the built-in scenario.
    made_with : Sheet
    errors, toml : str
        Texts of files.
    """

    name: str
    scenario: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: Metrics
    facts: Sheet
    state: str
    scores: Sequence[tuple[Sheet, str]]
    others: Sequence[Sheet]
    pictures: Sequence[Picture]
    departures: Markup | None
    changed: Sheet | None
    made_with: Sheet
    errors: str
    toml: str


def page(runs: Sequence[Path]) -> str:
    """Return the page of some runs, from their folders alone, without their plugins.

    Parameters
    ----------
    runs : sequence of Path
        Run folders, at least one. Several are set side by side first.

    Raises
    ------
    RunFolderError
        If one is no run folder, or damaged.
    """
    names = [folder.resolve().name for folder in runs]
    numbered = [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, 1)]
    told = [_told(folder, name) for folder, name in zip(runs, numbered, strict=True)]
    environment = Environment(
        loader=PackageLoader("semfed", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("page.html.jinja")
    return template.render(runs=told, beside=_side_by_side(told) if len(told) > 1 else [])


def write(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of some runs, and return where it is: by default in the folder of the only run.

    Raises
    ------
    RunFolderError
        If one is no run folder, or the page cannot be written.
    """
    if out is None and len(runs) > 1:
        raise RunFolderError(f"a page of {len(runs)} runs belongs to none of their folders: give --out FILE.html")
    path = out or runs[0] / "report.html"
    if not path.parent.is_dir():
        raise RunFolderError(f"'{path}' cannot be written: there is no folder '{path.parent}'; give another --out")
    text = page(runs)
    try:
        folders.write_atomically(path, text)
    except OSError as error:
        raise RunFolderError(f"'{path}' cannot be written ({error}): give another --out") from error
    return path


def _told(folder: Path, name: str) -> Told:
    makers = plots.figures(folder)  # first: it says what is wrong with a folder
    scenario, metrics = read(folder / folders.SCENARIO), folders.read_metrics(folder)
    ended = (folder / folders.SUMMARY).is_file()
    summary = told_by(folder)
    path = folder / folders.ENVIRONMENT
    environment = folders.read_json(path) if path.is_file() else {}
    errors = folder / folders.ERRORS
    known, changed = departures(scenario)
    explained = legend(summary, [*headline_names(summary, metrics), *other_scores(summary, metrics)])
    others = column_table("other scores", summary, metrics, other_scores(summary, metrics))
    rest = (others, near_best_table(summary, metrics), cost_table(summary, metrics), signal_table(summary, metrics))
    return Told(
        name=name,
        scenario=scenario,
        summary=summary,
        metrics=metrics,
        facts=_facts(scenario, summary, environment, folders.read_labels(folder)),
        state=summary.get("error", "") if ended else "it has not ended, or was killed",
        scores=[(sheet_of(score_table(summary, metrics)), explained), *_comparisons(summary, metrics)],
        others=[sheet_of(table) for table in rest if table is not None] + cluster_sheets(summary, scenario),
        pictures=_pictures(makers, summary, name),
        departures=known,
        changed=changed,
        made_with=_made_with(environment),
        errors=errors.read_text(encoding="utf-8", errors="replace")[-LAST:] if errors.is_file() else "",
        toml=(folder / folders.SCENARIO).read_text(encoding="utf-8"),
    )


def _comparisons(summary: Mapping[str, Any], metrics: Metrics) -> list[tuple[Sheet, str]]:
    """Return what `semfed compare` prints; all points of a sweep in one table, since arms' names say which is which."""
    name = summary["headline"]
    metric, groups = metrics.of(name), summary["comparisons"].get(name, [])
    sheets = [sheet_of(comparison.paired_table(summary, group, metric, name)) for group in groups]
    if not sheets:
        return []
    to = f"'{groups[0]['reference']}'" if len(sheets) == 1 else "the best arm of every point"
    caption = f"{metric.label(name)}: differences to {to}, paired by seed"
    return [(below(sheets, caption), comparison.explained(summary, groups, metric, name).strip())]


def _pictures(makers: plots.Makers, summary: Mapping[str, Any], run: str) -> list[Picture]:
    """Draw what can be drawn; the whole of the headline comes first."""
    first = summary["headline"].replace("/", "-")
    ordered = sorted(makers, key=lambda name: not name.startswith(first))
    drawn = []
    with style.context(["default", STYLE]):
        for name in ordered:
            try:
                figure = plots.made(makers[name])
                description = svg.described(figure)
                graphic = svg.inline(figure, f"{run}-{name}", description)
                drawn.append(Picture(description, graphic, page=figure.get_figwidth() > COLUMN))
            except Exception as error:
                logging.getLogger(__name__).warning("figure '%s' is left out: %s", name, error, exc_info=error)
    return drawn


def _facts(
    scenario: Mapping[str, Any], summary: Mapping[str, Any], environment: Mapping[str, Any], labels: Mapping[str, str]
) -> Sheet:
    sweeping = Sweeping.of(summary, scenario, labels)
    swept = {
        f"swept: {called}": [written(value) for value in unique(p.values[setting] for p in sweeping.points.values())]
        for setting, called in sweeping.labels.items()
    }
    rows = {
        "arms": sweeping.arms,
        **swept,
        "seeds": scenario["seeds"],
        "rounds": scenario["rounds"],
        "clients": [client["name"] for client in scenario["clients"]],
        "headline": summary["headline"],
        "started": environment.get("started"),
        "engine": environment.get("engine"),
    }
    return pairs("what was run", rows)


def _made_with(environment: Mapping[str, Any]) -> Sheet:
    rows = {key.replace("_", " "): value for key, value in environment.items() if key not in ("packages", "resumed")}
    rows |= environment.get("packages", {})
    rows |= {f"resumed {again['started']}": again["command"] for again in environment.get("resumed", [])}
    return pairs("environment and command", rows)


def _side_by_side(runs: Sequence[Told]) -> list[Sheet]:
    """Return the headlines of runs, and the settings in which they differ."""
    names = [run.name for run in runs]
    found = []
    for headline in dict.fromkeys(run.summary["headline"] for run in runs):
        metric = next(run.metrics.of(headline) for run in runs if run.summary["headline"] == headline)
        arms = dict.fromkeys(arm for run in runs for arm in run.summary["arms"])
        entries = {arm: [run.summary["arms"].get(arm, {"final": {}})["final"].get(headline) for run in runs]
                   for arm in arms}  # fmt: skip
        rows = [Row([arm, *(shown(entry, metric) for entry in each)]) for arm, each in entries.items()]
        found.append(Sheet(f"{metric.label(headline)} at the end: mean ± 95 % interval", ["arm", *names], rows))
    settings = differing([run.scenario for run in runs])
    rows = [Row([setting, *(value or "–" for value in values)]) for setting, values in settings.items()]
    return [*found, Sheet("settings that differ", ["setting", *names], rows)]
