import tomllib
from pathlib import Path
from typing import Any

import pytest

from semfed import scenario
from semfed.errors import ScenarioError
from semfed.flower.trial import Trial, from_json
from semfed.scenario import overrides


def tree(name: str = "digits") -> dict[str, Any]:
    return scenario.read(scenario.locate(name))


def complaint(changes: dict[str, Any]) -> str:
    with pytest.raises(ScenarioError) as raised:
        scenario.validate(scenario.merge(tree(), changes))
    return str(raised.value)


def test_resolved_scenario_reads_back_equal() -> None:
    first = scenario.validate(tree())
    again = scenario.validate(tomllib.loads(first.to_toml()))
    assert again == first
    assert again.digest == first.digest


def test_digest_tells_experiments_apart() -> None:
    assert overrides.load("digits").digest != overrides.load("digits", ["rounds=3"]).digest


def test_an_arm_changes_only_what_it_names() -> None:
    loaded = scenario.validate(tree())
    arm = loaded.arm("individual")
    assert arm.strategy.settings.model_dump()["clusters"] == "individual"
    assert arm.arms == ()
    assert (arm.data, arm.channel, arm.training) == (loaded.data, loaded.channel, loaded.training)


def test_a_scenario_without_arms_is_its_own_arm() -> None:
    plain = {key: value for key, value in tree().items() if key != "arms"}
    loaded = scenario.validate(plain)
    assert loaded.arm_names == ("digits",)
    assert loaded.arm("digits") == loaded


def test_clients_can_be_counted() -> None:
    counted = {
        **tree(),
        "clients": {"count": 2, "task": "t1"},
        "data": {"source": "digits", "partition": {"name": "iid"}},
    }
    counted["arms"] = []
    counted["strategy"] = {"name": "clustered", "clusters": "one"}
    assert [client.name for client in scenario.validate(counted).clients] == ["client 1", "client 2"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roundz": 3}, ["roundz", "did you mean 'rounds'?"]),
        ({"channel": {"snr_bd": 5}}, ["channel", "snr_bd", "did you mean 'snr_db'?"]),
        ({"channel": "awgnn"}, ["channel", "awgnn", "did you mean 'awgn'?"]),
        ({"rounds": 0}, ["rounds = 0", "greater than or equal to 1"]),
        ({"rounds": "many"}, ["rounds = 'many'", "integer"]),
        ({"seeds": [1, 1]}, ["seeds 1 occurs twice"]),
        ({"training": {"device": "gpu"}}, ["training.device = 'gpu'"]),
        ({"tasks": {"t1": {"values": [2, 2]}}}, ["tasks.t1", "belongs to two values"]),
        ({"tasks": {"t1": {"values": [2], "rest": "2"}}}, ["both a named value and the rest"]),
        ({"strategy": {"clusters": "similarty"}}, ["strategy.clusters = 'similarty': Input should be"]),
        ({"data": {"partition": {"name": "dirichlet", "alpha": -1}}}, ["data.partition.alpha = -1"]),
        ({"strategy": {"threshold": 2.0}}, ["strategy.threshold = 2.0", "less than or equal to 1"]),
        ({"arms": [{"name": "a", "strategi": {}}]}, ["arms.a.strategi", "did you mean 'strategy'?"]),
        ({"arms": [{"name": "a", "strategy": {"clusters": [[0, 1]]}}]}, ["arms.a", "every client index 0 .. 2"]),
    ],
)  # fmt: skip
def test_errors_name_field_value_and_remedy(changes: dict[str, Any], words: list[str]) -> None:
    message = complaint(changes)
    for word in words:
        assert word in message


def test_unknown_task_of_a_client() -> None:
    changed = tree()
    changed["clients"][0]["task"] = "t9"
    with pytest.raises(ScenarioError, match=r"'Sat 1' has the unknown task 't9'.*'t1'"):
        scenario.validate(changed)


def test_rows_of_counts_must_match_the_clients() -> None:
    changed = tree()
    changed["data"]["partition"]["counts"] = [[1] * 10]
    with pytest.raises(ScenarioError, match="1 rows for 3 clients"):
        scenario.validate(changed)


def test_two_clients_need_an_explicit_threshold() -> None:
    changed = tree()
    changed["clients"] = changed["clients"][:2]
    changed["data"]["partition"]["counts"] = changed["data"]["partition"]["counts"][:2]
    with pytest.raises(ScenarioError, match=r"strategy.threshold is unset, but 2 clients"):
        scenario.validate(changed)
    changed["strategy"]["threshold"] = 0.5
    assert len(scenario.validate(changed).clients) == 2


def test_unknown_scenario_names_the_nearest() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'digits'"):
        scenario.locate("digitz")


def test_a_folder_and_a_file_are_found(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text(scenario.validate(tree()).to_toml())
    assert scenario.locate(tmp_path) == scenario.locate(file) == file


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scenario.toml"
    file.write_text("rounds = = 3")
    with pytest.raises(ScenarioError, match="cannot be read as TOML"):
        overrides.load(file)


def test_labels_put_the_rest_first() -> None:
    task = scenario.Task(values=(1, 2), rest="other")
    assert task.symbols == ("other", "1", "2")
    grouped = scenario.Task(values={"odd": (1, 3), "even": (0, 2)})
    assert grouped.symbols == ("odd", "even")


def test_a_channel_without_noise_stays_one() -> None:
    """JSON has no infinity: written as null, an SNR of inf would come back as the default."""
    noiseless = overrides.load("digits", ["channel.snr_db=inf"])
    complete = noiseless.arm(noiseless.arm_names[0])
    assert complete.channel.settings.snr_db == float("inf")
    assert from_json(Trial(complete, "any", 0).to_json()).scenario.channel == complete.channel
    assert "snr_db = inf" in noiseless.to_toml()
