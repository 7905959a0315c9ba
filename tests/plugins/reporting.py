"""Clients that report scores with closed-form values, as third-party plugins: with and without declarations."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.client import NumPyClient
from torch import Tensor
from torch.nn.functional import mse_loss

from semfed.checkpoint.files import Arrays
from semfed.events.metrics import Metric
from semfed.flower.client.base import BaseLearner
from semfed.flower.client.learner import Learner
from semfed.scenario.settings import StrictModel
from semfed.training.objective import Batch, Build, Networks, Send, Total, mean_over

Parameters = list[npt.NDArray[Any]]


class Untrained:
    """Gives back what it gets."""

    def fit(self, parameters: Parameters, config: dict[str, Any]) -> tuple[Parameters, int, dict[str, Any]]:
        return list(parameters), 10, {}


class PsnrClient(Untrained, BaseLearner):
    """Client k has a PSNR of 20 + 4 k + round + gain, in dB, and an MSE of 10 ** (-PSNR / 10)."""

    metrics = (
        Metric("psnr", "dB", better="higher", text="PSNR", baseline="mean image"),
        Metric("mse", better="lower", text="MSE"),
        Metric("kept", "weights", over_clients="sum", role="detail"),
    )

    class Settings(StrictModel):
        gain: float = 0.0

    def shared(self) -> Arrays:
        return {"w": np.zeros(3, np.float32)}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"num-examples": 10, "baseline/psnr": 11.0 + 2 * self.session.client}

    def evaluate(self, parameters: Parameters, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        gain = self.session.scenario.learner.settings.gain  # type: ignore[attr-defined]
        psnr = 20 + 4 * self.session.client + int(config["server-round"]) + gain
        mse = 10 ** (-psnr / 10)
        return mse, 10, {"psnr": psnr, "mse": mse, "kept": 3 + self.session.client}


class ErrorClient(PsnrClient):
    """Client k errs in a share of 0.1 (k + 1) + gain."""

    metrics = (Metric("misses", better="lower", fraction=True),)

    @classmethod
    def headlines(cls, scenario: Any) -> tuple[str, ...]:
        return ("misses/average",)

    def evaluate(self, parameters: Parameters, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        gain = self.session.scenario.learner.settings.gain  # type: ignore[attr-defined]
        return 0.5, 10, {"misses": 0.1 * (self.session.client + 1) + gain}


class UndeclaredClient(PsnrClient):
    """Reports what it does not declare."""

    def evaluate(self, parameters: Parameters, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        loss, samples, metrics = super().evaluate(parameters, config)
        return loss, samples, {**metrics, "ssim": 0.5}


class StockClient(Untrained, NumPyClient):
    """Flower's own kind, which declares nothing."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def shared(self) -> Arrays:
        return {"w": np.zeros(3, np.float32)}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"num-examples": 10}

    def evaluate(self, parameters: Parameters, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        return 0.25, 10, {"accuracy": 0.5 + 0.25 * self.session.client}


class ReconstructingClient(Learner):
    """Restores the images from what the channel leaves of them; its loss is the MSE of the standardised pixels."""

    metrics = (Metric("psnr", "dB", better="higher", text="PSNR"),)

    def networks(self, build: Build) -> Networks:
        pixels = math.prod(self.session.dataset.shape)
        return Networks({"encoder": build.encoder(), "decoder": build.decoder(pixels, shared=True)})

    def loss(self, nets: Networks, batch: Batch, send: Send) -> Tensor:
        return mse_loss(nets.decoder(send(nets.encoder(batch.images))), batch.images.flatten(1))

    def score(self, nets: Networks, batch: Batch, send: Send) -> Mapping[str, Total]:
        mse = self.loss(nets, batch, send)
        return {"loss": mean_over(batch, mse), "psnr": mean_over(batch, -10 * mse.log10())}
