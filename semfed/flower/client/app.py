"""From messages to `NumPyClient` methods and back: the only code that takes a client's messages apart.

Flower 1.41 routes message-API strategies to ``ClientApp`` handlers only, so a `NumPyClient` needs this adapter:
``train`` calls ``fit``, ``evaluate`` calls ``evaluate``, ``train.<phase>`` calls the method of that name, and one
``query`` opens a trial. Arrays among the metrics of ``evaluate`` are samples for the run folder. Where the scenario
has a validation split, ``evaluate`` is called once more, for a session whose test images are those. A SuperNode may
host several clients; each sees a message and a `Context` of its own.
"""

import copy
import os
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from semfed.errors import SemfedError
from semfed.events.metrics import VALIDATION
from semfed.events.spans import span
from semfed.flower import arrays as wire
from semfed.flower.bundle import BUNDLE, one_by_one
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.networks import tell
from semfed.flower.client.privacy import protect_properties, protect_update
from semfed.flower.client.session import Session
from semfed.flower.client.state_store import StateStore
from semfed.flower.client.together import Answer, Size, fit_together
from semfed.flower.compat import CLIENT_RAISED, NO_REPLY, ClientAppCallable, Mod
from semfed.flower.packing import packed_alike
from semfed.flower.protocol import LOST, OPEN, PROBE, STATE, WAIT, check_config, marks_from_json
from semfed.flower.trial import Trial, from_json
from semfed.scenario import overrides
from semfed.scenario.paths import as_path
from semfed.training import pick_device
from semfed.training.isolation import isolated


