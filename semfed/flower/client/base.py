"""The base of all learners."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

import numpy.typing as npt
from flwr.client import NumPyClient
from torch import nn

from semfed.channels.meter import SIGNALS
from semfed.checkpoint.files import Arrays
from semfed.errors import DataError, SemfedError
from semfed.events.metrics import Metric, Metrics, asked_for, declared_by
from semfed.flower.client.session import Session
from semfed.scenario import Scenario, Task
from semfed.scenario.kinds import TaskKind
from semfed.training import batch_sizes, judging, weights
from semfed.training.judging import Judge
from semfed.training.objective import Networks
from semfed.training.optimizers import Optimizer, make_optimizer
from semfed.training.system import System


class BaseLearner(NumPyClient):
    """Base of all learners: a Flower client that knows its trial, its data and its private state; one message long.

    A client plugin is a subclass, found in the entry point group ``semfed.clients``; most are a
    `semfed.flower.client.learner.Learner`, which has ``fit`` and ``evaluate`` already. A class attribute ``Settings``
    declares the options of the scenario's ``[learner]`` table. Beside Flower's methods it may have phases of its own
    with the signature of ``fit``: a message of type ``train.forward`` calls ``forward``. Parameters may be shared with
    other clients and are read-only; what is returned is copied.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    metrics : tuple of Metric
        What a class reports, beside what its bases do; the server refuses anything else.
    task_kind : str or None
        Kind of the tasks that a class serves, see `semfed.scenario.kinds`; None for any.
    requires_every_value : bool
        Whether every client must have a sample of every named value of its task; checked before any training.
    keeps_model : bool
        Whether `fit` without parameters goes on from the client's own last model, which local-only training needs.
    config_keys : mapping of str to set of str
        By method (``fit``, ``evaluate``, a phase), what its config may hold beside ``server-round``. A strategy that
        sends anything else is refused, since it would be ignored.
    tells_labels : bool
        Whether `get_properties` tells the distribution of labels, which a scenario may protect.
    sends_encoded : bool
        Whether the encoder's output is what is sent, so that the channel decides its width.
    hears_snr : bool
        Whether the encoder and decoder that `semfed.training.objective.Build` makes can be told the SNR.
    channel_a_user : bool
        Whether every client's channel may have an SNR of its own.
    validates : bool
        Whether ``evaluate`` reads all that it tests on from the session, so that it can score a validation split too;
        see `Session.split`.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("train_loss", better="lower", role="loss"), *SIGNALS)
    task_kind: ClassVar[TaskKind | None] = "classification"
    requires_every_value: ClassVar[bool] = False
    keeps_model: ClassVar[bool] = False
    config_keys: ClassVar[Mapping[str, frozenset[str]]] = {}
    tells_labels: ClassVar[bool] = True
    sends_encoded: ClassVar[bool] = False
    hears_snr: ClassVar[bool] = False
    channel_a_user: ClassVar[bool] = False
    validates: ClassVar[bool] = False

    def __init__(self, session: Session) -> None:
        self.session = session

    @abstractmethod
    def shared(self) -> Arrays:
        """Return the arrays that the strategy starts from, the same at every client of a seed."""

    @classmethod
    def shares_in(cls, scenario: Scenario, round_: int) -> bool:
        """Say whether a round may change what is shared; what does not change any more need not be sent.

        Parameters
        ----------
        scenario : Scenario
            The arm's.
        round_ : int
            From 1.
        """
        return True

    @classmethod
    def train_ahead(
        cls,
        learners: Sequence[Any],
        parameters: Sequence[list[npt.NDArray[Any]]],
        configs: Sequence[dict[str, Any]],
        size: int | None,
    ) -> None:
        """Train side by side what can be of several clients' ``fit``, and keep it in the process's cache.

        A class that is an objective as a whole has no need for it: see `Objective.stacks`. Here nothing is done.

        Parameters
        ----------
        learners : sequence
            Of this class, of one trial or of several in one process. ``fit`` of each is called afterwards, alone, and
            finds what it would have come to by itself, up to float rounding.
        parameters, configs : sequence
            What every client's ``fit`` will get.
        size : int or None
            Most clients side by side; as many as there are if None.
        """

    def rehearse(self) -> None:
        """Make, before any training, what can fail when it is made; what takes long waits for the trial.

        It is asked of one client of every kind. Here it tells its properties and makes its networks; whose
        `get_properties` or `trained` takes its time, or needs a strategy's config, does something else.
        """
        self.get_properties({})
        self.trained(None, {})

    def trained(self, parameters: list[npt.NDArray[Any]] | None, config: dict[str, Any]) -> Networks | None:
        """Return the networks that decide at the end of a trial, so that they can be kept; None if there are none.

        Parameters
        ----------
        parameters : list of ndarray or None
            What ``evaluate`` would get. None asks for the networks without their weights, and there is no data then.
        config : dict
            That of ``evaluate``.
        """
        return None

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Say how the networks that `trained` returned decide; there is no data to look at here.

        Raises
        ------
        SemfedError
            If they decide nothing about an image alone; the sentence says why.
        """
        raise SemfedError(f"learner {type(self).__name__!r} does not say how its networks decide: give it a system()")

    def get_parameters(self, config: dict[str, Any]) -> list[npt.NDArray[Any]]:
        """Return `shared` as Flower wants it."""
        return list(self.shared().values())

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the metrics that may be a scenario's headline, the customary one first: scores by task and on average.

        These are for clients that report a score of their own task; others say here what theirs is of.
        """
        tasks = sorted({client.task for client in scenario.clients})
        scores = [m for m in (*(declared_by(cls) or ()), *asked_for(scenario)) if m.role == "score"]
        return tuple(f"{m.name}/{part}" for m in scores for part in (m.whole, *tasks) if part is not None)

    @classmethod
    def validated(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the metrics by which rounds can be compared on a validation split, the customary one first.

        They are named as for the test: all headlines that have a direction, and the loss.
        """
        declared = Metrics((*(declared_by(cls) or ()), *asked_for(scenario)))
        return (*(name for name in cls.headlines(scenario) if declared.of(name).better is not None), "loss/average")

    @classmethod
    def judged(cls, scenario: Scenario) -> tuple[Task, ...]:
        """Return the tasks whose decisions the scenario's ``metrics`` score, too; none, if the class does not ask them.

        Whoever says some reports what `judges`, or `judges_of` a task, say of a test.
        """
        return ()

    @cached_property
    def judges(self) -> Mapping[str, Judge]:
        """What the scenario's ``metrics`` say of decisions in the client's own task, by their names."""
        return self.judges_of(self.session.scenario.tasks[self.session.spec.task])

    def judges_of(self, task: Task) -> Mapping[str, Judge]:
        """Return the same of another task."""
        return judging.judges_of(self.session.scenario, task)

    def require_minibatches(self, samples: int, networks: Iterable[nn.Module]) -> None:
        """Refuse, before any training, to train batch normalisation on a single image, which has no variance.

        Parameters
        ----------
        samples : int
            That the client trains on.
        networks : iterable of nn.Module
            That it trains; looked at only where there are such minibatches.

        Raises
        ------
        DataError
        """
        size = self.session.scenario.training.batch_size
        if 1 not in batch_sizes(samples, size):
            return
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for network in networks for m in network.modules()):
            raise DataError(
                f"client {self.session.spec.name!r}: batch normalisation cannot learn from one image, but "
                f"training.batch_size = {size} makes minibatches of one of its {samples} images: raise it, or give it "
                "more images"
            )

    @contextmanager
    def optimizer(self, networks: Sequence[nn.Module], round_: int, name: str = "optimizer") -> Iterator[Optimizer]:
        """Lend the round's optimiser; with ``optimizer_state = "kept"`` it goes on from the client's last moments.

        Parameters
        ----------
        networks : sequence of nn.Module
            What it changes; they hold the weights that training starts from.
        round_ : int
            Decides the learning rate.
        name : str
            Of the record of the client's state; a client with several optimisers tells them apart by it.
        """
        settings = self.session.training(round_)
        optimizer = make_optimizer(settings, [p for network in networks for p in network.parameters()])
        kept = settings.optimizer_state == "kept"
        saved = self.session.load(name) if kept else None
        if saved is not None:
            optimizer.load_state(weights.unpack(saved["moments"], optimizer.state()))
        yield optimizer
        moments = optimizer.state() if kept else {}
        if moments:
            self.session.save(name, {"moments": weights.pack(moments)}, copy=False)
