"""How a trial begins: nodes are found, told the trial, and asked which clients they host and what these are like."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from semfed.checkpoint import StateRef
from semfed.errors import FederationError, SemfedError
from semfed.flower.protocol import OPEN, STATE, marks_to_json
from semfed.flower.server.accounts import Accounts
from semfed.flower.server.exchange import POLL_S
from semfed.flower.server.ledger import Ledger
from semfed.flower.server.replies import sentence
from semfed.flower.trial import Trial


@dataclass(frozen=True)
class Opening:
    """What nodes answered when a trial was opened on them.

    Attributes
    ----------
    hosts : dict of int to int
        Node of every client.
    properties : dict of int to dict
        What every client's ``get_properties`` answered.
    initial_arrays : ArrayRecord
        What the first client proposes to start from.
    keeps : bool
        Whether every node has a place to keep its clients' states.
    durable : bool
        Whether a node that is started anew finds them there.
    """

    hosts: dict[int, int]
    properties: dict[int, dict[str, Any]]
    initial_arrays: ArrayRecord
    keeps: bool
    durable: bool


def open_trial(grid: Grid, trial: Trial, ledger: Ledger, accounts: Accounts, timeout: float) -> Opening:
    """Find all nodes and open the trial on them.

    Parameters
    ----------
    grid : Grid
        Of the engine.
    trial : Trial
    ledger : Ledger
        Says what nodes are to go on from.
    accounts : Accounts
        Charged with what opening costs.
    timeout : float
        Seconds to wait for nodes and for their answers.

    Raises
    ------
    FederationError
        If nodes are missing or do not answer.
    SemfedError
        If a client says that it cannot take part, in its own words.
    """
    asked = question(trial, ledger.run, ledger.marks)
    nodes, answers = _find_nodes(grid, asked, timeout)
    text = len(str(_record(asked, STATE)["trial"]))
    told: dict[int, ConfigRecord] = {}
    for answer in answers:
        hosted = {
            int(name.removeprefix("client-")): _record(answer, name) for name in answer if name.startswith("client-")
        }
        for client, record in hosted.items():
            accounts.opened(client, record, text / len(hosted))
        told |= hosted
    clients, count = range(len(trial.scenario.clients)), max(_integer(answer, "num-partitions") for answer in answers)
    missing = [trial.scenario.clients[client].name for client in clients if client not in told]
    if missing:
        raise FederationError(f"no node hosts the clients {missing}: check the nodes' num-partitions")
    return Opening(
        hosts={client: nodes[client % count] for client in clients},
        properties={client: dict(told[client]) for client in clients},
        initial_arrays=next((a.array_records["initial"] for a in answers if "initial" in a), ArrayRecord()),
        keeps=all(_record(answer, "node").get("keeps") for answer in answers),
        durable=all(_record(answer, "node").get("durable") for answer in answers),
    )


def question(trial: Trial, run: str, marks: Mapping[int, StateRef]) -> RecordDict:
    """Return what opens a trial on a node.

    Parameters
    ----------
    trial : Trial
    run : str
        Name of the run for checkpoints; empty without any.
    marks : mapping of int to StateRef
        Client states to go on from.
    """
    keeping = {"run": run, "marks": marks_to_json(marks)} if run else {}
    return RecordDict({STATE: ConfigRecord({"trial": trial.to_json(), **keeping})})


def _find_nodes(grid: Grid, question: RecordDict, timeout: float) -> tuple[list[int], list[RecordDict]]:
    """Ask every node as it turns up, until all are there; return them by their numbers, and what they answered."""
    deadline = time.monotonic() + timeout
    asked: set[int] = set()
    found: dict[int, tuple[int, RecordDict]] = {}
    expected = 0
    while True:
        new = sorted(set(grid.get_node_ids()) - asked)
        asked.update(new)
        answers = _ask(grid, new, question, deadline - time.monotonic()) if new else {}
        for node, answer in answers.items():
            index, count = (_integer(answer, key) for key in ("partition-id", "num-partitions"))
            if index in found:
                raise FederationError(
                    f"two nodes have partition-id {index}: give every SuperNode a partition-id of its own"
                )
            found[index], expected = (node, answer), max(expected, count)
        if expected and len(found) >= expected:
            ordered = [found[index] for index in sorted(found)]
            return [node for node, _ in ordered], [answer for _, answer in ordered]
        if time.monotonic() >= deadline:
            raise FederationError(
                f"{len(found)} of {expected or 'an unknown number of'} nodes are here after {timeout:g} s: "
                "start the missing SuperNodes or raise timeout_s"
            )
        time.sleep(POLL_S)


def _ask(grid: Grid, nodes: list[int], question: RecordDict, timeout: float) -> dict[int, RecordDict]:
    """Return the answers that came in time, by node.

    Raises
    ------
    SemfedError
        If one of them is an error.
    """
    sent = [Message(question, node, OPEN, group_id="0") for node in nodes]
    replies = list(grid.send_and_receive(sent, timeout=max(0.0, timeout)))
    addressed = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
    answers = {}
    for reply in replies:
        if reply.has_error():
            raise FederationError(f"a node could not open the trial: {sentence(reply.error)}")
        if "error" in reply.content:
            raise SemfedError(str(reply.content.config_records["error"]["message"]))
        answers[addressed[reply.metadata.reply_to_message_id]] = reply.content
    return answers


def _integer(answer: RecordDict, key: str) -> int:
    return int(str(_record(answer, "node")[key]))


def _record(answer: RecordDict, name: str) -> ConfigRecord:
    return cast(ConfigRecord, answer[name])  # Flower's `config_records` makes a copy each time
