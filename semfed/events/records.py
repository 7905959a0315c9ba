"""The history of a run as plain records: one line per arm, seed, round, client and metric."""

from dataclasses import dataclass
from typing import Any

from semfed.events import strict_json


@dataclass(frozen=True)
class Record:
    """One measured number.

    Attributes
    ----------
    arm : str
    seed : int
    round : int
        0 is what happens before the first round.
    client : str or None
        None for what holds for all clients together.
    metric : str
        The name of a declared metric, see `semfed.events.metrics`, or one with further parts: ``accuracy/<task>``,
        ``accuracy/average``, ``cost/bytes_up``. Costs are those of that client and round.
    value : float
    note : str or None
        The reason, where a record tells of a failure.
    """

    arm: str
    seed: int
    round: int
    client: str | None
    metric: str
    value: float
    note: str | None = None

    def to_json(self) -> str:
        """Write the record as one line of JSON; an absent note is left out."""
        fields = dict(vars(self))  # asdict copies deeply: most of a large round's bookkeeping
        if self.note is None:
            del fields["note"]
        return strict_json.dumps(fields)

    @classmethod
    def from_json(cls, line: str) -> "Record":
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = strict_json.loads(line)
        return cls(**fields)
