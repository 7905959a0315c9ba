"""Reads the compose files of this folder: the part of the compose specification that they use, and not more.

Docker is not needed. What is understood: ``extends`` with a file, several files laid over each other, interpolation of
``${NAME}``, ``${NAME:-default}`` and ``${NAME:?message}``, paths relative to the file that names them, mounts in both
syntaxes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
REPLACED = frozenset({"command", "entrypoint"})
UNDERSTOOD = frozenset(
    {"build", "cap_drop", "command", "depends_on", "deploy", "environment", "extends", "extra_hosts", "healthcheck",
     "image", "init", "network_mode", "networks", "ports", "pull_policy", "read_only", "restart", "security_opt",
     "tmpfs", "user", "volumes"}
)  # fmt: skip


class ComposeError(ValueError):
    """A compose file that says what this reader does not understand."""


@dataclass(frozen=True)
class Mount:
    """A folder or file of the machine, or a named volume, as a service sees it."""

    source: str
    target: str
    read_only: bool
    made: bool = True
    """Whether a folder that is not there is made, as Docker does, for root."""

    @property
    def named(self) -> bool:
        """Whether `source` is the name of a volume."""
        return "/" not in self.source


@dataclass(frozen=True)
class Service:
    """What a service runs and sees."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    ports: tuple[str, ...]
    networks: tuple[str, ...]
    health: tuple[str, ...]
    """The command that says whether it is up."""
    extra_hosts: Mapping[str, str]
    depends_on: Mapping[str, str]
    """From the service that has to be there first to the condition."""
    settings: Mapping[str, Any]
    """The whole service as the files say it."""


def load(files: Sequence[Path], variables: Mapping[str, str] | None = None) -> dict[str, Service]:
    """Read compose files, each laid over the ones before.

    Parameters
    ----------
    files : sequence of Path
        Relative paths in all of them are relative to the first one's folder, as Docker has it.
    variables : mapping of str to str, optional
        Values of ``${...}``.

    Raises
    ------
    ComposeError
        If a file uses what is not understood, or a variable without a default is missing.
    """
    merged: dict[str, dict[str, Any]] = {}
    for file in files:
        for name, own in _services(file, variables or {}, files[0].parent).items():
            merged[name] = _lay_over(merged.get(name, {}), own)
    return {name: _service(name, settings) for name, settings in merged.items()}


def _services(file: Path, variables: Mapping[str, str], base: Path) -> dict[str, dict[str, Any]]:
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = {}
    for name, own in _interpolate(tree["services"], variables).items():
        unknown = set(own) - UNDERSTOOD
        if unknown:
            raise ComposeError(f"{file.name}: {name}: {sorted(unknown)} is not understood")
        settings = {**own, "volumes": [_absolute(volume, base) for volume in own.get("volumes", [])]}
        extended = settings.pop("extends", None)
        if extended:
            other = (file.parent / extended["file"]).resolve()
            settings = _lay_over(_services(other, variables, other.parent)[extended["service"]], settings)
        found[name] = settings
    return found


def _interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value

    def given(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        if variables.get(name):
            return variables[name]
        if kind != "-":
            raise ComposeError(f"the variable {name} is not set: {text or 'no default'}")
        return str(text)

    return VARIABLE.sub(given, value)


def _absolute(volume: str | dict[str, Any], base: Path) -> Mount:
    if isinstance(volume, str):
        source, target, *options = volume.split(":")
        mount = Mount(source, target, options == ["ro"])
    else:
        made = volume.get("bind", {}).get("create_host_path", True)
        mount = Mount(volume["source"], volume["target"], volume.get("read_only", False), made)
    return mount if mount.named else replace(mount, source=str((base / mount.source).resolve()))


def _lay_over(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _lay_over(before, value)
        elif isinstance(before, list) and isinstance(value, list) and key not in REPLACED:
            merged[key] = [*before, *value]
        else:
            merged[key] = value
    return merged


def _service(name: str, settings: Mapping[str, Any]) -> Service:
    return Service(
        name=name,
        image=settings.get("image", ""),
        command=tuple(str(word) for word in settings.get("command", ())),
        environment={key: str(value) for key, value in settings.get("environment", {}).items()},
        mounts=tuple(settings.get("volumes", ())),
        ports=tuple(settings.get("ports", ())),
        networks=tuple(settings.get("networks", ())),
        health=tuple(settings.get("healthcheck", {}).get("test", ())[1:]),
        extra_hosts=dict(entry.split(":", 1) for entry in settings.get("extra_hosts", ())),
        depends_on={key: value["condition"] for key, value in settings.get("depends_on", {}).items()},
        settings=settings,
    )
