"""The pages of the reference that are written by the code itself: settings, parts, metrics, the command line.

`pages` returns them as Markdown by their places on the site; `mkdocs build` asks for them by a hook.
"""

import html
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import annotated_types as bounds
import click
import typer
from pydantic import BaseModel, PlainValidator
from pydantic.fields import FieldInfo
from typer.cli import get_docs_for_click

from semfed.channels.foreign import ForeignChannelSettings
from semfed.cli import app
from semfed.data.foreign import ForeignDataSettings, NamedParts, Unsplit
from semfed.data.partitions.foreign import ForeignPartitionSettings
from semfed.events.metrics import FRAMEWORK, declared_by
from semfed.models.foreign import ForeignModelSettings
from semfed.scenario import Scenario, plugins
from semfed.scenario.plugins import Plugin
from semfed.scenario.settings import OnlyWhen
from semfed.training.foreign import ForeignMetricSettings

FOREIGN: dict[str, tuple[type[BaseModel], ...]] = {
    "channels": (ForeignChannelSettings,),
    "datasets": (ForeignDataSettings, NamedParts, Unsplit),
    "metrics": (ForeignMetricSettings,),
    "models": (ForeignModelSettings,),
    "partitions": (ForeignPartitionSettings,),
}
"""What stands beside the own arguments of another library's part, by its kind; all that any of its forms has."""
SETTINGS = ("setting", "what it may be", "default", "what it is")
METRICS = ("metric", "called", "unit", "better", "over clients", "of a run", "role", "reported by")
PLAIN = {int: "integer", float: "number", str: "text", bool: "true or false"}
SIGNS = {bounds.Ge: "≥", bounds.Gt: ">", bounds.Le: "≤", bounds.Lt: "<"}


def pages() -> dict[str, str]:
    """Return the generated pages, by their places on the site."""
    return {
        "reference/scenario.md": scenario(),
        "reference/parts.md": parts(),
        "reference/metrics.md": metrics(),
        "reference/command-line.md": command_line(),
    }


def scenario() -> str:
    """Return the page of the scenario's own settings."""
    sections, outer = [], []
    for name, field in Scenario.model_fields.items():
        holds = list(_tables_in(field.annotation))
        row = _row(name, field, Scenario)
        if holds:
            heading = _heading(name, field.annotation)
            row[1] = f"[table](#{re.sub(r'[^a-z]', '', heading.lower())})"
            sections += [f"## {heading}", _described(name, field, Scenario)]
            sections.append(_table(SETTINGS, (row for table in holds for row in rows(table))))
        outer.append(row)
    return "\n\n".join(
        [
            "# Settings of a scenario",
            "A scenario is one TOML file. Unknown keys are errors that name the nearest valid one, and a value that "
            "can have no effect is one, too. A part is a name, or a table with `name` and the part's own settings, "
            "which stand on [the page of the parts](parts.md). This page is made from the code.",
            "## Outermost settings",
            _table(SETTINGS, outer),
            *sections,
        ]
    )


def parts() -> str:
    """Return the page of all parts that come with the package, with their settings."""
    sections = [
        "# Parts and their settings",
        "Parts that come with the package, by their kind; `semfed plugins` lists yours, too. This page is made from "
        "the code.",
    ]
    for group in plugins.GROUPS:
        sections += [f"## {group.capitalize()}"]
        for name, point in sorted(plugins.available(group).items()):
            if not point.value.startswith("semfed."):
                continue
            part = point.load()
            sections += [f'<a id="{group}-{name}"></a>', f"### `{name}`", _text(inspect.getdoc(part))]
            sections.append(f"Defined in `{point.value}`.")
            found = list(rows(plugins.settings_of(part))) if hasattr(part, "Settings") else []
            sections += [_table(SETTINGS, found)] if found else []
        if group in FOREIGN:
            beside = "What [a part of another library](../foreign-parts.md) has beside its own arguments:"
            known = {row[0]: row for table in FOREIGN[group] for row in rows(table)}
            sections += ["### `module:attribute`", beside, _table(SETTINGS, known.values())]
    return "\n\n".join(sections)


