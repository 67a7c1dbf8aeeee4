"""Values that TensorRT's Python API passes around: dimensions, permutations, weights."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from trtconv.sources.network.enums import DATA_TYPES, Member

NUMPY_TYPES: dict[str, type[Any]] = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "UINT8": np.uint8,
}
_TAKEN = {
    "float32": "FLOAT",
    "float64": "FLOAT",
    "float16": "HALF",
    "int8": "INT8",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "uint8": "UINT8",
}


class Dims(list[int]):
    """``Dims`` and its kin: numbers that can be changed, equal to a tuple of them, slices of it tuples.

    Version 3 had other names for the elements.
    """

    MAX_DIMS = 8
    __hash__ = None

    def __init__(self, *sizes: Any) -> None:
        given: Iterable[Any] = sizes[0] if len(sizes) == 1 and hasattr(sizes[0], "__iter__") else sizes
        super().__init__(int(size) for size in given)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return tuple(found) if isinstance(index, slice) else found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, (list, tuple)) and tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return str(tuple(self))

    @property
    def h(self) -> int:
        """Height of a DimsHW."""
        return int(self[-2])

    @h.setter
    def h(self, size: int) -> None:
        self[-2] = size

    @property
    def w(self) -> int:
        """Width of a DimsHW."""
        return int(self[-1])

    @w.setter
    def w(self, size: int) -> None:
        self[-1] = size

    def to_DimsCHW(self) -> DimsCHW:  # noqa: N802 - the API's name
        """The last three dimensions, as version 3 had it."""
        return DimsCHW(*self[-3:])

    def to_DimsHW(self) -> DimsCHW:  # noqa: N802 - the API's name
        """The last two dimensions."""
        return DimsCHW(*self[-2:])


class DimsCHW(Dims):
    """Dimensions of version 3, whose elements are read by calls."""

    def C(self) -> int:  # noqa: N802 - the API's name
        """Channels."""
        return int(self[-3])

    def H(self) -> int:  # noqa: N802 - the API's name
        """Height."""
        return int(self[-2])

    def W(self) -> int:  # noqa: N802 - the API's name
        """Width."""
        return int(self[-1])


class Weights:
    """``Weights``: of an array, of nothing, or of memory that the script owns.

    The array is referred to, not copied: what a script writes into it before it builds counts.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        values = [*given, *named.values()]
        if len(values) == 3:
            self._array: np.ndarray = _memory(*values)
        elif not values or isinstance(values[0], Member):
            kind = values[0].name if values else "FLOAT"
            self._array = np.empty(0, NUMPY_TYPES.get(kind, np.float32))
        else:
            self._array = plain(values[0])
        self.dtype = data_type(self._array)

    @property
    def size(self) -> int:
        """Elements."""
        return int(self._array.size)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return int(self._array.nbytes)

    def __len__(self) -> int:
        return self.size

    def numpy(self) -> np.ndarray:
        """The array itself."""
        return self._array


def _memory(dtype: Member, address: int, count: int) -> np.ndarray:
    """A view of ``count`` elements at an address of this process."""
    element = np.dtype(NUMPY_TYPES[dtype.name])
    memory: Any = (ctypes.c_char * (element.itemsize * count)).from_address(int(address))
    view: np.ndarray = np.frombuffer(memory, element, count)
    return view


def plain(given: Any) -> np.ndarray:
    """What a script passes as weights (array, tensor of PyTorch, list, number, nothing) as a NumPy array.

    Raises:
        TypeError: nothing that TensorRT takes.
    """
    if given is None:
        return np.empty(0, np.float32)
    if isinstance(given, Weights):
        return given.numpy()
    if hasattr(given, "detach"):  # PyTorch
        given = given.detach().cpu().numpy()
    array = np.asarray(given)
    if array.dtype.name not in _TAKEN:
        raise TypeError(f"weights of type {array.dtype} are none that TensorRT takes")
    return array


def data_type(array: np.ndarray) -> Member:
    """``DataType`` of an array; float64 counts as FLOAT."""
    from trtconv.sources.network.enums import ENUMS

    return ENUMS["DataType"][_TAKEN[array.dtype.name]]


def volume(dims: Iterable[int]) -> int:
    """``tensorrt.volume``: the product of dimensions."""
    product = 1
    for size in dims:
        product *= size
    return product


def nptype(dtype: Member) -> type[Any]:
    """``tensorrt.nptype``.

    Raises:
        TypeError: NumPy has no such type.
    """
    if dtype.name not in NUMPY_TYPES:
        raise TypeError(f"NumPy has no type for {dtype.name}")
    return NUMPY_TYPES[dtype.name]


FLOATS = frozenset(DATA_TYPES[name] for name in ("float32", "float16", "bfloat16"))
"""Types that become FP32."""
