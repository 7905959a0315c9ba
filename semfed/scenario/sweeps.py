"""Sweeps as a person writes them: settings and their values, on the command line, in Python or in a scenario file.

::

    [sweep]
    channel.snr_db = "-5:20:5"           # a range, its end included
    weights = [[0.2, 0.8], [0.5, 0.5]]   # every combination of both is run
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from semfed.errors import ScenarioError
from semfed.scenario.settings import Keys

Swept = str | Sequence[str] | Mapping[str, Any]
MOST_VALUES = 10_000
_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
_RANGE = re.compile(f"{_NUMBER}:{_NUMBER}:{_NUMBER}")
_SPREAD = ({"axes", "arms"}, {"setting", "values", "arms"})
"""What the table of a sweep holds that has been spread already, now and in earlier versions."""


def is_written(table: Any) -> bool:
    """Whether a scenario's ``sweep`` is one that a person wrote, which is still to be spread over the arms."""
    return table is not None and not (isinstance(table, Mapping) and set(table) in _SPREAD)


def parse(sweep: Swept) -> list[tuple[Keys, list[Any]]]:
    """Return the settings of a sweep, perhaps shortened, each with its values.

    Parameters
    ----------
    sweep : str, sequence of str, or mapping
        ``PATH=VALUE,VALUE,...`` each, with values written as in TOML, or as bare words, or as ranges
        ``FIRST:LAST:STEP``; or a mapping from paths to values, nested or dotted.

    Raises
    ------
    ScenarioError
        If it is written in another way.

    Examples
    --------
    >>> parse("channel.snr_db=-5:5:5,20")
    [(('channel', 'snr_db'), [-5, 0, 5, 20])]
    >>> parse(["lr=0.1:0.3:0.1", "weights=[0.2,0.8],[0.5,0.5]"])
    [(('lr',), [0.1, 0.2, 0.3]), (('weights',), [[0.2, 0.8], [0.5, 0.5]])]
    """
    if isinstance(sweep, Mapping):
        return [(path, _values(".".join(path), given)) for path, given in _flat(sweep)]
    texts = [sweep] if isinstance(sweep, str) else sweep
    if not isinstance(texts, Sequence) or not texts or not all(isinstance(text, str) for text in texts):
        raise ScenarioError(
            f"sweep = {sweep!r}: give PATH=VALUE,VALUE,..., or a mapping from paths to values; several are a product"
        )
    return [_parsed(text) for text in texts]


def keys(path: str) -> Keys:
    """Take a dotted path apart."""
    return tuple(part.strip() for part in path.strip().split("."))


def value_of(text: str) -> Any:
    """Read a value as TOML has it; what is none is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, or none that Python reads: then it has to make sense as text
        return text


def _parsed(text: str) -> tuple[Keys, list[Any]]:
    path, equals, values = text.partition("=")
    if not equals or not all(keys(path)):
        raise ScenarioError(f"sweep {text!r}: write PATH=VALUE,VALUE,..., such as channel.snr_db=0,5,10")
    return keys(path), _from_text(text, values)


def _from_text(sweep: str, text: str) -> list[Any]:
    parts = list(_split(text))
    if not all(parts):
        raise ScenarioError(f"sweep {sweep!r}: write PATH=VALUE,VALUE,..., such as channel.snr_db=0,5,10")
    values: list[Any] = []
    for part in parts:
        values += _range(sweep, part) if _RANGE.fullmatch(part) else [value_of(part)]
    return values


def _split(text: str) -> Iterator[str]:
    """Yield what stands between commas, other than those inside of brackets or quotes."""
    pending = ""
    for piece in text.split(","):
        pending += piece
        if all(pending.count(a) == pending.count(b) for a, b in ("[]", "{}")) and pending.count('"') % 2 == 0:
            yield pending.strip()
            pending = ""
        else:
            pending += ","
    if pending:
        yield pending.removesuffix(",").strip()


def _range(sweep: str, text: str) -> list[Any]:
    """Return the numbers of a range, which are counted in decimal: integers if all of its numbers are."""
    match = _RANGE.fullmatch(text)
    assert match is not None
    first, last, step = map(Decimal, match.groups())
    steps = (last - first) / step if step else Decimal(-1)
    if steps < 0:
        raise ScenarioError(f"sweep {sweep!r}: {text} never ends; write FIRST:LAST:STEP, such as -5:20:5")
    if steps >= MOST_VALUES:
        raise ScenarioError(f"sweep {sweep!r}: {text} has more than {MOST_VALUES} values; write fewer")
    whole = all(re.fullmatch(r"[+-]?\d+", number) for number in match.groups())
    return [int(first + k * step) if whole else float(first + k * step) for k in range(int(steps) + 1)]


def _flat(table: Mapping[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    for key, given in table.items():
        here = (*path, *keys(str(key)))
        if isinstance(given, Mapping):
            yield from _flat(given, here)
        else:
            yield here, given


def _values(path: str, given: Any) -> list[Any]:
    if isinstance(given, str):
        return _from_text(f"{path}={given}", given)
    values = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(values, Sequence) or isinstance(values, bytes):
        raise ScenarioError(f"sweep of {path} = {given!r}: give several values")
    if len(values) > MOST_VALUES:
        raise ScenarioError(f"sweep of {path}: more than {MOST_VALUES} values; write fewer")
    return [value.item() if isinstance(value, np.generic) else value for value in values]
