"""What server and nodes have agreed on: names in messages, and what a message may hold.

Records of a content beside Flower's own (``arrays``, ``config``, ``metrics``):

- `STATE`, what the adapter itself needs: to open a trial ``trial``, ``run`` and ``marks``, the states to go on from; in
  any other message the ``client`` that is addressed, the round to ``keep`` its state for and the one ``committed``, and
  `PLACE`. In a reply, whether the state is ``kept`` (its hash) or what the ``problem`` is;
- in the answer to an opening message: ``node``, with ``partition-id``, ``num-partitions``, whether it ``keeps`` states
  and whether these are ``durable``, which is to say that they outlive the node; ``client-<index>``, the properties of
  each client; ``initial``, arrays to start from; or an ``error``.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from semfed.checkpoint import StateRef
from semfed.errors import FederationError

STATE = "semfed"
"""Record of a node's state, and of a message's content, that holds what the adapter itself needs."""
OPEN = "query"
"""Type of the message that opens a trial on a node."""
KEEP = "query.keep"
"""Type of a message that only asks to keep a state."""
PROBE = "query.probe"
"""Type of a message that only asks which message the node has served last."""
COLLECT = "query.networks"
"""Type of a message that asks for a client's trained networks; it holds what ``evaluate`` would get."""
WAIT = "query.wait"
"""Type of a message that only keeps the node busy, and name of its record.

That says ``until`` what time of the node's clock (seconds since 1970), and for how many ``seconds`` at most.
"""
LOST = "the node has lost the run's state: was its SuperNode started anew?"
"""Text of the error with which a node answers that has not been told the trial, or has forgotten it."""
NETWORKS = "networks"
"""Record of the reply: what it leaves out since it came with the message, and the images' format; or a ``problem``."""
PLACE = "place"
"""Key in the adapter's record of a message whose reply may be summed with others: its place, and how many there are."""
PROXIMAL_MU = "proximal-mu"
"""Weight of the proximal term in the config of a ``train`` message, named as in Flower's FedProx."""


def proximal_mu(config: Mapping[str, Any]) -> float:
    """Return the weight of the proximal term that a strategy asks for in a config, 0 for none.

    Raises
    ------
    FederationError
        If it is not a number of 0 or more.
    """
    mu = config.get(PROXIMAL_MU, 0.0)
    if not isinstance(mu, int | float) or not 0 <= mu < math.inf:
        raise FederationError(f"{PROXIMAL_MU!r} = {mu!r} of the strategy: give a number of 0 or more")
    return float(mu)


def check_config(learner: type, message_type: str, config: Mapping[str, Any], sender: str) -> None:
    """Refuse a message whose config holds what the receiving client would ignore or cannot use.

    Parameters
    ----------
    learner : type
        The client's class; one that is no `Learner` says of no key that it knows it.
    message_type : str
        Flower's: ``train``, ``train.<phase>`` or ``evaluate``.
    config : mapping
        Of the message.
    sender : str
        Name of the strategy.

    Raises
    ------
    FederationError
        That names the key.
    """
    proximal_mu(config)
    method = message_type.partition(".")[2] or {"train": "fit"}.get(message_type, message_type)
    known = getattr(learner, "config_keys", {}).get(method, frozenset()) | {"server-round"}
    unknown = sorted(set(config) - known)
    if unknown:
        knows = ", ".join(map(repr, sorted(known)))
        raise FederationError(
            f"strategy {sender!r} sends {unknown[0]!r}, which {learner.__name__}.{method} would ignore (it knows "
            f"{knows}): use another strategy or learner, or name the key in the learner's config_keys"
        )


def marks_to_json(marks: Mapping[int, StateRef]) -> str:
    """Write marks as text, to travel in the opening message."""
    return json.dumps({str(client): [mark.round, mark.sha256] for client, mark in marks.items()})


def marks_from_json(text: str) -> dict[int, StateRef]:
    """Read what `marks_to_json` wrote."""
    return {int(client): StateRef(int(round_), str(sha256)) for client, (round_, sha256) in json.loads(text).items()}
