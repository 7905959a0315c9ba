"""What a client may use while it serves one message."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord, Context

from semfed import seeding
from semfed.checkpoint.files import Arrays
from semfed.data.dataset import Dataset
from semfed.flower import arrays as wire
from semfed.flower.client.cache import ProcessCache
from semfed.flower.trial import Trial
from semfed.scenario import ClientSpec, Scenario, TrainingSettings
from semfed.scenario.plugins import Plugin


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
    split : {"test", "validation"}
        What the client is tested on: the data set's test images, or the client's validation split, which then stands
        in their place. Whoever keeps something of test images in `cache` has this in the key.
    """

    context: Context
    trial: Trial
    client: int
    cache: ProcessCache
    data_root: Path | None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    split: Literal["test", "validation"] = "test"

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

    def training(self, round_: int) -> TrainingSettings:
        """Return how the client trains in a round, with that round's learning rate."""
        return self.scenario.training.in_round(round_, self.scenario.rounds)

    @property
    def channel_choice(self) -> Plugin:
        """The scenario's channel, at the client's own SNR where it has one."""
        choice, snr_db = self.scenario.channel, self.spec.snr_db
        return choice if snr_db is None else choice.amended(snr_db=snr_db)

    @property
    def dataset(self) -> Dataset:
        """The whole data set, on the device; its test images are those of `split`."""
        whole = self.cache.dataset(self.trial, self.data_root, self.device)
        if self.split == "test":
            return whole
        rows = self._validation_rows
        return replace(whole, test=whole.train.take(rows))

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which training images are this client's."""
        return self.cache.rows(self.trial, self.data_root, self.client)

    def images(self, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Return standardised images: training rows, or all test images of `split`; see `ProcessCache.images`."""
        if rows is None and self.split == "validation":
            rows = self._validation_rows
        return self.cache.images(self.trial, self.data_root, self.device, rows)

    def generator(self, purpose: str, round_: int, *more: int) -> torch.Generator:
        """Return the random stream of (seed, purpose, client, round) on the device; `more` splits it further.

        A validation has streams of its own.
        """
        own = purpose if self.split == "test" else f"validation/{purpose}"
        return seeding.torch_generator(self.trial.seed, own, self.client, round_, *more, device=self.device)

    @property
    def _validation_rows(self) -> torch.Tensor:
        rows = self.cache.validation_rows(self.trial, self.data_root, self.client)
        return torch.from_numpy(rows).to(self.device)

    def load(self, name: str) -> Arrays | None:
        """Return private arrays that an earlier message saved, None if there are none."""
        record = self.context.state.get(name)
        if not isinstance(record, ArrayRecord):
            return None
        return {key: array.numpy() for key, array in record.items()}

    def save(self, name: str, arrays: Arrays, *, copy: bool = True) -> None:
        """Keep private arrays for later messages; they leave the client only as trained networks, with ``keep_models``.

        Parameters
        ----------
        name : str
        arrays : dict of str to ndarray
        copy : bool
            False for arrays that nobody will change any more: they are made read-only instead.
        """
        self.context.state[name] = wire.record(arrays, copy=copy)
