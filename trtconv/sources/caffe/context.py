"""What the conversion of one layer has at hand: its parameters, its blobs, and the graph that it adds to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trtconv.core.errors import ConversionError
from trtconv.graph.building import Builder, Shape
from trtconv.sources.caffe.net import Layer
from trtconv.sources.caffe.text import Message
from trtconv.sources.caffe.weights import Blob


@dataclass
class Findings:
    """What is told when all layers have been looked at.

    Attributes:
        misfits: blobs whose shape is not what the prototxt says.
        notes: sentences on what a user should know.
        arrays: shapes of the arrays that layers should have.
    """

    misfits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    arrays: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)


@dataclass
class LayerContext:
    """A layer, and what it becomes.

    Attributes:
        b: the graph.
        layer: the layer.
        inputs: tensors of its bottoms.
        outputs: names that the tensors of its tops should have.
        blobs: its arrays; None where there is an outline only, and arrays are zeros.
        findings: what is told at the end.
    """

    b: Builder
    layer: Layer
    inputs: Sequence[str]
    outputs: Sequence[str]
    blobs: Sequence[Blob] | None
    findings: Findings

    @property
    def x(self) -> str:
        """The tensor of the first bottom."""
        return self.bottom(0)

    def bottom(self, place: int) -> str:
        """The tensor of a bottom.

        Raises:
            ConversionError: there are not so many.
        """
        if place >= len(self.inputs):
            raise self.refusal(f"has {len(self.inputs)} bottoms, and needs {place + 1}", "correct the prototxt")
        return self.inputs[place]

    def parameters(self, key: str) -> Message:
        """The message with the parameters of this type of layer."""
        return self.layer.message.message(key)

    def refusal(self, what: str, hint: str) -> ConversionError:
        """An error that names the layer."""
        return ConversionError(f"layer {self.layer.name!r} ({self.layer.type}) {what}", hint=hint)

    def add(self, op: str, inputs: Sequence[str], part: str = "", **attributes: Any) -> str:
        """Add a node: ``part`` names one on the way, without it the tensor is the layer's first top."""
        wish = f"{self.layer.name}/{part}" if part else self.outputs[0]
        return self.b.add(op, inputs, wish, label=wish if part else self.layer.name, **attributes)

    def constant(self, values: Any, part: str) -> str:
        """Add a constant."""
        return self.b.constant(values, f"{self.layer.name}/{part}")

    def mean(self, x: str, axes: Sequence[int], part: str = "", *, keep: bool = True) -> str:
        """The mean along axes, which are an attribute before opset 18 and an input from then on."""
        if self.b.opset < 18:
            return self.add("ReduceMean", [x], part, axes=list(axes), keepdims=int(keep))
        return self.add("ReduceMean", [x, self.constant(list(axes), "axes")], part, keepdims=int(keep))

    def shape(self, place: int = 0) -> Shape:
        """Dimensions of a bottom."""
        return self.b.shape(self.bottom(place))

    def sizes(self, dims: Shape, what: str) -> list[int]:
        """Dimensions as numbers.

        Raises:
            ConversionError: one is dynamic.
        """
        if not all(isinstance(dim, int) for dim in dims):
            raise self.refusal(f"needs {what} of a fixed size, not {list(dims)}", "give the inputs fixed sizes there")
        return [dim for dim in dims if isinstance(dim, int)]

    def axis(self, value: int, rank: int, most: int | None = None) -> int:
        """An axis that may count from the end, as one from the start.

        Raises:
            ConversionError: there is no such axis.
        """
        place = value + rank if value < 0 else value
        if not 0 <= place <= (rank - 1 if most is None else most):
            raise self.refusal(f"has axis {value}, and its bottom has {rank} dimensions", "correct the axis")
        return place

    def target(self, dims: Shape, part: str, source: Shape) -> str:
        """Sizes for Reshape: 0 copies a dynamic dimension that stays where it was, -1 is the one that does not.

        Raises:
            ConversionError: more than one would have to be -1.
        """
        given = [
            dim if isinstance(dim, int) else 0 if place < len(source) and source[place] == dim and dim else -1
            for place, dim in enumerate(dims)
        ]
        if given.count(-1) > 1:
            raise self.refusal(
                f"would make {list(dims)}, of which only one size may be unknown", "give the inputs fixed sizes"
            )
        return self.constant(np.array(given, np.int64), part)

    def array(self, place: int, shape: Sequence[int], what: str) -> Any:
        """A blob with the shape that the prototxt says; zeros where it has another, which ``findings`` tell.

        Old files have four sizes for every array: sizes of one do not count.

        Raises:
            ConversionError: a shape beyond any memory.
        """
        if math.prod(shape) > _MOST:
            raise self.refusal(f"has {what} of shape {list(shape)}", "correct its sizes, or those of the inputs")
        self.findings.arrays.setdefault(self.layer.name, []).append(tuple(shape))
        if self.blobs is None:
            return np.broadcast_to(np.float32(0), shape)
        misfit = self._misfit(place, shape, what)
        if misfit:
            self.findings.misfits.append(f"layer {self.layer.name!r} ({self.layer.type}) has {misfit}")
            self.b.forget_weights()
            return np.broadcast_to(np.float32(0), shape)
        return self.blobs[place].array().reshape(shape)

    def _misfit(self, place: int, shape: Sequence[int], what: str) -> str:
        """What a layer has in place of an array; empty where it has the array."""
        assert self.blobs is not None
        if place >= len(self.blobs):
            return f"{len(self.blobs)} arrays, and the prototxt needs its {what} {list(shape)} too"
        blob = self.blobs[place]
        if _told(blob.shape) == _told(shape) and blob.size == math.prod(shape):
            return ""
        amount = "" if blob.size == math.prod(blob.shape) else f" with {blob.size} elements"
        return f"{what} {list(blob.shape)}{amount}, the prototxt needs {list(shape)}"


_MOST = 1 << 34
"""Elements of an array."""


def _told(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def per_axis(at: LayerContext, given: Message, name: str, default: int | None, count: int = 2) -> list[int]:
    """A parameter such as stride: one value, one per axis, or ``_h`` and ``_w``.

    Raises:
        ConversionError: another number of values, none where there is no default, or a negative one.
    """
    stem = name.removesuffix("_size")
    values = given.integers(name) or ([] if default is None else [default])
    if f"{stem}_h" in given or f"{stem}_w" in given:
        fallback = default or 0
        values = [given.integer(f"{stem}_h", fallback), given.integer(f"{stem}_w", fallback)]
    if len(values) == 1:
        values *= count
    least = 0 if default == 0 else 1
    if len(values) != count or min(values) < least:
        raise at.refusal(
            f"has {name} {values or 'missing'}; one number, or {count}, of at least {least} are needed",
            "correct the prototxt",
        )
    return values
