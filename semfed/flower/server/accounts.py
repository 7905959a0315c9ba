"""What a trial costs: what the scheme sends, apart from what only its simulation sends.

A simulation sends more than the system that it stands for: it tells nodes the scenario, it asks clients alone for their
weights every round, it carries features as numbers that the system sends as symbols. Three accounts keep this apart:

- ``cost/bytes_up`` and ``cost/bytes_down``: arrays of training messages that the scheme sends, with their names and
  headers, and what strategies report on top, such as pilots;
- ``cost/simulation_bytes_up`` and ``cost/simulation_bytes_down``: everything else that travelled for training: the
  opening query, round numbers, sample counts, losses, and the arrays that the scheme would not send;
- ``cost/evaluation_*``: tests, an instrument of the trial. The download of the last average is among these;
- ``cost/validation_*``: what a validation split adds to them.

What the scheme would not send follows from the message, where a strategy says it (`unsent`), and from the learner,
where nothing that is shared changes any more (`Learner.shares_in`).
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from semfed.flower import arrays as wire
from semfed.flower.averaging import SummedReply, metrics_of
from semfed.flower.server.exchange import Envelope
from semfed.flower.trial import Trial

UNSENT = "unsent"
"""Record of a message that names the arrays which travel in the simulation only."""
ALL = "*"
USES = ("channel-uses", "channel-uses-down")
"""What a reply tells of its channel uses: of both directions, and the part of the downlink."""
ACCOUNTED = ("num-examples", *USES)
"""Numbers of a reply that are no metrics."""


def unsent(*, down: Sequence[str] = (), up: Sequence[str] = ()) -> ConfigRecord:
    """Return the record ``UNSENT`` of a message.

    Parameters
    ----------
    down : sequence of str
        Arrays of the message that the scheme would not send as bytes; `ALL` for all of them.
    up : sequence of str
        The same for the reply.
    """
    return ConfigRecord({way: list(names) for way, names in (("down", down), ("up", up)) if names})


class Accounts:
    """The costs of one trial by client, since they were taken last.

    Parameters
    ----------
    trial : Trial
    """

    def __init__(self, trial: Trial) -> None:
        self.scenario = trial.scenario
        shares_in = getattr(trial.scenario.learner.load(), "shares_in", None)
        self.shares_in: Callable[[int], bool] = (
            (lambda round_: True) if shares_in is None else partial(shares_in, trial.scenario)
        )  # a stock client of Flower's says nothing of it
        self._costs: defaultdict[tuple[int, str], float] = defaultdict(float)

    def add(self, client: int, metric: str, value: float) -> None:
        """Add to one of the costs, ``cost/<what>``."""
        self._costs[client, metric] += value

    def opened(self, client: int, told: ConfigRecord, text: float) -> None:
        """Charge the simulation for a client's properties, and for its share of the scenario's text."""
        self.add(client, "cost/simulation_bytes_up", told.count_bytes())
        self.add(client, "cost/simulation_bytes_down", text)

    def bill(self, asked: int) -> "Bill":
        """Begin the bill of an exchange with so many clients."""
        return Bill(self, asked == len(self.scenario.clients))

    def take_records(self) -> list[tuple[int, str, float]]:
        """Return client, metric and value of all costs, sorted, and begin anew."""
        costs = [(client, metric, value) for (client, metric), value in sorted(self._costs.items())]
        self._costs.clear()
        return costs


class Bill:
    """Charges the messages of one exchange.

    Parameters
    ----------
    accounts : Accounts
    everybody : bool
        Whether all clients of the trial are asked.
    """

    def __init__(self, accounts: Accounts, everybody: bool) -> None:
        self._accounts, self._everybody = accounts, everybody
        self._sizes: dict[int, int] = {}  # bytes of records that several messages share

    def settle(self, client: int, envelope: Envelope, reply: Message) -> None:
        """Charge for all that an exchange has cost a client, once its reply is there or known to be missing."""
        for _ in range(envelope.sent):
            self.sent(client, envelope.message)
        if not reply.has_error():
            self.answered(client, envelope.message, reply)

    def sent(self, client: int, message: Message) -> None:
        """Charge for a message that goes to a client."""
        round_ = _round(message.content)
        needed = round_ is None or self._accounts.shares_in(round_) or self._has_news(round_)
        self._charge(client, message, message.content, "down", needed)

    def answered(self, client: int, message: Message, reply: Message) -> None:
        """Charge for a reply without an error, and for the channel uses that it tells of."""
        round_ = _round(message.content)
        self._charge(client, message, reply.content, "up", round_ is None or self._accounts.shares_in(round_))
        for record in metrics_of([reply]):
            self._uses(client, record, "evaluation_" if _tests(message) else "")

    def validated(self, client: int, told: MetricRecord) -> None:
        """Charge for what a client told of its validation split."""
        self._accounts.add(client, "cost/validation_bytes_up", told.count_bytes())
        self._uses(client, told, "validation_")

    def _uses(self, client: int, record: MetricRecord, kind: str) -> None:
        for name, value in record.items():
            if name in USES:
                self._accounts.add(client, f"cost/{kind}{name.replace('-', '_')}", float(value))  # type: ignore[arg-type]

    def _has_news(self, round_: int) -> bool:
        """Say whether a client may lack what is shared although nothing changes any more in this round.

        Who was asked in the round before has it. A server that draws its clients keeps no books of who has what.
        """
        earlier = range(1 if not self._everybody else max(1, round_ - 1), round_)
        return any(self._accounts.shares_in(past) for past in earlier)

    def _charge(self, client: int, message: Message, content: RecordDict, direction: str, needed: bool) -> None:
        known = self._sizes if direction == "down" else {}
        total = sum(_size(record, known) for record in content.values())
        if _tests(message):
            self._accounts.add(client, f"cost/evaluation_bytes_{direction}", total)
            return
        about = message.content.get(UNSENT)
        left_out = cast(list[str], about.get(direction, [])) if isinstance(about, ConfigRecord) else []
        own = 0
        if needed and ALL not in left_out:
            for record in content.values():
                if isinstance(record, ArrayRecord):
                    apart = ArrayRecord({name: record[name] for name in left_out if name in record})
                    own += _size(record, known) - (wire.count_bytes(apart) if apart else 0)
        self._accounts.add(client, f"cost/bytes_{direction}", own)
        self._accounts.add(client, f"cost/simulation_bytes_{direction}", total - own)


def _size(record: ArrayRecord | ConfigRecord | MetricRecord, known: dict[int, int]) -> int:
    """Return a record's bytes; `known` remembers them by the identity of records that many messages share."""
    if isinstance(record, SummedReply) or not isinstance(record, ArrayRecord):
        return record.count_bytes()
    if id(record) not in known:
        known[id(record)] = wire.count_bytes(record)
    return known[id(record)]


def _tests(message: Message) -> bool:
    return message.metadata.message_type.startswith("evaluate")


def _round(content: RecordDict) -> int | None:
    """Return the round that a message is of, None if it does not say."""
    config = content.get("config")
    found = config.get("server-round") if isinstance(config, ConfigRecord) else None
    return found if isinstance(found, int) else None
