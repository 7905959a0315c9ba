"""Every setting has an effect: on numbers or files, or it is refused with a sentence."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import SemfedError

from . import bases, inventory
from .table import PLACES, TABLE, Elsewhere, Try

PLUGINS = Path(__file__).parents[1] / "plugins"
UNTOLD = ("timing.jsonl", "environment.json", ".lock", "summary.json")
"""Files of a run folder that differ from run to run, or follow from others."""

Outcome = Callable[[str, dict[str, Any]], str]


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Run a base with changes and return a fingerprint of all that it leaves behind, or the refusal's sentence."""
    root, known = tmp_path_factory.mktemp("data"), dict[str, str]()
    bases.write_data(root)

    def run(base: str, changes: dict[str, Any]) -> str:
        key = f"{base} {changes}"
        if key not in known:
            out = tmp_path_factory.mktemp("run") / "run"
            try:
                with pytest.MonkeyPatch.context() as patch:  # other tests of the session have data of their own
                    patch.setenv("SEMFED_DATA", str(root))
                    done = semfed.run(bases.BASES[base](), overrides=changes, out=out)
                known[key] = fingerprint(done.folder, name=changes.get("name"), text=changes.get("description"))
            except SemfedError as error:
                known[key] = str(error)
        return known[key]

    return run


def fingerprint(folder: Path, **told: Any) -> str:
    """Hash what a run left behind, but for the scenario itself, of which `told` is what matters."""
    digest = hashlib.sha256(repr(told).encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name in UNTOLD or path.name == "scenario.toml":
            continue
        name = str(path.relative_to(folder)) if "checkpoint" not in path.parts else "checkpoint"
        digest.update(name.encode())
        if path.name != "checkpoint.json" and "clients" not in path.parts:
            digest.update(path.read_bytes())
    return f"numbers and files {digest.hexdigest()}"


def place(setting: str) -> str:
    """Return where a setting stands in a scenario."""
    if setting.startswith("scenario."):
        return setting.removeprefix("scenario.")
    group, _, rest = setting.partition("/")
    return f"{PLACES[group]}.{rest.partition('.')[2]}"


def test_every_setting_has_a_line() -> None:
    found = set(inventory.settings())
    assert sorted(found - set(TABLE)) == [], "settings without a line in table.py"
    assert sorted(set(TABLE) - found) == [], "lines for settings that there are not"


@pytest.mark.parametrize("setting", [name for name, line in TABLE.items() if isinstance(line, Try)])
def test_a_setting_changes_something(setting: str, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    line = TABLE[setting]
    assert isinstance(line, Try)
    path = line.path or place(setting)
    before = outcome(line.base, {key: value for key, value in line.also.items() if key != path})
    after = outcome(line.base, _laid_over(line.also, path, line.value))
    assert line.error not in before if line.error else before.startswith("numbers and files") != line.mends, before
    assert after != before, f"{setting} = {line.value!r} changes nothing"
    if line.error:
        assert line.error in after
    else:
        assert after.startswith("numbers and files"), after


def _laid_over(also: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return overrides in which a path has a value, inside of a table perhaps that is given as well."""
    parent, _, name = path.rpartition(".")
    if isinstance(also.get(parent), dict):
        return {**also, parent: {**also[parent], name: value}}
    return {**also, path: value}


@pytest.mark.parametrize("setting", [name for name, line in TABLE.items() if isinstance(line, Elsewhere)])
def test_what_is_shown_elsewhere_is_there(setting: str) -> None:
    line = TABLE[setting]
    assert isinstance(line, Elsewhere)
    assert line.test in (Path(__file__).parents[2] / line.file).read_text()
