"""Charts show means with their t-intervals, say so, and tell many arms apart."""

import math

import numpy as np
import pytest
from matplotlib import style
from matplotlib.figure import Figure

from semfed.report.chart import FEW, MOST_PANELS, Chart
from semfed.report.dots import dots
from semfed.report.style import COLUMN, PAGE, STYLE, look
from semfed.report.svg import described
from semfed.report.ticks import few, place, written


@pytest.fixture(autouse=True)
def _style() -> object:
    with style.context(["default", STYLE]):
        yield


def title(figure: Figure) -> str:
    (legend,) = figure.legends
    return legend.get_title().get_text()


def test_the_band_is_the_t_interval_of_the_mean() -> None:
    """1, 2, 3: mean 2, s = 1, t(2) = 4.302653, half 4.302653 / sqrt(3) = 2.484138."""
    chart = Chart("x", "y")
    chart.line(0, "arm", {5.0: [2.0, 4.0, 6.0], 1.0: [1.0, 2.0, 3.0]})
    (line,), (band,) = chart.axes.lines, chart.axes.collections
    assert list(line.get_xdata()) == [1, 5]
    assert list(line.get_ydata()) == [2, 4]
    corners = band.get_paths()[0].vertices
    at_one = np.unique(corners[corners[:, 0] == 1][:, 1])
    assert at_one == pytest.approx([2 - 2.484138, 2 + 2.484138], abs=1e-6)
    assert title(chart.finish()) == "mean, bands: 95 % interval, n = 3"


def test_on_a_logarithmic_axis_mean_and_interval_are_those_of_the_logarithms() -> None:
    """0.1 and 10: geometric mean 1; ln 10 sqrt(2) t(1) / sqrt(2) = 2.302585 * 12.7062 = 29.2571 either way."""
    chart = Chart("x", "y", log=True)
    chart.line(0, "arm", {1.0: [0.1, 10.0], 2.0: [0.0, 1.0]})
    assert list(chart.axes.lines[0].get_ydata()) == pytest.approx([1.0, math.nan], nan_ok=True)
    corners = chart.axes.collections[0].get_paths()[0].vertices
    assert np.log(corners[:, 1].max()) == pytest.approx(29.2571, abs=1e-3)
    assert title(chart.finish()) == "geometric mean, bands: 95 % interval, n = 2; 0 not drawn"


def test_one_seed_has_no_band_and_it_is_said() -> None:
    chart = Chart("x", "y")
    chart.line(0, "arm", {1.0: [1.0], 2.0: [2.0]})
    assert not chart.axes.collections
    assert title(chart.finish()) == "one seed, no interval"


def test_points_with_fewer_seeds_are_drawn_and_counted() -> None:
    chart = Chart("x", "y")
    chart.line(0, "arm", {1.0: [1.0, 2.0, 3.0], 2.0: [2.0]})
    assert list(chart.axes.lines[0].get_ydata()) == [2, 2]
    assert title(chart.finish()) == "mean, bands: 95 % interval, n = 1 to 3"


def test_a_long_label_has_several_lines_and_one_description() -> None:
    chart = Chart("round", "balanced accuracy of own-classes (%)")
    chart.line(0, "a", {1: [0.5], 2: [0.6]})
    assert chart.axes.get_ylabel() == "balanced accuracy of\nown-classes (%)"
    assert described(chart.finish()) == "balanced accuracy of own-classes (%) against round: a"


def test_many_arms_have_bars_and_differ_in_what_a_printer_without_colour_shows() -> None:
    chart = Chart("x", "y", lines=FEW + 1)
    for index in range(FEW + 1):
        chart.line(index, f"arm {index}", {1.0: [1.0, 2.0], 2.0: [2.0, 3.0]})
    assert title(chart.finish()) == "mean, bars: 95 % interval, n = 2"
    looks = [look(index) for index in range(40)]
    assert len({tuple(one.values()) for one in looks}) == 40
    assert len({(one["linestyle"], one["marker"]) for one in looks[:28]}) == 28
    assert len({(one["color"], one["linestyle"]) for one in looks[:28]}) == 28


def test_a_legend_covers_nothing_and_stays_inside() -> None:
    for names in (["a", "b"], [f"an arm with a rather long name, {k}" for k in range(12)], ["word " * 40]):
        chart = Chart("x", "y", lines=len(names))
        for index, name in enumerate(names):
            chart.line(index, name, {1.0: [1.0, 2.0], 2.0: [2.0, 3.0]})
        figure = chart.finish()
        figure.draw_without_rendering()
        (box,) = (legend.get_window_extent() for legend in figure.legends)
        assert box.y1 <= figure.axes[0].xaxis.label.get_window_extent().y0 + 1
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert figure.axes[0].get_window_extent().height > 0.5 * 2.4 * figure.dpi
        assert figure.get_figwidth() == COLUMN


