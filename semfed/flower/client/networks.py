"""What a client tells of its trained networks when a trial is over, and its networks again where there is no data."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, RecordDict

from semfed.data.dataset import Dataset, ImageFormat, standardise
from semfed.data.partitions import Rows
from semfed.errors import FederationError, SemfedError
from semfed.flower import arrays as wire
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.cache import ProcessCache
from semfed.flower.client.session import Session
from semfed.flower.protocol import NETWORKS
from semfed.flower.trial import Trial
from semfed.training import weights


def tell(learner: BaseLearner, trial: Trial, received: ArrayRecord, config: dict[str, Any]) -> RecordDict:
    """Return a client's trained networks, but for what has come with the message anyway.

    Parameters
    ----------
    learner : BaseLearner
        Or a stock client of Flower's, which has none that are known.
    trial : Trial
    received, config
        Those of the message, which are what ``evaluate`` would get.

    Returns
    -------
    RecordDict
        ``arrays``, by names as in `semfed.training.objective.Networks`, and the record `NETWORKS`: as JSON,
        ``received`` from other such names to names of the message, and ``images``, their format. If there are no
        networks, ``problem`` alone, which says why.

    Raises
    ------
    FederationError
        If the scenario does not let clients give their networks away, whoever asks.
    """
    if not trial.scenario.keeps_models:
        raise FederationError("clients keep their networks to themselves: the scenario does not ask for them")
    try:
        nets = learner.trained(list(wire.views(received).values()), config) if hasattr(learner, "trained") else None
    except SemfedError as error:
        return RecordDict({NETWORKS: ConfigRecord({"problem": str(error)})})
    if nets is None:
        problem = f"learner {trial.scenario.learner.name!r} does not say what its networks are: give it a trained()"
        return RecordDict({NETWORKS: ConfigRecord({"problem": problem})})
    known = {_content(array): name for name, array in wire.views(received).items()}
    arrays = dict(zip(nets.state, weights.views(nets.state), strict=True))
    contents = {name: _content(array) for name, array in arrays.items()}
    same = {name: known[content] for name, content in contents.items() if content in known}
    own = {name: array for name, array in arrays.items() if name not in same}
    about = ConfigRecord({"received": json.dumps(same), "images": json.dumps(asdict(_format(learner.session)))})
    return RecordDict({"arrays": wire.record(own), NETWORKS: about})


def without_data(trial: Trial, client: int, images: ImageFormat) -> BaseLearner:
    """Build a client that can say what its networks are, though there is no data: it serves no message.

    Parameters
    ----------
    trial : Trial
    client : int
    images : ImageFormat
        Of the data that it was trained on.
    """
    config: dict[str, Any] = {"partition-id": client, "num-partitions": len(trial.scenario.clients)}
    context = Context(run_id=0, node_id=0, node_config=config, state=RecordDict(), run_config={})
    session = Session(context, trial, client, _NoData(images), None)
    learner: BaseLearner = trial.scenario.learner.load()(session)
    return learner


class _NoData(ProcessCache):
    """What a process keeps that has no data: their format alone."""

    def __init__(self, images: ImageFormat) -> None:
        super().__init__()
        self._images = images

    def dataset(self, trial: Trial, root: Path | None, device: torch.device) -> Dataset:
        """Return a data set without images."""
        return self._images.empty().to(device)

    def rows(self, trial: Trial, root: Path | None, client: int) -> Rows:
        """Refuse: nobody holds any."""
        raise SemfedError(
            f"learner {trial.scenario.learner.name!r} looks at its data to make its networks: without the data they "
            "cannot be made again"
        )

    def images(
        self, trial: Trial, root: Path | None, device: torch.device, rows: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return no images."""
        empty = self.dataset(trial, root, device)
        return standardise(empty.test.images, empty.mean, empty.std)


def _format(session: Session) -> ImageFormat:
    dataset, asked = session.dataset, session.scenario.data
    return ImageFormat(
        dataset.title, dataset.classes, dataset.shape, asked.mean or dataset.mean, asked.std or dataset.std
    )


def _content(array: npt.NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    """Return what two arrays have in common only if they are equal bit for bit."""
    return str(array.dtype), array.shape, hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
