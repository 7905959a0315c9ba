"""Estimates of real numbers: a transmitter-receiver pair that tells how much instead of which."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from semfed.errors import SemfedError
from semfed.events.metrics import Metric
from semfed.flower.client.learner import Learner
from semfed.scenario.settings import StrictModel
from semfed.training.objective import Batch, Build, Networks, Score, Send, Total
from semfed.training.residuals import residuals
from semfed.training.system import System

MEAN = "mean training target"


class RegressionClient(Learner):
    """Trains encoder and decoder, both shared, to estimate a real number of every image, seen through the channel.

    The loss is the mean square error of the scaled target, (target - centre) / scale; metrics are in the target's own
    unit. Without parameters it goes on from its own last networks: local-only training.
    """

    Settings = StrictModel
    task_kind = "regression"
    keeps_model = True
    tells_labels = False
    metrics = (
        Metric("mse", better="lower", text="mean square error", baseline=MEAN),
        Metric("mae", better="lower", text="mean absolute error", baseline=MEAN),
        Metric("r2", better="higher", text="R²", baseline=MEAN),
    )

    def networks(self, build: Build) -> Networks:
        """Share encoder and decoder, which start from the same weights at every client."""
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(1, shared=True)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        """Return the mean square error of the scaled target."""
        return mse_loss(self._estimates(nets, batch, send), self._scaled(batch.labels))

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Score]:
        """Return the loss, and the errors in the target's unit, of one transmission."""
        estimates = self._estimates(nets, batch, send)
        squared = (estimates - self._scaled(batch.labels)).double().square().sum()
        told = residuals(estimates.double() * self.task.scale + self.task.centre, batch.labels)
        return {"loss": Total(float(squared), len(estimates)), **told}

    @cached_property
    def samples(self) -> tuple[Tensor, Tensor]:
        """The client's training images, as rows of the data set, and their targets."""
        own = torch.from_numpy(self.session.rows).to(self.session.device)
        return own, self.session.dataset.train.targets[self.task.target][own]

    @cached_property
    def test_samples(self) -> tuple[Tensor, Tensor]:
        """All test images and their targets."""
        targets = self.session.dataset.test.targets[self.task.target]
        return torch.arange(len(targets), device=targets.device), targets

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        """Tell ``num-examples``, and the errors of whoever always says the mean of the client's training targets."""
        told, tested = super().get_properties(config), self.test_samples[1]
        mean = self.samples[1].double().mean().expand(len(tested))
        return told | {f"baseline/{name}": score.mean for name, score in residuals(mean, tested).items()}

    def system(self, nets: Networks, config: dict[str, Any]) -> System:
        """Refuse: what comes out is a number."""
        raise SemfedError(
            f"learner {self.session.scenario.learner.name!r} estimates numbers and decides nothing: there is no link "
            "of it"
        )

    def _estimates(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        scaled: Tensor = nets.decoder(send(nets.encoder(batch.images)))
        return scaled[:, 0]

    def _scaled(self, targets: Tensor) -> Tensor:
        return (targets - self.task.centre) / self.task.scale
