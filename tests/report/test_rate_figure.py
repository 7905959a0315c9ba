"""Errors against the rate that they take, of arms and of a sweep."""

import pytest
from semfed.clients.cooperative import CooperativeClient

from semfed.events.metrics import Metrics
from semfed.report.lines import Sweeping, against_metric, both


def entry(*values: float) -> dict[str, object]:
    return {"mean": sum(values) / len(values), "values": {str(seed): value for seed, value in enumerate(values)}}


SUMMARY = {
    "arms": {
        f"{arm}@{value}": {"final": {"rate/t1": entry(1.0, 1.0 + value), "error/t1": entry(0.1, 0.1 + value)}}
        for arm in ("iopm", "gaussian-prior")
        for value in (0.1, 0.2)
    }
}


@pytest.mark.parametrize("swept", [True, False])
def test_one_label_an_arm_and_one_marker_a_seed(swept: bool) -> None:
    arms = ("iopm", "gaussian-prior")
    settings = ["lambda_eff"] if swept else []
    tree = {"sweep": {"axes": [{"setting": name, "values": (0.1, 0.2)} for name in settings], "arms": arms}}
    sweeping = Sweeping.of({**SUMMARY, "baselines": {}}, tree if swept else {}, {})
    metrics = Metrics(CooperativeClient.metrics)
    assert both({**SUMMARY, "headline": "error/average"}, metrics, metrics.of("error")) == ["t1"]
    (axes,) = against_metric(sweeping, metrics.of("error"), metrics.of("rate"), "t1").axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate of t1 (nats)", "error of t1 (%)")
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(arms if swept else SUMMARY["arms"])
    assert legend.get_title().get_text() == "a marker a seed" + ", line: means over seeds" * swept
    markers, line = axes.lines[:2]
    assert list(markers.get_xdata()) == pytest.approx([1.0, 1.1, 1.0, 1.2] if swept else [1.0, 1.1])
    assert list(markers.get_ydata()) == pytest.approx([10, 20, 10, 30] if swept else [10, 20])
    assert list(line.get_xdata()) == pytest.approx([1.05, 1.1] if swept else [1.05])
