"""Every learner on scikit-learn's digits, small enough to train in a moment."""

from collections.abc import Sequence
from typing import Any

import torch
from flwr.app import Context, RecordDict

from semfed import scenario as scenarios
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.trial import Trial
from semfed.scenario import Scenario, merge

TASKS = {"t1": {"values": [2], "rest": "other"}, "t2": {"values": [1, 2], "rest": "other"}}
MODEL = {"encoder": {"name": "mlp", "hidden": [16]}, "decoder": {"name": "mlp", "hidden": [8]}}
BASE: dict[str, Any] = {
    "name": "small",
    "rounds": 3,
    "seeds": [0],
    "data": {"source": "digits", "partition": {"name": "iid", "per_client": 40}},
    "tasks": TASKS,
    "clients": {"count": 2, "task": "t1"},
    "model": MODEL,
    "channel": {"name": "awgn", "uses": 8, "snr_db": 10},
    "training": {"batch_size": 20, "lr": 0.05},
    "strategy": {"name": "fedavg"},
}
COOPERATIVE = {
    "name": "cooperative",
    "tasks": ["t1", "t2"],
    "auxiliary": {"name": "mlp", "hidden": [8]},
    "specific": {"name": "mlp", "hidden": [8], "outputs": 8, "final_relu": True},
    "common": {"epochs": 1, "outputs": 8},
    "prior": "gaussian",
    "schedule": "interleaved",
}
LEARNERS: dict[str, Any] = {
    "multitask": {"learner": {"name": "multitask"}},
    "joint": {"learner": {"name": "joint"}},
    "split": {"learner": {"name": "split"}, "strategy": {"name": "fedproto", "lambda_ms": 0.0}},
    "cooperative": {"learner": COOPERATIVE, "model": {"encoder": {"outputs": 16}}},
    "multi-receiver": {"learner": {"name": "multi-receiver", "tasks": ["t1", "t2"]}},
}


def scenario(learner: str, *changes: dict[str, Any]) -> Scenario:
    """Return a scenario with a learner, changed table by table."""
    tree = merge(BASE, LEARNERS[learner])
    for change in changes:
        tree = merge(tree, change)
    return scenarios.validate(tree)


def client(given: Scenario, index: int = 0, state: RecordDict | None = None, cache: ProcessCache | None = None) -> Any:
    """Build a client as the adapter does for a message."""
    context = Context(0, 0, {"partition-id": index}, state if state is not None else RecordDict(), {})
    trial = Trial(given, given.name, 0)
    session = Session(context, trial, index, cache or ProcessCache(), None, torch.device("cpu"))
    made: BaseLearner = given.learner.load()(session)
    return made


def one_round(made: Any, round_: int, parameters: Sequence[Any], **config: Any) -> tuple[Any, Any]:
    """Train for a round, a split client with gradients of ones; return what is shared afterwards, and the metrics."""
    asked = {"server-round": round_, **config}
    if hasattr(made, "fit") and "backward" not in type(made).__dict__:
        out, _, metrics = made.fit(list(parameters), asked)
        return out, metrics
    arrays, _, metrics = made.forward([], asked)
    step = 0
    while arrays:
        arrays, _, metrics = made.backward([0 * arrays["features"] + 1], {**asked, "minibatch": step})
        step += 1
    return [], metrics
