"""Matrices as they travel in messages: single precision on the wire, double precision in every solve."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def to_wire(matrix: Tensor) -> npt.NDArray[Any]:
    """Round for a message: complex64, or float32 for real matrices."""
    return matrix.to(torch.complex64 if matrix.is_complex() else torch.float32).numpy()


def from_wire(array: npt.NDArray[Any]) -> Tensor:
    """Return an array of a message in double precision: complex128 or float64."""
    return torch.from_numpy(array.astype(np.complex128 if np.iscomplexobj(array) else np.float64))
