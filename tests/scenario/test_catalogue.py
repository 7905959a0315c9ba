"""What packages offer: as it is listed, with broken parts and with one name for two parts."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from typer.testing import CliRunner

from semfed.channels import ChannelSettings
from semfed.cli import app
from semfed.errors import ScenarioError
from semfed.flower.server import fitting
from semfed.scenario import catalogue, overrides, plugins
from semfed.scenario.catalogue import Setting
from semfed.scenario.choices import ModelChoice
from semfed.scenario.settings import StrictModel

Install = Callable[[str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages that offer a part, as pip leaves them behind."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def installed(package: str, points: str, code: str = "") -> None:
        folder = tmp_path / f"{package}-2.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.5\n")
        (folder / "entry_points.txt").write_text(points)
        if code:
            (tmp_path / f"{package}.py").write_text(code)
        _forget()

    yield installed
    _forget()


def _forget() -> None:
    plugins.available.cache_clear()
    plugins.offers.cache_clear()


def call(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})


def test_a_package_is_listed_with_its_version_and_what_its_part_is(install: Install) -> None:
    code = (
        "from semfed.channels import awgn\n\n\nclass Rain(awgn.AWGN):\n    '''Attenuate everything.\n\n    More.'''\n"
    )
    install("rainy", "[semfed.channels]\nrain = rainy:Rain\n", code)
    (entry,) = catalogue.entries("rain")
    assert (entry.group, entry.package, entry.target) == ("channels", "rainy 2.5", "rainy:Rain")
    assert entry.text == "Attenuate everything."
    listed = call("plugins")
    assert listed.exit_code == 0
    (line,) = [line for line in listed.stdout.splitlines() if "rain" in line.split()]
    assert line.split() == ["rain", "rainy", "2.5", "Attenuate", "everything."]


def test_settings_are_told_with_defaults_and_text() -> None:
    (entry,) = catalogue.entries("rayleigh", "channels")
    assert entry.settings is not None
    told = {setting.name: setting for setting in catalogue.described(entry.settings)}
    assert told["fading"] == Setting(
        "fading", "'symbol' or 'block'", "'symbol'", "One coefficient per symbol, or one per sample."
    )
    assert told["uses"].default == "unset"
    assert told["snr_db"].kind == "number"
    shown = call("plugins", "rayleigh").stdout
    for words in ("semfed.channels.rayleigh:Rayleigh", "One coefficient per symbol", "'symbol' or 'block'"):
        assert words in shown
    assert "One coefficient per symbol" in call("plugins", "--group", "channels").stdout
    assert "One coefficient per symbol" not in call("plugins").stdout


class Odd(StrictModel):
    trunk: ModelChoice
    inner: ChannelSettings = ChannelSettings()
    pair: tuple[int, str] = (1, "a")
    names: dict[str, int] | bool = Field(default=False)


def test_kinds_of_values_are_words() -> None:
    told = [(setting.name, setting.kind, setting.default) for setting in catalogue.described(Odd)]
    assert told == [
        ("trunk", "a part", ""),
        ("inner", "table", "{}"),
        ("pair", "list of integer or text", "[1, 'a']"),
        ("names", "table or true or false", "false"),
    ]


BROKEN = [
    ("import no_such_module_anywhere\n", "No module named 'no_such_module_anywhere'"),
    ("raise RuntimeError('as asked')\n", "RuntimeError: as asked"),
    ("raise SystemExit(3)\n", "SystemExit: 3"),
    ("", "has no attribute 'Rain'"),
]


@pytest.mark.parametrize(("code", "words"), BROKEN)
def test_a_broken_part_is_listed_with_its_error_and_stops_nothing(install: Install, code: str, words: str) -> None:
    install("broken", "[semfed.channels]\nrain = broken:Rain\n", code or "pass\n")
    sys.modules.pop("broken", None)
    listed = call("plugins")
    assert listed.exit_code == 0
    assert "Average all the clients' arrays" in listed.stdout
    assert words in " ".join(listed.stdout.split())
    overrides.load("digits")
    asked = call("plugins", "rain")
    assert asked.exit_code == 1
    assert words in asked.stderr
    with pytest.raises(ScenarioError, match=r"plugin 'rain' of the channels cannot be loaded from 'broken:Rain'"):
        overrides.load("digits", {"channel": "rain"})


def test_a_broken_part_does_not_spoil_what_is_said_of_others(install: Install) -> None:
    install("broken", "[semfed.clients]\naaa = broken:Client\n", "raise RuntimeError('as asked')\n")
    sys.modules.pop("broken", None)
    with pytest.raises(ScenarioError, match=r"learner 'joint' has no method 'forward'.*learners \['split'\]"):
        fitting.check(overrides.load("fedcl-digits", {"arms.fedcl.learner": "joint"}).arm("fedcl"))


def test_one_name_from_two_packages_is_an_error_that_names_both_when_it_is_asked_for(install: Install) -> None:
    for package in ("mine", "yours"):
        install(package, "[semfed.channels]\nrain = semfed.channels.awgn:AWGN\n", "")
    words = r"plugin 'rain' of the channels is offered by mine 2\.5 and by yours 2\.5: uninstall one of them"
    with pytest.raises(ScenarioError, match=words):
        overrides.load("digits", {"channel": "rain"})
    with pytest.raises(ScenarioError, match=words):
        catalogue.entries("rain")
    listed = call("plugins")
    assert listed.exit_code == 0
    assert listed.stdout.count("is offered by mine 2.5 and by yours 2.5") == 2
    overrides.load("digits", {"channel": {"name": "semfed.channels.awgn:AWGN", "uses": 8}})


def test_what_is_not_there_is_suggested() -> None:
    with pytest.raises(ScenarioError, match="no plugin 'awng'; did you mean 'awgn'"):
        catalogue.entries("awng")
    with pytest.raises(ScenarioError, match="no plugin 'mlp' among the channels"):
        catalogue.entries("mlp", "channels")
    with pytest.raises(ScenarioError, match="no group 'channel' of parts; did you mean 'channels'"):
        catalogue.entries(group="channel")
