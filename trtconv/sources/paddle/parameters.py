"""Paddle's parameter files, read and written without Paddle, and never held in memory as a whole.

One tensor is a version (u32, 0), its levels of detail (u64 count, then per level u64 bytes and data), a version
(u32, 0), the length of a TensorDesc (i32), the TensorDesc, and the values, little-endian. A combined file holds the
tensors of all weights in the order of their names, without the names; otherwise each has a file named like it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import ml_dtypes
import numpy as np

from trtconv.core import magic
from trtconv.core import protobuf_wire as wire
from trtconv.core.errors import SourceError
from trtconv.sources.paddle.program import DTYPES, FULL, HALVES, Variable
from trtconv.sources.paddle.program_file import desc_bytes, tensor_desc

_NUMPY = {
    0: np.bool_,
    1: np.int16,
    2: np.int32,
    3: np.int64,
    4: np.float16,
    5: np.float32,
    6: np.float64,
    20: np.uint8,
    21: np.int8,
    22: ml_dtypes.bfloat16,
}
_SHOWN = 5
"""Weights that an error lists."""


class Wanted(NamedTuple):
    """A weight as the program has it; no shape: any."""

    name: str
    dtype: int
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Tensor:
    """Where a weight lies.

    Attributes:
        dtype: key of DTYPES.
        shape: dimensions.
        path: of the file.
        begin: byte where its record begins.
        start: byte where its values begin.
        end: byte after them.
    """

    dtype: int
    shape: tuple[int, ...]
    path: Path
    begin: int
    start: int
    end: int

    @property
    def half(self) -> bool:
        """Whether it is in half precision."""
        return self.dtype in HALVES

    def array(self) -> np.ndarray:
        """The values; those in half precision as float32."""
        count = math.prod(self.shape)
        values = np.fromfile(self.path, _NUMPY[self.dtype], count, offset=self.start).reshape(self.shape)
        return values.astype(np.float32) if self.half else values


def wanted(variables: Iterable[Variable]) -> list[Wanted]:
    """What a program expects to find."""
    return [Wanted(var.name, var.dtype, var.shape if -1 not in var.shape else None) for var in variables]


def separate(folder: Path, weights: Sequence[Wanted]) -> dict[str, Tensor]:
    """The weights of a folder with a file for each.

    Raises:
        SourceError: files that are missing, damaged, or of another network.
    """
    missing = [weight.name for weight in weights if not (folder / weight.name).is_file()]
    if missing:
        raise SourceError(
            f"{folder}: no parameters for {_listed(missing)}",
            hint="put the parameter files beside the program, or name the combined one: source.weights, --weights",
        )
    found = {weight.name: _whole(folder / weight.name) for weight in weights}
    _require(folder, weights, found)
    return found


def combined(path: Path, weights: Sequence[Wanted]) -> dict[str, Tensor]:
    """The weights of a combined file.

    Args:
        path: the file.
        weights: of the program, sorted by name.

    Raises:
        SourceError: missing, truncated or foreign file, or one of another network.
    """
    tensors = tensors_of(path)
    found = {weight.name: tensor for weight, tensor in zip(weights, tensors, strict=False)}
    if len(tensors) != len(weights):
        rest = [weight.name for weight in weights[len(tensors) :]]
        detail = f"; none for {_listed(rest)}" if rest else ""
        differing = _differing(weights, found)
        detail += f"; {_listed(differing)}" if differing else ""
        raise SourceError(
            f"{path}: it holds {len(tensors)} parameters, the program has {len(weights)}{detail}",
            hint="these are parameters of another network: name the right file (source.weights, --weights)",
        )
    _require(path, weights, found)
    return found


def _require(path: Path, weights: Sequence[Wanted], found: dict[str, Tensor]) -> None:
    wrong = _differing(weights, found)
    if wrong:
        raise SourceError(
            f"{path}: parameters of another network: {_listed(wrong)}",
            hint="name the right ones (source.weights, --weights)",
        )


def _differing(weights: Sequence[Wanted], found: dict[str, Tensor]) -> list[str]:
    pairs = [(weight, found[weight.name]) for weight in weights if weight.name in found]
    return [
        f"{weight.name} is {_form(tensor.dtype, tensor.shape)}, the program has {_form(weight.dtype, weight.shape)}"
        for weight, tensor in pairs
        if (weight.shape is not None and weight.shape != tensor.shape)
        or weight.dtype != FULL.get(tensor.dtype, tensor.dtype)
    ]


def _form(dtype: int, shape: tuple[int, ...] | None) -> str:
    return f"{DTYPES.get(dtype, dtype)} {'of any shape' if shape is None else list(shape)}"


def _listed(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def tensors_of(path: Path) -> list[Tensor]:
    """All tensors of a parameter file, in order; nothing but their headers is read.

    Raises:
        SourceError: missing, truncated or foreign.
    """
    if not path.is_file():
        raise SourceError(
            f"{path}: no such file, so the program has no parameters",
            hint="put it beside the program, or name it: source.weights, --weights",
        )
    size, found = path.stat().st_size, list[Tensor]()
    with path.open("rb") as handle:
        while handle.tell() < size:
            begin = handle.tell()
            try:
                tensor = _tensor(path, handle, size)
            except (struct.error, wire.Damaged, KeyError, ValueError):
                raise _damaged(path, begin, len(found)) from None
            found.append(tensor)
            handle.seek(tensor.end)
    return found


def _damaged(path: Path, at: int, before: int) -> SourceError:
    if not before:
        return SourceError(
            f"{path}: not a file of Paddle's parameters; it looks like {magic.describe(path)}",
            hint="name the right one: source.weights, --weights",
        )
    return SourceError(
        f"{path}: Paddle's parameters are damaged or truncated at byte {at}, after {before} of them",
        hint="copy it again from where it was saved",
    )


def _whole(path: Path) -> Tensor:
    tensors = tensors_of(path)
    if len(tensors) != 1:
        raise SourceError(
            f"{path}: {len(tensors)} parameters in a file for one",
            hint="it is a combined file: name it with source.weights, --weights",
        )
    return tensors[0]


def _tensor(path: Path, handle: IO[bytes], size: int) -> Tensor:
    begin = handle.tell()
    version, levels = struct.unpack("<IQ", handle.read(12))
    if version or levels > 64:
        raise ValueError(version)
    for _ in range(levels):
        handle.seek(struct.unpack("<Q", handle.read(8))[0], 1)
    version, length = struct.unpack("<Ii", handle.read(8))
    if version or not 0 < length <= 4096:
        raise ValueError(version)
    description = handle.read(length)
    dtype, shape = tensor_desc(memoryview(description), 0, len(description))
    start = handle.tell()
    end = start + math.prod(shape) * np.dtype(_NUMPY[dtype]).itemsize
    if end > size or min(shape, default=0) < 0:
        raise ValueError(end)
    return Tensor(dtype, shape, path, begin, start, end)


def combine(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a combined file of these weights, piece by piece; those in half precision become float32."""
    with path.open("wb") as out:
        for name in sorted(tensors):
            tensor = tensors[name]
            if tensor.half:
                out.write(record(tensor.array()))
                continue
            with tensor.path.open("rb") as handle:
                handle.seek(tensor.start)
                out.write(_header(tensor.dtype, tensor.shape))
                _copy(handle, out, tensor.end - tensor.start)


def _copy(handle: IO[bytes], out: IO[bytes], count: int) -> None:
    while count:
        piece = handle.read(min(count, 1 << 20))
        out.write(piece)
        count -= len(piece)


def record(array: np.ndarray) -> bytes:
    """One tensor as a parameter file holds it."""
    dtype = next(number for number, kind in _NUMPY.items() if array.dtype == kind)
    return _header(dtype, array.shape) + np.ascontiguousarray(array).tobytes()


def _header(dtype: int, shape: tuple[int, ...]) -> bytes:
    description = desc_bytes(dtype, shape)
    return struct.pack("<IQIi", 0, 0, 0, len(description)) + description
