"""What people write from Python, and odd values and names: it works, or one sentence says why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import semfed
from semfed.cli import app
from semfed.errors import SemfedError
from semfed.scenario import overrides

from . import bases


def final(done: Any) -> Any:
    return done.summary["arms"]


def test_a_mapping_a_number_a_name_and_a_table_of_overrides(tmp_path: Path) -> None:
    tree = bases.BASES["fedavg"]() | {"arms": [{"name": "first"}, {"name": "second", "channel": {"snr_db": 0.0}}]}
    natural = semfed.run(tree, seeds=1, arms="second", overrides={"training": {"lr": 0.2}}, out=tmp_path / "a")
    formal = semfed.run(tree, seeds=[1], arms=["second"], overrides=["training.lr=0.2"], out=tmp_path / "b")
    assert natural.scenario == formal.scenario
    assert final(natural) == final(formal)
    assert natural.scenario.seeds == (1,)
    assert natural.scenario.training.batch_size == 20, "a table of overrides amends; it does not replace"
    again = semfed.run(natural.scenario, out=tmp_path / "c")
    assert final(again) == final(formal)
    assert overrides.load(tree, seeds="0-2").seeds == overrides.load(tree, seeds=np.arange(3)).seeds == (0, 1, 2)
    assert overrides.load(tree, "rounds=3").rounds == 3
    assert overrides.load(tree, arms="first, second").arm_names == ("first", "second")
    swept = overrides.load(tree, {"weight_decay": 0.1}, sweep={"channel.uses": [2, 3]})
    assert swept.arm_names == ("first@2", "second@2", "first@3", "second@3")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"channel": ":"}, "channel = ':': no plugin ':' among the channels"),
    ({"channel": ".x:y"}, "cannot be loaded from '.x:y'"),
    ({"channel": "math:pi"}, "is none of the channels"),
    ({"channel.snr_db": -1e9}, "channel.snr_db = -1000000000.0: Input should be greater than or equal to -200"),
    ({"channel.snr_db": float("nan")}, "channel.snr_db = nan"),
    ({"channel.uses": 100_000_000_000}, "less than or equal to 1000000"),
    ({"training.lr": float("inf")}, "training.lr = inf: Input should be a finite number"),
    ({"training.device": "mps"}, "training.device = 'mps': Apple's GPUs are not supported"),
    ({"headline": "accuracy"}, "headline = 'accuracy': write the metric as the history does, such as"),
    ({"training.device": "gpu"}, "training.device = 'gpu': no such device; take 'auto', 'cpu', 'cuda' or 'cuda:0'"),
    ({"name": "Größe"}, "name = 'Größe': files are called by it: use the letters A to Z"),
    ({"learner": "split", "strategy": "fedavg"}, "learner 'split' has no method 'fit'"),
    ({"learner": "split"}, "learner 'split' has no method 'fit'"),
    ({"learner": "split", "strategy": "flwr.serverapp.strategy:FedAvg"}, "learner 'split' has no method 'fit'"),
    ({"data.source": {"name": "imagefolder", "size": 100_000}}, "data.source.size = 100000: Input should be less than"),
    ({"data.mean": [0.1, 0.2, 0.3]}, "data.mean has 3 values for images of 1 channels; give one each"),
    ({"channel": {"name": "mimo", "user_snr_db": [1.0, 2.0]}}, "channel.user_snr_db has 2 values for 3 users"),
    ({"channel": {"name": "mimo", "user_snr_db": [1.0, 2.0, 3.0]}}, "learner 'multitask' has one channel for all"),
    ({"data.partition": {"name": "counts", "counts": [[1]]}}, "data.partition.counts has 1 rows for 3 clients"),
    ({"strategy.clusters": [[0, 1]]}, "must hold every client index 0 .. 2 exactly once"),
    ({"model.encoder.outputs": 9}, "outputs = 9, but channel.uses = 4 decides for 4; leave outputs out"),
    ({"model.decoder.outputs": 9}, "outputs = 9, but task 'digit' with 10 values decides for 10"),
    ({"tasks.digit": {"values": [0], "rest": "x"}, "data.partition": {"name": "counts", "counts": [[9]] * 3}},
     "tasks.digit: its clients' training images have one value of the task, so there is nothing to tell apart"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_what_cannot_be_is_refused_before_anything_runs(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SemfedError) as told:
        semfed.run(bases.BASES["plain"](), overrides=changes, out=tmp_path / "run")
    assert sentence in str(told.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arm", ["größer", "a/b", "", "..", "[red]"])
def test_an_arm_that_no_file_can_be_called_by_is_refused(arm: str) -> None:
    with pytest.raises(SemfedError, match=r"files are called by it: use the letters A to Z"):
        overrides.load(bases.BASES["plain"]() | {"arms": [{"name": arm}]})


def test_clients_and_tasks_may_have_any_name(tmp_path: Path) -> None:
    tree = bases.BASES["plain"]()
    tree["tasks"] = {"größe": tree["tasks"]["digit"]}
    tree["clients"] = [{"name": name, "task": "größe"} for name in ("Zürich", "[red]", "b c")]
    done = semfed.run(tree, out=tmp_path / "run")
    assert "accuracy/größe" in final(done)["tiny"]["final"]


def test_an_empty_file_and_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("")
    for words, sentence in (
        (["run", str(tmp_path / "empty.toml")], "the scenario is empty: copy one that `semfed list` names"),
        (["plot", str(tmp_path)], "is not a run folder: it holds no scenario.toml"),
        (["plot", str(tmp_path / "none")], "is not a run folder"),
    ):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 1
        assert sentence in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


def test_a_share_for_tests_of_a_folder_that_has_a_test_part(tmp_path: Path) -> None:
    bases.write_data(tmp_path / "data")
    changes = {"data.source.folder": "others", "data.source.test_fraction": 0.3}
    with pytest.raises(SemfedError, match=r"test_fraction = 0.3 has no effect: '.*others' has a part 'test'"):
        semfed.run(bases.BASES["images"](), overrides=changes, data_root=tmp_path / "data", out=tmp_path / "run")


def test_a_data_root_that_nothing_is_read_from_is_refused_and_one_of_the_environment_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = r"data_root = '.*' has no effect: data source 'digits' reads nothing from there; leave it out"
    for base in ("plain", "alignment"):
        with pytest.raises(SemfedError, match=sentence):
            semfed.run(bases.BASES[base](), data_root=tmp_path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    told = CliRunner().invoke(app, ["run", "digits", "--data-root", str(tmp_path), "--out", str(tmp_path / "run")])
    assert told.exit_code == 1
    assert "has no effect" in told.stderr
    monkeypatch.setenv("SEMFED_DATA", str(tmp_path / "elsewhere"))
    semfed.run(bases.BASES["plain"](), out=tmp_path / "run")


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    bases.write_data(tmp_path / "data")
    (tmp_path / "data" / "pictures" / "right").rename(tmp_path / "away")
    tree = bases.BASES["images"]() | {"tasks": {"digit": {"values": ["left"], "rest": "other"}}}
    with pytest.raises(SemfedError, match=r"tasks.digit: its clients' training images have one value of the task"):
        semfed.run(tree, data_root=tmp_path / "data", out=tmp_path / "run")


STOCK: list[tuple[dict[str, Any], str]] = [
    ({"fraction_train": "half"}, "strategy.fraction_train = 'half': Input should be a valid number"),
    ({"fraction_train": 2.0}, "strategy.fraction_train = 2.0: Input should be less than or equal to 1"),
    ({"fraction_evaluate": -0.1}, "strategy.fraction_evaluate = -0.1: Input should be greater than or equal to 0"),
    ({"min_train_nodes": 1.5}, "strategy.min_train_nodes = 1.5: Input should be a valid integer"),
    ({"min_train_nodes": -1}, "strategy.min_train_nodes = -1: Input should be greater than or equal to 0"),
    ({"weighted_by_key": 3}, "strategy.weighted_by_key = 3: Input should be a valid string"),
    ({"train_metrics_aggr_fn": "mean"}, "unknown setting 'train_metrics_aggr_fn'"),
    ({"name": "flwr.serverapp.strategy:FedAvgM", "server_momentum": "much"}, "strategy.server_momentum = 'much'"),
    ({"name": "flwr.serverapp.strategy:QFedAvg"}, "strategy.client_learning_rate: missing; give it a value"),
    ({"name": "flwr.serverapp.strategy:DifferentialPrivacyServerSideFixedClipping"}, "needs 'strategy', which no scen"),
    ({"name": "odd_strategies:Picky", "level": 3}, "Picky refuses its arguments (ValueError: level 3 is too high)"),
]


@pytest.mark.parametrize(("table", "sentence"), STOCK, ids=[str(table) for table, _ in STOCK])
def test_arguments_of_a_stock_strategy_are_checked_before_anything_runs(
    table: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "plugins")
    tree = bases.BASES["fedavg"]() | {"strategy": {"name": "flwr.serverapp.strategy:FedAvg", **table}}
    with pytest.raises(SemfedError) as told:
        overrides.load(tree)
    assert sentence in str(told.value)


def test_a_stock_strategy_takes_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "plugins")
    tree = bases.BASES["fedavg"]() | {"strategy": {"name": "odd_strategies:Picky", "level": 2}}
    settings = overrides.load(tree).strategy.settings.model_dump()
    assert settings["level"] == 2
    assert settings["fraction_train"] == 1.0


PLAIN = bases.BASES["plain"]()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scenario": 5}, "scenario 5: give a name, a path, or a mapping of tables"),
        ({"scenario": {}}, "the scenario is empty"),
        ({"seeds": -1}, "seeds.0 = -1: Input should be greater than or equal to 0"),
        ({"seeds": []}, "seeds"),
        ({"seeds": "two"}, "write numbers and ranges"),
        ({"arms": "nosuch"}, "arm 'nosuch': not in scenario"),
        ({"arms": []}, "arms: none is chosen"),
        ({"overrides": {"rouns": 2}}, "did you mean 'rounds'?"),
        ({"overrides": {"channel": {"snr_bd": 2}}}, "did you mean 'snr_db'?"),
        ({"overrides": "rounds"}, "write PATH=VALUE"),
        (
            {"sweep": {"rounds": [1, 2], "seeds": [1]}},
            "sweep 'seeds': only settings that arms can differ in can be swept",
        ),
        ({"seeds": 1.5}, "seeds = 1.5: give a number, numbers, or a text such as 0-4"),
        ({"seeds": True}, "seeds = True: give a number"),
        ({"arms": 5}, "arms = 5: give a name, or several"),
        ({"arms": [5]}, "arm 5: not in scenario"),
        ({"overrides": 5}, "overrides = 5: give PATH=VALUE, several of them, or a mapping"),
        ({"overrides": {"channel": None}}, "channel: give a plugin's name"),
        ({"sweep": 5}, "sweep = 5: give PATH=VALUE,VALUE,..., or a mapping"),
        ({"sweep": {"channel.snr_db": 5}}, "sweep of channel.snr_db = 5: give several values"),
        (
            {"sweep": {"channel.snr_db": "0:5:0"}},
            "sweep 'channel.snr_db=0:5:0': 0:5:0 never ends; write FIRST:LAST:STEP",
        ),
        (
            {"scenario": PLAIN | {"arms": [{"name": "a", "training": {"lr": None}}]}},
            "training.lr is None, which no",
        ),
        ({"out": 5}, "out = 5: give a path"),
        ({"out": "a\0b"}, "out = 'a\\x00b': give a path"),
        ({"resume": 5}, "resume = 5: give a path"),
        ({"data_root": 5}, "data_root = 5: give a path"),
        ({"scenario": "~nobody-of-that-name/x"}, "no scenario '~nobody-of-that-name/x'"),
        ({"callbacks": 5}, "callbacks = 5: give several objects of semfed.events.callbacks.Callback"),
        ({"callbacks": [5]}, "callback 5 is no semfed.events.callbacks.Callback, but of type int"),
        ({"engine": 5}, "engine 5 is unknown"),
        ({"cohort": 2.5}, "cohort = 2.5: Input should be a valid integer"),
        ({"engine": "ray", "workers": "many"}, "workers = 'many': Input should be a valid integer"),
    ],
)
def test_arguments_from_python_are_refused_in_one_sentence(
    arguments: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SemfedError) as told:
        semfed.run(**{"scenario": bases.BASES["plain"](), "out": tmp_path / "run", **arguments})
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()
