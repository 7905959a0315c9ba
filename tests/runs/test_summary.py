import tracemalloc
from typing import Any

import pytest
from rich.console import Console
from semfed.clients.scores import ACCURACY

from semfed.channels.meter import SIGNALS
from semfed.events.metrics import FRAMEWORK, Metric, Metrics
from semfed.events.records import Record
from semfed.report import tables
from semfed.runs.summary import curves, headline_names, summarise

METRICS = Metrics([*FRAMEWORK, ACCURACY, *SIGNALS])
TOLD: dict[str, Any] = {"metrics": METRICS, "headline": "accuracy/average"}


def records() -> list[Record]:
    made = []
    for seed in (0, 1):
        for round_ in (1, 2):
            for k, client in enumerate("ab"):
                made.append(Record("x", seed, round_, client, "accuracy/t", 0.1 * round_ + 0.01 * seed + 0.2 * k))
                made.append(Record("x", seed, round_, client, "cost/bytes_up", 10.0))
        made.append(Record("x", seed, 0, "a", "cost/bytes_up", 1.0))
    return made


def test_clients_are_averaged_and_costs_are_summed() -> None:
    combined = curves(records(), METRICS)
    assert combined["x"]["accuracy/t"][1][2] == pytest.approx(0.31)
    assert combined["x"]["cost/bytes_up"][0] == {1: 20.0, 2: 20.0, 0: 1.0}


def test_final_is_the_last_round_or_the_total() -> None:
    outcomes = [
        {"arm": "x", "seed": s, "details": {"clusters": [[0], [1]]}, "baselines": {"accuracy/t": 0.5}} for s in (0, 1)
    ]
    summary = summarise("s", ["x"], records(), outcomes, **TOLD)
    final = summary["arms"]["x"]["final"]
    assert final["accuracy/t"]["values"] == pytest.approx({"0": 0.3, "1": 0.31})
    assert final["accuracy/t"]["mean"] == pytest.approx(0.305)
    assert final["accuracy/t"]["sd"] == pytest.approx(0.01 / 2**0.5)
    assert final["cost/bytes_up"]["mean"] == 41.0
    assert summary["arms"]["x"]["round_mean"]["accuracy/t"]["mean"] == pytest.approx(0.255)
    assert summary["baselines"] == {"accuracy/t": 0.5}
    assert summary["clusters"] == {"x": [[0], [1]]}
    assert summary["complete"]
    assert "by_seed" not in summary


def test_one_seed_has_no_spread() -> None:
    summary = summarise("s", ["x"], [r for r in records() if r.seed == 0], [], **TOLD)
    assert summary["arms"]["x"]["final"]["accuracy/t"]["sd"] is None
    assert tables.written(summary["arms"]["x"]["final"]["accuracy/t"], ACCURACY) == "30.00"


def test_clusters_that_differ_by_seed_are_all_told() -> None:
    outcomes = [{"arm": "x", "seed": s, "details": {"clusters": [[0, s]]}, "baselines": {}} for s in (0, 1)]
    summary = summarise("s", ["x"], [], outcomes, error="stopped", **TOLD)
    assert summary["by_seed"]["clusters"] == {"x": {"1": [[0, 1]]}}
    assert (summary["complete"], summary["error"]) == (False, "stopped")


def test_the_average_stands_last() -> None:
    summary = summarise(
        "s", ["x"], [Record("x", 0, 1, None, f"accuracy/{n}", 0.5) for n in ("average", "t2", "t1")], [], **TOLD
    )
    assert headline_names(summary, METRICS) == ["accuracy/t1", "accuracy/t2", "accuracy/average"]


