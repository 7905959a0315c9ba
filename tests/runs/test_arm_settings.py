from semfed.runs.arm_settings import settings_of, unsaid
from semfed.scenario import built_in, read, validate


def test_settings_are_flat_and_lists_go_by_names() -> None:
    tree = {
        "name": "n",
        "clients": [{"name": "a", "task": "t"}],
        "channel": {"name": "awgn", "snr_db": 3},
        "arms": [{"name": "x", "channel": {"name": "rayleigh"}}],
    }
    assert settings_of(tree, tree["arms"][0]) == {
        "clients.a.name": "a",
        "clients.a.task": "t",
        "channel.name": "rayleigh",
    }
    assert settings_of(tree, {})["channel.snr_db"] == 3


def test_defaults_of_a_part_that_an_arm_alone_has_are_told() -> None:
    tree = read(built_in()["digits"])
    tree["arms"] = [
        {"name": "plain"},
        {"name": "nearer", "channel": {"snr_db": 3.0}},
        {"name": "faded", "channel": {"name": "rician", "uses": 8, "power": "none"}},
        {"name": "averaged", "strategy": {"name": "fedavg", "fraction_train": 0.5}},
    ]
    scenario = validate(tree)
    found = unsaid(scenario)
    assert list(found) == ["faded", "averaged"]
    assert found["faded"]["channel.k_factor"] == 3.0
    assert found["averaged"]["strategy.fraction_evaluate"] == 1.0
    for arm in scenario.arms:
        whole = settings_of(scenario.arm(arm.name).tree(), {})
        assert settings_of(scenario.tree(), arm.model_dump(exclude_none=True)) | found.get(arm.name, {}) == whole
