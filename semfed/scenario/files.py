"""Scenario files: where they are, how they are read, and how a tree of tables becomes a scenario."""

import os
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from semfed.errors import ScenarioError
from semfed.scenario.paths import as_path
from semfed.scenario.schema import LARGEST, Scenario
from semfed.scenario.settings import explain, suggest


def built_in() -> dict[str, Path]:
    """Return the scenarios that come with the package: name to TOML file."""
    root = Path(str(files("semfed.scenarios")))
    return {path.parent.name: path for path in sorted(root.glob("*/scenario.toml"))}


def locate(name: str | Path) -> Path:
    """Find the TOML file of a scenario given by a built-in's name, a folder or a file.

    Raises
    ------
    ScenarioError
        If there is neither.
    """
    path = as_path(name)
    for candidate in (path, path / "scenario.toml"):
        if os.path.isfile(candidate):  # Path.is_file raises for a name that is too long, or a closed folder
            return candidate
    names = built_in()
    if str(name) in names:
        return names[str(name)]
    raise ScenarioError(
        f"no scenario {str(name)!r}: not a file, not a folder with scenario.toml, not a built-in; "
        + suggest(str(name), names)
    )


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file as it stands.

    Raises
    ------
    ScenarioError
        If it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows begin with a mark
    except (OSError, ValueError) as error:  # beside TOMLDecodeError: no UTF-8, or an integer of thousands of digits
        raise ScenarioError(f"{path}: cannot be read as TOML: {error}") from error
    except RecursionError as error:
        raise ScenarioError(f"{path}: cannot be read as TOML: tables or lists are nested too deeply") from error


def validate(tree: Mapping[str, Any]) -> Scenario:
    """Check a tree of tables and return the scenario.

    Raises
    ------
    ScenarioError
        With one line per problem, each naming the field, its value and the remedy.
    """
    if not tree:
        raise ScenarioError("the scenario is empty: copy one that `semfed list` names and change it")
    try:
        _refuse_large_integers(tree)
        return Scenario.model_validate(tree)
    except ValidationError as error:
        raise ScenarioError(explain(error)) from error
    except RecursionError as error:
        raise ScenarioError("the scenario has tables or lists that are nested too deeply: flatten them") from error


def _refuse_large_integers(value: Any, path: str = "") -> None:
    """Insist on TOML's own range, 64 bits with a sign: Python reads integers of any length."""
    if isinstance(value, int) and not -LARGEST <= value <= LARGEST:
        raise ScenarioError(f"{path.removeprefix('.')} is an integer of more than 63 bits: lower it")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _refuse_large_integers(item, f"{path}.{key}")
