"""A client whose encoder travels in float64: an average tells the order of its sums in nearly every weight."""

from typing import Any

import numpy as np
import numpy.typing as npt
from semfed.clients.multitask import MultitaskClient

from semfed.flower.arrays import Arrays

Parameters = list[npt.NDArray[Any]]


class PreciseClient(MultitaskClient):
    """Trains and tests as its base, in float32."""

    def shared(self) -> Arrays:
        return {name: array.astype(np.float64) for name, array in super().shared().items()}

    def fit(self, parameters: Parameters, config: dict[str, Any]) -> tuple[Parameters, int, dict[str, Any]]:
        arrays, samples, metrics = super().fit([array.astype(np.float32) for array in parameters], config)
        return [array.astype(np.float64) for array in arrays], samples, metrics

    def evaluate(self, parameters: Parameters, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        return super().evaluate([array.astype(np.float32) for array in parameters], config)
