"""Samples that lie along another axis than the first, as recurrent states [layers, batch, hidden] do, and stacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo

Axis = int | None
"""The axis of an input that counts samples; None: each sample is the whole input, batch and all."""


def axes(inputs: Sequence[TensorInfo], said: Mapping[str, int]) -> dict[str, int]:
    """The axis of each input that counts samples.

    Where nobody says, it is the first; or, of an input whose first dimension is fixed, the one that is called as the
    first dimension of other inputs is (``batch``).

    Args:
        inputs: of the model.
        said: by the user.

    Raises:
        UsageError: an axis that the input lacks, or an input that the model lacks.
    """
    names = {info.name: info for info in inputs}
    for name, axis in said.items():
        if name not in names:
            raise UsageError(f"batch_axis: the model has no input {name!r}", hint=did_you_mean(name, names))
        if not 0 <= axis < len(names[name].shape):
            shape = f"[{', '.join(map(str, names[name].shape))}]"
            raise UsageError(
                f"batch_axis: input {name!r} of shape {shape} has no axis {axis}", hint="axes are counted from 0"
            )
    symbols = {info.shape[0] for info in inputs if info.shape and isinstance(info.shape[0], str)}
    return {info.name: said.get(info.name, _named(info, symbols)) for info in inputs}


def _named(info: TensorInfo, symbols: set[Any]) -> int:
    if not info.shape or not isinstance(info.shape[0], int):
        return 0
    found = [axis for axis, size in enumerate(info.shape) if isinstance(size, str) and size in symbols]
    return found[0] if len(found) == 1 else 0


def as_samples(info: TensorInfo, axis: Axis) -> TensorInfo:
    """An input as its samples see it, their number first."""
    if axis is None:
        return replace(info, shape=("samples", *info.shape))
    return replace(info, shape=to_front(info.shape, axis))


def to_front(shape: Sequence[Any], axis: int) -> tuple[Any, ...]:
    """A shape with this axis first."""
    return (*shape[axis : axis + 1], *shape[:axis], *shape[axis + 1 :])


def fed_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape of samples, their number first, as the model takes them."""
    if axis is None:
        return shape[1:]
    return (*shape[1 : axis + 1], shape[0], *shape[axis + 1 :])


def fed(samples: Any, axis: Axis) -> Any:
    """Samples, their number first, as the model takes them."""
    return samples[0] if axis is None else np.moveaxis(samples, 0, axis)


class Moved:
    """A file's samples of which another axis than the first counts; None: all of it is one sample.

    Attributes:
        path: of the file.
        dtype: of the values.
    """

    def __init__(self, part: Any, axis: Axis) -> None:
        self.part, self.axis = part, axis
        self.path: Path = part.path
        self.dtype: np.dtype = part.dtype

    @property
    def label(self) -> str:
        """File and key for messages."""
        return str(self.part.label)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Number of samples, then the shape of each."""
        return (1, *self.part.shape) if self.axis is None else to_front(self.part.shape, self.axis)

    @cached_property
    def _samples(self) -> Any:
        values = self.part.rows(np.arange(self.part.shape[0]))
        return values[None] if self.axis is None else np.moveaxis(values, self.axis, 0)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Samples by number within the part, ascending."""
        found: np.ndarray = self._samples[numbers]
        return found

    def read_into(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """The same into an array of the same type."""
        out[...] = self.rows(numbers)
