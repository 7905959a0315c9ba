"""From messages to `NumPyClient` methods and back: the only code that takes a client's messages apart.

Flower 1.41 routes message-API strategies to ``ClientApp`` handlers only, so a `NumPyClient` needs this adapter:
``train`` calls ``fit``, ``evaluate`` calls ``evaluate``, ``train.<phase>`` calls the method of that name, and one
``query`` opens an experiment. Arrays among the metrics of ``evaluate`` are samples for the run folder. A SuperNode may
host several clients; each sees a message and a `Context` of its own.
"""

import os
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod
from flwr.common.constant import ErrorCode

from semfed import overrides
from semfed.errors import SemfedError
from semfed.flower import arrays as wire
from semfed.flower.bundle import one_by_one
from semfed.flower.client import Learner, Session, check_config
from semfed.flower.experiment import Experiment, from_json
from semfed.flower.keeping import Keeper, marks_from_json
from semfed.flower.privacy import protect_properties, protect_update
from semfed.flower.worker import Worker
from semfed.isolation import isolated
from semfed.paths import as_path
from semfed.training import pick_device

STATE = "semfed"
"""Record of a node's state, and of a message's content, that holds what the adapter itself needs."""
PROBE = "query.probe"
"""Type of a message that only asks which message the node has served last."""


def make_client_app(
    *,
    phases: Sequence[str] = ("forward", "backward"),
    mods: list[Mod] | None = None,
    worker: Worker | None = None,
) -> ClientApp:
    """Return a Flower ``ClientApp`` that serves any scenario.

    Parameters
    ----------
    phases : sequence of str
        Names of extra phases: a message of type ``train.<phase>`` calls the client's method of that name.
    mods : list of Flower mods, optional
        For example for differential privacy; see ``flwr.clientapp.mod``. They see the messages of single clients.
    worker : Worker, optional
        What this process keeps between messages, where others use it too.
    """
    app = ClientApp(mods=[one_by_one, *(mods or [])])
    worker = worker or Worker()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_open_experiment(message, context, worker), reply_to=message)

    @app.query("keep")
    def keep(message: Message, context: Context) -> Message:
        return Message(_keep(message, context, RecordDict()), reply_to=message)

    @app.query("probe")
    def probe(message: Message, context: Context) -> Message:
        about = context.state.get(STATE)
        served = about.get("served", "") if isinstance(about, ConfigRecord) else ""
        return Message(RecordDict({STATE: ConfigRecord({"served": served})}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
            loss, samples, metrics = client.evaluate(_parameters(arrays), config)
            shown = {name: value for name, value in metrics.items() if isinstance(value, np.ndarray)}
            numbers = {name: value for name, value in metrics.items() if name not in shown}
            return _reply(wire.record(shown) if shown else None, samples, {"loss": float(loss), **numbers})

        return _serve(message, context, worker, call)

    def serve_training(method: str) -> Callable[[Message, Context], Message]:
        def train(message: Message, context: Context) -> Message:
            def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
                out, samples, metrics = getattr(client, method)(_parameters(arrays), config)
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
        with isolated(*_stream(message, context)):
            learner = _addressed(message, context, worker)
            _require_known(message, learner)
            return _finish(message, context, learner, call(learner, *_content(message)))
    except SemfedError as error:
        return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, str(error)), reply_to=message)


def serve_together(messages: Sequence[Message], contexts: Sequence[Context], worker: Worker) -> list[Message] | None:
    """Let several nodes answer ``train`` messages at once, where their learner knows how to train a cohort.

    Returns
    -------
    list of Message or None
        A reply for every message; None if they have to be served one by one.
    """
    with isolated(*_stream(messages[0], contexts[0])):
        learners = [_addressed(*pair, worker) for pair in zip(messages, contexts, strict=True)]
        for message, learner in zip(messages, learners, strict=True):
            _require_known(message, learner)
        together = getattr(type(learners[0]), "fit_together", None)
        if together is None or len({id(learner.session.experiment) for learner in learners}) > 1:
            return None
        arrays, configs = zip(*(_content(message) for message in messages), strict=True)
        answers = together(learners, [_parameters(record) for record in arrays], configs)
    if answers is None:
        return None
    replies = []
    for message, context, learner, answer in zip(messages, contexts, learners, answers, strict=True):
        out, samples, metrics = answer
        reply = _reply(_named(out, _content(message)[0]), samples, metrics)
        replies.append(_finish(message, context, learner, reply))
    return replies


def _addressed(message: Message, context: Context, worker: Worker) -> Learner:
    """Build the client that a message is for."""
    client, experiment = _client(message, context), _experiment(context)
    return _build(experiment, _own_context(context, client, experiment), client, worker, context)


def _client(message: Message, context: Context) -> int:
    record = message.content.get(STATE)
    if record is not None and STATE not in context.state:
        raise SemfedError("the node has lost the run's state: was its SuperNode started anew?")
    return int(record["client"] if isinstance(record, ConfigRecord) else context.node_config["partition-id"])  # type: ignore[arg-type]


