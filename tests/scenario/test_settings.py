"""No derived value outlives the settings that it was made from, and no copy of settings goes unchecked."""

import sys
from collections.abc import Iterator
from functools import cached_property
from inspect import getattr_static
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from semfed.channels import ChannelSettings
from semfed.scenario import Scenario, Task, built_in, overrides, plugins
from semfed.scenario.plugins import GROUPS, KeywordSettings, Plugin, available
from semfed.scenario.settings import StrictModel


def classes() -> set[type[StrictModel]]:
    """All settings that a module of the package holds: those of every built-in part are imported first."""
    for group in GROUPS:
        for name in available(group):
            plugins.load(group, name)

    def below(base: type[StrictModel]) -> Iterator[type[StrictModel]]:
        for found in base.__subclasses__():
            yield found
            yield from below(found)

    def is_held(found: type[StrictModel]) -> bool:
        place: Any = sys.modules[found.__module__]
        for name in found.__qualname__.split("."):
            place = getattr(place, name, None)
        return place is found

    return {
        found
        for found in below(StrictModel)
        if found.__module__.startswith("semfed.") and is_held(found) and found is not KeywordSettings
    }


def inside(value: Any) -> Iterator[StrictModel]:
    """All settings in a tree of them."""
    if isinstance(value, Plugin):
        yield from inside(value.settings)
    elif isinstance(value, StrictModel):
        yield value
        for item in dict(value).values():
            yield from inside(item)
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from inside(item)


MEANINGFUL = {"Schedule": {"name": "cosine"}}
"""What a class of settings cannot do without, though each of its fields has a default."""


def examples() -> dict[type[StrictModel], StrictModel]:
    """One instance of every class, out of the built-in scenarios or with plain values where there is no default."""
    found: dict[type[StrictModel], StrictModel] = {}
    for whole in (*map(overrides.load, built_in()), overrides.load("digits", sweep="channel.snr_db=0,5")):
        for scenario in (*map(whole.arm, whole.arm_names), whole):
            for settings in inside(scenario):
                found.setdefault(type(settings), settings)
    for kind in classes() - set(found):
        required = {name: field.annotation for name, field in kind.model_fields.items() if field.is_required()}
        plain = {float: 0.5, int: 1, str: "x", Plugin: "digits"}
        values = {name: plain.get(annotation, ("x",)) for name, annotation in required.items()}
        found[kind] = kind.model_validate(values | MEANINGFUL.get(kind.__name__, {}))  # type: ignore[call-overload]
    return found


def candidates(settings: StrictModel, field: str) -> list[Any]:
    """Values that a field may have instead, and some that it may not."""
    value, annotation = getattr(settings, field), type(settings).model_fields[field].annotation
    literals = [
        choice
        for part in (annotation, *get_args(annotation))
        if get_origin(part) is Literal
        for choice in get_args(part)
    ]
    if isinstance(value, bool):
        literals += [not value]
    elif isinstance(value, int | float):
        literals += [value + 1, value / 2, value - 1]
    elif isinstance(value, str):
        literals += [f"{value}x"]
    elif isinstance(value, tuple):
        literals += [value[:-1], value + value[-1:], value[::-1]]
    elif isinstance(value, Plugin):
        literals += available(value.group)
    elif value is None:
        literals += [1, 0.5, "x", (1.0,), ("x", "y"), {"epsilon": 0.5}]
    return [*literals, None, -1, "no such value", object()]


def derived(settings: StrictModel) -> dict[str, Any]:
    """The values of all its properties, cached or not."""
    names = [name for name in dir(type(settings)) if name not in dir(BaseModel)]
    found = {name: getattr_static(type(settings), name) for name in names}
    return {
        name: getattr(settings, name) for name, item in found.items() if isinstance(item, property | cached_property)
    }


def test_no_settings_have_a_cached_property() -> None:
    for kind in classes():
        cached = [name for name in dir(kind) if isinstance(getattr_static(kind, name), cached_property)]
        assert not cached, kind


def test_a_copy_is_what_validation_makes_of_its_values() -> None:
    kinds = examples()
    assert set(kinds) >= classes()
    for kind, settings in kinds.items():
        before = derived(settings)
        changed, refused = set(), 0
        for field in kind.model_fields:
            for value in candidates(settings, field):
                try:
                    fresh = kind.model_validate({**dict(settings), field: value})
                except ValidationError:
                    refused += 1
                    with pytest.raises(ValidationError):
                        settings.model_copy(update={field: value})
                    continue
                copied = settings.model_copy(update={field: value})
                assert dict(copied) == dict(fresh), (kind, field, value)
                assert derived(copied) == derived(fresh), (kind, field, value)
                if fresh != settings:
                    changed.add(field)
        assert changed or not kind.model_fields, kind
        assert refused or not kind.model_fields, kind
        assert derived(settings) == before
        assert settings.model_copy() == settings.model_copy(deep=True) == settings
        assert settings.model_copy().model_fields_set == settings.model_fields_set


def test_a_cached_property_of_settings_is_refused_by_name() -> None:
    class Mixin:
        @cached_property
        def noise(self) -> float:
            return 1.0

    for bases in ((StrictModel,), (ChannelSettings,)):
        with pytest.raises(TypeError, match=r"Bad\.noise is a cached property of settings: make it a property"):
            type("Bad", (Mixin, *bases), {"__module__": __name__})


def test_a_copy_with_another_snr_has_other_noise() -> None:
    settings = ChannelSettings(snr_db=0.0, symbols="complex")
    assert settings.noise_std == pytest.approx(0.5**0.5)
    assert settings.model_copy(update={"snr_db": 40.0}).noise_std == pytest.approx(0.01 * 0.5**0.5)
    with pytest.raises(ValidationError, match="did you mean 'snr_db'"):
        settings.model_copy(update={"snr_bd": 40.0})
    with pytest.raises(ValidationError, match="greater than or equal to -200"):
        settings.model_copy(update={"snr_db": -float("inf")})


def test_a_copied_task_has_its_own_symbols() -> None:
    task = Task(values=("1", "2"))
    assert task.symbols == ("1", "2")
    assert task.model_copy(update={"rest": "other"}).symbols == ("other", "1", "2")


def test_a_choice_is_a_key_and_an_amended_one_another(digits: Scenario) -> None:
    choice = digits.channel
    louder = choice.amended(snr_db=20.0)
    assert choice != louder == choice.amended(snr_db=20.0)
    assert {choice: 1, louder: 2}[choice.amended(snr_db=20.0)] == 2
