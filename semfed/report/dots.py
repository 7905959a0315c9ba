"""Values that are no curve, since they were measured in one round only: a row an arm, with its interval."""

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from semfed.report.chart import legend, limits, what_is_shown
from semfed.report.style import COLUMN, look
from semfed.runs.statistics import interval, mean_of

LONGEST = 24
"""Characters of an arm's name beside an axis."""
WIDEST = 48
"""Characters of a line of the label below it."""


def dots(arms: Mapping[str, Sequence[float]], x: str, *, percent: bool, reference: tuple[float, str] | None) -> Figure:
    """Draw the mean of every arm with its interval, and its seeds as small ticks.

    Parameters
    ----------
    arms : mapping of str to sequence of float
        Values of the seeds.
    x : str
        Label of the values' axis.
    percent : bool
        See `semfed.report.chart.Chart`.
    reference : tuple of float and str, optional
        What a trivial decision reaches, and what it is called.
    """
    label = textwrap.fill(x, WIDEST, break_on_hyphens=False)
    figure = Figure(figsize=(COLUMN, 0.6 + 0.17 * len(arms) + 0.13 * label.count("\n")))
    axes = figure.subplots()
    for index, values in enumerate(arms.values()):
        looks, ends, mean = look(index), interval(values), mean_of(values)
        error = None if ends is None else [[mean - ends[0]], [ends[1] - mean]]
        axes.plot(values, [index] * len(values), "|", color=looks["color"], alpha=0.5)
        axes.errorbar(mean, index, xerr=error, color=looks["color"], marker=looks["marker"], elinewidth=0.8)
    axes.set_yticks(range(len(arms)), [textwrap.shorten(arm, LONGEST, placeholder="…") for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.set_xlim(limits(*axes.get_xlim(), percent=percent))
    figure.set_label(f"{x}: {', '.join([*arms, *([] if reference is None else [reference[1]])])}")
    if reference is not None:
        axes.axvline(reference[0], color="0.5", linestyle=(0, (1, 1.5)), linewidth=1, label=reference[1])
    legend(figure, [axes], what_is_shown("mean", "bars", {len(values) for values in arms.values()}))
    return figure
