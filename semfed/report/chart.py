"""Lines over an axis: the mean over seeds of every arm, with its interval, and a legend that says what is shown."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from semfed.report.style import COLUMN, PAGE, look
from semfed.report.ticks import PlainLog
from semfed.runs.statistics import CONFIDENCE, interval, mean_of

FEW = 5
"""Lines whose bands can be told from each other; more have bars."""
MARKED = 12
"""Markers of a line at most, so that they can be told from each other."""
MOST_PANELS = 24
"""Panels that fit on a page."""
LARGEST = 700.0
"""Logarithms that have a number; what is beyond is out of every axis."""
FLAT = 1e-5
"""Relative range below which values are constant but for rounding."""
ALONE, BESIDE = 30, 20
"""Characters of a label that fit beside a single panel, and beside one of several."""
CHARACTER, HANDLE, ROW = 0.056, 0.42, 0.145
"""What a legend takes in inches: a character, the line before a label, and a row."""


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
    percent : bool
        Whether values lie between 0 and 100, beyond which there is nothing to be seen, though an interval may go on.
    log : bool
        Whether the values are drawn on a logarithmic axis: then the mean is the geometric one, its interval that of
        the logarithms, and values that are not above 0 are left out.

    Raises
    ------
    ValueError
        If there are more panels than fit on a page.
    """

    def __init__(
        self, x: str, y: str, *, lines: int = 1, panels: Sequence[str] = ("",), percent: bool = False, log: bool = False
    ) -> None:
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
                axes.yaxis.set_major_formatter(PlainLog())
                axes.yaxis.set_minor_formatter(PlainLog())
        self.log, self._percent, self._crowded = log, percent, lines > FEW
        self._counts, self._kinds, self._gaps = set[int](), dict[str, None](), False
        self._means: list[float] = []
        for axes in self.panels[::columns]:
            axes.set_ylabel(textwrap.fill(y, ALONE if single else BESIDE, break_on_hyphens=False))
        for axes in self.panels[-columns:]:  # below which there is none, or a gap
            axes.set_xlabel(x)
            axes.tick_params(labelbottom=True)

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
        self._means += mean[~np.isnan(mean)].tolist()
        self._gaps |= bool(np.isnan(mean).any())
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
            axes.axhline(value, color="0.5", linestyle=(0, (1, 1.5)), linewidth=1, label=label)

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
        if self._means and self.log:  # an interval of few seeds may go on over many decades
            self.axes.set_ylim(min(self._means) / 10, max(self._means) * 10)
        elif not self.log:
            self.axes.set_ylim(limits(*self.axes.get_ylim(), percent=self._percent))
        shown = what_is_shown("geometric mean" if self.log else "mean", " and ".join(self._kinds), self._counts)
        gaps = f"; {'0' if self.log else '∞'} not drawn" if self._gaps else ""
        legend(self.figure, self.panels, said or shown + gaps)
        return self.figure

    def _summary(self, values: Sequence[float]) -> tuple[float, float, float]:
        """Return mean and interval of the values of seeds; NaN for what there is not."""
        if not self.log:
            low, high = interval(values) or (math.nan, math.nan)
            return mean_of(values), low, high
        if min(values) <= 0:
            return math.nan, math.nan, math.nan
        logs = [math.log(value) for value in values]
        low, high = interval(logs) or (math.nan, math.nan)
        return math.exp(mean_of(logs)), math.exp(max(low, -LARGEST)), math.exp(min(high, LARGEST))


def what_is_shown(mean: str, kind: str, counts: Collection[int]) -> str:
    """Say what the marks of a figure are, from the numbers of seeds that they stand for.

    Examples
    --------
    >>> what_is_shown("mean", "bands", {5}), what_is_shown("mean", "bars", {2, 3}), what_is_shown("mean", "", {1})
    ('mean, bands: 95 % interval, n = 5', 'mean, bars: 95 % interval, n = 2 to 3', 'one seed, no interval')
    """
    if not counts:
        return ""
    if max(counts) == 1:
        return "one seed, no interval"
    count = f"n = {max(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
    return f"{mean}, {kind}: {100 * CONFIDENCE:g} % interval, {count}"


def legend(figure: Figure, panels: Sequence[Axes], title: str = "") -> None:
    """Explain what has a label, below the panels, where it covers nothing: room is made for it."""
    named: dict[str, Artist] = {}
    for axes in panels:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(text, handle)
    if not named and not title:
        return
    width = figure.get_figwidth()
    texts = [textwrap.fill(text, int((width - HANDLE) / CHARACTER)) for text in named]
    longest = max((len(line) for text in texts for line in text.split("\n")), default=0)
    handles = list(named.values())
    columns = max(1, min(len(texts), int(width / (longest * CHARACTER + HANDLE))))
    rows = math.ceil(len(texts) / columns) + bool(title) + sum(text.count("\n") for text in texts)
    figure.set_figheight(figure.get_figheight() + ROW * rows)
    figure.legend(handles, texts, loc="outside lower center", ncols=columns, title=title, frameon=False)


def limits(low: float, high: float, *, percent: bool) -> tuple[float, float]:
    """Return the ends of an axis: no rounding errors are magnified, and percentages end where they end.

    Examples
    --------
    >>> limits(0.99999999, 1.00000001, percent=False), limits(-20.0, 120.0, percent=True)
    ((0.9, 1.1), (-2.0, 102.0))
    """
    if percent:
        return max(low, -2.0), min(high, 102.0)
    middle = (low + high) / 2
    if high - low < FLAT * abs(middle):
        return round(0.9 * middle, 6), round(1.1 * middle, 6)
    return low, high
