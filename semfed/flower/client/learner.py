"""Clients: Flower `NumPyClient`s that know their trial, their data and their private state."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord, Context
from flwr.client import NumPyClient
from torch import nn

from semfed import seeding
from semfed.data.dataset import Dataset
from semfed.errors import DataError
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays as Arrays
from semfed.flower.client.cache import ProcessCache
from semfed.flower.protocol import PROXIMAL_MU as PROXIMAL_MU
from semfed.flower.protocol import proximal_mu as proximal_mu
from semfed.flower.trial import Trial
from semfed.scenario import ClientSpec, Scenario
from semfed.scenario.plugins import Plugin
from semfed.training import batch_sizes, weights
from semfed.training.optimizers import Optimizer, make_optimizer


@dataclass(frozen=True)
class Session:
    """All that a client may use while it serves one message.

    Attributes
    ----------
    context : Context
        Flower's context of this client alone: its ``partition-id`` is `client`, its state survives the message.
    trial : Trial
    client : int
        Index of the client, 0 .. clients - 1.
    cache : ProcessCache
        Caches of this process.
    data_root : Path or None
        Where this machine keeps data sets.
    device : torch.device
    """

    context: Context
    trial: Trial
    client: int
    cache: ProcessCache
    data_root: Path | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def scenario(self) -> Scenario:
        """Complete scenario of the arm."""
        return self.trial.scenario

    @property
    def spec(self) -> ClientSpec:
        """What the scenario says of this client."""
        return self.scenario.clients[self.client]

    @property
    def encoder_choice(self) -> Plugin:
        """The client's own encoder architecture, or the scenario's."""
        return self.spec.encoder or self.scenario.model.encoder

    @property
    def dataset(self) -> Dataset:
        """The whole data set, on the device."""
        return self.cache.dataset(self.trial, self.data_root, self.device)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which training images are this client's."""
        return self.cache.rows(self.trial, self.data_root, self.client)

    def images(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return standardised images: training rows, or the whole test set; see `ProcessCache.images`."""
        return self.cache.images(self.trial, self.data_root, self.device, rows)

    def generator(self, purpose: str, round_: int, *more: int) -> torch.Generator:
        """Return the random stream of (seed, purpose, client, round) on the device; `more` splits it further."""
        return seeding.torch_generator(self.trial.seed, purpose, self.client, round_, *more, device=self.device)

    def load(self, name: str) -> Arrays | None:
        """Return private arrays that an earlier message saved, None if there are none."""
        record = self.context.state.get(name)
        if not isinstance(record, ArrayRecord):
            return None
        return {key: array.numpy() for key, array in record.items()}

    def save(self, name: str, arrays: Arrays, *, copy: bool = True) -> None:
        """Keep private arrays for later messages; they never leave the client.

        Parameters
        ----------
        name : str
        arrays : dict of str to ndarray
        copy : bool
            False for arrays that nobody will change any more: they are made read-only instead.
        """
        self.context.state[name] = wire.record(arrays, copy=copy)


class Learner(NumPyClient):
    """Base of the clients of this package: one learner, built anew for every message.

    A client plugin is a subclass, found in the entry point group ``semfed.clients``. A class attribute ``Settings``
    declares the options of the scenario's ``[learner]`` table. Beside Flower's ``fit`` and ``evaluate`` it may have
    phases of its own with the signature of ``fit``: a message of type ``train.forward`` calls ``forward``. Parameters
    may be shared with other clients and are read-only; what is returned is copied.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
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
    channel_a_user : bool
        Whether every client's channel may have an SNR of its own.
    """

    requires_every_value: ClassVar[bool] = False
    keeps_model: ClassVar[bool] = False
    config_keys: ClassVar[Mapping[str, frozenset[str]]] = {}
    tells_labels: ClassVar[bool] = True
    sends_encoded: ClassVar[bool] = False
    channel_a_user: ClassVar[bool] = False

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

    def get_parameters(self, config: dict[str, Any]) -> list[npt.NDArray[Any]]:
        """Return `shared` as Flower wants it."""
        return list(self.shared().values())

    @classmethod
    def headlines(cls, scenario: Scenario) -> tuple[str, ...]:
        """Return the metrics, fractions all of them, that may be a scenario's headline; the customary one is first."""
        return ("accuracy/average", *(f"accuracy/{task}" for task in sorted({c.task for c in scenario.clients})))

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
    def optimizer(
        self,
        networks: Sequence[nn.Module],
        *,
        mu: float = 0.0,
        shared: Sequence[nn.Module] = (),
        name: str = "optimizer",
    ) -> Iterator[Optimizer]:
        """Lend the round's optimiser; with ``optimizer_state = "kept"`` it goes on from the client's last moments.

        Parameters
        ----------
        networks : sequence of nn.Module
            What it changes; they hold the weights that training starts from.
        mu : float, default 0
            Weight of the proximal term.
        shared : sequence of nn.Module
            Which of the networks it holds back, to the weights that they have now.
        name : str
            Of the record of the client's state; a client with several optimisers tells them apart by it.
        """
        settings = self.session.scenario.training
        trained, held = ([p for network in part for p in network.parameters()] for part in (networks, shared))
        optimizer = make_optimizer(settings, trained, mu=mu, shared=held)
        kept = settings.optimizer_state == "kept"
        saved = self.session.load(name) if kept else None
        if saved is not None:
            optimizer.load_state(weights.unpack(saved["moments"], optimizer.state()))
        yield optimizer
        moments = optimizer.state() if kept else {}
        if moments:
            self.session.save(name, {"moments": weights.pack(moments)}, copy=False)
