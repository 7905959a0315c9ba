import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import NumPyClient

from semfed.engine.inprocess import InProcessGrid
from semfed.flower.bundle import pack, unpack
from semfed.flower.client.app import make_client_app
from semfed.flower.protocol import STATE
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import sentence
from semfed.flower.trial import Trial
from semfed.scenario import Scenario

CLIENT = f"{__name__}:CountingClient"


class CountingClient(NumPyClient):
    """Counts its visits in its private state."""

    config_keys: ClassVar = {"fit": frozenset({"fail"})}

    def __init__(self, session: Any) -> None:
        self.session = session

    def shared(self) -> dict[str, np.ndarray]:
        return {"w": np.zeros(2, np.float32)}

    def get_properties(self, config: Any) -> dict[str, Any]:
        return {"size": 3, "name": self.session.spec.name}

    def visits(self) -> int:
        kept = self.session.load("visits")
        count = 1 + (0 if kept is None else int(kept["count"]))
        self.session.save("visits", {"count": np.array(count)})
        return count

    def fit(self, parameters: Any, config: Any) -> Any:
        if config.get("fail"):
            self.visits()
            raise RuntimeError("no power")
        return (
            [p + 1 for p in parameters],
            3,
            {"visits": self.visits(), "text": "yes", "flag": True, "np": np.float32(2)},
        )

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return float(parameters[0].sum()), 3, {"accuracy": 0.5}

    def forward(self, parameters: Any, config: Any) -> Any:
        return {"features": np.ones((2, 3), np.float32), "labels": np.array([0, 1])}, 2, {}


@pytest.fixture
def trial(digits: Scenario, monkeypatch: pytest.MonkeyPatch) -> Trial:
    monkeypatch.setattr(type(digits.learner), "load", lambda self: CountingClient)
    return Trial(digits.arm("clustered"), "clustered", 0)


def context(nodes: int = 3, index: int = 0, **run_config: Any) -> Context:
    return Context(0, 7, {"partition-id": index, "num-partitions": nodes}, RecordDict(), run_config)


def opened(app: Any, trial: Trial, where: Context) -> RecordDict:
    content = RecordDict({STATE: ConfigRecord({"trial": trial.to_json()})})
    return app(Message(content, 7, "query"), where).content


def ask(app: Any, where: Context, kind: str, client: int | None = None, **config: Any) -> RecordDict:
    records: dict[str, Any] = {"arrays": ArrayRecord({"w": Array(np.arange(2, dtype=np.float32))}),
                               "config": ConfigRecord(config)}  # fmt: skip
    if client is not None:
        records[STATE] = ConfigRecord({"client": client})
    return app(Message(RecordDict(records), 7, kind), where).content


pytestmark = pytest.mark.usefixtures("identity")


def test_messages_become_methods_and_replies(trial: Trial) -> None:
    app, where = make_client_app(), context()
    answer = opened(app, trial, where)
    assert dict(answer["client-0"]) == {"size": 3, "name": "Sat 1"}
    assert answer["initial"]["w"].numpy().tolist() == [0, 0]

    trained = ask(app, where, "train")
    assert trained["arrays"]["w"].numpy().tolist() == [1, 2]
    assert dict(trained["metrics"]) == {"num-examples": 3, "visits": 1, "np": 2.0}
    assert dict(trained["info"]) == {"text": "yes", "flag": True}

    tested = ask(app, where, "evaluate")
    assert dict(tested["metrics"]) == {"num-examples": 3, "loss": 1.0, "accuracy": 0.5}
    assert "arrays" not in tested

    forward = ask(app, where, "train.forward")
    assert list(forward["arrays"]) == ["features", "labels"]
    assert forward["arrays"]["features"].numpy().shape == (2, 3)


def test_state_is_private_to_a_client_and_survives(trial: Trial) -> None:
    app, where = make_client_app(), context(nodes=1)
    answer = opened(app, trial, where)
    assert {name for name in answer if name.startswith("client-")} == {"client-0", "client-1", "client-2"}
    counts = [ask(app, where, "train", client)["metrics"]["visits"] for client in (0, 1, 0, 0, 2)]
    assert counts == [1, 1, 2, 3, 1]


def test_the_nodes_of_a_process_share_the_text_of_the_trial(trial: Trial) -> None:
    app, nodes = make_client_app(), [context(index=index) for index in range(3)]
    for node in nodes:  # each of them gets a copy of its own
        opened(app, trial, node)
    together = pickle.dumps([node.state for node in nodes])  # as an actor's snapshot of its clients
    assert len(together) < 1.2 * len(pickle.dumps(nodes[0].state))


def test_a_client_that_raises_keeps_its_old_state(trial: Trial) -> None:
    app, where = make_client_app(), context()
    opened(app, trial, where)
    ask(app, where, "train")
    with pytest.raises(RuntimeError, match="no power"):
        ask(app, where, "train", fail=True)
    assert ask(app, where, "train")["metrics"]["visits"] == 2


def test_a_client_that_raises_hurts_no_other_that_is_asked_with_it(trial: Trial) -> None:
    app, where = make_client_app(), context(nodes=1)
    opened(app, trial, where)

    def together(fails: int) -> dict[int, Any]:
        model = ArrayRecord({"w": Array(np.arange(2, dtype=np.float32))})
        asked = {}
        for client in range(3):
            config = ConfigRecord({"fail": client == fails})
            own = ConfigRecord({"client": client})
            asked[client] = RecordDict({"arrays": model, "config": config, STATE: own})
        return unpack(app(Message(pack(asked), 7, "train"), where).content)

    first, second = together(fails=1), together(fails=-1)
    assert (first[1].code, sentence(first[1])) == (2, "RuntimeError: no power")
    assert [first[client]["metrics"]["visits"] for client in (0, 2)] == [1, 1]
    assert [second[client]["metrics"]["visits"] for client in range(3)] == [2, 1, 2]


def test_opening_an_experiment_forgets_the_last_one(trial: Trial) -> None:
    app, where = make_client_app(), context()
    opened(app, trial, where)
    ask(app, where, "train")
    opened(app, trial, where)
    assert ask(app, where, "train")["metrics"]["visits"] == 1


def test_without_an_opening_the_run_config_names_the_scenario(trial: Trial) -> None:
    app, where = make_client_app(), context(scenario="digits", arm="individual", seed=3)
    assert ask(app, where, "train")["metrics"]["visits"] == 1


def test_unknown_phases_are_refused(trial: Trial) -> None:
    app, where = make_client_app(phases=("forward",)), context()
    opened(app, trial, where)
    with pytest.raises(ValueError, match="backward"):
        ask(app, where, "train.backward")


def test_a_node_that_lost_the_runs_state_says_so_instead_of_starting_over(
    open_federation: Callable[..., Federation], digits: Scenario
) -> None:
    federation = open_federation(digits)
    grid = federation.grid
    assert isinstance(grid, InProcessGrid)
    grid.nodes.contexts[2].state.clear()
    content = RecordDict({"arrays": federation.initial_arrays, "config": ConfigRecord({"server-round": 1})})
    replies = list(federation.send_and_receive([Message(content, client, "train", group_id="1") for client in (0, 1)]))
    assert [reply.has_error() for reply in replies] == [True, False]
    assert "lost the run's state" in sentence(replies[0].error)
