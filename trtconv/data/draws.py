"""Inputs to try a model on: several draws, each of which shows other faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from trtconv.core.input_use import DATA, Use
from trtconv.core.records import TensorInfo

KINDS = ("ordinary", "ties", "wide", "angles", "tiny")
"""ordinary: normal numbers, small integers. ties: few values, many times, of integers 0 and 1 as masks have. wide:
large and small numbers, integers over the whole range of their type, all true. angles: numbers up to 100, integers
around 0, all false. tiny: denormal numbers and zeros."""

_OTHER = 64
"""Size of dynamic dimensions other than the batch: large enough for the strides of most image networks."""
_FLOATS = {"float": "float32", "double": "float64"}
_UNKNOWN = 4
"""How many positions there are at least where the model does not say."""

NARROWED = ("", "no zeros", "small")
"""What a draw may be narrowed to where a model refuses it: a division by 0, positions that nobody could tell from the
graph."""


def draw(
    inputs: Sequence[TensorInfo],
    kind: str,
    uses: Mapping[str, Use] | None = None,
    narrowed: str = "",
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, np.ndarray]:
    """One set of inputs; the same for the same arguments.

    Args:
        inputs: of the model; a free first dimension becomes 2 (3 for ties), others 64.
        kind: a row of KINDS.
        uses: what integers are for; an input that is not in it holds data.
        narrowed: a row of NARROWED.
        ranges: what inputs can be, where the model says it.
    """
    random = np.random.default_rng(KINDS.index(kind))
    batch = 3 if kind == "ties" else 2
    return {
        info.name: _array(
            random,
            info,
            _shape(info, batch),
            kind,
            (uses or {}).get(info.name, DATA),
            narrowed,
            (ranges or {}).get(info.name),
        )
        for info in inputs
    }


def _shape(info: TensorInfo, batch: int) -> tuple[int, ...]:
    sizes = (batch if axis == 0 else _OTHER for axis in range(len(info.shape)))
    return tuple(d if isinstance(d, int) and d >= 0 else free for d, free in zip(info.shape, sizes, strict=True))


def _array(
    random: Any, info: TensorInfo, shape: tuple[int, ...], kind: str, use: Use, narrowed: str, limits: Any
) -> np.ndarray:
    if info.dtype == "bool":
        return np.asarray(
            {"wide": np.ones, "angles": np.zeros}.get(kind, lambda s: random.integers(0, 2, s))(shape), bool
        )
    dtype = np.dtype(_FLOATS.get(info.dtype, info.dtype))
    if dtype.kind in "iu":
        low, high = _bounds(dtype, kind, use, narrowed) if limits is None else map(int, limits)
        if limits is not None and kind == "ordinary":  # as the samples were that the range was made for
            values = (low + high) / 2 + random.standard_normal(shape) * (high - low) / 8
            return np.asarray(np.clip(np.rint(values), low, high), dtype)
        return _integers(random, shape, kind, low, high, zeros=not narrowed).astype(dtype)
    if use.kind != "data":  # positions that come as floating-point numbers
        low, high = _bounds(np.dtype("int32"), kind, use, narrowed)
        return _integers(random, shape, kind, low, high, zeros=True).astype(dtype)
    values = _floats(random, shape, "ordinary" if narrowed == "small" else kind, dtype)
    return np.asarray(values if limits is None else np.clip(values, *limits), dtype)


def _bounds(dtype: np.dtype[Any], kind: str, use: Use, narrowed: str) -> tuple[int, int]:
    """The smallest and the largest integer of a draw."""
    limits = np.iinfo(dtype)
    if narrowed == "small" or use.kind == "size":
        return (1, 3) if use.kind == "size" or narrowed == "small" else (0, 3)
    if use.kind == "position":
        count = min(use.bound or _UNKNOWN, limits.max + 1)
        wide = kind == "wide"
        low = -count if wide and use.below and limits.min < 0 else 0
        return low, min(count - 1 + (count if wide and use.above else 0), limits.max)
    if kind == "wide":
        return int(limits.min), int(limits.max)
    if kind == "angles":
        return max(-9, int(limits.min)), 9
    return 0, (255 if dtype == np.uint8 else 1 if kind == "ties" else 3)


def _integers(random: Any, shape: tuple[int, ...], kind: str, low: int, high: int, *, zeros: bool) -> np.ndarray:
    """Both ends are among them, and in ``ties`` nothing else."""
    values = random.integers(low, high, shape, np.int64 if low < 0 else np.uint64, endpoint=True)
    ends = np.array([high, low], values.dtype)
    flat = values.reshape(-1)
    if kind == "ties":
        flat[:] = ends[random.integers(0, 2, flat.size)]
    elif kind == "wide":
        flat[: len(ends)] = ends[: flat.size]
    if not zeros:
        values[values == 0] = 1
    return np.asarray(values)


def _floats(random: Any, shape: tuple[int, ...], kind: str, dtype: np.dtype[Any]) -> np.ndarray:
    normal = random.standard_normal(shape)
    if kind == "ties":
        return np.asarray(random.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0], shape))
    if kind == "wide":
        largest = 3 if dtype.itemsize > 2 else 1
        return np.asarray(
            normal * 10 ** random.uniform(-3, largest, shape) * random.choice([0.0, 1.0], shape, p=[0.1, 0.9])
        )
    if kind == "angles":
        return np.asarray(random.uniform(-100, 100, shape))
    if kind == "tiny":
        smallest = float(np.finfo(dtype).smallest_subnormal)
        return np.asarray(random.choice([0.0, 1.0, -1.0, 3.0, 1000.0], shape) * smallest)
    return np.asarray(normal)


def flushed(arrays: Mapping[str, np.ndarray], *, signs: bool = True) -> dict[str, np.ndarray]:
    """The same inputs with zeros in place of denormal numbers, which TensorFlow's threads take for zeros.

    Args:
        arrays: inputs.
        signs: whether zeros keep the signs of the numbers.
    """
    return {name: _flushed(array, signs) if array.dtype.kind == "f" else array for name, array in arrays.items()}


def _flushed(array: np.ndarray, signs: bool) -> np.ndarray:
    normal = np.abs(array) >= np.finfo(array.dtype).smallest_normal
    zero = array.dtype.type(0)
    return np.where(normal, array, np.copysign(zero, array) if signs else zero)


def nudged(arrays: Mapping[str, np.ndarray], step: float) -> Iterator[dict[str, np.ndarray]]:
    """The same inputs twice, with every floating-point value moved by a relative step; equal values move alike."""
    for salt in (1, 2):
        yield {name: _nudged(a, step, salt) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def _nudged(array: np.ndarray, step: float, salt: int) -> np.ndarray:
    _, places = np.unique(array, return_inverse=True)
    signs = np.random.default_rng(salt).choice([-1.0, 1.0], places.max(initial=0) + 1)
    return np.asarray(array * (1 + step * signs[places].reshape(array.shape)), array.dtype)