def test_rounds_are_whole_numbers() -> None:
    chart = Chart("round", "y")
    chart.line(0, "arm", {1.0: [1.0], 2.0: [2.0], 3.0: [1.0]})
    chart.rounds()
    assert all(float(tick).is_integer() for tick in chart.axes.get_xticks())


def test_percentages_end_where_they_end_and_rounding_errors_are_not_magnified() -> None:
    chart = Chart("x", "y", percent=True)
    chart.line(0, "arm", {1.0: [99.0, 60.0], 2.0: [99.0, 60.0]})
    chart.finish()
    assert chart.axes.get_ylim() == (-2, 102)
    flat = Chart("x", "y")
    flat.line(0, "arm", {1.0: [1 + 1e-9], 2.0: [1 - 1e-9]})
    flat.finish()
    assert flat.axes.get_ylim() == pytest.approx((0.9, 1.1))


@pytest.mark.parametrize(
    ("values", "places", "scale"),
    [
        ([-5, 0, 10], [-5, 0, 10], "linear"),
        ([0.001, 0.01, 0.1], [0.001, 0.01, 0.1], "log"),
        ([16, 32, 64], [16, 32, 64], "log"),
        ([0, 5, math.inf], [0, 1, 2], "linear"),
        (["fedavg", "fedprox"], [0, 1], "linear"),
        ([True, False], [0, 1], "linear"),
    ],
)
def test_values_of_a_sweep_on_an_axis(values: list[object], places: list[float], scale: str) -> None:
    axes = Figure().subplots()
    assert place(axes, values) == places
    assert axes.get_xscale() == scale
    axes.set_xlim(min(places) * 0.9 - (scale == "linear"), max(places) * 1.1 + 1)
    axes.figure.draw_without_rendering()
    shown = [tick.label1.get_text() for tick in axes.xaxis.get_major_ticks()]
    assert shown == [written(value) for value in values]


def test_panels_share_their_axes_over_the_width_of_a_page() -> None:
    chart = Chart("x", "y", panels=[f"SNR {k} dB" for k in range(6)])
    for panel in range(6):
        chart.line(0, "arm", {1.0: [1.0 * panel], 2.0: [2.0]}, panel=panel)
    figure = chart.finish()
    assert figure.get_figwidth() == PAGE
    assert [axes.get_title() for axes in figure.axes] == [f"SNR {k} dB" for k in range(6)]
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "x", "x", "x", "x"], "below a gap, too"
    with pytest.raises(ValueError, match=f"{MOST_PANELS + 1} panels do not fit on a page"):
        Chart("x", "y", panels=["p"] * (MOST_PANELS + 1))


def test_what_was_measured_once_is_a_dot_an_arm() -> None:
    figure = dots({"a": [1.0, 2.0, 3.0], "b": [2.0]}, "PSNR (dB)", percent=False, reference=(1.5, "chance"))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    means = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() in ("o", "s")]
    assert means == [2, 2]
    (bar,) = (bars for bars in axes.collections)
    assert bar.get_segments()[0][:, 0] == pytest.approx([2 - 2.484138, 2 + 2.484138], abs=1e-6)
    assert title(figure) == "mean, bars: 95 % interval, n = 1 to 3"
    assert described(figure) == "PSNR (dB): a, b, chance"


@pytest.mark.parametrize(("places", "ticks"), [({0.016}, 1), ({0.0158, 0.0161}, 7), ({0.0, 22.5}, 7)])
def test_ticks_with_long_texts_have_room(places: set[float], ticks: int) -> None:
    chart = Chart("channel uses (millions)", "accuracy (%)")
    chart.line(0, "arm", {key: [50.0, 60.0] for key in places})
    few(chart.axes, places)
    low, high = chart.axes.get_xlim()
    shown = [tick for tick in chart.axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(shown) <= ticks
    assert len(places) > 1 or shown == [0.016]


def test_a_long_label_below_rows_is_inside_of_the_figure() -> None:
    words = "uses per image of one-by-one (channel uses) after round 1"
    figure = dots({"mtoc": [40.0, 40.0], "stoc-1": [40.0, 41.0]}, words, percent=False, reference=None)
    figure.draw_without_rendering()
    box = figure.axes[0].xaxis.label.get_window_extent()
    assert figure.axes[0].get_xlabel().replace("\n", " ") == words
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert figure.axes[0].get_window_extent().height > 20
