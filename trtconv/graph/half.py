"""Which nodes may compute in a 16-bit type: measured ranges where there are any, static rules where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from trtconv.core.records import KeepRules
from trtconv.graph import editing, placement, types
from trtconv.graph.node_rules import Matcher


@dataclass(frozen=True)
class Half:
    """A 16-bit floating-point type.

    Attributes:
        name: as ONNX writes it.
        element: its TensorProto.DataType.
        dtype: its numpy type.
        largest: its largest finite value.
        normal: its smallest normal value.
        integers: the largest n such that 0..n are all exact.
        opset: the first one whose operators take it throughout.
        limit: default of ``keep.limit``: magnitudes above it stay FP32.
        refused: operators that ONNX defines for it but TensorRT does not build.
    """

    name: str
    element: int
    dtype: Any
    largest: float
    normal: float
    integers: int
    opset: int
    limit: float
    refused: frozenset[str] = frozenset()


HALVES = {
    "fp16": Half(
        "float16",
        onnx.TensorProto.FLOAT16,
        np.float16,
        largest=65504.0,
        normal=2.0**-14,
        integers=2048,
        opset=13,
        limit=0.5 * 65504.0,
    ),
    "bf16": Half(
        "bfloat16",
        onnx.TensorProto.BFLOAT16,
        ml_dtypes.bfloat16,
        largest=255 * 2.0**120,
        normal=2.0**-126,
        integers=256,
        opset=22,
        limit=127 * 2.0**120,
        refused=frozenset({"HardSwish", "ConvTranspose"}),
    ),
}

MASK = 1e8
"""Constants of at least this magnitude on the way to a Softmax are masks: any large enough number does their work."""

MASK_VALUE = 0.5
"""What masks become, as a share of the largest value: adding a score that passed the limit cannot overflow."""

_SQUARING = frozenset(
    {
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "RMSNormalization",
        "MeanVarianceNormalization",
        "LpNormalization",
        "ReduceL2",
        "ReduceSumSquare",
    }
)
"""Operators that square their input on the way; the square must fit too."""

_RISKY = (
    frozenset(
        {
            "Pow",
            "Exp",
            "Log",
            "ReduceSum",
            "ReduceProd",
            "ReduceL1",
            "ReduceLogSum",
            "ReduceLogSumExp",
            "CumSum",
            "Softplus",
        }
    )
    | _SQUARING
)
"""Operators whose results grow beyond their inputs: FP32 unless ranges are known."""

_UNTYPED = frozenset(
    {
        "RandomNormal",
        "RandomUniform",
        "RandomNormalLike",
        "RandomUniformLike",
        "EyeLike",
        "Celu",
        "Multinomial",
        "Bernoulli",
        "HannWindow",
        "HammingWindow",
        "BlackmanWindow",
        "CastLike",
        "MelWeightMatrix",
        "Constant",
        "Upsample",
        "NonMaxSuppression",
    }
)
"""Operators that name their type themselves or have no 16-bit form in TensorRT."""

_MOVING = frozenset(
    {
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "Slice",
        "Gather",
        "Concat",
        "Split",
        "Expand",
        "Tile",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
        "Dropout",
        "Relu",
        "MaxPool",
        "LeakyRelu",
        "Neg",
        "Abs",
        "DequantizeLinear",
    }
)
"""Operators that move values without computing much: between FP32 nodes they stay FP32 and save two casts."""

_MASKING = frozenset({"Add", "Sub", "Where", "Mul"})
_PASSING = frozenset({"Add", "Where", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Transpose", "Slice", "Identity"})
_CLIPPING = frozenset({"Clip", "Min", "Max"})
_NORMALISING = frozenset({"Sqrt", "Reciprocal", "Div", "Pow", "Log"})  # what may follow variance + epsilon
_MEASURING = frozenset({"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "Pow", "Abs"})  # what makes variance
_INTEGERS = frozenset(
    {
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64,
    }
)


@dataclass(frozen=True)
class Decision:
    """Which nodes stay FP32.

    Attributes:
        kept: node name -> reason; an empty reason for nodes that stay FP32 only because their neighbours do.
        masks: names of constants to clamp.
        idle: rules of the user that matched no node.
        scope: types of the main graph's tensors.
    """

    kept: Mapping[str, str]
    masks: frozenset[str]
    idle: tuple[str, ...]
    scope: types.Scope


def decide(model: Any, half: Half, ranges: Mapping[str, float] | None, keep: KeepRules) -> Decision:
    """Decide for every node of a model and its subgraphs.

    Args:
        model: FP32 ONNX, or one with Q/DQ pairs; nodes named and sorted, constants hoisted.
        half: the type wanted.
        ranges: largest magnitude per tensor on real samples; None: not measured.
        keep: the user's rules; ``keep.limit`` replaces ``half.limit``.
    """
    matcher = Matcher(keep=keep)
    kept: dict[str, str] = {}
    masks: set[str] = set()
    setting = _Setting(half, ranges, keep.limit or half.limit, matcher, editing.opset(model))
    scope = _decide_graph(model.graph, None, setting, kept, masks)
    return Decision(kept, frozenset(masks), matcher.idle("keep"), scope)


@dataclass(frozen=True)
class _Setting:
    half: Half
    ranges: Mapping[str, float] | None
    limit: float
    matcher: Matcher
    version: int


def _decide_graph(
    graph: Any, outer: types.Scope | None, setting: _Setting, kept: dict[str, str], masks: set[str]
) -> types.Scope:
    scope = types.visit_graph(graph, outer, setting.version, check_nodes=False)
    judge = _Judge(graph, scope, setting, kept)
    judge.run()
    masks |= judge.masks
    for node in graph.node:
        for body in editing.bodies(node):
            _decide_graph(body, scope, setting, kept, masks)
    return scope


@dataclass
class _Judge:
    graph: Any
    scope: types.Scope
    setting: _Setting
    kept: dict[str, str]

    def __post_init__(self) -> None:
        self.producers = editing.producers(self.graph)
        self.consumers = editing.consumers(self.graph)
        self.constants = editing.initializers(self.graph)
        self.outputs = {value.name for value in self.graph.output}
        self.inputs = {value.name for value in self.graph.input}
        self.shapes = _shape_arithmetic(self.graph, set(self.constants))
        self.masks, self.masked = _masks(self.graph, self.setting.half.largest)

    def run(self) -> None:
        for node in self.graph.node:
            if self._concerned(node) and (reason := self._reason(node)):
                self.kept.setdefault(node.name, reason)
        for node in self.graph.node:
            self._keep_normalisation(node)
        self._keep_readers_of_wide_scales()
        self._keep_quantized_products()
        self._keep_between()

    def _concerned(self, node: Any) -> bool:
        names = (*node.input, *node.output)
        return not editing.bodies(node) and any(self.scope.find(n) == onnx.TensorProto.FLOAT for n in names if n)

    def _reason(self, node: Any) -> str:
        return (
            self.setting.matcher.reason(node)
            or self._no_form(node)
            or self._shape_reason(node)
            or self._constant_reason(node)
            or self._range_reason(node)
        )

    def _no_form(self, node: Any) -> str:
        half = self.setting.half
        table = types.allowed(node.op_type, node.domain, self.setting.version)
        if types.schema(node.op_type, node.domain, self.setting.version) is None:
            return f"{node.op_type} is not a standard operator"
        unknown = [name for name in node.input if name and self.scope.find(name) is None]
        if unknown:
            return f"the type of {unknown[0]!r} is not known"
        takes = any(f"tensor({half.name})" in one and "tensor(float)" in one for one in table.values())
        if node.op_type in _UNTYPED | half.refused or not takes:
            return f"{node.op_type} has no {half.name} form"
        return ""

    def _shape_reason(self, node: Any) -> str:
        if node.name in self.shapes:
            return "it computes a shape"
        source = self.scope.find(node.input[0]) if node.op_type == "Cast" else None
        if source in _INTEGERS and self._amax(node.output[0]) > self.setting.half.integers:
            return f"integers above {self.setting.half.integers} are not exact in {self.setting.half.name}"
        return ""

    def _amax(self, tensor: str) -> float:
        """Its measured magnitude; infinity when it was not measured."""
        ranges = self.setting.ranges
        return float("inf") if ranges is None else ranges.get(tensor, float("inf"))

    def _constant_reason(self, node: Any) -> str:
        half = self.setting.half
        for tensor in self._float_constants(node):
            peak = _finite_peak(tensor)
            if peak > half.largest and tensor.name not in self.masks and node.op_type not in _CLIPPING:
                return f"its constant {tensor.name!r} holds {peak:.4g}, beyond {half.name}"
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and self._wide_scale(node):
            return f"its scale is outside the normal range of {half.name}"
        if node.op_type == "ConstantOfShape" and _finite_peak(editing.attribute(node, "value")) > half.largest:
            return f"its value is beyond {half.name}"
        return ""

    def _float_constants(self, node: Any) -> Iterable[Any]:
        found = (self.constants.get(name) for name in node.input)
        return (tensor for tensor in found if tensor is not None and tensor.data_type == onnx.TensorProto.FLOAT)

    def _wide_scale(self, node: Any) -> bool:
        scale = self.constants.get(node.input[1])
        half = self.setting.half
        values = None if scale is None else editing.array(scale)
        return values is not None and bool(((values < half.normal) | (values > half.largest)).any())

    def _range_reason(self, node: Any) -> str:
        ranges = self.setting.ranges or {}
        if node.op_type in _RISKY and not all(name in ranges for name in node.output if self._is_float(name)):
            return f"{node.op_type} may leave the range of {self.setting.half.name} and was not measured"
        for name in (*node.input, *node.output):
            amax = 0.0 if name in self.masked else ranges.get(name, 0.0)
            if amax > self.setting.limit:
                return f"{name!r} reaches {amax:.4g}, above {self.setting.limit:.4g}"
            if node.op_type in _SQUARING and name in node.input and amax * amax > self.setting.limit:
                return f"the square of {name!r}, which reaches {amax:.4g}, is above {self.setting.limit:.4g}"
        return ""

    # Normalisation written out: variance + epsilon, square root, division.

    def _keep_normalisation(self, node: Any) -> None:
        """Keep what surrounds a constant too small for the type: without it a division by zero is near."""
        tiny = [tensor for tensor in self._float_constants(node) if _is_tiny(tensor, self.setting.half.normal)]
        if not tiny or node.op_type not in ("Add", "Max", "Clip", "Sub", "Mul", "Div"):
            return
        reason = f"the constant {tiny[0].name!r} is too small for {self.setting.half.name}"
        self.kept.setdefault(node.name, reason)
        self._keep_back(node, f"it normalises, and {reason}")
        self._keep_on(node, f"it normalises, and {reason}")

    def _keep_back(self, node: Any, reason: str) -> None:
        for name in node.input:
            maker = self.producers.get(name)
            square = maker is not None and maker.op_type == "Mul" and maker.input[0] == maker.input[1]
            if maker is not None and (maker.op_type in _MEASURING or square) and maker.name not in self.kept:
                self.kept[maker.name] = reason
                self._keep_back(maker, reason)

    def _keep_on(self, node: Any, reason: str) -> None:
        for reader in self.consumers.get(node.output[0], []):
            inverse = node.op_type in ("Reciprocal", "Pow") and reader.op_type == "Mul"
            if reader.op_type in _NORMALISING or inverse:
                self.kept.setdefault(reader.name, reason)
                if reader.op_type in ("Sqrt", "Reciprocal", "Pow"):
                    self._keep_on(reader, reason)

    # What follows from the decisions so far.

    def _keep_readers_of_wide_scales(self) -> None:
        """A weighted operator computes in the type of its dequantized operands, without casts between."""
        for node in self.graph.node:
            if node.op_type in placement.WEIGHTED:
                makers = [self.producers.get(name) for name in node.input]
                wide = [m for m in makers if m is not None and m.op_type == "DequantizeLinear" and m.name in self.kept]
                if wide:
                    self.kept.setdefault(
                        node.name,
                        f"the scale of {wide[0].input[0]!r} is outside the normal range of {self.setting.half.name}",
                    )

    def _keep_quantized_products(self) -> None:
        """Matrix products of quantized operands give FP32, and only their results become 16-bit.

        TensorRT-RTX rounds the sum of the quantized products to the type of the result before it scales it (seen in
        1.5): sums of 256 INT8 or FP8 products leave the range of float16 although the scaled result is small.
        """
        for node in self.graph.node:
            makers = [self.producers.get(name) for name in node.input[:2]]
            found = [m for m in makers if m is not None and m.op_type == "DequantizeLinear"]
            if node.op_type in ("MatMul", "Gemm") and len(found) == 2:
                for kept in (node, *found):
                    self.kept.setdefault(kept.name, "")

    def _keep_between(self) -> None:
        """Nodes that only move values stay FP32 when everything around them is."""
        changed = True
        while changed:
            changed = False
            for node in self.graph.node:
                if node.name not in self.kept and node.op_type in _MOVING and self._surrounded(node):
                    self.kept[node.name] = ""
                    changed = True

    def _surrounded(self, node: Any) -> bool:
        sources = [name for name in node.input if name not in self.constants and self._is_float(name)]
        readers = [reader for name in node.output for reader in self.consumers.get(name, [])]
        before = all(name in self.inputs or self._kept_maker(name) for name in sources)
        return before and all(reader.name in self.kept or editing.bodies(reader) for reader in readers)

    def _kept_maker(self, name: str) -> bool:
        maker = self.producers.get(name)
        return maker is None or maker.name in self.kept or bool(editing.bodies(maker))

    def _is_float(self, name: str) -> bool:
        return bool(name) and self.scope.find(name) == onnx.TensorProto.FLOAT


def _shape_arithmetic(graph: Any, constants: set[str]) -> set[str]:
    """Names of nodes that compute with shapes only: integers beyond 2048 would be rounded in a 16-bit type."""
    derived: set[str] = set()
    found = set()
    for node in graph.node:
        if node.op_type in ("Shape", "Size"):
            derived.update(node.output)
            continue
        moving = [name for name in node.input if name and name not in constants]
        makes_data = node.op_type in ("ConstantOfShape", "Expand", "Tile", "EyeLike")
        if moving and not makes_data and not editing.bodies(node) and derived.issuperset(moving):
            derived.update(node.output)
            found.add(node.name)
    return found


def masked_tensors(graph: Any) -> set[str]:
    """Tensors that carry a constant such as -3.4e38 or -infinity to a Softmax, where it means: ignore this."""
    return _masks(graph, HALVES["fp16"].largest)[1]


def _masks(graph: Any, largest: float) -> tuple[set[str], set[str]]:
    """Constants that only serve to make a Softmax ignore something, and the tensors that carry them there."""
    constants = editing.initializers(graph)
    readers = editing.consumers(graph)
    outputs = {value.name for value in graph.output}
    masks: set[str] = set()
    masked: set[str] = set()
    for node in graph.node:
        if node.op_type not in _MASKING:
            continue
        found = {name for name in node.input if name in constants and _is_mask(constants[name], largest)}
        if found:
            carried = _way_to_softmax(node.output[0], readers, outputs)
            if carried:
                masks |= found
                masked |= carried
    return masks, masked


def _way_to_softmax(tensor: str, readers: Mapping[str, list[Any]], outputs: set[str]) -> set[str]:
    """The tensors between here and Softmax; empty when some way leads elsewhere."""
    following = readers.get(tensor, [])
    if not following or tensor in outputs:
        return set()
    carried = {tensor}
    for node in following:
        if node.op_type != "Softmax":
            onward = _way_to_softmax(node.output[0], readers, outputs) if node.op_type in _PASSING else set()
            if not onward:
                return set()
            carried |= onward
    return carried


def _finite_peak(tensor: Any) -> float:
    """Largest finite magnitude of a constant; 0 without any."""
    if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT:
        return 0.0
    values = editing.array(tensor)
    high, low = (values.max(), values.min()) if values.size else (0.0, 0.0)
    if np.isfinite(high) and np.isfinite(low):
        return float(max(high, -low))
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def _is_mask(tensor: Any, largest: float) -> bool:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return False
    magnitudes = np.abs(editing.array(tensor))
    beyond = magnitudes[magnitudes > largest]
    return bool(beyond.size and (beyond >= MASK).all())


def _is_tiny(tensor: Any, normal: float) -> bool:
    if int(np.prod(tensor.dims, dtype=np.int64)) != 1:
        return False
    return 0 < abs(float(editing.array(tensor).reshape(-1)[0])) < normal
