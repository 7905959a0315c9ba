"""Arrays of messages that stay arrays until something crosses a process.

Flower's ``Array`` holds the bytes of an ``.npy`` file. Inside one process writing and reading them again would be most
of a message's cost, so the arrays made here write their bytes only when somebody asks for them.
"""

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, RecordDict

from semfed.checkpoint.files import Arrays as Arrays
from semfed.flower.compat import set_fields

STYPE = "numpy.ndarray"
SMALL_BYTES = 32 * 1024
"""Arrays up to this size are pickled as bytes: sharing memory costs more than copying so little."""


class LocalArray(Array):
    """A Flower ``Array`` that keeps its ndarray.

    Parameters
    ----------
    ndarray : ndarray
        Not copied, and made read-only: nobody may write to it any more.
    """

    ndarray: npt.NDArray[Any]

    def __init__(self, ndarray: npt.NDArray[Any]) -> None:
        ndarray.flags.writeable = False
        set_fields(self, ndarray=ndarray, dtype=_name(ndarray.dtype), shape=ndarray.shape, stype=STYPE)

    @property
    def data(self) -> bytes:  # type: ignore[override]  # a field of Flower's class
        """The bytes of an ``.npy`` file, as Flower's own ``Array`` has them."""
        file = io.BytesIO()
        np.save(file, self.ndarray, allow_pickle=False)
        return file.getvalue()

    def numpy(self) -> npt.NDArray[Any]:
        """Return a copy, which the caller may change; `view` returns the array itself."""
        return np.array(self.ndarray)

    def deflate(self) -> bytes:
        """Become a plain `Array` on the way through a SuperLink, which knows no other."""
        return Array(self.dtype, self.shape, self.stype, self.data).deflate()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as an ndarray, which Ray shares between processes without copying, or as bytes if it is small."""
        if self.ndarray.nbytes > SMALL_BYTES:
            return LocalArray, (self.ndarray,)
        return _of_bytes, (self.ndarray.tobytes(), self.ndarray.dtype, self.ndarray.shape)


def _of_bytes(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> LocalArray:
    return LocalArray(np.frombuffer(data, dtype).reshape(shape))


def record(arrays: Mapping[str, Any], *, copy: bool = True) -> ArrayRecord:
    """Copy arrays, or what NumPy makes arrays of, into a record for a message or a state; or take them over."""
    made = ArrayRecord()
    for name, value in arrays.items():
        made[name] = LocalArray(np.array(value, order="C", copy=copy or None))
    return made


def view(array: Array) -> npt.NDArray[Any]:
    """Return an array's content, read-only, without copying it where that is possible."""
    if isinstance(array, LocalArray):
        return array.ndarray
    content: npt.NDArray[Any] = array.numpy()
    content.flags.writeable = False
    return content


def views(content: ArrayRecord) -> Arrays:
    """Return a record's arrays by name; see `view`."""
    return {name: view(array) for name, array in content.items()}


def mismatch(received: Any, expected: ArrayRecord) -> str | None:
    """Say what is wrong with an update, None if nothing is.

    Names, shapes, dtypes and finiteness are checked, in that order.
    """
    if not isinstance(received, ArrayRecord):
        return "the reply has no arrays"
    if list(received) != list(expected):
        return f"arrays {list(received)} instead of {list(expected)}"
    for name, array in received.items():
        wanted = expected[name]
        if tuple(array.shape) != tuple(wanted.shape) or array.dtype != wanted.dtype:
            return f"array {name!r} is {array.dtype}{list(array.shape)}, not {wanted.dtype}{list(wanted.shape)}"
        try:
            values = view(array)
        except ValueError:
            return f"array {name!r} is not what it says, or a pickle"
        if not _finite(values):
            return f"array {name!r} has values that are not finite"
    return None


def _finite(array: npt.NDArray[Any]) -> bool:
    flat = array.reshape(-1)
    # One pass through the BLAS sees every NaN and Inf; what merely overflows in it is looked at again.
    return flat.dtype.kind in "biu" or bool(np.isfinite(np.vdot(flat, flat))) or bool(np.isfinite(flat).all())


def give_dtypes(content: RecordDict, model: ArrayRecord) -> None:
    """Bring a message's arrays to the dtypes of the model, where it holds the model's arrays.

    With NumPy 2 Flower's FedAdam and FedYogi make float64 of float32, which would double the download to no effect:
    a client's networks round to their own dtype all the same.

    Parameters
    ----------
    content : RecordDict
        Of a message; records that change are replaced.
    model : ArrayRecord
        What the clients start from.
    """
    for key, arrays in list(content.array_records.items()):
        if list(arrays) == list(model) and any(arrays[name].dtype != model[name].dtype for name in model):
            content[key] = record({name: view(arrays[name]).astype(model[name].dtype) for name in model}, copy=False)


def count_bytes(content: ArrayRecord) -> int:
    """Return what Flower's ``ArrayRecord.count_bytes`` would: names and ``.npy`` files, without writing these."""
    return sum(len(name) + _size(array) for name, array in content.items())


def _size(array: Array) -> int:
    if not isinstance(array, LocalArray):
        return len(array.data)
    return _header_bytes(array.ndarray.dtype, array.ndarray.shape) + array.ndarray.nbytes


_name = lru_cache(maxsize=64)(str)
"""NumPy takes its time to write a dtype's name."""


@lru_cache(maxsize=1024)
def _header_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    file = io.BytesIO()
    head = np.lib.format.header_data_from_array_1_0(np.broadcast_to(np.zeros((), dtype), shape))
    np.lib.format.write_array_header_1_0(file, {**head, "fortran_order": False})
    return len(file.getvalue())
