import numpy as np
import pytest
from semfed.strategies.alignment import AlignmentStrategy

from semfed.events.metrics import Metrics
from semfed.report.convergence import measured
from semfed.report.lines import against_round

CURVES = {
    "a": {"admm/primal-residual": {0: {1: 0.0, 2: 1e-2}, 1: {1: 1e-1, 2: 1e-4}}, "objective": {0: {1: 3.0}}},
    "b": {"accuracy/x": {0: {1: 0.5}}},
}
METRICS = Metrics(AlignmentStrategy.metrics)


def test_only_what_was_measured_is_drawn() -> None:
    assert set(measured(CURVES, METRICS)) == {"objective", "admm/primal-residual"}
    assert measured({"b": CURVES["b"]}, METRICS) == []


def test_geometric_mean_over_seeds_without_what_is_exactly_zero() -> None:
    name = "admm/primal-residual"
    axes = against_round(CURVES, METRICS.of(name), name, {}, log=True).axes[0]
    assert axes.get_ylabel() == "primal residual"
    (line,) = axes.lines
    assert axes.get_yscale() == "log"
    values = np.asarray(line.get_ydata(), dtype=float)
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(1e-3)


def test_a_quantity_that_is_always_zero_has_no_place_on_a_logarithmic_axis() -> None:
    """The primal residual of a run that ends before users and precoder have ever differed."""
    curves = {"a": {"admm/primal-residual": {0: {1: 0.0, 2: 0.0}}, "admm/dual-residual": {0: {1: 0.0, 2: 0.1}}}}
    assert measured(curves, METRICS) == ["admm/dual-residual"]
    by_turns = {"a": {"admm/dual-residual": {0: {1: 0.0, 2: 0.1}, 1: {1: 0.1, 2: 0.0}}}}
    assert measured(by_turns, METRICS) == [], "no mean over seeds is above 0"
