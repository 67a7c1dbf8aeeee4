"""Where one layer becomes ONNX nodes: its inputs as they are known, and the nodes and constants made so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from trtconv.core.records import Dim
from trtconv.sources.network.arrays import plain
from trtconv.sources.network.recording import Layer, Refused

OPSET = 17
"""Of what is emitted; the line raises it where a job asks for more."""

FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
ELEMENT = {
    "FLOAT": FLOAT,
    "HALF": FLOAT,
    "BF16": FLOAT,
    "INT8": TensorProto.INT8,
    "INT32": INT32,
    "INT64": INT64,
    "BOOL": BOOL,
    "UINT8": TensorProto.UINT8,
}
"""ONNX element type of a ``DataType``: everything that floats is FP32."""


@dataclass(frozen=True)
class Known:
    """What is known of a tensor.

    Attributes:
        name: in the emitted graph.
        dims: with the batch, if it has one; a string names a dynamic dimension, None is unknown.
        dtype: ONNX element type.
        batched: whether its first dimension is the batch of an implicit-batch network.
        value: its contents, where they are constant and few.
    """

    name: str
    dims: tuple[Dim | None, ...]
    dtype: int
    batched: bool = False
    value: Any = None

    @property
    def rank(self) -> int:
        """Dimensions, with the batch."""
        return len(self.dims)


class Site:
    """One layer being emitted.

    Args:
        layer: it.
        ins: what it reads, None for an input left out.
        prefix: of the names of its nodes and tensors.
        shape_type: ONNX element type that shapes have in this version of TensorRT.
        batch: of a network with an implicit batch, the size or name of it.
    """

    def __init__(
        self, layer: Layer, ins: Sequence[Known | None], prefix: str, shape_type: int = INT64, batch: Dim = "batch"
    ) -> None:
        self.layer, self.prefix, self.shape_type, self.batch = layer, prefix, shape_type, batch
        self.ins = list(ins)
        self.lead = int(any(one is not None and one.batched for one in ins))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}

    def __getitem__(self, name: str) -> Any:
        """An attribute of the layer, as the script left it."""
        return self.layer.values[name]

    def known(self, index: int = 0) -> Known:
        """What is known of an input."""
        one = self.ins[index] if index < len(self.ins) else None
        if one is None:
            raise self.refused(f"input {index} is missing")
        return one

    def has(self, index: int) -> bool:
        """Whether it reads so many."""
        return index < len(self.ins) and self.ins[index] is not None

    @property
    def x(self) -> str:
        """The first input, by name."""
        return self.known().name

    @property
    def rank(self) -> int:
        """Of the first input, with the batch."""
        return self.known().rank

    def refused(self, why: str, hint: str = "") -> Refused:
        """An error that names the layer and its line."""
        return Refused(
            f"{self.layer.where}: {self.layer.kind.interface} {self.layer.name!r}: {why}",
            hint or "change that line of the script, or end the network before it (mark_output earlier)",
        )

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A constant, by the name that it gets; floating point becomes FP32."""
        array = np.asarray(value) if dtype is None else np.asarray(value, dtype)
        if array.dtype.kind == "f":
            array = np.ascontiguousarray(array, np.float32).reshape(array.shape)
        name = f"{self.prefix}/const_{len(self.constants)}"
        self.constants[name] = array
        return name

    def ints(self, values: Iterable[int]) -> str:
        """A constant of int64 that is one-dimensional."""
        return self.constant(np.asarray(list(values), np.int64))

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node, by the names of its outputs."""
        number = len(self.nodes)
        names = [f"{self.prefix}/{kind}_{number}" + (f"_{index}" if index else "") for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, f"{self.prefix}/{kind}_{number}", **attributes))
        return names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, by its name."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def axes(self, mask: int, rank: int | None = None) -> list[int]:
        """The axes of a bit mask, the batch counted."""
        mask, total = int(mask), (self.rank if rank is None else rank) - self.lead
        chosen = [bit + self.lead for bit in range(mask.bit_length()) if mask >> bit & 1]
        if not chosen or chosen[-1] >= total + self.lead:
            raise self.refused(f"axes {mask:#b} do not fit a tensor of {total} dimensions")
        return chosen

    def axis(self, index: int, rank: int | None = None) -> int:
        """An axis, the batch counted; negative ones from the end."""
        total = self.rank if rank is None else rank
        found = int(index) + (self.lead if index >= 0 else total)
        if not self.lead <= found < max(total, 1):
            raise self.refused(f"axis {index} does not fit a tensor of {total - self.lead} dimensions")
        return found

    def default_axis(self) -> int:
        """The axis that Softmax and Concatenation take unless told: the channels of an image, the first of less."""
        return max(0, self.rank - self.lead - 3) + self.lead

    def aligned(self, index: int) -> str:
        """An input as it is read beside others that have a batch: one without gets a dimension of 1 in its place."""
        one = self.known(index)
        return self.op("Unsqueeze", one.name, self.ints([0])) if self.lead and not one.batched else one.name

    def aligned_rank(self, index: int) -> int:
        """Dimensions of an input read that way."""
        one = self.known(index)
        return one.rank + (self.lead if not one.batched else 0)

    def cast(self, name: str, dtype: int) -> str:
        """A tensor in another type."""
        return self.op("Cast", name, to=dtype)

    def as_int64(self, index: int) -> str:
        """An input that ONNX wants as int64."""
        one = self.known(index)
        return one.name if one.dtype == INT64 else self.cast(one.name, INT64)

    def whole(self, index: int, what: str) -> np.ndarray:
        """The contents of an input that must be constant."""
        value = self.known(index).value
        if value is None:
            raise self.refused(f"{what} must be constant")
        return np.asarray(value)

    def array(self, name: str) -> np.ndarray:
        """An attribute that is weights, as an array; empty where there are none."""
        return plain(self[name])
