"""Weights of a network as named arrays, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn


def read(network: nn.Module, prefix: str = "") -> dict[str, npt.NDArray[Any]]:
    """Copy all weights out, in the order of the network, each name with a prefix."""
    return {f"{prefix}{name}": value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def write(network: nn.Module, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> None:
    """Load weights in place, so that a resident network keeps its memory; arrays without the prefix are ignored."""
    network.load_state_dict(
        {
            name.removeprefix(prefix): torch.from_numpy(np.asarray(value))
            for name, value in arrays.items()
            if name.startswith(prefix)
        }
    )
