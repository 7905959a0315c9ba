"""Every setting that a scenario can hold, and every option of the command line, found by looking."""

from collections.abc import Iterator
from typing import Any, get_args

import click
import typer

from semfed.channels.foreign import ForeignChannelSettings
from semfed.cli import app
from semfed.data.foreign import ForeignDataSettings, NamedParts, Unsplit
from semfed.data.partitions.foreign import ForeignPartitionSettings
from semfed.models.foreign import ForeignModelSettings
from semfed.scenario import Scenario, plugins
from semfed.scenario.settings import StrictModel
from semfed.training.foreign import ForeignMetricSettings

PARTS = ("channels", "clients", "datasets", "latents", "models", "partitions", "strategies")


def fields(table: type[StrictModel], prefix: str) -> Iterator[str]:
    """Yield the dotted names of a table's settings; those of a table inside it, not the table."""
    for name, field in table.model_fields.items():
        inner = [kind for kind in _kinds(field.annotation) if issubclass(kind, StrictModel)]
        for kind in inner:
            yield from fields(kind, f"{prefix}.{name}")
        if not inner:
            yield f"{prefix}.{name}"


def _kinds(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)


def settings() -> list[str]:
    """Return ``<part>.<setting>`` for all parts that come with the package."""
    found = list(fields(Scenario, "scenario"))
    for table, name in (
        (ForeignChannelSettings, "channels/foreign"),
        (ForeignDataSettings, "datasets/foreign"),
        (NamedParts, "datasets/foreign"),
        (Unsplit, "datasets/foreign"),
        (ForeignMetricSettings, "metrics/foreign"),
        (ForeignModelSettings, "models/foreign"),
        (ForeignPartitionSettings, "partitions/foreign"),
    ):
        found += fields(table, name)
    for group in PARTS:
        for name, point in plugins.available(group).items():
            if point.value.startswith("semfed."):
                found += fields(plugins.settings_of(point.load()), f"{group}/{name}")  # type: ignore[arg-type]
    return sorted(set(found))


def options() -> list[str]:
    """Return ``<command> <option>`` for all of the command line."""
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group)
    return sorted(
        f"{name} {parameter.opts[0]}"
        for name, command in group.commands.items()
        for parameter in command.params
        if parameter.name != "help"
    )
