"""A package with one part of one's own, to begin with: ``semfed new``."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from semfed import __version__
from semfed.errors import ScenarioError
from semfed.scenario.plugins import available
from semfed.scenario.settings import suggest
from semfed.testing.templates import CALLBACK_TESTS, KINDS, PYPROJECT, README, TESTS


def write(kind: str, name: str, out: Path) -> Path:
    """Write an installable, typed and tested package.

    Parameters
    ----------
    kind : str
        ``strategy``, ``client``, ``channel``, ``model``, ``dataset``, ``partition`` or ``callback``.
    name : str
        Of the part, and of the package: small letters and digits, in words that are joined by hyphens.
    out : Path
        In which the package's folder, called like it, is made.

    Returns
    -------
    Path
        The package's folder.

    Raises
    ------
    ScenarioError
        If there is no such kind, the name cannot be used, or the folder is there already.
    """
    if kind not in KINDS:
        raise ScenarioError(f"there is no kind {kind!r} of part; {suggest(kind, KINDS)}")
    group, code, use = KINDS[kind]
    module = name.replace("-", "_")
    _require_name(name, module, group)
    folder = out / name
    words = {
        "name": name,
        "module": module,
        "cls": "".join(word.capitalize() for word in name.split("-")),
        "kind": kind,
        "group": group,
        "version": __version__,
    }
    files = {
        "pyproject.toml": PYPROJECT,
        "README.md": README.replace("$use", use),
        f"src/{module}/__init__.py": code,
        f"src/{module}/py.typed": "",
        f"tests/test_{module}.py": CALLBACK_TESTS if kind == "callback" else TESTS,
    }
    try:
        folder.mkdir(parents=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(Template(text).substitute(words), encoding="utf-8")
    except FileExistsError as error:
        raise ScenarioError(f"'{folder}' is there already: take another name, or another --out") from error
    except OSError as error:
        raise ScenarioError(f"'{folder}' cannot be written ({error}): take another --out") from error
    return folder


def _require_name(name: str, module: str, group: str) -> None:
    if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) is None or keyword.iskeyword(module):
        raise ScenarioError(f"name {name!r}: write small letters and digits, in words joined by hyphens: 'my-part'")
    if name in available(group):
        raise ScenarioError(f"name {name!r}: there is a part of that name among the {group}; take another one")
    found = importlib.util.find_spec(module)
    if found is not None and found.origin is not None:  # without it, it is but a folder of that name
        raise ScenarioError(f"name {name!r}: Python has a module {module!r} already; take another name")
