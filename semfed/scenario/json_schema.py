"""The JSON schema of scenario files, by which editors complete and check them: ``semfed schema``.

It knows the settings of all parts that are installed and sound. What only the whole tells, such as names of tasks that
clients may have, and what has no effect, `semfed.scenario.overrides.load` still checks.
"""

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from semfed.scenario import Scenario
from semfed.scenario.catalogue import Entry, entries
from semfed.scenario.choices import GROUP
from semfed.scenario.plugins import GROUPS
from semfed.scenario.schema import MOST_CLIENTS, NOT_OF_AN_ARM, SAME_FOR_ALL_ARMS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ATTRIBUTE = {"type": "string", "pattern": "^[^:]+:[^:]+$", "description": "A part as module:attribute."}
OUTSIDE_ARMS = (*NOT_OF_AN_ARM, *SAME_FOR_ALL_ARMS)
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}

Schema = dict[str, Any]


def scenario_schema() -> Schema:
    """Return the schema, as plain tables."""
    parts = [entry for entry in entries() if not entry.problem and entry.group != "callbacks"]
    models: list[type[BaseModel]] = [Scenario, *(entry.settings for entry in parts if entry.settings is not None)]
    by_model, shared = models_json_schema([(model, "validation") for model in models])
    definitions: Schema = shared["$defs"]

    def properties(entry: Entry) -> Schema:
        if entry.settings is None:
            return NOTHING
        table: Schema = definitions[by_model[entry.settings, "validation"]["$ref"].rpartition("/")[2]]
        return table

    groups = {
        group: _choice([(entry, properties(entry)) for entry in parts if entry.group == group])
        for group in GROUPS
        if group != "callbacks"
    }
    top = definitions[by_model[Scenario, "validation"]["$ref"].rpartition("/")[2]]
    _let_clients_be_counted(top["properties"])
    definitions["Arm"] |= {
        "properties": {
            **{
                key: {"description": "What differs in this arm."}
                for key in top["properties"]
                if key not in OUTSIDE_ARMS
            },
            **definitions["Arm"]["properties"],
        },
        "additionalProperties": False,
    }
    schema: Schema = _resolved({"$schema": DIALECT, **top, "$defs": {**definitions, **groups}})
    return schema


def _let_clients_be_counted(properties: Schema) -> None:
    """Allow what `Scenario` makes of a table with a count."""
    single = properties["clients"]["items"]
    table = {
        "type": "object",
        "properties": {"count": {"type": "integer", "minimum": 1, "maximum": MOST_CLIENTS}, "name": {"type": "string"}},
        "required": ["count", "task"],
        "description": "So many equal clients: every other setting is that of one.",
    }
    properties["clients"] = {"anyOf": [{"type": "array", "items": single, "minItems": 1}, table]}


def _choice(parts: list[tuple[Entry, Schema]]) -> Schema:
    """Return what may stand for a part: a name, if nothing has to be set, or a table."""
    names = [{"const": entry.name, "description": entry.text} for entry, table in parts if not table.get("required")]
    tables = [
        {
            "type": "object",
            "description": entry.text,
            "properties": {"name": {"const": entry.name}, **table["properties"]},
            "required": ["name", *table.get("required", ())],
            "additionalProperties": False,
        }
        for entry, table in parts
    ]
    own = {"type": "object", "properties": {"name": ATTRIBUTE}, "required": ["name"]}
    return {"anyOf": [*names, ATTRIBUTE, *tables, own]}


def _resolved(value: Any) -> Any:
    """Let choices refer to the groups, and leave out what JSON cannot hold."""
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _resolved(item) for key, item in _items(value)}
    group = kept.pop(GROUP, None)
    return {**kept, "$ref": f"#/$defs/{group}"} if isinstance(group, str) else kept


def _items(table: Schema) -> Iterator[tuple[str, Any]]:
    for key, item in table.items():
        if not (key == "default" and isinstance(item, float) and not math.isfinite(item)):
            yield key, item
