"""Large weights of an ONNX model that stay in its file, mapped, or in the array that they were computed in.

A tensor whose contents lie aside holds a token in their place, and says that its data are external, in a file of that
name: who reads it in another way than by ``content`` or ``editing.array`` fails for want of it. A model of any size is
parsed, copied and inferred in no time, and a weight that nothing changes is never looked at.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

LARGE = 4096
"""Bytes of contents from which they may lie aside."""

_WHOLE = frozenset({"float32", "float16", "bfloat16", "int8", "uint8", "float8_e4m3fn"})
"""Types that weights are made in, as NumPy calls them, of which none shares a byte with another."""

_EXTERNAL = onnx.TensorProto.EXTERNAL
_numbers = itertools.count()


class Aside(NamedTuple):
    """Contents of a tensor.

    Attributes:
        data: the contents.
        file: device and inode of the file that they lie in; None: in memory.
        start: where in the file.
    """

    data: memoryview
    file: tuple[int, int] | None = None
    start: int = 0


_contents: dict[bytes, Aside] = {}
_bounds: dict[bytes, tuple[float, float]] = {}
_open: list[None] = []


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Models may be loaded with weights aside, for as long as this lasts: their files are closed then."""
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()
        if not _open:
            _contents.clear()
            _bounds.clear()


def is_allowed() -> bool:
    """Whether contents may be put aside."""
    return bool(_open)


def put(tensor: Any, contents: Aside) -> None:
    """Let a tensor without contents have these."""
    token = b"aside:%d" % next(_numbers)
    _contents[token] = contents
    tensor.raw_data, tensor.data_location = token, _EXTERNAL
    tensor.external_data.add(key="location", value=token.decode())


def made(array: Any, name: str) -> Any:
    """A tensor of an array, which nobody may change afterwards: a large one lies aside where that is allowed."""
    if not _open or array.nbytes < LARGE or array.dtype.name not in _WHOLE:
        return numpy_helper.from_array(array, name)
    tensor = onnx.TensorProto(name=name, dims=array.shape)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    put(tensor, Aside(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data))
    return tensor


def of(tensor: Any) -> Aside | None:
    """Where a tensor's contents lie; None: in itself, or in a file beside its model."""
    return _contents.get(tensor.raw_data) if tensor.data_location == _EXTERNAL else None


def at(data: memoryview) -> Aside | None:
    """The place of contents that ``content`` gave."""
    return next((one for one in _contents.values() if one.data is data), None)


def content(tensor: Any) -> bytes | memoryview:
    """The raw data of a tensor, wherever they lie."""
    found = of(tensor)
    raw: bytes | memoryview = tensor.raw_data if found is None else found.data
    return raw


def bounds(tensor: Any, values: Any) -> tuple[float, float]:
    """The least and the largest of a tensor's values, of which there must be one; NaN where one is NaN."""
    found = _bounds.get(tensor.raw_data) if tensor.data_location == _EXTERNAL else None
    if found is None:
        found = float(values.min()), float(values.max())
        if of(tensor) is not None:
            _bounds[tensor.raw_data] = found
    return found


def array(tensor: Any) -> Any:
    """The values of a tensor, read-only; see ``editing.array``."""
    found = of(tensor)
    if found is None:
        return numpy_helper.to_array(tensor)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if len(found.data) == int(np.prod(tensor.dims, dtype=np.int64)) * dtype.itemsize:
        return np.frombuffer(found.data, dtype).reshape(tensor.dims)
    alone = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=bytes(found.data))
    return numpy_helper.to_array(alone)  # of 4 bits, or torn
