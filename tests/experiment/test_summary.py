import tracemalloc

import pytest

from semfed.experiment import report
from semfed.experiment.summary import curves, shown_metrics, summarise
from semfed.records import Record


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
    assert report.percent(summary["arms"]["x"]["final"]["accuracy/t"]) == "30.00"


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
