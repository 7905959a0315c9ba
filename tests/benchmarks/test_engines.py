"""The engine benchmark measures what it says: all implementations do the same work on the same data."""

import json
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import semfed
from semfed import seeding, training
from semfed.models import build
from semfed.scenario import overrides

FOLDER = Path(__file__).parents[2] / "benchmarks" / "engines"
CLIENTS = 20


@pytest.fixture
def workload(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as the benchmark's processes see it."""
    return module("workload", monkeypatch)


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    for known in [m for m, found in sys.modules.items() if str(getattr(found, "__file__", "")).startswith(str(FOLDER))]:
        monkeypatch.delitem(sys.modules, known)
    return __import__(name)


@pytest.fixture
def few_images(tmp_path: Path) -> Path:
    """A data root with as many images as 20 clients need: noise in MNIST's format."""
    generator = np.random.default_rng(0)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", CLIENTS * 60), ("t10k", 100)):
        images = generator.integers(256, size=(count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        header = struct.pack(">4I", 0x00000803, *images.shape)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x00000801, count) + labels.tobytes())
    return tmp_path


def test_streams_are_those_of_the_library(workload: ModuleType) -> None:
    scenario = overrides.load(FOLDER / "mnist-1000.toml").arm("W1")
    assert (scenario.seeds, len(scenario.clients)) == ((workload.SEED,), workload.CLIENTS)
    for client, round_ in ((0, 1), (999, 7)):
        generator = seeding.torch_generator(workload.SEED, "minibatches", client, round_)
        indices, _ = training.minibatches(workload.IMAGES, scenario.training, generator)
        assert torch.equal(indices, workload.shuffle(client, round_))
    encoder = build(scenario.model.encoder, (1, 28, 28), outputs=64, stream=(workload.SEED, "encoder", 0))
    decoder = build(scenario.model.decoder, (64,), outputs=10, stream=(workload.SEED, "decoder", 0))
    expected = [*encoder.parameters(), *decoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(workload.initial(), expected, strict=True))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_hand_written_loop_ends_where_semfed_ends(
    few_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    plain = module("plain_loop", monkeypatch)
    data = plain.workload.load(few_images)
    seconds, model = plain.run(data, sampled=4, rounds=2, processes=processes)
    assert len(seconds) == 2
    run = semfed.run(
        FOLDER / "mnist-1000.toml",
        arms=["W1"],
        overrides=[f"clients.count={CLIENTS}", "arms.W1.rounds=2", "arms.W1.strategy.fraction_train=0.2"],
        data_root=few_images,
        out=tmp_path / "run",
    )
    (file,) = (run.folder / "parameters").iterdir()
    kept = load_file(file)
    order = module("semfed_engines", monkeypatch).by_layer
    for ours, theirs in zip([kept[name] for name in sorted(kept, key=order)], plain.views(model), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def raw(name: str, **seconds: list[float]) -> list[dict[str, Any]]:
    names = {"plain": "plain-1", "inprocess": "inprocess", "ray": "ray-2", "flower": "flower"}
    return [
        {"implementation": names[key], "round_s": [99.0, value], "accuracy": 0.7, "process_s": 1.0, "load": 0.5}
        for key, values in seconds.items()
        for value in values
    ]


def test_figures_are_ratios_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    summarise = module("summary", monkeypatch).summarise
    entries = raw("W1", plain=[1.0, 2.0, 9.0], inprocess=[3.0, 1.0, 3.0], ray=[1.0])
    startup = [{"implementation": "ray", "first_round_s": value} for value in (3.0, 9.0, 4.0)]
    scale = [
        {"clients": clients, "seconds_per_client": seconds, "peak_rss_mb": 100.0 + clients / 100}
        for clients, seconds in ((100, 0.002), (10_000, 0.003))
    ]
    found = summarise({"W1": entries, "W2": entries, "startup": startup, "scale": scale, "scale-averaged": scale[:1]})
    assert found["W1"]["inprocess_to_plain"] == 1.5
    assert found["W1"]["ray2_to_plain"] == 0.5
    assert found["W1"]["inprocess_to_pfl"] is None
    assert found["startup_s"] == {"ray": 4.0}
    assert found["scale"]["seconds_per_client_10000_to_100"] == 1.5
    assert found["scale-averaged"]["seconds_per_client_100_to_100"] == 1.0
    assert found["scale"]["peak_memory_10000_to_100"] == pytest.approx(200 / 101, rel=1e-3)
    assert found["accuracy_W2"] == {"plain-1": 0.7, "inprocess": 0.7, "ray-2": 0.7}


def test_the_report_tells_every_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = module("report", monkeypatch)
    summarise = module("summary", monkeypatch).summarise
    entries = raw("W1", plain=[1.0], inprocess=[1.0], ray=[0.9])
    exchanges = [{"implementation": "inprocess", "per_s": 2500.0, "federation_per_s": 2000.0}]
    results = summarise({"W1": entries, "W3": exchanges})
    table = report.bars_table(results)
    assert "| W1, `inprocess` / hand-written loop | 1 | <= 1.3 | <= 0.8 | yes |" in table
    assert "| W1, `ray` with 2 workers / hand-written loop | 0.9 | <= 0.75 | <= 0.5 | **no** |" in table
    assert "| W3, exchanges per second, `inprocess` | 2,500 | >= 2,000 | >= 10,000 | yes |" in table
    assert table.count("not measured") == len(report.BARS) - 3
    report.draw(results, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 10_000
    text = report.fill("a\n<!-- bars -->\nold\n<!-- /bars -->\nb", "bars", table)
    assert text == f"a\n<!-- bars -->\n{table}\n<!-- /bars -->\nb"


def test_an_exchange_moves_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = module("exchange", monkeypatch)
    with exchange.open_grid("inprocess", None) as grid:
        found = exchange.measure(grid, 0.1)
    assert found["per_s"] > 0
    assert found["federation_per_s"] > 0


def test_scripts_tell_what_they_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = module("processes", monkeypatch).measure
    found = measure([sys.executable, "one_round.py", "digits", "--rounds", "1"], memory=True)
    assert found["round_s"] > 0
    assert found["peak_pss_mb"] > 50
    with pytest.raises(RuntimeError, match="no scenario 'digitz'"):
        measure([sys.executable, "one_round.py", "digitz"])


@pytest.mark.parametrize("quick", [False, True])
def test_implementations_take_turns(monkeypatch: pytest.MonkeyPatch, quick: bool) -> None:
    bench = module("bench", monkeypatch)
    commands = bench.available(Path(sys.executable))
    for section in bench.SECTIONS:
        runs = list(bench.tasks(section, commands, quick))
        assert runs
        assert all((FOLDER / command[1]).is_file() for _, _, command, _ in runs)
        assert all(memory == (section == "memory") for *_, memory in runs)
        turns = [facts["repetition"] for _, facts, _, _ in runs]
        assert turns == sorted(turns)
    order = [facts["implementation"] for _, facts, _, _ in bench.tasks("W1", commands, quick)]
    once = [name for name in commands if not quick or name in bench.QUICK]
    again = [name for name in once if name != "flower"]  # it takes minutes a run
    assert order == once + again * (0 if quick else 4)


def test_a_run_is_taken_again_where_the_machine_was_not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, quiet = module("bench", monkeypatch), module("quiet", monkeypatch)
    shares = iter([0.6, 1.0, 0.7, 0.95, 1.02])  # before, before, after, before, after
    told = iter([{"process_s": 5.0, "round_s": 2.0}, {"process_s": 4.0, "round_s": 1.0}])
    monkeypatch.setattr(quiet, "share", lambda: next(shares))
    monkeypatch.setattr(quiet, "PAUSE_S", 0.0)
    monkeypatch.setattr(bench, "share", lambda: next(shares))
    monkeypatch.setattr(bench, "measure", lambda command, memory: next(told))
    monkeypatch.setattr(quiet.os, "cpu_count", lambda: 2)
    entry = bench._run({"implementation": "ray-2"}, [], False, quiet.Patience(100.0))
    assert (entry["round_s"], entry["cpus"]) == (1.0, [0.95, 1.02])


def test_without_patience_a_run_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, quiet = module("bench", monkeypatch), module("quiet", monkeypatch)
    monkeypatch.setattr(quiet, "share", lambda: 0.5)
    monkeypatch.setattr(bench, "share", lambda: 0.5)
    monkeypatch.setattr(bench, "measure", lambda command, memory: {"process_s": 5.0})
    assert bench._run({}, [], False, quiet.Patience(0.0))["cpus"] == [0.5, 0.5]


def test_two_processes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module("quiet", monkeypatch).share() > 0


def test_the_driver_saturates_where_its_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round of n messages takes 10 ms + n x 0.2 ms: 5,000 a second keep five actors of 1 ms a client busy."""
    driver = module("driver", monkeypatch)
    about = {"replies": "summed", "numbers": 64, "messages_per_s": 1.0}
    entries = [
        {**about, "workers": workers, "clients": n, "thread": 0.01 + n * 2e-4 * (workers == 16), "process": n * 3e-4}
        for workers in (2, 16)
        for n in (100, 400, 1000)
    ]
    told = driver.summarise(entries)["summed replies, 64 numbers"]
    assert (told["workers"], told["fixed_s"], told["message_s"]) == (16, 0.01, 2e-4)
    assert told["message_s_of_the_process"] == pytest.approx(3e-4)
    assert told["most_messages_per_s"] == pytest.approx(5000)
    small, larger, _ = told["model"].values()
    assert small["actors_kept_busy"] == pytest.approx(5)
    assert small["most_rounds_per_s_of_1000"] == pytest.approx(1 / 0.21)
    assert small["rounds_per_s_of_1000_with_16_actors"] == pytest.approx(1 / 0.21)
    assert larger["rounds_per_s_of_1000_with_16_actors"] == pytest.approx(1 / (0.01 + 10 / 16))


def test_idle_clients_give_back_what_they_got(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = module("driver", monkeypatch)
    clocks = driver.Clocks()
    done = semfed.run(driver.scenario([2, 4], [3], driver.WARM + 2), callbacks=[clocks], out=tmp_path / "run")
    arms = {"summed-2-3", "summed-4-3", "whole-2-3", "whole-4-3"}
    assert set(done.summary["arms"]) == arms
    for arm in arms:
        (path,) = (done.folder / "parameters").glob(f"{arm}-seed0.safetensors")
        assert load_file(path)["weights"].tolist() == [0.0, 0.0, 0.0]
        assert 0 < clocks.medians(arm)["thread"] <= clocks.medians(arm)["wall"] * 1.5


@pytest.mark.long
def test_the_driver_is_measured_on_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = module("driver", monkeypatch)
    out = tmp_path / "driver.json"
    driver.main(["--workers", "2", "--clients", "4,8", "--numbers", "8", "--rounds", "2", "--out", str(out)])
    told = json.loads(out.read_text())
    assert [(e["replies"], e["clients"], e["workers"]) for e in told["raw"]] == [
        ("summed", 4, 2), ("summed", 8, 2), ("whole", 4, 2), ("whole", 8, 2),
    ]  # fmt: skip
    assert all(e["messages_per_s"] > 0 for e in told["raw"])
    assert set(told["results"]) == {"summed replies, 8 numbers", "whole replies, 8 numbers"}