def test_a_long_history_is_not_held_in_memory() -> None:
    history = (Record("x", 0, k // 10_000, f"client {k % 10_000}", "loss/a", float(k)) for k in range(50_000))
    tracemalloc.start()
    found = curves(history, METRICS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["x"]["loss/a"][0] == {k: 10_000 * k + 4_999.5 for k in range(5)}
    assert peak < 100_000


def signals(snr_a: float, snr_b: float, power: float = 2.0) -> list[Record]:
    told = [("a", "snr/received-db", snr_a), ("b", "snr/received-db", snr_b)]
    told += [("a", "snr/received-db/t1", snr_a), ("b", "snr/received-db/t1", snr_b)]
    told += [("a", "power/transmit", power), ("b", "power/transmit", 3 * power)]
    return [Record("x", 0, 1, client, metric, value) for client, metric, value in told]


def test_ratios_in_decibels_are_averaged_as_ratios() -> None:
    """(1 + 100) / 2 = 50.5, that is 17.03 dB, not 10."""
    found = curves(signals(0.0, 20.0), METRICS)["x"]
    assert found["snr/received-db"][0][1] == pytest.approx(17.0329, abs=1e-4)
    assert found["snr/received-db/t1"][0][1] == pytest.approx(17.0329, abs=1e-4)
    assert found["power/transmit"][0][1] == 4.0
    assert curves(signals(-300.0, -300.0), METRICS)["x"]["snr/received-db"][0][1] == pytest.approx(-300)
    assert curves(signals(300.0, 0.0), METRICS)["x"]["snr/received-db"][0][1] == pytest.approx(300 - 3.0103, abs=1e-4)


@pytest.mark.parametrize(
    ("records", "row"),
    [
        (signals(0.0, 20.0), "x 4.00 17.03"),
        (signals(300.0, 300.0), "x 4.00 no noise"),
        (signals(-300.0, -300.0, 0.0), "x 0.00 no signal"),
        (signals(0.0, 0.0)[-2:], "x 4.00 -"),
    ],
)
def test_the_table_shows_what_was_sent_and_received(records: list[Record], row: str) -> None:
    console = Console(width=100, record=True)
    tables.show(summarise("s", ["x"], records, [], **TOLD), METRICS, console, [])
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "signal of the last test, mean over clients" in lines
    assert row in lines


def test_without_transmissions_there_is_no_table_of_them() -> None:
    console = Console(width=100, record=True)
    tables.show(summarise("s", ["x"], records(), [], **TOLD), METRICS, console, [])
    assert "signal" not in console.export_text()


def test_a_metric_says_how_its_clients_and_rounds_combine() -> None:
    """Two clients with 1 and 3, twice; what has no value over clients is that of a client alone, or of nobody."""
    metrics = Metrics(
        [
            Metric("mean"),
            Metric("sum", over_clients="sum"),
            Metric("total", over_clients="sum", over_rounds="sum"),
            Metric("none", over_clients="none"),
        ]
    )
    told = [
        Record("x", 0, round_, client, f"{metric.name}/t", value)
        for metric in metrics
        for round_ in (1, 2)
        for client, value in (("a", 1.0), ("b", 3.0))
    ]
    told += [Record("x", 0, 2, "a", "none/own", 5.0), Record("x", 0, 2, None, "none/all", 7.0)]
    final = summarise("s", ["x"], told, [], metrics=metrics, headline="mean/t")["arms"]["x"]["final"]
    assert {name: entry["mean"] for name, entry in final.items()} == {
        "mean/t": 2.0,
        "sum/t": 4.0,
        "total/t": 8.0,
        "none/own": 5.0,
        "none/all": 7.0,
    }


def test_the_best_arm_has_the_best_mean_of_the_headline_over_seeds() -> None:
    values = {"a": (0.9, 0.1), "b": (0.6, 0.6), "c": (0.2, 0.7)}
    told = [Record(arm, seed, 1, None, "m/t", v) for arm, both in values.items() for seed, v in enumerate(both)]
    for better, best in (("higher", "b"), ("lower", "c"), (None, None)):
        metrics = Metrics([Metric("m", better=better)])  # type: ignore[arg-type]
        assert summarise("s", list(values), told, [], metrics=metrics, headline="m/t")["best"] == best
