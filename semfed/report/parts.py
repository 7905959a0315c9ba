"""Exchangeable parts, as tables for a terminal."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from semfed.scenario.catalogue import Entry, described


def listing(entries: Iterable[Entry]) -> Table:
    """Return one line a part: what it is, or why it cannot be used."""
    table = Table(box=None, pad_edge=False)
    for heading in ("group", "name", "package"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it is")
    before = ""
    for entry in entries:
        told = Text(entry.problem, style="red") if entry.problem else Text(entry.text)
        table.add_row("" if entry.group == before else entry.group, Text(entry.name, style="bold"), entry.package, told)
        before = entry.group
    return table


def details(entries: Iterable[Entry]) -> Iterator[RenderableType]:
    """Yield what every part is, and the table of its settings."""
    for entry in entries:
        yield Text.assemble((entry.name, "bold"), f"  {entry.group}, {entry.package}, {entry.target}")
        yield Text(entry.problem, style="red") if entry.problem else Text(entry.text)
        settings = [] if entry.settings is None else list(described(entry.settings))
        if settings:
            table = Table(box=None, pad_edge=False)
            for heading in ("setting", "value", "default", "what it does"):
                table.add_column(heading)
            for setting in settings:
                table.add_row(Text(setting.name, style="bold"), setting.kind, setting.default or "-", setting.text)
            yield Padding(table, (0, 0, 1, 2))
        else:
            yield Text("  no settings\n")
