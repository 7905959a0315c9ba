"""One test a check, for pytest; nothing else here knows of it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semfed.errors import ScenarioError
from semfed.scenario.settings import suggest
from semfed.testing import channels, clients, datasets, models, partitions, strategies
from semfed.testing.kit import Kit, Part

if TYPE_CHECKING:
    import pytest

KITS: dict[str, Kit] = {
    module.KIT.group: module.KIT for module in (channels, clients, datasets, models, partitions, strategies)
}


def parametrize_with_checks(
    group: str, parts: Sequence[Part], *, expected_failures: Mapping[str, str] | None = None, **options: Any
) -> "pytest.MarkDecorator":
    """Return the mark by which pytest runs a test for every check of every part, with the argument ``check``.

    Parameters
    ----------
    group : str
        ``channels``, ``clients``, ``datasets``, ``models``, ``partitions`` or ``strategies``.
    parts : sequence of str, type or mapping
        Names, classes, or tables with ``name`` and settings.
    expected_failures : mapping of str to str, optional
        By check, why it is expected to fail; it is an error if it passes.
    **options
        Of `check_channel` and its likes, such as ``input_shape`` of models.

    Raises
    ------
    ScenarioError
        If there is no such group, check or part, or its settings are not valid.

    Examples
    --------
    >>> @parametrize_with_checks("channels", ["awgn"])  # in a module of tests: every check becomes one
    ... def test_channel(check):
    ...     check()
    """
    import pytest

    if group not in KITS:
        raise ScenarioError(f"there are no checks of {group!r}; {suggest(group, KITS)}")
    kit, expected = KITS[group], dict(expected_failures or {})
    for name in expected.keys() - kit.functions:
        raise ScenarioError(f"{group} have no check {name!r}; {suggest(name, kit.functions)}")
    marked = [
        pytest.param(
            check,
            id=str(check),
            marks=pytest.mark.xfail(reason=expected[check.name], strict=True) if check.name in expected else (),
        )
        for part in parts
        for check in kit.checks(part, **options)
    ]
    return pytest.mark.parametrize("check", marked)