def make_client_app(
    *,
    phases: Sequence[str] = ("forward", "backward"),
    mods: list[Mod] | None = None,
    cache: ProcessCache | None = None,
) -> ClientApp:
    """Return a Flower ``ClientApp`` that serves any scenario.

    Parameters
    ----------
    phases : sequence of str
        Names of extra phases: a message of type ``train.<phase>`` calls the client's method of that name.
    mods : list of Flower mods, optional
        For example for differential privacy; see ``flwr.clientapp.mod``. They see the messages of single clients.
    cache : ProcessCache, optional
        What this process keeps between messages, where others use it too.
    """
    app = ClientApp(mods=[packed_alike, opened, one_by_one, *(mods or [])])
    cache = cache or ProcessCache()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(_open_trial(message, context, cache), reply_to=message)

    @app.query("keep")
    def keep(message: Message, context: Context) -> Message:
        return Message(_keep(message, context, RecordDict()), reply_to=message)

    @app.query("networks")
    def networks(message: Message, context: Context) -> Message:
        try:
            with isolated(*_stream(message, context)):
                learner, trial = _addressed(message, context, cache), _trial(context)
                return Message(tell(learner, trial, *_content(message)), reply_to=message)
        except SemfedError as error:
            return Message(Error(CLIENT_RAISED, str(error)), reply_to=message)

    @app.query("probe")
    def probe(message: Message, context: Context) -> Message:
        about = context.state.get(STATE)
        served = about.get("served", "") if isinstance(about, ConfigRecord) else ""
        return Message(RecordDict({STATE: ConfigRecord({"served": served})}), reply_to=message)

    @app.query("wait")
    def wait(message: Message, context: Context) -> Message:
        seconds, until = (float(str(message.content.config_records[WAIT][key])) for key in ("seconds", "until"))
        time.sleep(min(seconds, max(0.0, until - time.time())))
        return Message(RecordDict(), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
            reply = _evaluate(client, arrays, config)
            session: Session | None = getattr(client, "session", None)
            if session is not None and session.scenario.data.validation is not None:
                with isolated(session.trial.seed, VALIDATION, session.client, int(config.get("server-round", 0))):
                    learner: Any = type(client)
                    again = learner(_on_validation(session))
                    reply[VALIDATION] = _evaluate(again, arrays, config)["metrics"]
            return reply

        return _serve(message, context, cache, call)

    def serve_training(method: str) -> Callable[[Message, Context], Message]:
        def train(message: Message, context: Context) -> Message:
            def call(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
                given = _parameters(arrays)
                with span("training"):
                    out, samples, metrics = getattr(client, method)(given, config)
                return _reply(_named(out, arrays), samples, metrics)

            return _serve(message, context, cache, call)

        return train

    app.train()(serve_training("fit"))
    for phase in phases:
        app.train(phase)(serve_training(phase))
    return app


def opened(message: Message, context: Context, answer: ClientAppCallable) -> Message:
    """Say once for a whole bundle that the node has lost the run's state, instead of starting over: a Flower mod."""
    addressed = STATE in message.content or BUNDLE in message.content
    if addressed and STATE not in context.state and message.metadata.message_type not in (OPEN, PROBE):
        return Message(Error(NO_REPLY, LOST), reply_to=message)
    return answer(message, context)


def _evaluate(client: NumPyClient, arrays: ArrayRecord, config: dict[str, Any]) -> RecordDict:
    given = _parameters(arrays)
    with span("evaluation"):
        loss, samples, metrics = client.evaluate(given, config)
    shown = {name: value for name, value in metrics.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in metrics.items() if name not in shown}
    return _reply(wire.record(shown) if shown else None, samples, {"loss": float(loss), **numbers})


def _on_validation(session: Session) -> Session:
    """Return a session whose test images are the client's validation split; what it keeps, nobody sees again."""
    context = copy.copy(session.context)
    context.state = RecordDict(dict(context.state.items()))
    return replace(session, context=context, split="validation")


def _serve(
    message: Message,
    context: Context,
    cache: ProcessCache,
    call: Callable[[NumPyClient, ArrayRecord, dict[str, Any]], RecordDict],
) -> Message:
    """Build the addressed client, let it answer, and keep its state; a client that raises keeps its old state.

    What this package has to say travels to the server; of other errors a SuperNode tells only that there was one.
    """
    try:
        with isolated(*_stream(message, context)):
            learner = _addressed(message, context, cache)
            _require_known(message, learner)
            return _finish(message, context, learner, call(learner, *_content(message)))
    except SemfedError as error:
        return Message(Error(CLIENT_RAISED, str(error)), reply_to=message)


def serve_together(
    messages: Sequence[Message], contexts: Sequence[Context], cache: ProcessCache, cohort: Size = "auto"
) -> list[Message | None]:
    """Let several nodes, of one trial or of several, answer ``train`` messages, as cohorts where their learners can.

    Parameters
    ----------
    messages, contexts : sequence
        One of each a node.
    cache : ProcessCache
    cohort : int or "auto"
        Most clients that train side by side.

    Returns
    -------
    list of Message or None
        A reply for every message; None for those that have to be served one by one.
    """
    pairs = list(zip(messages, contexts, strict=True))
    with isolated(*_stream(*pairs[0])):
        learners = [_addressed(*pair, cache) for pair in pairs]
        for message, learner in zip(messages, learners, strict=True):
            _require_known(message, learner)
        arrays, configs = zip(*(_content(message) for message in messages), strict=True)
        given = [_parameters(record) for record in arrays]

        def alone(k: int) -> Answer:
            with isolated(*_stream(*pairs[k])):
                answer: Answer = learners[k].fit(given[k], configs[k])
                return answer

        with span("training"):
            answers = fit_together(learners, given, configs, alone=alone, size=cohort, cache=cache)
    replies: list[Message | None] = []
    for (message, context), learner, answer in zip(pairs, learners, answers, strict=True):
        if answer is None:
            replies.append(None)
            continue
        out, samples, metrics = answer
        reply = _reply(_named(out, _content(message)[0]), samples, metrics)
        try:
            replies.append(_finish(message, context, learner, reply))
        except SemfedError as error:
            replies.append(Message(Error(CLIENT_RAISED, str(error)), reply_to=message))
    return replies


def _addressed(message: Message, context: Context, cache: ProcessCache) -> BaseLearner:
    """Build the client that a message is for."""
    client, trial = _client(message, context), _trial(context)
    return _build(trial, _own_context(context, client, trial), client, cache, context)


def _client(message: Message, context: Context) -> int:
    record = message.content.get(STATE)
    return int(record["client"] if isinstance(record, ConfigRecord) else context.node_config["partition-id"])  # type: ignore[arg-type]


def _stream(message: Message, context: Context) -> tuple[int, str, int, int]:
    """Name the random stream of a client's answer to a message; asked once more, it gives the same answer."""
    about = repr((message.metadata.message_type, sorted(_content(message)[1].items())))
    client = _client(message, context)
    return _trial(context).seed, "message", client, zlib.crc32(about.encode())


def _require_known(message: Message, learner: BaseLearner) -> None:
    """Refuse a config that the client would ignore in part, also where the server has not looked at it before."""
    strategy = learner.session.scenario.strategy.name
    check_config(type(learner), message.metadata.message_type, _content(message)[1], strategy)


def _content(message: Message) -> tuple[ArrayRecord, dict[str, Any]]:
    return message.content.get("arrays", ArrayRecord()), dict(message.content.get("config", {}))  # type: ignore[return-value]


def _finish(message: Message, context: Context, learner: BaseLearner, reply: RecordDict) -> Message:
    """Protect a client's update, keep its state in its node's, and address its reply."""
    session, answer = learner.session, Message(reply, reply_to=message)
    if message.metadata.message_type.startswith("train"):
        answer = protect_update(message, answer, context, session.trial, session.client)
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
        store = StateStore(context, str(context.state.config_records[STATE]["run"]), _trial(context))
        reply[STATE] = store.keep(int(str(order["client"])), order)
    return reply


def _build(trial: Trial, own: Context, client: int, cache: ProcessCache, context: Context) -> BaseLearner:
    wanted = trial.scenario.training.device
    device = cache.once(("device", wanted), lambda: pick_device(wanted))
    learner: BaseLearner = trial.scenario.learner.load()(
        Session(own, trial, client, cache, _data_root(context, cache), device)
    )
    return learner


def _open_trial(message: Message, context: Context, cache: ProcessCache) -> RecordDict:
    """Start a trial on this node: forget the last one, and tell about the clients that the node hosts."""
    opening = message.content.config_records[STATE]
    node, nodes = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    about = ConfigRecord({"partition-id": node, "num-partitions": nodes})
    content = RecordDict({"node": about})
    context.state.clear()
    context.state[STATE] = ConfigRecord({name: opening[name] for name in ("trial", "run") if name in opening})
    share_text(context.state)
    try:
        trial = _trial(context)
        store = StateStore(context, str(opening["run"]), trial) if "run" in opening else None
        marks = marks_from_json(str(opening.get("marks", "{}")))
        about["keeps"] = store is not None and store.able
        about["durable"] = store is not None and store.durable
        for client in range(node, len(trial.scenario.clients), nodes):
            if store is not None:
                store.forget(client)
                if client in marks:
                    store.restore(client, marks[client])
            with isolated(trial.seed, "opening", client):
                own = _own_context(context, client, trial)
                learner = _build(trial, own, client, cache, context)
                told = protect_properties(learner.get_properties({}), trial, client)
                content[f"client-{client}"] = ConfigRecord(told)
                if client == 0:
                    content["initial"] = wire.record(learner.shared())
    except SemfedError as error:
        context.state.clear()  # lest a client is asked that has only a part of its state
        content["error"] = ConfigRecord({"message": str(error)})
    return content


def share_text(state: RecordDict) -> None:
    """Let all nodes of a process keep one and the same text of the trial: for thousands of clients it is long."""
    about = state.get(STATE)
    if isinstance(about, ConfigRecord) and "trial" in about:
        about["trial"] = sys.intern(str(about["trial"]))


def _trial(context: Context) -> Trial:
    """Return the open trial, or the run config's scenario where a strategy never opened one."""
    opened = context.state.get(STATE)
    if isinstance(opened, ConfigRecord):
        return from_json(str(opened["trial"]))
    scenario = overrides.load(str(context.run_config["scenario"]))
    arm = str(context.run_config.get("arm") or scenario.arm_names[0])
    return Trial(scenario.arm(arm), arm, int(context.run_config.get("seed", scenario.seeds[0])))


def _own_context(context: Context, client: int, trial: Trial) -> Context:
    prefix = f"{client}/"
    state = RecordDict(
        {name.removeprefix(prefix): item for name, item in context.state.items() if name.startswith(prefix)}
    )
    config = {
        **context.node_config,
        "partition-id": client,
        "num-partitions": len(trial.scenario.clients),
    }
    return Context(context.run_id, context.node_id, config, state, context.run_config)


def _data_root(context: Context, cache: ProcessCache) -> Path | None:
    """Return where this machine keeps data: its node config, else the run config, else the environment."""
    given = str(context.node_config.get("data-root") or context.run_config.get("data-root") or "")

    def found() -> Path | None:
        text = given or os.environ.get("SEMFED_DATA")
        return as_path(text) if text else None

    return cache.once(("data root", given), found)


def _parameters(received: ArrayRecord) -> list[npt.NDArray[Any]]:
    """Return arrays as Flower's methods take them; they may be shared with other clients and are read-only."""
    return [wire.view(array) for array in received.values()]


@span("reply")
def _named(out: Any, received: ArrayRecord) -> ArrayRecord:
    """Name what a method returned: by itself if it is a table, else like what it got, else by number."""
    if isinstance(out, Mapping):
        return wire.record(out)
    names = list(received) if len(received) == len(out) else [str(k) for k in range(len(out))]
    return wire.record(dict(zip(names, out, strict=True)))


@span("reply")
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
