"""The client of W3: it takes a gradient and gives features back, and computes next to nothing in between."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from semfed import seeding
from semfed.checkpoint.files import Arrays
from semfed.flower.client.base import BaseLearner

BLOCK = (50, 64)


class EchoClient(BaseLearner):
    """Answers ``train.backward`` with a block of features moved a little along the gradient that it got."""

    config_keys: ClassVar = {"backward": frozenset({"minibatch"})}

    def shared(self) -> Arrays:
        return {}

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"num-examples": BLOCK[0]}

    def backward(
        self, parameters: list[npt.NDArray[Any]], config: dict[str, Any]
    ) -> tuple[Arrays, int, dict[str, Any]]:
        client = self.session.client
        block = self.session.cache.once(("block", client), lambda: features_of(client))
        return {"features": block - np.float32(0.01) * parameters[0]}, len(block), {}


def features_of(client: int) -> npt.NDArray[np.float32]:
    return seeding.numpy_generator(0, "block", client).standard_normal(BLOCK, dtype=np.float32)