def _stream(message: Message, context: Context) -> tuple[int, str, int, int]:
    """Name the random stream of a client's answer to a message; asked once more, it gives the same answer."""
    about = repr((message.metadata.message_type, sorted(_content(message)[1].items())))
    client = _client(message, context)
    return _experiment(context).seed, "message", client, zlib.crc32(about.encode())


def _require_known(message: Message, learner: Learner) -> None:
    """Refuse a config that the client would ignore in part, also where the server has not looked at it before."""
    strategy = learner.session.scenario.strategy.name
    check_config(type(learner), message.metadata.message_type, _content(message)[1], strategy)


def _content(message: Message) -> tuple[ArrayRecord, dict[str, Any]]:
    return message.content.get("arrays", ArrayRecord()), dict(message.content.get("config", {}))  # type: ignore[return-value]


def _finish(message: Message, context: Context, learner: Learner, reply: RecordDict) -> Message:
    """Protect a client's update, keep its state in its node's, and address its reply."""
    session, answer = learner.session, Message(reply, reply_to=message)
    if message.metadata.message_type.startswith("train"):
        answer = protect_update(message, answer, context, session.experiment, session.client)
    for name, record in session.context.state.items():
        context.state[f"{session.client}/{name}"] = record
    about = context.state.get(STATE)
    if isinstance(about, ConfigRecord):
        about["served"] = message.metadata.message_id
    _keep(message, context, answer.content)
    return answer


def _keep(message: Message, context: Context, reply: RecordDict) -> RecordDict:
    """Keep the addressed client's state where the message asks for it, and add its hash to the reply."""
    order = message.content.get(STATE)
    if isinstance(order, ConfigRecord) and "keep" in order:
        keeper = Keeper(context, str(context.state.config_records[STATE]["run"]), _experiment(context))
        reply[STATE] = keeper.keep(int(str(order["client"])), order)
    return reply


def _build(experiment: Experiment, own: Context, client: int, worker: Worker, context: Context) -> Learner:
    wanted = experiment.scenario.training.device
    device = worker.once(("device", wanted), lambda: pick_device(wanted))
    learner: Learner = experiment.scenario.learner.load()(
        Session(own, experiment, client, worker, _data_root(context, worker), device)
    )
    return learner


def _open_experiment(message: Message, context: Context, worker: Worker) -> RecordDict:
    """Start an experiment on this node: forget the last one, and tell about the clients that the node hosts."""
    opening = message.content.config_records[STATE]
    node, nodes = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    about = ConfigRecord({"partition-id": node, "num-partitions": nodes})
    content = RecordDict({"node": about})
    context.state.clear()
    context.state[STATE] = ConfigRecord({name: opening[name] for name in ("experiment", "run") if name in opening})
    share_text(context.state)
    try:
        experiment = _experiment(context)
        keeper = Keeper(context, str(opening["run"]), experiment) if "run" in opening else None
        marks = marks_from_json(str(opening.get("marks", "{}")))
        about["keeps"] = keeper is not None and keeper.able
        for client in range(node, len(experiment.scenario.clients), nodes):
            if keeper is not None:
                keeper.forget(client)
                if client in marks:
                    keeper.restore(client, marks[client])
            with isolated(experiment.seed, "opening", client):
                own = _own_context(context, client, experiment)
                learner = _build(experiment, own, client, worker, context)
                told = protect_properties(learner.get_properties({}), experiment, client)
                content[f"client-{client}"] = ConfigRecord(told)
                if client == 0:
                    content["initial"] = wire.record(learner.shared())
    except SemfedError as error:
        content["error"] = ConfigRecord({"message": str(error)})
    return content


def share_text(state: RecordDict) -> None:
    """Let all nodes of a process keep one and the same text of the experiment: for thousands of clients it is long."""
    about = state.get(STATE)
    if isinstance(about, ConfigRecord) and "experiment" in about:
        about["experiment"] = sys.intern(str(about["experiment"]))


def _experiment(context: Context) -> Experiment:
    """Return the open experiment, or the run config's scenario where a strategy never opened one."""
    opened = context.state.get(STATE)
    if isinstance(opened, ConfigRecord):
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


def _data_root(context: Context, worker: Worker) -> Path | None:
    """Return where this machine keeps data: its node config, else the run config, else the environment."""
    given = str(context.node_config.get("data-root") or context.run_config.get("data-root") or "")

    def found() -> Path | None:
        text = given or os.environ.get("SEMFED_DATA")
        return as_path(text) if text else None

    return worker.once(("data root", given), found)


def _parameters(received: ArrayRecord) -> list[npt.NDArray[Any]]:
    """Return arrays as Flower's methods take them; they may be shared with other clients and are read-only."""
    return [wire.view(array) for array in received.values()]


def _named(out: Any, received: ArrayRecord) -> ArrayRecord:
    """Name what a method returned: by itself if it is a table, else like what it got, else by number."""
    if isinstance(out, Mapping):
        return wire.record(out)
    names = list(received) if len(received) == len(out) else [str(k) for k in range(len(out))]
    return wire.record(dict(zip(names, out, strict=True)))


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
