"""Asking clients again that answered with an error, or not at all."""

from collections.abc import Callable, Iterator, Mapping

from flwr.app import Message

from semfed.flower.compat import is_of_dead_actor
from semfed.flower.server.exchange import Envelope, Exchange
from semfed.flower.server.measurements import Measurements
from semfed.flower.server.replies import sentence
from semfed.scenario import Scenario

Hear = Callable[[int, str, str, str], None]
"""Gets client, phase, round and text of every error that a client answers with, retried ones too."""


def ask(
    exchange: Exchange,
    envelopes: Mapping[int, Envelope],
    timeout: float | None,
    *,
    scenario: Scenario,
    measured: Measurements,
    hear: Hear,
) -> Iterator[tuple[int, Message]]:
    """Ask every client until it answers, or as often as the scenario says.

    Parameters
    ----------
    exchange : Exchange
    envelopes : mapping of int to Envelope
        By client.
    timeout : float or None
        Seconds for every attempt, from the moment that its first reply is wanted.
    scenario : Scenario
        Of the arm: what happens when a client fails.
    measured : Measurements
        Notes who is asked again.
    hear : callable
        See `Hear`.

    Yields
    ------
    client : int
    reply : Message
        As they come; an error where the last attempt had none.
    """
    asked, retries = envelopes, scenario.retries if scenario.on_client_failure == "retry" else 0
    for attempt in range(1 + retries):
        failed: dict[int, Message] = {}
        for client, reply in exchange.ask(asked, timeout, patient=attempt > 0):
            if reply.has_error():
                about = reply.metadata
                hear(client, about.message_type, about.group_id, reply.error.reason or "")
            if reply.has_error() and attempt < retries and not is_of_dead_actor(reply.error):
                failed[client] = reply
            else:
                yield client, reply
        asked = {client: envelopes[client] for client in sorted(failed)}
        for client in asked:
            measured.retried(client, failed[client].metadata.message_type, sentence(failed[client].error))
        if not asked:
            break
