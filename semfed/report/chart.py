"""Lines over an axis: the mean over seeds of every arm, with its interval, and a legend that says what is shown."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from semfed.report.style import COLUMN, PAGE, look
from semfed.runs.statistics import CONFIDENCE, interval, mean_of

FEW = 5
"""Lines that bands, and a legend inside of the axes, do not crowd; more have bars, and a legend below."""
SAID = f"{100 * CONFIDENCE:g} % interval"
MARKED = 12
"""Markers of a line at most, so that they can be told from each other."""
MOST_PANELS = 24
"""Panels that fit on a page."""
CHARACTER, HANDLE, ROW = 0.056, 0.42, 0.145
"""What a legend takes in inches: a character, the line before a label, and a row."""
TICKS = 45
"""Characters that stand side by side below an axis."""


class Chart:
    """A figure of lines.

    Parameters
    ----------
    x, y : str
        Labels of the axes.
    lines : int
        How many lines a panel gets at most.
    panels : sequence of str
        Titles of panels side by side, which share their axes; a single one needs none.
    log : bool
        Whether the values are drawn on a logarithmic axis: then the mean is the geometric one, its interval that of
        the logarithms, and values that are not above 0 are left out.

    Raises
    ------
    ValueError
        If there are more panels than fit on a page.
    """

    def __init__(self, x: str, y: str, *, lines: int = 1, panels: Sequence[str] = ("",), log: bool = False) -> None:
        if len(panels) > MOST_PANELS:
            raise ValueError(f"{len(panels)} panels do not fit on a page: sweep fewer values, or draw them yourself")
        columns = min(4, len(panels))
        rows = math.ceil(len(panels) / columns)
        single = len(panels) == 1
        self.figure = Figure(figsize=(COLUMN if single else PAGE, 2.4 if single else 0.5 + 1.5 * rows))
        grid = self.figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        self.panels: list[Axes] = list(grid.ravel())[: len(panels)]
        for spare in list(grid.ravel())[len(panels) :]:
            spare.remove()
        for axes, title in zip(self.panels, panels, strict=True):
            axes.set_title(title)
            if log:
                axes.set_yscale("log")
        self.log, self._crowded = log, lines > FEW
        self._counts, self._kinds = set[int](), dict[str, None]()
        if single:
            self.axes.set_xlabel(x)
            self.axes.set_ylabel(y)
        else:
            self.figure.supxlabel(x, fontsize=8)
            self.figure.supylabel(y, fontsize=8)

    @property
    def axes(self) -> Axes:
        """The first panel."""
        return self.panels[0]

    def line(self, index: int, label: str, points: Mapping[float, Sequence[float]], *, panel: int = 0) -> None:
        """Draw an arm.

        Parameters
        ----------
        index : int
            The arm's number, which decides its look.
        label : str
        points : mapping of float to sequence of float
            By their place on the x axis, the values of the seeds.
        panel : int, default 0
        """
        if not points:
            return
        x = np.array(sorted(points), dtype=float)
        mean, low, high = np.array([self._summary(points[place]) for place in x]).T
        self._counts |= {len(values) for values in points.values()}
        axes, looks, step = self.panels[panel], look(index), math.ceil(len(x) / MARKED)
        start = index % step  # markers of different arms stand beside each other, not upon each other
        axes.plot(x, mean, label=label, markevery=(start, step), **looks)
        if np.isnan(low).all():
            return
        if not self._crowded and len(x) > 1:
            axes.fill_between(x, low, high, color=looks["color"], alpha=0.15, linewidth=0)
            self._kinds["bands"] = None
            return
        shown = slice(start, None, step)
        error = np.array([mean - low, high - mean])[:, shown]
        axes.errorbar(x[shown], mean[shown], error, color=looks["color"], linestyle="none", elinewidth=0.6)
        self._kinds["bars"] = None

    def reference(self, value: float, label: str) -> None:
        """Draw what holds everywhere, such as what a trivial decision reaches."""
        for axes in self.panels:
            axes.axhline(value, color="0.45", linestyle=(0, (1, 1.5)), linewidth=1, label=label)

    def rounds(self) -> None:
        """Count whole rounds on the x axis."""
        self.axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    def finish(self, said: str = "") -> Figure:
        """Explain lines and intervals, and return the figure.

        Parameters
        ----------
        said : str, optional
            What is to be said instead of what the bands are.
        """
        legend(self.figure, self.panels, said or self._said())
        return self.figure

    def _said(self) -> str:
        if not self._counts:
            return ""
        few, most = min(self._counts), max(self._counts)
        if most == 1:
            return "one seed, no interval"
        count = f"n = {most}" if few == most else f"n = {few} to {most}"
        return f"{'geometric mean' if self.log else 'mean'}, {' and '.join(self._kinds)}: {SAID}, {count}"

    def _summary(self, values: Sequence[float]) -> tuple[float, float, float]:
        """Return mean and interval of the values of seeds; NaN for what there is not."""
        if not self.log:
            low, high = interval(values) or (math.nan, math.nan)
            return mean_of(values), low, high
        if min(values) <= 0:
            return math.nan, math.nan, math.nan
        logs = [math.log(value) for value in values]
        low, high = interval(logs) or (math.nan, math.nan)
        return math.exp(mean_of(logs)), math.exp(low), math.exp(high)


def legend(figure: Figure, panels: Sequence[Axes], title: str = "") -> None:
    """Explain what has a label: inside of the only panel if that is little, or else below, where there is made room."""
    named: dict[str, Artist] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(text, handle)
    if not named:
        return
    width = figure.get_figwidth()
    texts = [textwrap.fill(text, int((width - HANDLE) / CHARACTER)) for text in named]
    longest = max(len(line) for text in texts for line in text.split("\n"))
    handles = list(named.values())
    if len(panels) == 1 and len(texts) <= FEW and longest * CHARACTER + HANDLE < width / 2:
        panels[0].legend(handles, texts, loc="best", title=title, alignment="left")
        return
    columns = max(1, min(len(texts), int(width / (longest * CHARACTER + HANDLE))))
    rows = math.ceil(len(texts) / columns) + bool(title) + sum(text.count("\n") for text in texts)
    figure.set_figheight(figure.get_figheight() + ROW * rows)
    figure.legend(handles, texts, loc="outside lower center", ncols=columns, title=title, frameon=False)


def place(axes: Axes, values: Sequence[object]) -> list[float]:
    """Lay a sweep's values out on an x axis, and return their places on it.

    Numbers stand where they belong, on a logarithmic axis if they are spaced like that; where a value is none, or has
    no end, all values stand side by side in their order.
    """
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    if len(numbers) < len(values):
        places = [float(index) for index in range(len(values))]
        texts = [written(value) for value in values]
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if sum(map(len, texts)) > TICKS else {}
        axes.set_xticks(places, texts, **turned)
        axes.set_xlim(-0.5, len(values) - 0.5)
        return places
    if geometric(numbers):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(FixedLocator(sorted(numbers)))
        axes.xaxis.set_major_formatter(lambda value, _: written(value))
    elif all(number.is_integer() for number in numbers):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return numbers


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
    >>> written(0.001), written(float("inf")), written(True), written("adam")
    ('0.001', '∞', 'true', 'adam')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ", ".join(written(item) if key == "name" else f"{key} {written(item)}" for key, item in value.items())
    if isinstance(value, int | float):
        return f"{value:g}".replace("inf", "∞").replace("-", "\N{MINUS SIGN}")
    return str(value)
