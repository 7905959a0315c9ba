"""Clients: Flower `NumPyClient`s that know their experiment, their data and their private state."""

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord, Context
from flwr.client import NumPyClient

from semfed import seeding
from semfed.data.dataset import Dataset
from semfed.flower import arrays as wire
from semfed.flower.arrays import Arrays as Arrays
from semfed.flower.experiment import Experiment
from semfed.flower.worker import Worker
from semfed.plugins import Plugin
from semfed.scenario import ClientSpec, Scenario


@dataclass(frozen=True)
class Session:
    """All that a client may use while it serves one message.

    Attributes
    ----------
    context : Context
        Flower's context of this client alone: its ``partition-id`` is `client`, its state survives the message.
    experiment : Experiment
    client : int
        Index of the client, 0 .. clients - 1.
    worker : Worker
        Caches of this process.
    data_root : Path or None
        Where this machine keeps data sets.
    device : torch.device
    """

    context: Context
    experiment: Experiment
    client: int
    worker: Worker
    data_root: Path | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def scenario(self) -> Scenario:
        """Complete scenario of the arm."""
        return self.experiment.scenario

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
        return self.worker.dataset(self.experiment, self.data_root, self.device)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which training images are this client's."""
        return self.worker.rows(self.experiment, self.data_root, self.client)

    def images(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return standardised images: training rows, or the whole test set; see `Worker.images`."""
        return self.worker.images(self.experiment, self.data_root, self.device, rows)

    def generator(self, purpose: str, round_: int, *more: int) -> torch.Generator:
        """Return the random stream of (seed, purpose, client, round) on the device; `more` splits it further."""
        return seeding.torch_generator(self.experiment.seed, purpose, self.client, round_, *more, device=self.device)

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
    tells_labels : bool
        Whether `get_properties` tells the distribution of labels, which a scenario may protect.
    sends_encoded : bool
        Whether the encoder's output is what is sent, so that the channel decides its width.
    channel_a_user : bool
        Whether every client's channel may have an SNR of its own.
    """

    requires_every_value: ClassVar[bool] = False
    tells_labels: ClassVar[bool] = True
    sends_encoded: ClassVar[bool] = False
    channel_a_user: ClassVar[bool] = False

    def __init__(self, session: Session) -> None:
        self.session = session

    @abstractmethod
    def shared(self) -> Arrays:
        """Return the arrays that the strategy starts from, the same at every client of a seed."""

    def get_parameters(self, config: dict[str, Any]) -> list[npt.NDArray[Any]]:
        """Return `shared` as Flower wants it."""
        return list(self.shared().values())
