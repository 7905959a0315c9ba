"""JSON that every reader takes: numbers that are not finite are written as ``"NaN"``, ``"Infinity"``, ``"-Infinity"``.

Python would write them as bare words, which are no JSON. Protocol Buffers and JavaScript spell them as these texts.
"""

import json
import math
from typing import Any

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

TEXTS = frozenset({"scenario", "arm", "client", "metric", "note", "error"})


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Write a value.

    Examples
    --------
    >>> dumps({"loss": math.nan, "rate": [1.0, -math.inf]})
    '{"loss": "NaN", "rate": [1.0, "-Infinity"]}'
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:  # rare, so that looking at every number of a long history would be a waste
        return json.dumps(_as_text(value), indent=indent, allow_nan=False)


def loads(text: str) -> Any:
    """Read a value that `dumps` has written; under the keys of names and sentences, texts stay what they are.

    Examples
    --------
    >>> loads('{"arm": "NaN", "value": "Infinity"}')
    {'arm': 'NaN', 'value': inf}
    """
    value = json.loads(text)
    return _as_numbers(value) if "NaN" in text or "Infinity" in text else value


def _as_numbers(value: Any) -> Any:
    if isinstance(value, str):
        return NUMBERS.get(value, value)
    if isinstance(value, dict):
        return {key: item if key in TEXTS else _as_numbers(item) for key, item in value.items()}
    return [_as_numbers(item) for item in value] if isinstance(value, list) else value


def _as_text(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else value