def metrics() -> str:
    """Return the page of all metrics that the package declares."""
    reported: dict[Any, list[str]] = {metric: ["semfed"] for metric in FRAMEWORK}
    for group in ("clients", "strategies"):
        for name, point in sorted(plugins.available(group).items()):
            for metric in (declared_by(point.load()) or ()) if point.value.startswith("semfed.") else ():
                reported.setdefault(metric, []).append(f"[{name}](parts.md#{group}-{name})")
    lines = [
        [
            f"`{metric.name}`",
            metric.text,
            "fraction" if metric.fraction else metric.unit,
            metric.better or "",
            metric.over_clients,
            {"last": "last round", "sum": "total"}[metric.over_rounds],
            metric.role,
            ", ".join(who),
        ]
        for metric, who in reported.items()
    ]
    return "\n\n".join(
        [
            "---\nhide: [toc]\n---\n\n# Metrics",
            "A metric is declared once, and tables, figures and statistics know nothing else about it. A recorded name "
            "is a declared one or one with further parts: `accuracy/t1` and `accuracy/average` are of `accuracy`. "
            "`{}` stands for a number. [`Metric`](api/parts.md#semfed.events.metrics.Metric) says what the columns "
            "mean. This page is made from the code.",
            _table(METRICS, lines),
        ]
    )


def command_line() -> str:
    """Return the page of the command line."""
    command = typer.main.get_command(app)
    written = get_docs_for_click(obj=command, ctx=click.Context(command), name="semfed")
    written = re.sub(r"\*\*Commands\*\*.*?(?=^## )", "", html.unescape(written), flags=re.MULTILINE | re.DOTALL)
    return written.replace("# `semfed`", "# Command line", 1)  # each command has a section, so no list of them


def rows(table: type[BaseModel], prefix: str = "") -> Iterator[list[str]]:
    """Yield the settings of a table, and below those that are tables what stands in them."""
    for name, field in table.model_fields.items():
        yield _row(prefix + name, field, table)
        for inner in _tables_in(field.annotation):
            several = get_origin(field.annotation) is tuple
            yield from rows(inner, f"{prefix}{name}{'[]' if several else ''}.")


def _row(path: str, field: FieldInfo, table: type[BaseModel]) -> list[str]:
    text = _described(path.rpartition(".")[2], field, table)
    conditions = [rule for rule in field.metadata if isinstance(rule, OnlyWhen)]
    only = [
        f"Only with `{key} = {' or '.join(map(_toml, values))}`." for rule in conditions
        for key, values in rule.conditions.items()
    ]  # fmt: skip
    return [f"`{path}`", _kind(field.annotation, field.metadata), _default(field), " ".join([text, *only])]


def _described(name: str, field: FieldInfo, table: type[BaseModel]) -> str:
    """Return the text below a field, or of what it was inherited from, or that of the table which it holds."""
    inherited = (base.model_fields.get(name) for base in table.__mro__ if issubclass(base, BaseModel))
    own = next((one.description for one in inherited if one is not None and one.description), None)
    return _text(own or next((inspect.getdoc(held) for held in _tables_in(field.annotation)), ""))


def _kind(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return in words what a value of a type may be."""
    origin, inner = get_origin(annotation), get_args(annotation)
    limits = " and ".join(
        f"{sign} {_toml(getattr(limit, kind.__name__.lower()))}"
        for limit in metadata
        for kind, sign in SIGNS.items()
        if isinstance(limit, kind)
    )
    if origin is Annotated:
        return _kind(inner[0], inner[1:])
    if annotation is Plugin:
        groups = [rule.func.args[0] for rule in metadata if isinstance(rule, PlainValidator)]
        return " or ".join(f"[one of the {group}](parts.md#{group})" for group in groups)
    if origin is Literal:
        return " or ".join(f"`{_toml(value)}`" for value in inner)
    if origin is tuple:
        count = "" if Ellipsis in inner else f"{len(inner)} × "
        return f"list of {count}{_kind(inner[0])}"
    if origin is dict:
        return f"table from names to {_kind(inner[1])}"
    if inner:
        return " or ".join(_kind(one, metadata) for one in inner if one is not NoneType)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return f"{PLAIN.get(annotation, 'any value')} {limits}".strip()


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "see below" if isinstance(value, BaseModel) else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """Write a value as in a scenario."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Plugin):
        return _toml(value.name)
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for inner in get_args(annotation):
        yield from _tables_in(inner)


def _heading(name: str, annotation: Any) -> str:
    origin = get_origin(annotation)
    return f"`[[{name}]]`" if origin is tuple else f"`[{name}.NAME]`" if origin is dict else f"`[{name}]`"


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    cells = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in cells)


def _text(written: str | None) -> str:
    """Return a docstring's prose as Markdown in one line, without its numpy sections."""
    prose = re.split(r"\n\n?[^\n]+\n---+\n", inspect.cleandoc(written or ""))[0]
    return re.sub(r"\n+", " ", prose).replace("``", "`")
