import tracemalloc

import pytest
from rich.console import Console

from semfed.events.records import Record
from semfed.report import tables
from semfed.runs.summary import curves, shown_metrics, summarise


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
    combined = curves(records())
    assert combined["x"]["accuracy/t"][1][2] == pytest.approx(0.31)
    assert combined["x"]["cost/bytes_up"][0] == {1: 20.0, 2: 20.0, 0: 1.0}


def test_final_is_the_last_round_or_the_total() -> None:
    outcomes = [
        {"arm": "x", "seed": s, "details": {"clusters": [[0], [1]]}, "baselines": {"accuracy/t": 0.5}} for s in (0, 1)
    ]
    summary = summarise("s", ["x"], records(), outcomes)
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
    summary = summarise("s", ["x"], [r for r in records() if r.seed == 0], [])
    assert summary["arms"]["x"]["final"]["accuracy/t"]["sd"] is None
    assert tables.percent(summary["arms"]["x"]["final"]["accuracy/t"]) == "30.00"


def test_clusters_that_differ_by_seed_are_all_told() -> None:
    outcomes = [{"arm": "x", "seed": s, "details": {"clusters": [[0, s]]}, "baselines": {}} for s in (0, 1)]
    summary = summarise("s", ["x"], [], outcomes, error="stopped")
    assert summary["by_seed"]["clusters"] == {"x": {"1": [[0, 1]]}}
    assert (summary["complete"], summary["error"]) == (False, "stopped")


def test_the_average_stands_last() -> None:
    summary = summarise(
        "s", ["x"], [Record("x", 0, 1, None, f"accuracy/{n}", 0.5) for n in ("average", "t2", "t1")], []
    )
    assert shown_metrics(summary) == ["accuracy/t1", "accuracy/t2", "accuracy/average"]


def test_a_long_history_is_not_held_in_memory() -> None:
    history = (Record("x", 0, k // 10_000, f"client {k % 10_000}", "loss/a", float(k)) for k in range(50_000))
    tracemalloc.start()
    found = curves(history)
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
    found = curves(signals(0.0, 20.0))["x"]
    assert found["snr/received-db"][0][1] == pytest.approx(17.0329, abs=1e-4)
    assert found["snr/received-db/t1"][0][1] == pytest.approx(17.0329, abs=1e-4)
    assert found["power/transmit"][0][1] == 4.0
    assert curves(signals(-300.0, -300.0))["x"]["snr/received-db"][0][1] == pytest.approx(-300)
    assert curves(signals(300.0, 0.0))["x"]["snr/received-db"][0][1] == pytest.approx(300 - 3.0103, abs=1e-4)


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
    tables.show(summarise("s", ["x"], records, []), console, [])
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "signal of the last test, mean over clients" in lines
    assert row in lines


def test_without_transmissions_there_is_no_table_of_them() -> None:
    console = Console(width=100, record=True)
    tables.show(summarise("s", ["x"], records(), []), console, [])
    assert "signal" not in console.export_text()
