"""Sweeps: how they are written, what arms they make, and what earlier versions left behind."""

from pathlib import Path
from typing import Any

import pytest

from semfed.errors import ScenarioError
from semfed.runs.folder import declarations
from semfed.runs.results import differences
from semfed.scenario import Point, Sweep, locate, overrides, read, sweeps, validate

ARMS = ["clustered", "individual"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("-5:20:5", [-5, 0, 5, 10, 15, 20]),
        ("0:1:0.1", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("20:-10:-15", [20, 5, -10]),
        ("0:4:3", [0, 3]),
        ("1:1:1", [1]),
        ("1e-3:3e-3:1e-3,inf", [0.001, 0.002, 0.003, float("inf")]),
        ("awgn, rayleigh", ["awgn", "rayleigh"]),
        ("true,false", [True, False]),
        ("[0.2,0.8],[0.5,0.5]", [[0.2, 0.8], [0.5, 0.5]]),
        ('{name="rayleigh",uses=4},awgn', [{"name": "rayleigh", "uses": 4}, "awgn"]),
        ('"a,b",c', ["a,b", "c"]),
        ("parts:Smallest", ["parts:Smallest"]),
    ],
)
def test_values_are_written_as_in_toml_or_as_ranges(text: str, values: list[Any]) -> None:
    ((path, found),) = sweeps.parse(f"a.b={text}")
    assert path == ("a", "b")
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert sweeps.parse({"a": {"b": text}}) == sweeps.parse({"a.b": text}) == [(path, values)]


@pytest.mark.parametrize("text", ["0:1:0", "1:0:1", "0:-1:0.5"])
def test_a_range_that_never_ends_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=f"{text} never ends; write FIRST:LAST:STEP"):
        sweeps.parse(f"a={text}")


def test_several_settings_make_the_product() -> None:
    loaded = overrides.load("digits", arms=ARMS, sweep=["channel.snr_db=0:5:5", "training.lr=0.1,0.2"])
    assert loaded.arm_names == tuple(f"{arm}@{snr}@{lr}" for snr in ("0", "5") for lr in ("0.1", "0.2") for arm in ARMS)
    for name, point in loaded.sweep.points().items():
        arm = loaded.arm(name)
        values = {"channel.snr_db": arm.channel.settings.model_dump()["snr_db"], "training.lr": arm.training.lr}
        assert values == point.values
        assert point.arm == name.partition("@")[0]
    assert overrides.load(loaded) == loaded == validate(loaded.tree())


def test_lists_and_tables_are_values_whose_names_are_names_of_files() -> None:
    loaded = overrides.load("digits", arms="individual", sweep='channel={name="rayleigh",snr_db=3},awgn')
    assert loaded.arm_names == ("individual@rayleigh_snr_db-3", "individual@awgn")
    assert [loaded.arm(name).channel.name for name in loaded.arm_names] == ["rayleigh", "awgn"]
    loaded = overrides.load("digits", arms="individual", sweep="tasks.t1.values=[1,2],[3]")
    assert loaded.arm_names == ("individual@1_2", "individual@3")


def test_a_scenario_file_holds_a_sweep_that_a_person_can_write(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    written = locate("digits").read_text()
    file.write_text(f'{written}\n[sweep]\nchannel.snr_db = "0:5:5"\n"training.lr" = [0.1, 0.2]\n')
    asked = overrides.load("digits", ["rounds=3"], arms=ARMS, sweep=["channel.snr_db=0,5", "training.lr=0.1,0.2"])
    assert overrides.load(file, ["rounds=3"], arms=ARMS) == asked
    assert overrides.load(file, sweep="training.lr=1").arm_names[0] == "clustered@1"  # instead of the file's
    with pytest.raises(ScenarioError, match="every arm that runs sets channel.snr_db itself"):
        overrides.load(file, ["channel.snr_db=3"])
    file.write_text(f"{written}\n[sweep]\nchannel.snr_bd = [1]\n")
    with pytest.raises(ScenarioError, match="did you mean 'channel.snr_db'?"):
        overrides.load(file)


def test_a_swept_scenario_is_cut_down_by_its_arms_and_not_swept_again() -> None:
    loaded = overrides.load("digits", sweep="channel.snr_db=0,5")
    cut = overrides.load(loaded, arms=ARMS)
    assert cut == overrides.load("digits", arms=ARMS, sweep="channel.snr_db=0,5")
    one = overrides.load(loaded, arms="individual@5")
    assert (one.arm_names, one.sweep) == (("individual@5",), None)
    with pytest.raises(ScenarioError, match="swept over channel.snr_db already"):
        overrides.load(loaded, sweep="training.lr=1")


def test_what_earlier_versions_wrote_is_read() -> None:
    loaded = overrides.load("digits", arms=ARMS, sweep="channel.snr_db=0,5")
    before = {**loaded.tree(), "sweep": {"setting": "channel.snr_db", "values": [0.0, 5.0], "arms": ARMS}}
    assert list(validate(before).sweep.points()) == list(loaded.arm_names)
    assert Sweep.model_validate(before["sweep"]).points()["individual@5"] == Point("individual", {"channel.snr_db": 5})
    before["sweep"]["values"] = [0.0, 6.0]
    with pytest.raises(ScenarioError, match="sweep: its arms and values make other arms than there are"):
        validate(before)


def test_a_sweep_that_a_file_alone_makes_useful_is_no_idle_setting(tmp_path: Path) -> None:
    tree = read(locate("digits"))
    tree["training"] = {**tree["training"], "momentum": 0.5, "optimizer": "adam"}
    with pytest.raises(ScenarioError, match="momentum = 0.5 has no effect"):
        overrides.load(tree)
    overrides.load({**tree, "sweep": {"training.optimizer": ["adam", "sgd"]}})


def test_arms_of_a_product_are_compared_at_the_same_point() -> None:
    scenario = overrides.load("digits", arms=ARMS, seeds=[0], sweep=["channel.snr_db=0,5", "training.lr=0.1,0.2"])
    kinds = {kind: {"accuracy/average": {"values": {"0": 1.0}}} for kind in ("final", "round_mean")}
    found = differences(dict.fromkeys(scenario.arm_names, kinds), scenario, declarations(scenario), "clustered")
    assert {name: told["reference"] for name, told in found.items()} == {
        f"individual@{snr}@{lr}": f"clustered@{snr}@{lr}" for snr in (0, 5) for lr in (0.1, 0.2)
    }
