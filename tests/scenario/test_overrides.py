import pytest

from semfed.errors import ScenarioError
from semfed.scenario import overrides


def test_full_and_shortened_paths() -> None:
    assert overrides.load("digits", ["channel.snr_db=5"]).channel.settings.model_dump()["snr_db"] == 5
    assert overrides.load("digits", ["snr_db=5"]).channel.settings.model_dump()["snr_db"] == 5
    assert overrides.load("digits", ["lr=0.5"]).training.lr == 0.5


def test_settings_that_the_file_leaves_out_can_be_set() -> None:
    loaded = overrides.load("digits", ["strategy.weighted=true", "timeout_s=7"])
    assert loaded.arm("clustered").strategy.settings.model_dump()["weighted"] is True
    assert loaded.timeout_s == 7


def test_arms_and_clients_go_by_their_names() -> None:
    loaded = overrides.load("digits", ["arms.clustered.strategy.threshold=0.9", "clients.Sat 1.task=t3"])
    assert loaded.arm("clustered").strategy.settings.model_dump()["threshold"] == 0.9
    assert loaded.arm("individual").strategy.settings.model_dump()["threshold"] is None
    assert loaded.clients[0].task == "t3"
    short = overrides.load("digits", ["arms.clustered.threshold=0.9"])
    assert short.arm("clustered").strategy.settings.model_dump()["threshold"] == 0.9


def test_a_plugin_can_be_exchanged_as_a_whole() -> None:
    loaded = overrides.load("digits", ["channel=rayleigh", "channel.fading=block"])
    assert loaded.channel.name == "rayleigh"
    assert loaded.channel.settings.model_dump()["fading"] == "block"


@pytest.mark.parametrize("order", [1, -1])
def test_settings_that_only_fit_together_may_come_in_any_order(order: int) -> None:
    loaded = overrides.load("iopm-federated", ["rounds=2", "learner.common.rounds=1"][::order])
    assert (loaded.rounds, loaded.learner.settings.model_dump()["common"]["rounds"]) == (2, 1)
    with pytest.raises(ScenarioError, match=r"learner\.common\.rounds = 5 leaves none of 2 rounds"):
        overrides.load("iopm-federated", ["rounds=2", "seeds=[1]"])


def test_of_several_mistakes_the_first_is_told() -> None:
    with pytest.raises(ScenarioError, match="no plugin 'rayleihg' among the channels; did you mean 'rayleigh'"):
        overrides.load("digits", ["channel=rayleihg", "channel.fading=block"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("channel.snr_bd=5", "no such setting; did you mean 'channel.snr_db'"),
        ("rounds", "write PATH=VALUE"),
        ("hidden=[3]", "could mean model.decoder.hidden or model.encoder.hidden|could mean model.encoder.hidden or"),
        ("arms.clusterd.threshold=1", "no arm 'clusterd'; did you mean 'clustered'"),
        ("clients.Sat 9.task=t1", "no such setting"),
        ("channel.snr_db=loud", "snr_db = 'loud'"),
        (
            "strategy.clusters=one",
            "every arm that runs sets strategy.clusters itself; write arms.<arm>.strategy.clusters",
        ),
        (
            "data.partition=dirichlett",
            "data.partition = 'dirichlett': no plugin 'dirichlett' among the partitions; did you mean 'dirichlet'",
        ),
    ],
)
def test_bad_overrides_are_explained(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        overrides.load("digits", [text])


@pytest.mark.parametrize(
    ("text", "arms", "words"),
    [
        ("strategy.lambda_ms=3", ["fedavg", "local"], "every arm that runs sets strategy.lambda_ms itself"),
        ("strategy.lambda_ms=3", ["fedproto"], "every arm that runs sets strategy.lambda_ms itself"),
        ("learner.minibatches=3", ["fedavg"], "every arm that runs sets learner.minibatches itself"),
        ("learner=split", ["local"], "every arm that runs sets learner itself"),
        ('strategy={name="fedcl", lambda_ms=2}', ["fedproto"], "every arm that runs sets strategy itself"),
        ("arms.local.training.lr=1", ["fedavg"], "arm 'local' does not run; choose it with --arms"),
        ("rounds=3", ["late"], "every arm that runs sets rounds itself"),
        ("training.lr=3", ["late"], "every arm that runs sets training.lr itself"),
    ],
)
def test_an_override_that_reaches_no_arm_that_runs_is_refused(text: str, arms: list[str], words: str) -> None:
    tree = overrides.load("fedcl-digits").tree()
    tree["arms"].append({"name": "late", "rounds": 4, "training": {"lr": 0.1}})
    with pytest.raises(ScenarioError, match=words):
        overrides.load(tree, [text], arms=arms)


@pytest.mark.parametrize(
    ("text", "arms"),
    [
        ("strategy.lambda_ms=3", ["fedcl", "fedavg"]),
        ("learner.minibatches=3", ["fedproto"]),
        ('strategy={name="fedcl", lambda_ms=2}', ["fedcl"]),
        ("arms.local.training.lr=1", ["local", "fedavg"]),
        ("training={epochs=2, lr=0.2}", ["late"]),
        ("data.q=10", ["fedavg"]),
    ],
)
def test_an_override_that_reaches_one_arm_is_taken(text: str, arms: list[str]) -> None:
    tree = overrides.load("fedcl-digits").tree()
    tree["arms"].append({"name": "late", "rounds": 4, "training": {"lr": 0.1}})
    assert overrides.load(tree, [text], arms=arms).arm_names == tuple(
        arm["name"] for arm in tree["arms"] if arm["name"] in arms
    )


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["channel=5", "channel.snr_db=3"], "channel = 5: give a plugin's name, or a table"),
        (['clients=[{task="t1"}]', "clients.Sat 1.task=t2"], "clients.0.name: missing; give it a value"),
    ],
)
def test_what_replaced_a_table_by_something_else_is_told(texts: list[str], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        overrides.load("digits", texts)


def test_choosing_arms_and_seeds() -> None:
    loaded = overrides.load("digits", arms=["individual"], seeds=[7])
    assert (loaded.arm_names, loaded.seeds) == (("individual",), (7,))
    with pytest.raises(ScenarioError, match="arm 'solo': not in scenario 'digits'"):
        overrides.load("digits", arms=["solo"])
    with pytest.raises(ScenarioError, match="arms: none is chosen"):
        overrides.load("digits", arms=[])


def test_a_sweep_makes_an_arm_of_every_value() -> None:
    loaded = overrides.load("digits", arms=["clustered", "individual"], sweep="channel.snr_db=0,inf")
    assert loaded.arm_names == ("clustered@0", "individual@0", "clustered@inf", "individual@inf")
    assert loaded.arm("individual@0").channel.settings.model_dump()["snr_db"] == 0
    assert loaded.arm("individual@0").strategy.settings.model_dump()["clusters"] == "individual"
    assert loaded.sweep is not None
    assert loaded.sweep.arms == ("clustered", "individual")


def test_a_sweep_of_a_client_is_refused() -> None:
    with pytest.raises(ScenarioError, match="only settings that arms can differ in"):
        overrides.load("digits", sweep="clients.Sat 1.task=t1,t2")


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1"])
def test_bad_seeds(text: str) -> None:
    with pytest.raises(ScenarioError, match="write numbers and ranges"):
        overrides.parse_seeds(text)
