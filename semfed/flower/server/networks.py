"""The last exchange of a trial: every client tells its trained networks, private ones included.

The system that a trial stands for sends nothing of this, and it measures nothing: it is in no account.
"""

import json
from collections.abc import Iterable, Iterator
from logging import WARNING

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
        Of every client, in their order.

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
    left_out = sorted(set(range(len(scenario.clients))) - set(envelopes))
    for client in left_out:
        yield TrainedNetworks(client, round_, problem="the strategy had nothing for it in the last round")
    views: dict[int, Arrays] = {}  # by the identity of records that several messages share
    for client, reply in in_order(sorted(envelopes), federation.exchange.ask(envelopes, scenario.timeout_s)):
        if reply.has_error():
            problem = sentence(reply.error)
            federation.hear(client, COLLECT, str(round_), reply.error.reason or "")
            if scenario.on_client_failure == "fail":
                raise FederationError(f"client {federation.name(client)!r} failed in {COLLECT!r}: {problem}")
            log(WARNING, "arm %s: the networks of %s are not kept: %s", federation.trial.arm, client, problem)
            yield TrainedNetworks(client, round_, problem=problem)
            continue
        content = envelopes[client].message.content
        record = content.get("arrays", ArrayRecord())
        about, own = (reply.content.get(name) for name in (NETWORKS, "arrays"))
        if (
            not isinstance(record, ArrayRecord)
            or not isinstance(own, ArrayRecord)
            or not isinstance(about, ConfigRecord)
        ):
            raise FederationError(f"client {federation.name(client)!r} answered {COLLECT!r} with something else")
        yield TrainedNetworks(
            client,
            round_,
            own=wire.views(own),
            shared=views.setdefault(id(record), wire.views(record)),
            received=json.loads(str(about["received"])),
            config=dict(content.get("config", ConfigRecord())),
            images=json.loads(str(about["images"])),
        )


def _deployed(federation: Federation, strategy: Strategy, round_: int, arrays: ArrayRecord) -> Iterable[Message]:
    if isinstance(strategy, FederatedStrategy):
        return strategy.deployed(round_, arrays, federation)
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
    return [Message(content, client, COLLECT) for client in federation.get_node_ids()]
