"""Weights of networks and states of optimisers as named arrays, to travel in messages or to be kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from semfed.checkpoint.files import Arrays

Packed = npt.NDArray[np.float32 | np.float64]


def to_arrays(tensors: Mapping[str, Tensor], prefix: str = "") -> Arrays:
    """Copy named tensors into arrays.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Such as a module's ``state_dict()``.
    prefix : str
        Put before every name.
    """
    return {prefix + name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def views(tensors: Mapping[str, Tensor]) -> list[npt.NDArray[Any]]:
    """Return named tensors as arrays that share their memory on a CPU: messages and private states copy them."""
    return [tensor.detach().cpu().numpy() for tensor in tensors.values()]


def of(module: nn.Module, prefix: str = "") -> Arrays:
    """Copy a module's weights and buffers into arrays, in its own order; see `to_arrays`."""
    return to_arrays(module.state_dict(), prefix)


def to_tensors(arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> dict[str, Tensor]:
    """Return the arrays whose names start with a prefix as tensors, under the rest of their names."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(prefix)
    }


def restore(module: nn.Module, arrays: Mapping[str, npt.NDArray[Any]], prefix: str = "") -> None:
    """Load a module's weights in place, so that a resident network keeps its memory.

    Raises
    ------
    RuntimeError
        If names or shapes differ.
    """
    module.load_state_dict(to_tensors(arrays, prefix))


def fill(tensors: Mapping[str, Tensor], arrays: Sequence[npt.NDArray[Any]]) -> None:
    """Copy arrays into tensors, in their order; quicker than `restore` where the same network is filled often.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        A ``state_dict()``; it may be kept, for its tensors share the network's memory.
    arrays : sequence of ndarray

    Raises
    ------
    ValueError
        If numbers or shapes differ.
    """
    for (name, tensor), array in zip(tensors.items(), arrays, strict=True):
        if tuple(tensor.shape) != array.shape:
            raise ValueError(f"array {name!r} has shape {array.shape} instead of {tuple(tensor.shape)}")
        if tensor.device.type == "cpu":
            np.copyto(tensor.numpy(), array)
        else:
            tensor.copy_(torch.from_numpy(np.array(array)))


def pack(tensors: Mapping[str, Tensor], into: Packed | None = None) -> Packed:
    """Put tensors into one vector, one after the other; counts are exact up to 2 ** 24.

    It is float32, float64 where one of them is.

    A message or a client's state pays for every array that it has; one costs a tenth of forty.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    into : ndarray, optional
        The vector to fill instead of a new one. Tensors that `unpack` made of it, and that were changed in place, are
        there already.
    """
    if into is None:
        wide = any(tensor.dtype == torch.float64 for tensor in tensors.values())
        dtype = torch.float64 if wide else torch.float32
        parts = [tensor.detach().flatten().to(dtype) for tensor in tensors.values()]
        return torch.cat(parts or [torch.empty(0)]).cpu().numpy()
    for part, tensor in zip(_parts(into, tensors), tensors.values(), strict=True):
        if part.data_ptr() != tensor.data_ptr():
            part.copy_(tensor.detach().flatten())
    return into


def unpack(packed: Packed, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `pack` put together, with the names, shapes, types and devices of others.

    Raises
    ------
    RuntimeError
        If the sizes do not add up.
    """
    return {
        name: part.view(tensor.shape).to(tensor.device, tensor.dtype)
        for part, (name, tensor) in zip(_parts(packed, like), like.items(), strict=True)
    }


def _parts(packed: Packed, like: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    return torch.split(torch.from_numpy(packed), [tensor.numel() for tensor in like.values()])
