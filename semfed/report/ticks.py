"""Places and texts along the axes of figures."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogFormatterMathtext, MaxNLocator, NullLocator

SIDE_BY_SIDE = 45
"""Characters that stand side by side below an axis."""
WIDE = 6
"""Steps between ticks whose texts may be long."""
NAMED = 8
"""Values that each have a tick of their own."""
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class PlainLog(LogFormatterMathtext):
    """Texts of a logarithmic axis without formulas: the same ticks as matplotlib's own, written as `written` does."""

    def __call__(self, value: float, position: int | None = None) -> str:
        """Return the text of a tick, empty where there is to be none."""
        return written(float(value)) if super().__call__(value, position) else ""


def place(axes: Axes, values: Sequence[object]) -> list[float]:
    """Lay a sweep's values out on an x axis, and return their places on it.

    Numbers stand where they belong, on a logarithmic axis if they are spaced like that; where a value is none, or has
    no end, all values stand side by side in their order.
    """
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    if len(numbers) < len(values):
        places = [float(index) for index in range(len(values))]
        texts = [written(value) for value in values]
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if sum(map(len, texts)) > SIDE_BY_SIDE else {}
        axes.set_xticks(places, texts, **turned)
        axes.set_xlim(-0.5, len(values) - 0.5)
        return places
    if geometric(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        axes.xaxis.set_major_formatter(lambda value, _: written(value))
    elif len(numbers) <= NAMED and np.diff(sorted(numbers)).min(initial=math.inf) > np.ptp(numbers) / (2 * NAMED):
        axes.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        axes.xaxis.set_major_formatter(lambda value, _: written(value))
    elif all(number.is_integer() for number in numbers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return numbers


def few(axes: Axes, places: Collection[float]) -> None:
    """Leave room between the ticks of an x axis, whose texts may be long; the only place has the only tick."""
    axes.xaxis.set_major_locator(FixedLocator([*places]) if len(places) == 1 else MaxNLocator(WIDE))


def geometric(numbers: Sequence[float]) -> bool:
    """Whether numbers are spaced by about equal factors, as 1, 2, 5, 10 are, and not by equal steps.

    Examples
    --------
    >>> geometric([0.001, 0.01, 0.1]), geometric([1, 2, 5, 10]), geometric([5, 10, 15]), geometric([0, 1, 10])
    (True, True, False, False)
    """
    ordered = np.unique(numbers)
    if len(ordered) < 3 or ordered[0] <= 0:
        return False
    steps, factors = np.diff(ordered), np.diff(np.log(ordered))
    return bool(factors.max() < 1.5 * factors.min() and steps.max() >= 1.5 * steps.min())


def written(value: object) -> str:
    """Write a swept value as a person would.

    Examples
    --------
    >>> written(0.001), written(2e-5), written(float("inf")), written(True), written("adam")
    ('0.001', '2·10⁻⁵', '∞', 'true', 'adam')
    >>> written({"name": "rayleigh", "fading": "block"})
    'rayleigh, fading block'
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(written(item) if key == "name" else f"{key} {written(item)}" for key, item in value.items())
    if not isinstance(value, int | float):
        return str(value)
    text = f"{value:g}"
    mantissa, _, exponent = text.partition("e")
    if exponent:
        text = f"{mantissa}·10{str(int(exponent)).translate(RAISED)}".removeprefix("1·")
    return text.replace("inf", "∞").replace("-", "\N{MINUS SIGN}")
