"""Where a foreign node is written with ONNX's operators: its inputs and attributes, and the graph in its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from trtconv.core.records import Dim
from trtconv.graph import editing
from trtconv.graph.building import Builder, Shape


class NotExpressible(Exception):
    """A node whose attributes or inputs ask for what its function does not write; the text says which."""


class Site:
    """One node.

    Args:
        node: as it stands in the model.
        types: TypeProto of its inputs, by name; with a number of dimensions each.
        constants: values of a tensor, None for one that is no constant.
        opset: version of the standard operators.
    """

    def __init__(self, node: Any, types: Mapping[str, Any], constants: Callable[[str], Any], opset: int) -> None:
        self.node = node
        self.b = Builder(opset)
        self.notes: list[str] = []
        self._sizes: dict[str, Dim | None] = {}
        self.tolerance, self.because = 0.0, ""
        self._constants = {name: constants(name) for name in node.input if name}
        for name in dict.fromkeys(filter(None, node.input)):
            self.b.typed_input(name, types[name])

    def given(self, position: int) -> str:
        """An input's name; empty where the node leaves it out."""
        return str(self.node.input[position]) if position < len(self.node.input) else ""

    def needed(self, position: int, what: str) -> str:
        """An input that this function cannot do without.

        Raises:
            NotExpressible: it is left out.
        """
        if not self.given(position):
            raise NotExpressible(f"it has no {what}")
        return self.given(position)

    def refuse(self, positions: Mapping[int, str]) -> None:
        """Fail on inputs that this function does not read.

        Raises:
            NotExpressible: one is given.
        """
        for position, what in positions.items():
            if self.given(position):
                raise NotExpressible(f"it has {what}")

    def refuse_outputs(self, positions: Mapping[int, str]) -> None:
        """Fail on outputs that this function does not make.

        Raises:
            NotExpressible: one is read.
        """
        for position, what in positions.items():
            if position < len(self.node.output) and self.node.output[position]:
                raise NotExpressible(f"its output {what} is read")

    def constant(self, position: int, what: str) -> np.ndarray:
        """Values of an input that has to be a constant.

        Raises:
            NotExpressible: it is computed.
        """
        found = self._constants.get(self.needed(position, what))
        if found is None:
            raise NotExpressible(f"its {what} is no constant")
        return np.asarray(found)

    def value(self, position: int) -> Any:
        """Values of an input; None where it is left out or computed."""
        return self._constants.get(self.given(position))

    def inexact(self, tolerance: float, because: str) -> None:
        """Say how far the operator itself is from what is written for it."""
        self.tolerance, self.because = tolerance, because

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        return editing.attribute(self.node, name, default)

    def shape(self, name: str) -> Shape:
        """Dimensions of a tensor."""
        return self.b.shape(name)

    def rank(self, name: str) -> int:
        """Their number."""
        return len(self.b.shape(name))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.b.add(op, list(inputs), op, **attributes)

    def like(self, value: Any, tensor: str) -> str:
        """A constant in the type of a tensor."""
        return self.b.constant(np.asarray(value, helper.tensor_dtype_to_np_dtype(self.b.dtype(tensor))), "constant")

    def integers(self, *values: int) -> str:
        """An int64 vector."""
        return self.b.constant(np.asarray(values, np.int64), "integers")

    def number(self, value: int) -> str:
        """An int64 scalar."""
        return self.b.constant(np.asarray(value, np.int64), "number")

    def size(self, tensor: str, axis: int) -> str:
        """A dimension as an int64 vector of one element; a constant where it is known."""
        known = self.shape(tensor)[axis]
        vector = self.integers(known) if isinstance(known, int) else self.add("Shape", tensor, start=axis, end=axis + 1)
        self._sizes[vector] = known
        return vector

    def known_size(self, tensor: str, axis: int, what: str) -> int:
        """A dimension.

        Raises:
            NotExpressible: it is dynamic.
        """
        known = self.shape(tensor)[axis]
        if not isinstance(known, int):
            raise NotExpressible(f"the size of {what} is not known")
        return known

    def joined(self, *parts: str | int) -> str:
        """A shape of known sizes and of vectors."""
        vectors = [self.integers(part) if isinstance(part, int) else part for part in parts]
        return self.add("Concat", *vectors, axis=0)

    def reshape(self, tensor: str, *parts: str | int) -> str:
        """A tensor in another shape; 0 keeps a dimension, -1 is what remains."""
        if all(isinstance(part, int) for part in parts):
            return self.add("Reshape", tensor, self.integers(*(int(part) for part in parts)))
        shaped, before = self.add("Reshape", tensor, self.joined(*parts)), self.shape(tensor)

        def dim(axis: int, part: str | int) -> Dim | None:
            if isinstance(part, str):
                return self._sizes.get(part)
            return before[axis] if part == 0 else part if part > 0 else None

        self.b.describe(shaped, [dim(axis, part) for axis, part in enumerate(parts)])
        return shaped

    def split_last(self, tensor: str, count: int) -> str:
        """[a, b, count n] to [a, b, count, n]; a known size stays known."""
        last = self.shape(tensor)[2]
        return self.reshape(tensor, 0, 0, count, last // count if isinstance(last, int) else -1)

    def join_last(self, tensor: str) -> str:
        """[a, b, count, n] to [a, b, count n], likewise."""
        count, last = self.shape(tensor)[2:]
        return self.reshape(tensor, 0, 0, count * last if isinstance(count, int) and isinstance(last, int) else -1)

    def unsqueeze(self, tensor: str, *axes: int) -> str:
        """Dimensions of one put in."""
        return self.add("Unsqueeze", tensor, self.integers(*axes))

    def reduce_mean(self, tensor: str) -> str:
        """Over the last axis, which stays as one."""
        if self.b.opset < 18:
            return self.add("ReduceMean", tensor, axes=[-1], keepdims=1)
        return self.add("ReduceMean", tensor, self.integers(-1), keepdims=1)

    def slice(self, tensor: str, start: int, end: int, axis: int) -> str:
        """A part of a tensor along one axis."""
        return self.add("Slice", tensor, self.integers(start), self.integers(end), self.integers(axis))

    def count(self, size: str, start: str = "") -> str:
        """int64 0, 1, ... (or from a scalar on), as many as a vector of one element says."""
        many = self.add("Squeeze", size, self.integers(0))
        first = start or self.number(0)
        return self.add("Range", first, self.add("Add", first, many) if start else many, self.number(1))

    def split(self, tensor: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Parts of a tensor of these sizes."""
        return self.b.several("Split", [tensor, self.integers(*sizes)], ["part"] * len(sizes), axis=axis)

    def wide(self, tensor: str) -> str:
        """In float32."""
        return self.cast(tensor, TensorProto.FLOAT)

    def cast(self, tensor: str, dtype: int) -> str:
        """In another type; the tensor itself where it has it."""
        return tensor if self.b.dtype(tensor) == dtype else self.add("Cast", tensor, to=dtype)
