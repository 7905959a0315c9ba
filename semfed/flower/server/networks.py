"""The last exchange of a trial: every client tells its trained networks, private ones included.

The system that a trial stands for sends nothing of this, and it measures nothing: it is in no account.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from logging import WARNING
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common import log
from flwr.serverapp.strategy import Strategy

from semfed.errors import FederationError
from semfed.events.callbacks import TrainedNetworks
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays
from semfed.flower.protocol import COLLECT, NETWORKS
from semfed.flower.server.exchange import Envelope
from semfed.flower.server.federation import Federation
from semfed.flower.server.replies import in_order, sentence
from semfed.flower.server.strategy import FederatedStrategy

TOGETHER = 16
"""Clients of a node that answer together: private networks may be far larger than what is sent to them."""


def collect(federation: Federation, strategy: Strategy, round_: int, arrays: ArrayRecord) -> Iterator[TrainedNetworks]:
    """Ask all clients for their networks.

    Parameters
    ----------
    federation : Federation
    strategy : Strategy
        Says what every client has of it; a stock one has the same for all.
    round_ : int
        The one that is over.
    arrays : ArrayRecord
        What the strategy holds.

    Yields
    ------
    TrainedNetworks
        Of every client; in their order, but for those that the strategy left out, which come first.

    Raises
    ------
    FederationError
        If the scenario has ``on_client_failure = "fail"`` and a client failed.
    """
    scenario = federation.trial.scenario
    envelopes = {}
    for message in _deployed(federation, strategy, round_, arrays):
        client = message.metadata.dst_node_id
        wire.give_dtypes(message.content, federation.initial_arrays)
        asked = Message(message.content, client, COLLECT, group_id=str(round_))
        envelopes[client] = Envelope(asked, {"client": client})
    for client in sorted(set(range(len(scenario.clients))) - set(envelopes)):
        yield TrainedNetworks(client, round_, problem="the strategy had nothing for it in the last round")
    views: dict[int, Arrays] = {}  # by the identity of records, which several messages share
    answers = federation.exchange.ask(envelopes, scenario.timeout_s, most=TOGETHER)
    for client, reply in in_order(sorted(envelopes), answers):
        content = envelopes[client].message.content
        record = cast(ArrayRecord, content.get("arrays", ArrayRecord()))
        if id(record) not in views:
            views[id(record)] = wire.views(record)
        if reply.has_error():
            federation.hear(client, COLLECT, str(round_), reply.error.reason or "")
            found = TrainedNetworks(client, round_, problem=sentence(reply.error))
            if scenario.on_client_failure == "fail":
                raise FederationError(f"client {federation.name(client)!r} failed in {COLLECT!r}: {found.problem}")
            log(WARNING, "the networks of client %r are not kept: %s", federation.name(client), found.problem)
        else:
            config = dict(cast(ConfigRecord, content.get("config", ConfigRecord())))
            found = _read(TrainedNetworks(client, round_, shared=views[id(record)], config=config), reply.content)
        yield found


def _read(asked: TrainedNetworks, content: RecordDict) -> TrainedNetworks:
    """Return what a client told, in answer to what it was asked."""
    about = cast(ConfigRecord, content[NETWORKS])
    if "problem" in about:
        return TrainedNetworks(asked.client, asked.round, problem=str(about["problem"]))
    received, images = (json.loads(str(about[name])) for name in ("received", "images"))
    return replace(asked, own=wire.views(cast(ArrayRecord, content["arrays"])), received=received, images=images)


def _deployed(federation: Federation, strategy: Strategy, round_: int, arrays: ArrayRecord) -> Iterable[Message]:
    if isinstance(strategy, FederatedStrategy):
        return strategy.deployed(round_, arrays, federation)
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
    return [Message(content, client, COLLECT) for client in federation.get_node_ids()]
