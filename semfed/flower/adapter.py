"""From messages to `NumPyClient` methods and back: the only code that takes a client's messages apart.

Flower 1.41 routes message-API strategies to ``ClientApp`` handlers only, so a `NumPyClient` needs this adapter:
``train`` calls ``fit``, ``evaluate`` calls ``evaluate``, ``train.<phase>`` calls the method of that name, and one
``query`` opens an experiment. Arrays among the metrics of ``evaluate`` are samples for the run folder. A SuperNode may
host several clients; each sees a `Context` of its own.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from flwr.common.constant import ErrorCode

from semfed import overrides
from semfed.errors import SemfedError
from semfed.flower.client import Learner, Session
from semfed.flower.experiment import Experiment, from_json
from semfed.flower.privacy import protect_properties, protect_update
from semfed.flower.worker import Worker
from semfed.training import one_thread, pick_device

STATE = "semfed"
"""Record of a node's state, and of a message's content, that holds what the adapter itself needs."""


def make_client_app(*, phases: Sequence[str] = ("forward", "backward"), mods: list[Mod] | None = None) -> ClientApp:
    """Return a Flower ``ClientApp`` that serves any scenario.

    Parameters
    ----------
    phases : sequence of str
        Names of extra phases: a message of type ``train.<phase>`` calls the client's method of that name.
    mods : list of Flower mods, optional
        For example for differential privacy; see ``flwr.clientapp.mod``.
    """
    app = ClientApp(mods=mods or [])
    worker = Worker()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_open_experiment(message, context, worker), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
            loss, samples, metrics = client.evaluate(arrays.to_numpy_ndarrays(), config)
            shown = {name: value for name, value in metrics.items() if isinstance(value, np.ndarray)}
            numbers = {name: value for name, value in metrics.items() if name not in shown}
            return _reply(_record(shown) if shown else None, samples, {"loss": float(loss), **numbers})

        return _serve(message, context, worker, call)

    def serve_training(method: str) -> Callable[[Message, Context], Message]:
        def train(message: Message, context: Context) -> Message:
            def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
                out, samples, metrics = getattr(client, method)(arrays.to_numpy_ndarrays(), config)
                return _reply(_named(out, arrays), samples, metrics)

            return _serve(message, context, worker, call)

        return train

    app.train()(serve_training("fit"))
    for phase in phases:
        app.train(phase)(serve_training(phase))
    return app


def _serve(
    message: Message,
    context: Context,
    worker: Worker,
    call: Callable[[NumPyClient, ArrayRecord, dict[str, Any]], RecordDict],
) -> Message:
    """Build the addressed client, let it answer, and keep its state; a client that raises keeps its old state.

    What this package has to say travels to the server; of other errors a SuperNode tells only that there was one.
    """
    try:
        return _answer(message, context, worker, call)
    except SemfedError as error:
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)


def _answer(
    message: Message,
    context: Context,
    worker: Worker,
    call: Callable[[NumPyClient, ArrayRecord, dict[str, Any]], RecordDict],
) -> Message:
    addressed = message.content.config_records.get(STATE)
    client = int(str(addressed["client"])) if addressed else int(context.node_config["partition-id"])
    if addressed and STATE not in context.state:
        raise SemfedError("the node has lost the run's state: was its SuperNode started anew?")
    experiment = _experiment(context)
    own = _own_context(context, client, experiment)
    with one_thread():
        learner = _build(experiment, own, client, worker, context)
        arrays = message.content.array_records.get("arrays", ArrayRecord())
        config = dict(message.content.config_records.get("config", ConfigRecord()))
        reply = Message(call(learner, arrays, config), reply_to=message)
    if message.metadata.message_type.startswith("train"):
        reply = protect_update(message, reply, context, experiment, client)
    for name, record in own.state.items():
        context.state[f"{client}/{name}"] = record
    return reply


def _build(experiment: Experiment, own: Context, client: int, worker: Worker, context: Context) -> Learner:
    device = pick_device(experiment.scenario.training.device)
    learner: Learner = experiment.scenario.learner.load()(
        Session(own, experiment, client, worker, _data_root(context), device)
    )
    return learner


def _open_experiment(message: Message, context: Context, worker: Worker) -> RecordDict:
    """Start an experiment on this node: forget the last one, and tell about the clients that the node hosts."""
    text = str(message.content.config_records[STATE]["experiment"])
    node, nodes = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    content = RecordDict({"node": ConfigRecord({"partition-id": node, "num-partitions": nodes})})
    context.state.clear()
    context.state[STATE] = ConfigRecord({"experiment": text})
    try:
        experiment = from_json(text)
        with one_thread():
            for client in range(node, len(experiment.scenario.clients), nodes):
                own = _own_context(context, client, experiment)
                learner = _build(experiment, own, client, worker, context)
                told = protect_properties(learner.get_properties({}), experiment, client)
                content[f"client-{client}"] = ConfigRecord(told)
                if client == 0:
                    content["initial"] = _record(learner.shared())
    except SemfedError as error:
        content["error"] = ConfigRecord({"message": str(error)})
    return content


def _experiment(context: Context) -> Experiment:
    """Return the open experiment, or the run config's scenario where a strategy never opened one."""
    opened = context.state.config_records.get(STATE)
    if opened is not None:
        return from_json(str(opened["experiment"]))
    scenario = overrides.load(str(context.run_config["scenario"]))
    arm = str(context.run_config.get("arm") or scenario.arm_names[0])
    return Experiment(scenario.arm(arm), arm, int(context.run_config.get("seed", scenario.seeds[0])))


def _own_context(context: Context, client: int, experiment: Experiment) -> Context:
    prefix = f"{client}/"
    state = RecordDict(
        {name.removeprefix(prefix): item for name, item in context.state.items() if name.startswith(prefix)}
    )
    config = {
        **context.node_config,
        "partition-id": client,
        "num-partitions": len(experiment.scenario.clients),
    }
    return Context(context.run_id, context.node_id, config, state, context.run_config)


def _data_root(context: Context) -> Path | None:
    """Return where this machine keeps data: its node config, else the run config, else the environment."""
    for given in (context.node_config.get("data-root"), context.run_config.get("data-root")):
        if given:
            return Path(str(given)).expanduser()
    return Path(os.environ["SEMFED_DATA"]).expanduser() if os.environ.get("SEMFED_DATA") else None


def _named(out: Any, received: ArrayRecord) -> ArrayRecord:
    """Name what a method returned: by itself if it is a table, else like what it got, else by number."""
    if isinstance(out, Mapping):
        return _record(out)
    names = list(received) if len(received) == len(out) else [str(k) for k in range(len(out))]
    return _record(dict(zip(names, out, strict=True)))


def _record(arrays: Mapping[str, Any]) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def _reply(arrays: ArrayRecord | None, samples: int, metrics: Mapping[str, Any]) -> RecordDict:
    """Pack a reply as Flower's own strategies expect it: numbers are metrics, everything else is information."""
    numbers: dict[str, Any] = {"num-examples": int(samples)}
    other: dict[str, Any] = {}
    for name, value in metrics.items():
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        (numbers if is_number else other)[name] = value.item() if isinstance(value, np.number) else value
    content = RecordDict({"metrics": MetricRecord(numbers)})
    if arrays is not None:
        content["arrays"] = arrays
    if other:
        content["info"] = ConfigRecord(other)
    return content
