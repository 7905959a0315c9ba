"""A value that has no effect with the others is refused in one sentence that names it and what it depends on."""

from pathlib import Path
from typing import Any

import pytest

from semfed.errors import ScenarioError
from semfed.scenario import effects, overrides, validate
from semfed.scenario.settings import StrictModel, only_when

from . import bases, table

PLUGINS = Path(__file__).parents[1] / "plugins"

IDLE: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("plain", {"training.momentum": 0.5}, {"training.optimizer": "adam"}, "optimizer = 'sgd', and optimizer is 'adam'"),
    ("plain", {"retries": 5}, {}, "retries = 5 has no effect: it belongs to on_client_failure = 'retry'"),
    ("plain", {"data.download": True}, {}, "data source 'digits' has nothing to download"),
    ("plain", {"privacy.noise": "seeded"}, {}, "nothing is protected"),
    ("fedavg", {"privacy.labels": {"epsilon": 1.0}}, {}, "learner 'joint' never tells its label distribution"),
    ("fedavg", table.UPDATES, {"strategy.exchange": False}, "with strategy.exchange = false no updates are sent"),
    ("fading", {"channel.receiver": "phase"}, {"channel.symbols": "real"}, "on real symbols the phase is turned back"),
    ("fading", {"channel.csi_error": 0.5}, {}, "receiver 'raw' makes no use of what it knows of h"),
    ("plain", {"channel.snr_spread_db": 5.0}, {"channel.snr_db": float("inf")}, "channel.snr_db = inf has no noise"),
    ("plain", {"model.snr_input": "both"}, {}, "clients train at one SNR alone"),
    ("fedcl", {"strategy.downlink": {**table.NOISY, "snr_spread_db": 3}}, {}, "only what encoders send while they"),
    ("plain", {"strategy.threshold": 0.5}, {}, "it belongs to clusters = 'similarity', and clusters is 'one'"),
    ("plain", {"strategy.weighted": True}, {"strategy.clusters": "individual"}, "every client is alone in its cluster"),
    ("plain", {"strategy.weighted": True}, {"strategy.clusters": [[0], [1], [2]]}, "every client is alone"),
    ("fedcl", {"strategy.scg_temperature": 2.0}, {"strategy.scg_mode": "literal"}, "scg_mode is 'literal'"),
    ("fedcl", {"strategy.scg_lr": 1.0}, {"strategy.scg_steps": 0}, "with scg_steps = 0 the generator is not trained"),
    ("fedcl", {"strategy.downlink": {**table.NOISY, "uses": 3}}, {}, "a gradient is as wide as the features"),
    ("fedcl", {"strategy.downlink": {**table.NOISY, "power": "none"}}, {}, "a gradient is sent at unit power"),
    ("cooperative", {"learner.dre_grad": "detach"}, {"learner.prior": "gaussian"}, "it belongs to prior = 'implicit'"),
    ("cooperative", {"learner.alpha": "encoder"}, {"learner.prior": "implicit"}, "it belongs to prior = 'log-uniform'"),
    (
        "cooperative",
        {"learner.dre.centres": 30},
        {"learner.prior": "gaussian"},
        "'gaussian' estimates no density ratio",
    ),
    ("cooperative", {"learner.prior": "gaussian"}, {"learner.lambda_eff": 0}, "lambda_eff = 0 charges nothing"),
    (
        "cooperative",
        {"learner.dre_grad": "detach"},
        {"learner.lambda_eff": 0},
        "lambda_eff = 0 charges nothing for the",
    ),
    ("cooperative", {"learner.dre.centres": 30}, {"learner.lambda_eff": 0}, "lambda_eff = 0 charges nothing"),
    ("cooperative", {"learner.common.lr": 1.0}, {"learner.cu": False}, "with cu = false there is no common unit"),
    ("cooperative", {"learner.common.rounds": 2}, {"learner.schedule": "interleaved"}, "in every round"),
    ("alignment", {"channel.snr_db": 1.0}, {"channel.user_snr_db": [1, 2]}, "it belongs to user_snr_db = unset"),
    ("alignment", {"strategy.rho": 2.0}, {"strategy.mode": "first-k"}, "strategy.mode 'first-k' aligns nothing"),
    ("alignment", {"learner.ridge": 0.1}, {"strategy.mode": "own-latent"}, "strategy.mode 'own-latent' aligns nothing"),
    ("alignment", {"channel.snr_db": 1.0}, {"strategy.mode": "unaligned"}, "sends nothing through a channel"),
    ("alignment", {"training.epochs": 2}, table.FILES, "learner.latents are ready: no encoder is trained"),
    ("alignment", {"data.std": [1.0]}, table.PRETRAINED, "learner.latents are ready"),
    ("alignment", {"clients.b.encoder": {"name": "mlp", "outputs": 5}}, table.FILES, "learner.latents are ready"),
    (
        "alignment",
        {"clients.b.encoder": {"name": "mlp", "outputs": 5}},
        {"learner.latents.homogeneous": True},
        "homogeneous = true gives all users one architecture",
    ),
    ("alignment", {"learner.classifier.device": "cuda"}, {}, "it trains where training.device says"),
    ("plain", {"model.encoder": {"name": "mlp", "activation": "tanh"}}, {}, "there are no hidden layers"),
]


