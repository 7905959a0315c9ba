"""A client that does nothing, so that what a round takes is the engine's: it gives back what it was given."""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from semfed.strategies.fedavg import FedAvg

from semfed.checkpoint.files import Arrays
from semfed.flower.client.base import BaseLearner
from semfed.flower.server.replies import Replies
from semfed.scenario.settings import StrictModel


class IdleClient(BaseLearner):
    """Answers ``fit`` with the parameters that came."""

    class Settings(StrictModel):
        """How much travels."""

        numbers: int = Field(ge=1)
        """float32 numbers of what is averaged."""

    def shared(self) -> Arrays:
        return {"weights": np.zeros(self.session.scenario.learner.settings.numbers, np.float32)}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"num-examples": 1}

    def fit(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[list[npt.NDArray[Any]], int, dict[str, Any]]:
        return parameters, 1, {}


class WholeReplies(FedAvg):
    """The same average, by a strategy that looks at every reply itself, so that actors do not sum them."""

    stateless = True

    def aggregate(self, replies: Replies) -> Arrays:
        return super().aggregate(replies)
