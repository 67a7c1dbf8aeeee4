"""Samples that lie along another axis than the first, as recurrent states [layers, batch, hidden] do, and stacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def axes(inputs: Sequence[TensorInfo], said: Mapping[str, int], *, guessed: bool = False) -> dict[str, int]:
    """The axis of each input that counts samples.

    Where nobody says, it is the first; or, of an input whose first dimension is fixed, the one that is called as the
    first dimension of other inputs is (``batch``).

    Args:
        inputs: of the model.
        said: by the user.
        guessed: whether the only open dimension will do as well, where that is not the first as in other inputs.

    Raises:
        UsageError: an axis that the input lacks, or an input that the model lacks.
    """
    names = {info.name: info for info in inputs}
    for name, axis in said.items():
        if name not in names:
            raise UsageError(f"batch_axis: the model has no input {name!r}", hint=did_you_mean(name, names))
        _checked(names[name], axis)
    symbols = {info.shape[0] for info in inputs if info.shape and isinstance(info.shape[0], str)}
    alike = guessed and any(_open(info.shape[0]) for info in inputs if info.shape)
    return {info.name: said.get(info.name, _named(info, symbols, alike)) for info in inputs}


def _named(info: TensorInfo, symbols: set[Any], alike: bool) -> int:
    if not info.shape or _open(info.shape[0]):
        return 0
    opened = [axis for axis, size in enumerate(info.shape) if _open(size)]
    found = [axis for axis in opened if info.shape[axis] in symbols] or (opened if alike else [])
    return found[0] if len(found) == 1 else 0


def _open(size: int | str) -> bool:
    return not isinstance(size, int) or size < 0


def of_outputs(
    outputs: Sequence[TensorInfo], inputs: Sequence[TensorInfo], found: Mapping[str, Axis], said: Mapping[str, int]
) -> dict[str, Axis]:
    """The axis of each output that counts samples, where inputs have it elsewhere than first.

    Where nobody says, it is the one that is called as the inputs' are, or is as long as theirs where these are fixed;
    or else the only one that is open. Where each sample is a whole input, it has a whole output too.

    Args:
        outputs: of the model.
        inputs: likewise.
        found: the inputs' axes.
        said: by the user.

    Raises:
        UsageError: an axis that the output lacks, or an output of which nothing says it.
    """
    if None in found.values():
        return dict.fromkeys([info.name for info in outputs])
    shapes = {info.name: info.shape for info in inputs if info.name in found}
    batch = {shape[found[name] or 0] for name, shape in shapes.items() if shape}
    return {info.name: _of_output(info, {size for size in batch if size != -1}, said) for info in outputs}


def _of_output(info: TensorInfo, batch: set[Any], said: Mapping[str, int]) -> int:
    if info.name in said:
        return _checked(info, said[info.name], "output")
    named = [axis for axis, size in enumerate(info.shape) if size in batch]
    opened = [axis for axis, size in enumerate(info.shape) if _open(size)]
    sizes_may_agree = all(isinstance(size, int) and size > 1 for size in batch) and bool(batch)
    for places in (named, opened):
        if len(places) == 1 or (0 in places and not sizes_may_agree):
            return places[0]
    raise UsageError(
        f"batch_axis: which axis of output {info.name!r} of shape {_text(info)} counts samples is not clear",
        hint=f"--batch-axis {info.name}=1, or batch_axis: {{{info.name}: 1}}",
    )


def _checked(info: TensorInfo, axis: int, what: str = "input") -> int:
    if not 0 <= axis < len(info.shape):
        raise UsageError(
            f"batch_axis: {what} {info.name!r} of shape {_text(info)} has no axis {axis}",
            hint="axes are counted from 0",
        )
    return axis


def _text(info: TensorInfo) -> str:
    return f"[{', '.join(map(str, info.shape))}]"


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
    return (*shape[1 : axis + 1], *shape[:1], *shape[axis + 1 :])


def fed(samples: Any, axis: Axis) -> Any:
    """Samples, their number first, as the model takes them."""
    return samples[0] if axis is None else np.moveaxis(samples, 0, axis)


def front(array: np.ndarray, axis: Axis) -> np.ndarray:
    """A view of what a model takes or gives, with its samples first; None: all of it is one sample."""
    return array[None] if axis is None else np.moveaxis(array, axis, 0)


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

    def blocks_into(self, numbers: np.ndarray, out: np.ndarray) -> Iterator[np.ndarray]:
        """The same into an array of the same type."""
        out[...] = self.rows(numbers)
        yield out
