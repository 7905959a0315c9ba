"""What has been measured of a trial and becomes the records of a round: metrics, failures, retries, costs."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
from flwr.app import ArrayRecord, MetricRecord, RecordDict

from semfed.algorithms import privacy
from semfed.events.metrics import VALIDATION, Metric, declared_in
from semfed.events.records import Record
from semfed.flower.server.accounts import ACCOUNTED
from semfed.flower.trial import Trial


class Measurements:
    """Collects what is measured until the records of a round are taken.

    Parameters
    ----------
    trial : Trial

    Attributes
    ----------
    samples : dict of int to dict of str to ndarray
        Arrays that a client showed when it was evaluated last.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.samples: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._declared = declared_in(trial.scenario)
        self._learner, self._strategy = (part.load() for part in (trial.scenario.learner, trial.scenario.strategy))
        self._retried: list[tuple[int, str, str]] = []
        self._failed: list[tuple[int, str, str]] = []
        self._metrics: list[tuple[int, str, str, float]] = []  # client, what stands before the name, name, value
        self._reported: list[tuple[str, float]] = []

    def answered(self, client: int, phase: str, content: RecordDict) -> None:
        """Note what a client told in its reply; sample counts and channel uses are the accounts' business.

        Raises
        ------
        FederationError
            If its learner declares metrics, but not all of these.
        """
        for record in content.values():
            if isinstance(record, ArrayRecord) and phase == "evaluate":
                self.samples[client] = {name: array.numpy() for name, array in record.items()}
            if isinstance(record, MetricRecord):
                self._note(client, record)

    def validated(self, client: int, told: MetricRecord) -> None:
        """Note what a client told of its validation split; otherwise as `answered`."""
        self._note(client, told, f"{VALIDATION}/")

    def _note(self, client: int, told: MetricRecord, prefix: str = "") -> None:
        for name, value in told.items():
            if name not in ACCOUNTED and isinstance(value, int | float):
                self._declared.require(prefix + name, self._learner)
                self._metrics.append((client, prefix, name, float(value)))

    def required(self, metric: str) -> Metric:
        """Return the declaration of what the strategy reports.

        Raises
        ------
        FederationError
            If it declares metrics, but not this one.
        """
        return self._declared.require(metric, self._strategy)

    def reported(self, metric: str, value: float, client: int | None = None) -> None:
        """Note what the strategy found, which is `required`: of all together, or of a client, as if that told it."""
        if client is None:
            self._reported.append((metric, value))
        else:
            self._metrics.append((client, "", metric, value))

    def retried(self, client: int, phase: str, reason: str) -> None:
        """Note that a client is asked again."""
        self._retried.append((client, phase, reason))

    def failed(self, client: int, phase: str, reason: str) -> None:
        """Note that a reply is missing or cannot be used."""
        self._failed.append((client, phase, reason))

    def take_records(self, round_: int, costs: Iterable[tuple[int, str, float]]) -> list[Record]:
        """Return all that has been noted as the records of a round, and begin anew.

        Parameters
        ----------
        round_ : int
        costs : iterable of (int, str, float)
            Client, metric and value; see `semfed.flower.server.accounts`.
        """
        arm, seed, clients = self.trial.arm, self.trial.seed, self.trial.scenario.clients

        def record(client: int | None, metric: str, value: float, note: str | None = None) -> Record:
            name = None if client is None else clients[client].name
            return Record(arm, seed, round_, name, metric, float(value), note)

        records = [record(c, f"retry/{phase}", 1.0, note) for c, phase, note in self._retried]
        records += [record(c, f"failure/{phase}", 1.0, note) for c, phase, note in self._failed]
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for client, prefix, name, value in self._metrics:
            full = prefix + name
            if "/" in name:
                records.append(record(client, full, value))
            else:
                sums[full].append(value)
                records.append(record(client, f"{full}/{clients[client].task}", value))
        for name, values in sums.items():
            metric = self._declared.of(name)
            if metric.whole is not None:
                records.append(record(None, f"{name}/{metric.whole}", metric.over(values)))
        records += [record(*cost) for cost in costs]
        records += [record(None, name, value) for name, value in self._reported]
        private = self.trial.scenario.privacy.updates
        if private is not None:
            records.append(record(None, "privacy/epsilon", privacy.spent(private, round_)))
        self._metrics, self._failed, self._reported, self._retried = [], [], [], []
        return records
