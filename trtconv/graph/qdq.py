"""A placement plan and ranges become QuantizeLinear and DequantizeLinear nodes: symmetric, zero points explicit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper

from trtconv.core.errors import ConversionError
from trtconv.graph import editing, placement, weights_aside
from trtconv.graph.placement import Plan

HALF_NORMAL, HALF_LARGEST = float(2.0**-14), 65504.0
"""The smallest normal float16, below which a float16 scale loses bits and its reciprocal overflows; and the largest."""


@dataclass(frozen=True)
class Format:
    """A quantized type: its largest value, its ONNX type and numpy type, and the opset that brought it.

    ``exponent`` tells a floating-point format: its relative precision is the same under any scale.
    """

    name: str
    largest: float
    element: int
    dtype: Any
    opset: int
    exponent: bool


FORMATS = {
    "int8": Format("int8", 127.0, onnx.TensorProto.INT8, np.int8, 13, exponent=False),
    "fp8": Format("fp8", 448.0, onnx.TensorProto.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn, 19, exponent=True),
}
HALF_SCALES = 19
"""The opset that allows scales in float16."""


def quantize(model: Any, plan: Plan, amax: Mapping[str, float], precision: str, base: str) -> dict[str, float]:
    """Insert the Q/DQ nodes of a plan, in place.

    Weights are stored quantized, with one scale per output channel; each activation gets one pair that all operators
    of the plan share, and everything else keeps reading the tensor itself. Biases stay as they are.

    Args:
        model: the FP32 model that was planned.
        plan: from ``placement.plan``.
        amax: largest magnitude to keep, for every tensor of the plan.
        precision: int8 or fp8.
        base: type of the other operators, fp32 or fp16. For fp16 every scale that float16 holds without loss is
            rounded to float16 before anything is quantized with it.

    Returns:
        Range per new tensor, for the rules of the half-precision lowering.
    """
    kind = FORMATS[precision]
    editing.require_opset(model, HALF_SCALES if base == "fp16" else kind.opset)
    work = _Inserter(model, kind, half=base == "fp16")
    return work.insert(plan, placement.ranges(plan, amax))


class _Inserter:
    def __init__(self, model: Any, kind: Format, half: bool) -> None:
        self._graph = model.graph
        self._names = editing.Names.of(model)
        self._kind = kind
        self._half = half
        self._constants = editing.initializers(model.graph)
        self._nodes = {node.name: node for node in model.graph.node}
        self._zeros: dict[int, str] = {}
        self._weights: dict[tuple[str, int], tuple[str, Any]] = {}

    def insert(self, plan: Plan, ranges: Mapping[str, float]) -> dict[str, float]:
        pairs = {tensor: self._pair(tensor, ranges[tensor]) for tensor in plan.tensors}
        before: dict[str, list[Any]] = {}
        for found in plan.weighted:
            new, name = self._weight(found)
            self._nodes[found.node].input[found.position] = name
            before.setdefault(found.node, []).extend(new)
        for name, position in plan.edges:
            node = self._nodes[name]
            node.input[position] = pairs[node.input[position]][-1].output[0]
        self._place(pairs, before)
        editing.drop_unused_initializers(self._graph)
        return {pair[-1].output[0]: ranges[tensor] for tensor, pair in pairs.items()}

    def _place(self, pairs: Mapping[str, list[Any]], before: Mapping[str, list[Any]]) -> None:
        """Pairs right after what makes their tensor, weights right before their first reader."""
        made = {name for node in self._graph.node for name in node.output}
        nodes = [node for tensor, pair in pairs.items() if tensor not in made for node in pair]
        for node in self._graph.node:
            nodes += [*before.get(node.name, ()), node]
            nodes += [new for name in node.output for new in pairs.get(name, ())]
        editing.replace_nodes(self._graph, nodes)

    def _pair(self, tensor: str, amax: float) -> list[Any]:
        scale = self._constant(f"{tensor}_scale", self._scale(np.float32(amax)))
        quantized, name = self._names.fresh(f"{tensor}_quantized"), self._names.fresh(f"{tensor}_dequantized")
        zero = self._zero(0)
        return [
            self._node("QuantizeLinear", [tensor, scale, zero], quantized),
            self._node("DequantizeLinear", [quantized, scale, zero], name),
        ]

    def _weight(self, found: placement.Weighted) -> tuple[list[Any], str]:
        """The nodes to add (none when another operator shares the weights) and the dequantized weights' name."""
        known = self._weights.get((found.weight, found.axis))
        if known is not None:
            return [], known[0]
        values = editing.array(self._constants[found.weight])
        amax = placement.channels(values, found.axis)
        if not np.isfinite(amax).all():
            raise ConversionError(
                f"the weights {found.weight!r} of {found.node!r} hold NaN or infinity",
                hint="repair the model: its FP32 results are wrong too",
            )
        scale = self._scale(amax)
        stored = self._constant(f"{found.weight}_quantized", self._rounded(values, scale, found.axis))
        inputs = [stored, self._constant(f"{found.weight}_scale", scale), self._zero(scale.size)]
        name = self._names.fresh(f"{found.weight}_dequantized")
        node = self._node("DequantizeLinear", inputs, name, axis=found.axis)
        self._weights[found.weight, found.axis] = (name, node)
        return [node], name

    def _rounded(self, values: Any, scale: Any, axis: int) -> Any:
        shape = [-1 if position == axis else 1 for position in range(values.ndim)]
        scaled = values / scale.reshape(shape)
        if not self._kind.exponent:
            scaled = np.rint(scaled)
        return np.clip(scaled, -self._kind.largest, self._kind.largest).astype(self._kind.dtype)

    def _scale(self, amax: Any) -> Any:
        """Range divided by the format's largest value, float32 of the same shape; 1 where the range is 0."""
        scale = np.where(amax > 0, amax / np.float32(self._kind.largest), 1).astype(np.float32)
        if not self._half:
            return np.maximum(scale, np.finfo(np.float32).tiny)
        if self._kind.exponent and np.max(amax) >= HALF_NORMAL:  # so large, any scale keeps the relative precision
            scale = np.maximum(scale, np.float32(HALF_NORMAL))
        return _half_above(scale) if ((scale >= HALF_NORMAL) & (scale <= HALF_LARGEST)).all() else scale

    def _zero(self, count: int) -> str:
        """A shared zero point: a scalar for 0 channels, else one per channel."""
        if count not in self._zeros:
            wish = f"zero_{self._kind.name}" + (f"_{count}" if count else "")
            self._zeros[count] = self._constant(wish, np.zeros([count] if count else [], self._kind.dtype))
        return self._zeros[count]

    def _constant(self, wish: str, values: Any) -> str:
        name = self._names.fresh(wish)
        self._graph.initializer.append(weights_aside.made(values, name))
        return name

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return helper.make_node(op, inputs, [output], self._names.fresh(f"{output}_{op}"), **attributes)


def _half_above(scale: Any) -> Any:
    """The smallest float16 values that are not below ``scale``, as float32: rounding up clips nothing."""
    half = scale.astype(np.float16)
    return np.where(half < scale, np.nextafter(half, np.float16(np.inf)), half).astype(np.float32)