@pytest.mark.parametrize(("base", "value", "others", "reason"), IDLE, ids=[str(list(line[1])) for line in IDLE])
def test_a_value_without_effect_is_refused_in_a_file_and_as_an_override(
    base: str, value: dict[str, Any], others: dict[str, Any], reason: str
) -> None:
    around = overrides.load(bases.BASES[base](), others)
    with pytest.raises(ScenarioError) as told:
        overrides.load(around, value)
    assert reason in str(told.value)
    assert "\n" not in str(told.value)
    tree = bases.BASES[base]()
    tree, _ = overrides.apply(tree, overrides.parse_overrides({**others, **value}), validate(tree))
    with pytest.raises(ScenarioError) as told:
        overrides.load(tree)
    assert reason in str(told.value)


def test_a_declared_condition_holds_for_defaults_and_for_any_of_its_values() -> None:
    class Table(StrictModel):
        how: str = "a"
        much: effects.Any = 1

    rule = only_when(how=("a", "b"))
    assert rule.holds(Table())
    assert rule.holds(Table(how="b"))
    assert not rule.holds(Table(how="c"))
    assert rule.reason(Table(how="c")) == "it belongs to how = 'a' or 'b', and how is 'c'"


THREE_ARMS = "digits"


def test_a_value_that_one_arm_uses_may_stand_around_all_of_them() -> None:
    around = overrides.load(THREE_ARMS, ["strategy.threshold=0.9"])
    assert around.arm("clustered").strategy.settings.model_dump()["threshold"] == 0.9
    alone = overrides.load(around, arms=["individual"])  # where nothing is left that uses it
    assert alone.strategy.settings.model_dump()["threshold"] is None
    assert overrides.load(alone) == alone


def test_an_arm_may_not_say_what_has_no_effect_in_it() -> None:
    with pytest.raises(ScenarioError, match=r"strategy.threshold = 0.9 has no effect: it belongs to clusters"):
        overrides.load(THREE_ARMS, ["arms.individual.strategy.threshold=0.9"])
    tree = overrides.load(THREE_ARMS).tree()
    tree["arms"][2]["strategy"]["threshold"] = 0.9
    with pytest.raises(ScenarioError, match=r"arms.individual.strategy.threshold = 0.9 has no effect"):
        overrides.load(tree)


def test_a_file_s_idle_value_is_refused_beside_an_override_too() -> None:
    tree = bases.BASES["plain"]() | {"retries": 5}
    with pytest.raises(ScenarioError, match="retries = 5 has no effect"):
        overrides.load(tree, ["rounds=3"])


def test_what_an_override_makes_idle_goes_back_to_its_default() -> None:
    adam = overrides.load(THREE_ARMS, ["training.optimizer=adam"])
    assert adam.training.momentum == 0.0
    with pytest.raises(ScenarioError, match="momentum = 0.3 has no effect"):
        overrides.load(THREE_ARMS, ["training.optimizer=adam", "training.momentum=0.3"])


def test_a_sweep_has_to_have_an_effect_in_every_arm() -> None:
    with pytest.raises(ScenarioError, match=r"arms.individual@0.5.strategy.threshold = 0.5 has no effect"):
        overrides.load(THREE_ARMS, sweep="strategy.threshold=0.5", arms=["clustered", "individual"])
    swept = overrides.load(THREE_ARMS, sweep="strategy.threshold=0.5,0.6", arms=["clustered"])
    assert swept.arm_names == ("clustered@0.5", "clustered@0.6")


def test_a_sweep_inside_of_a_table_without_effect_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PLUGINS)
    tree = bases.BASES["plain"]() | {"privacy": {"labels": {"epsilon": 9}}}
    tree["arms"] = [{"name": "told"}, {"name": "untold", "learner": "absent:Untold"}]
    with pytest.raises(
        ScenarioError, match=r"arms.untold@1.privacy.labels.epsilon = 1 has no effect: learner 'absent:Untold'"
    ):
        overrides.load(tree, sweep="privacy.labels.epsilon=1,2")


@pytest.mark.parametrize("key", ["seeds", "description"])
def test_an_arm_cannot_have_seeds_of_its_own(key: str) -> None:
    tree = bases.BASES["plain"]() | {"arms": [{"name": "a", key: [1] if key == "seeds" else "told"}]}
    with pytest.raises(ScenarioError, match=f"arms.a.{key}: it is the same for all arms"):
        overrides.load(tree)


def test_built_in_scenarios_say_nothing_without_effect() -> None:
    from semfed.scenario import built_in

    for name in built_in():
        overrides.load(name)


def test_a_resolved_scenario_can_be_read_again_whatever_was_chosen() -> None:
    for arm in ("clustered", "unclustered", "individual"):
        chosen = overrides.load(THREE_ARMS, ["strategy.quorum=1.0"], arms=[arm])
        assert overrides.load(chosen.tree()) == chosen
