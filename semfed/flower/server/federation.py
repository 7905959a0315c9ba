"""The clients of one trial as a strategy sees them: a Flower ``Grid`` whose node ids are client indices.

It stands between any strategy, a stock one of Flower's too, and the engine's grid. The way of a message: it is
addressed here, travels with others to its client's node (`semfed.flower.server.exchange`), and its reply comes back in
the order of the clients, so that sums do not depend on who answered first. On its way to the strategy the reply is read
by the `Ledger` of states, by the `Bill` of the exchange and by the `Measurements`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from semfed.checkpoint import StateRef
from semfed.errors import FederationError
from semfed.events.callbacks import ExchangeProgress
from semfed.events.metrics import VALIDATION
from semfed.events.records import Record
from semfed.events.spans import span
from semfed.flower import arrays as wire
from semfed.flower.compat import refuse_dead_actor
from semfed.flower.protocol import PLACE, check_config
from semfed.flower.server import retries
from semfed.flower.server.accounts import Accounts, Bill
from semfed.flower.server.exchange import Envelope, Exchange
from semfed.flower.server.ledger import Ledger
from semfed.flower.server.measurements import Measurements
from semfed.flower.server.opening import open_trial, question
from semfed.flower.server.outer_grid import OuterGrid
from semfed.flower.server.reliable_grid import ReliableGrid
from semfed.flower.server.replies import Replies, in_order, places_of, sentence
from semfed.flower.trial import Trial


class Federation(OuterGrid):
    """A grid of clients 0 .. K-1.

    Parameters
    ----------
    grid : Grid
        What the engine provides; its nodes may be fewer than the clients, then a node hosts several.
    trial : Trial
    timeout : float
        Seconds to wait for nodes and for their answers to the opening query.
    run : str
        Name of the run for checkpoints; empty without any.
    marks : mapping of int to StateRef, optional
        Client states that the nodes are to go on from.

    Attributes
    ----------
    properties : dict of int to dict
        What every client's ``get_properties`` answered.
    initial_arrays : ArrayRecord
        What the first client proposes to start from; it is the same at every client of a seed.
    exchange : Exchange
        Carries messages to the clients' nodes.
    ledger : Ledger
        Which states the nodes keep.
    measured : Measurements
    folds : bool
        Whether the engine may sum the arrays of replies to ``train`` messages; see `semfed.flower.partial_sums`.
    watch : callable
        Gets the `ExchangeProgress` of every exchange as it begins.
    hear : callable
        Hears of every error; see `semfed.flower.server.retries.Hear`.

    Raises
    ------
    FederationError
        If nodes are missing or do not answer.
    SemfedError
        If a client says that it cannot take part, in its own words.
    """

    def __init__(
        self,
        grid: Grid,
        trial: Trial,
        *,
        timeout: float = 3600.0,
        run: str = "",
        marks: Mapping[int, StateRef] | None = None,
    ) -> None:
        super().__init__(grid)
        self.trial = trial
        self.ledger = Ledger(run, marks)
        self.measured = Measurements(trial)
        self.folds = False
        self.watch: Callable[[ExchangeProgress], None] = lambda tally: None
        self.hear: retries.Hear = lambda client, phase, round_, text: None
        self._accounts = Accounts(trial)
        opening = open_trial(grid, trial, self.ledger, self._accounts, timeout)
        self.ledger.able, self.ledger.durable = opening.keeps, opening.durable
        self.properties = opening.properties
        self.initial_arrays = opening.initial_arrays
        self.exchange = Exchange(grid, opening.hosts)
        self._hosts = opening.hosts
        if isinstance(grid, ReliableGrid):
            grid.remind = self._remind

    # -- what strategies use ------------------------------------------------------------------------------

    def get_node_ids(self) -> Iterable[int]:
        """Return the client indices."""
        return list(range(len(self.trial.scenario.clients)))

    def name(self, client: int) -> str:
        """Return a client's name in the scenario."""
        return self.trial.scenario.clients[client].name

    @span("broadcast")
    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Replies:
        """Send messages to clients and give their replies as they come in, in the order of the clients.

        Replies can be used up one by one, so that an aggregation over many clients needs the memory of a few.

        Parameters
        ----------
        messages : iterable of Message
            Their ``dst_node_id`` is a client index; at most one per client.
        timeout : float, optional
            Seconds for all of them together, from the moment that the first reply is wanted.

        Returns
        -------
        Replies
            One per message, in the order of client indices; ``src_node_id`` is the client index. A client that
            raised, or did not answer in time, has an error reply, after as many retries as the scenario says.

        Raises
        ------
        FederationError
            If a client has two messages; or, while replies are used up, if the scenario has ``on_client_failure =
            "fail"`` and a client failed.
        EngineError
            While replies are used up, if a worker process of Flower's simulation died.
        """
        envelopes: dict[int, Envelope] = {}
        for message in messages:
            client = message.metadata.dst_node_id
            if client in envelopes:
                raise FederationError(f"client {self.name(client)!r} has two messages in one exchange: send it one")
            envelopes[client] = self.ledger.address(client, message)
        self._check(envelopes.values())
        places, tally = places_of(envelopes), ExchangeProgress(len(envelopes))
        if self.folds:
            for client, envelope in envelopes.items():
                if envelope.message.metadata.message_type == "train":
                    envelope.address[PLACE] = [places[client], len(places)]
        self.watch(tally)
        return Replies(places, self._replies(envelopes, places, tally, timeout), tally)

    def reject(self, client: int, phase: str, reason: str) -> None:
        """Note that a reply is missing, or that one came but could not be used.

        Raises
        ------
        FederationError
            If the scenario has ``on_client_failure = "fail"``.
        """
        self.measured.failed(client, phase, reason)
        if self.trial.scenario.on_client_failure == "fail":
            raise FederationError(f"client {self.name(client)!r} failed in {phase!r}: {reason}")

    def report(self, metric: str, value: float, client: int | None = None) -> None:
        """Record a number that the strategy itself found: of all together, or of a client, as if it had told it.

        Raises
        ------
        FederationError
            If neither the strategy nor the learner declares it.
        """
        role = self.measured.required(metric).role
        if client is not None and role == "cost":
            self._accounts.add(client, metric, value)
        else:
            self.measured.reported(metric, value, client)

    @span("records")
    def take_records(self, round_: int) -> list[Record]:
        """Return what has been measured since the last call, as the records of a round."""
        return self.measured.take_records(round_, self._accounts.take_records())

    # -- inside -------------------------------------------------------------------------------------------

    def _check(self, envelopes: Iterable[Envelope]) -> None:
        """Refuse, before anybody trains, what the clients would ignore; bring arrays to the dtypes of the model.

        Messages of one exchange share configs and contents.
        """
        scenario = self.trial.scenario
        learner = scenario.learner.load()
        messages = [envelope.message for envelope in envelopes]
        for message in {id(m.content.get("config")): m for m in messages}.values():
            config = message.content.get("config", ConfigRecord())
            check_config(learner, message.metadata.message_type, config, scenario.strategy.name)
        for content in {id(m.content): m.content for m in messages}.values():
            wire.give_dtypes(content, self.initial_arrays)

    @span("broadcast")
    def _replies(
        self,
        envelopes: Mapping[int, Envelope],
        places: Iterable[int],
        tally: ExchangeProgress,
        timeout: float | None,
    ) -> Iterator[Message]:
        """Put the replies in order and read each; see `send_and_receive`."""
        bill = self._accounts.bill(len(envelopes))
        scenario, measured, hear = self.trial.scenario, self.measured, self.hear
        answers = retries.ask(self.exchange, envelopes, timeout, scenario=scenario, measured=measured, hear=hear)
        for client, reply in in_order(places, self._noted(answers)):
            tally.answered += 1
            self._read(client, reply, envelopes[client], bill)
            yield reply

    def _noted(self, answers: Iterable[tuple[int, Message]]) -> Iterator[tuple[int, Message]]:
        for client, reply in answers:
            if not reply.has_error():
                self.ledger.heard(client)
            yield client, reply

    def _remind(self, node: int) -> RecordDict | None:
        """Return what tells a node the trial that has lost it, None if it cannot go on from what it keeps."""
        marks = self.ledger.recall(client for client, host in self._hosts.items() if host == node)
        return None if marks is None else question(self.trial, self.ledger.run, marks)

    @span("reply")
    def _read(self, client: int, reply: Message, envelope: Envelope, bill: Bill) -> None:
        """Note what a reply tells, before the strategy gets it, which is told nothing of validation splits."""
        phase = reply.metadata.message_type
        validated = None if reply.has_error() else reply.content.pop(VALIDATION, None)
        problem = None if reply.has_error() else self.ledger.take(client, reply)
        bill.settle(client, envelope, reply)
        if reply.has_error():
            # In the order of the clients: whoever gets the dead actor next fails, too, and may be heard of first.
            refuse_dead_actor(reply.error, self.name(client))
            self.reject(client, phase, sentence(reply.error))
            return
        if problem is not None:
            self.measured.failed(client, "checkpoint", problem)
        self.measured.answered(client, phase, reply.content)
        if isinstance(validated, MetricRecord):
            bill.validated(client, validated)
            self.measured.validated(client, validated)
