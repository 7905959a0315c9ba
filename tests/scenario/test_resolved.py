"""A scenario is validated once, and so is each of its arms; what an arm does not change, it shares."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import semfed
from semfed.errors import ScenarioError
from semfed.flower.trial import Trial, from_json
from semfed.scenario import Scenario, built_in, locate, merge, overrides, read, validate


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a whole scenario, with arms, and how often a single arm has been validated."""
    counts: Counter[str] = Counter()
    original = Scenario.model_validate

    def model_validate(tree: Any, **options: Any) -> Scenario:
        counts["whole" if tree.get("arms") else "arm"] += 1
        return original(tree, **options)

    monkeypatch.setattr(Scenario, "model_validate", model_validate)
    return counts


def short(name: str) -> dict[str, Any]:
    tree = read(locate("digits"))
    return {**tree, "name": name, "rounds": 1, "seeds": [0, 1], "training": {**tree["training"], "epochs": 1}}


def test_a_run_validates_the_scenario_once_and_every_arm_once_on_either_side(
    validated: Counter[str], tmp_path: Path
) -> None:
    semfed.run(short("validated-once"), out=tmp_path / "run")
    assert validated == {"whole": 1, "arm": 3 + 3}  # the server's, and what nodes read from messages, of any seed


def test_what_is_changed_is_validated_once_more(validated: Counter[str]) -> None:
    overrides.load("digits")
    assert validated == {"whole": 1, "arm": 3}
    validated.clear()
    overrides.load("digits", ["channel.snr_db=5", "training.lr=0.02", "timeout_s=9"])
    assert validated == {"whole": 2, "arm": 6}
    validated.clear()
    overrides.load("digits", arms="individual", sweep="channel.snr_db=0,5,10,15")
    assert validated == {"whole": 2, "arm": 3 + 4}
    validated.clear()
    overrides.load(validate(short("given")))
    assert validated == {"whole": 1, "arm": 3}


@pytest.mark.parametrize("name", built_in())
def test_an_arm_is_what_its_changes_make_of_the_tables_around_it(name: str) -> None:
    scenario = overrides.load(name)
    around = {key: table for key, table in scenario.tree().items() if key not in ("arms", "sweep", "headline")}
    for arm in scenario.arms:
        expected = validate(merge(around, arm.changes))
        assert scenario.arm(arm.name) == expected
        assert scenario.arm(arm.name).digest == expected.digest


def test_an_arm_shares_what_it_does_not_change(digits: Scenario) -> None:
    arm = digits.arm("individual")
    assert arm is digits.arm("individual")
    for table in ("data", "tasks", "model", "channel", "learner", "training"):
        assert getattr(arm, table) is getattr(digits, table) or table == "tasks"
    assert arm.tasks["t1"] is digits.tasks["t1"]
    assert arm.strategy != digits.strategy


def test_a_copy_with_other_values_has_arms_of_its_own(digits: Scenario) -> None:
    assert digits.model_copy(update={"rounds": 3}).arm("individual").rounds == 3
    assert digits.model_copy(update={"arms": digits.arms[:1]}).arm_names == digits.arm_names[:1]
    with pytest.raises(ScenarioError, match="has no arm 'individual'"):
        digits.model_copy(update={"arms": digits.arms[:1]}).arm("individual")


def test_seeds_of_an_arm_are_read_as_one_scenario(digits: Scenario) -> None:
    from_json.cache_clear()
    first, second = (from_json(Trial(digits.arm("clustered"), "clustered", seed).to_json()) for seed in (0, 1))
    assert first.scenario is second.scenario
    expected = digits.arm("clustered")
    assert first.scenario == expected.model_copy(update={"seeds": (0,), "description": ""})


def test_a_trial_is_the_same_in_every_run(digits: Scenario) -> None:
    """Its digest names it, and its text is charged: neither may depend on what else is run, or on how it is called."""
    told = overrides.load(digits, {"description": "of other seeds"}, seeds=range(100, 110))
    one, other = (Trial(scenario.arm("clustered"), "clustered", 7) for scenario in (digits, told))
    assert one.to_json() == other.to_json()
    assert one.digest != Trial(digits.arm("clustered"), "clustered", 8).digest
    assert one.digest != Trial(digits.arm("individual"), "individual", 7).digest


def test_a_headline_that_nobody_has_chosen_follows_from_the_arms_that_are_left() -> None:
    scenario = overrides.load("digits")
    assert "headline" in scenario.tree()
    assert "headline" not in scenario.draft()
    chosen = overrides.load("digits", {"headline": scenario.headline})
    assert chosen.draft()["headline"] == scenario.headline


def test_an_empty_headline_is_not_chosen_and_follows_from_the_arms_that_are_left() -> None:
    """All arms of the file are compared by the accuracy on own classes; the arm that is left measures nothing."""
    silent = "flwr.client:NumPyClient"
    given = ['headline=""', f'arms.fedavg.learner="{silent}"', "arms.local.learner.global_test=never"]
    assert overrides.load("fedcl-digits", given).headline == "accuracy/own-classes"
    alone = overrides.load("fedcl-digits", given[:2], arms=["fedavg"])
    assert alone.headline == "loss/average"
