"""Which nodes may compute in a 16-bit type: what is known of values decides, whatever operators they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trtconv.core.records import KeepRules
from trtconv.graph import dataflow, demands, editing, inside, placement, types, value_rules, values
from trtconv.graph.dataflow import Flow, Step
from trtconv.graph.demands import Demands
from trtconv.graph.half_types import HALVES, Half, takes
from trtconv.graph.node_rules import Matcher

_UNTYPED = frozenset({"Celu", "CastLike", "Constant", "Upsample", "NonMaxSuppression"})
"""Operators that get their type elsewhere or have no 16-bit form in TensorRT."""

_NAMING = frozenset({"to", "dtype", "output_datatype", "output_dtype"})
_RETYPED = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})
"""Operators that name a type and get another."""

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

_SPLIT = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
"""Operators whose product of two operands is the sum of the products of parts of these."""

_ADDING = (value_rules.MOVING | value_rules.BLENDING | frozenset(value_rules.BOUNDED)) | {
    *("Add", "Sub", "Sum", "Min", "Max", "Clip", "Pad", "Range", "QuantizeLinear", "DequantizeLinear", "Cast"),
    *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "BatchNormalization"),
}
"""Operators beside whose other operands a constant below the normal range is next to nothing."""


@dataclass(frozen=True)
class Saturation:
    """How a tensor becomes 16-bit whose values may be beyond the type.

    Attributes:
        bound: the magnitude that is left of them.
        infinite: whether infinities are to stay infinite.
        beyond: what is added for each unit beyond the bound: masks of several sizes keep their order.
    """

    bound: float
    infinite: bool
    beyond: float = 0.0


@dataclass(frozen=True)
class Decision:
    """Which nodes stay FP32.

    Attributes:
        kept: node name -> reason; an empty reason for nodes that stay FP32 only because their neighbours do.
        saturated: key of a tensor (``dataflow.key``) -> how it becomes 16-bit; all others fit.
        idle: rules of the user that matched no node.
        scope: types of the main graph's tensors.
        split: nodes among ``kept`` whose product is to be exact although many GPUs round its FP32 operands to TF32.
    """

    kept: Mapping[str, str]
    saturated: Mapping[str, Saturation]
    idle: tuple[str, ...]
    scope: types.Scope
    split: frozenset[str] = frozenset()


def decide(model: Any, half: Half, ranges: Mapping[str, float] | None, keep: KeepRules) -> Decision:
    """Decide for every node of a model and its subgraphs.

    Args:
        model: FP32 ONNX, or one with Q/DQ pairs; nodes named and sorted, constants hoisted.
        half: the type wanted.
        ranges: largest magnitude per tensor on real samples; None: not measured.
        keep: the user's rules; ``keep.limit`` replaces ``half.limit``.
    """
    flow = dataflow.flow(model)
    found = Demands(flow, values.analyse(flow, ranges, half.limit), half, keep.limit or half.limit)
    judge = _Judge(half, flow, found, Matcher(keep=keep), editing.opset(model))
    judge.run()
    idle = judge.matcher.idle("keep")
    return Decision(judge.kept, judge.saturated(), idle, types.infer(model), judge.split())


@dataclass
class _Judge:
    half: Half
    flow: Flow
    demands: Demands
    matcher: Matcher
    version: int
    kept: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values = self.demands.values
        self.limit = self.demands.limit
        self.steps = [step for step in self.flow.steps if step.node is not None and self._concerned(step)]

    def run(self) -> None:
        """Fill ``kept``."""
        for step in self.steps:
            if reason := self._reason(step):
                self.kept.setdefault(step.node.name, reason)
        self._keep_readers_of_wide_scales()
        self._keep_quantized_products()
        self._keep_between()

    def saturated(self) -> dict[str, Saturation]:
        """How the tensors become 16-bit that nodes read after they were clipped."""
        found: dict[str, Saturation] = {}
        for step in self.steps:
            if step.node.name not in self.kept:
                for key in self._read(step):
                    if (one := self._saturation(step, key)) is not None:
                        known = found.get(key, one)
                        found[key] = one if one.bound <= known.bound else known
        return found

    def split(self) -> frozenset[str]:
        """Products of operands that the type holds, of whose results little is left in a divisor."""
        return frozenset(
            step.node.name
            for step in self.steps
            if step.op in _SPLIT
            and self.demands.cancelling.intersection(step.outputs)
            and not any(key in self.demands.overflowing for key in step.inputs)
            and not (self._constant_reason(step) or self._dequantizing(step))
        )

    def _saturation(self, step: Step, key: str) -> Saturation | None:
        fact = self.values[key]
        if not self.demands.saturates(step, key) or (fact.infinite and fact.pure and fact.bound <= self.limit):
            return None
        bound = self.half.largest * (1.0 if self.demands.bounds(step, key) else demands.MASK_SHARE)
        infinite = fact.infinite or fact.given or fact.unknown
        largest = 0.0 if self.demands.bounds(step, key) else self.layers.get(key, 0.0)
        if largest:
            first = bound * demands.LAYER_SHARE
            return Saturation(first, infinite, (bound - first) / largest)
        return Saturation(bound, infinite)

    @cached_property
    def layers(self) -> Mapping[str, float]:
        """Masks of several sizes that meet in the same scores: tensor -> the largest of them.

        One scale for all of these keeps their order; a scale made for larger ones elsewhere would lose it.
        """
        root: dict[str, str] = {}

        def find(key: str) -> str:
            while root.setdefault(key, key) != key:
                key = root[key]
            return key

        for step in self.flow.steps:
            keys = dict.fromkeys(self.flow.floats((*step.inputs, *step.outputs)))
            met = [find(key) for key in keys if self.values[key].mask and not self.demands.bounds(step, key)]
            root.update((one, met[0]) for one in met)
        largest: dict[str, float] = {}
        for key in root:
            if math.isfinite(size := _mask_size(self.values[key])):
                largest[find(key)] = max(largest.get(find(key), 0.0), size)
        layered = {find(key) for key in root if self.values[key].layered}
        return {key: largest.get(find(key), 0.0) for key in root if find(key) in layered}

    def _concerned(self, step: Step) -> bool:
        return any(self.flow.is_float(key) for key in (*step.inputs, *step.outputs))

    def _reason(self, step: Step) -> str:
        return (
            self.matcher.reason(step.node)
            or self._no_form(step)
            or self._constant_reason(step)
            or self._value_reason(step)
            or inside.reason(step, self.demands)
        )

    def _no_form(self, step: Step) -> str:
        node, half = step.node, self.half
        table = types.allowed(node.op_type, node.domain, self.version)
        if types.schema(node.op_type, node.domain, self.version) is None:
            return f"{node.op_type} is not a standard operator"
        unknown = [key for key in step.inputs if key and key not in self.flow.kinds]
        if unknown:
            return f"the type of {unknown[0]!r} is not known"
        takes = any(f"tensor({half.name})" in one and "tensor(float)" in one for one in table.values())
        if node.op_type in _UNTYPED | half.refused or not takes or _names_a_type(node, self.version):
            return f"{node.op_type} has no {half.name} form"
        return ""

    def _constant_reason(self, step: Step) -> str:
        half = self.half
        for key in self.flow.floats(_factors(step)):
            if key in self.flow.constants and 0 < self.values[key].bound < half.normal:
                return f"the constant {key!r} is too small for {half.name}"
        if step.op == "BatchNormalization" and self._least_variance(step) < half.normal:
            return f"the variance {step.inputs[4]!r} is too small for {half.name}"
        if step.op in ("QuantizeLinear", "DequantizeLinear") and self._wide_scale(step):
            return f"its scale is outside the normal range of {half.name}"
        return ""

    def _least_variance(self, step: Step) -> float:
        fact = self.values[step.inputs[4]]
        return fact.low + float(editing.attribute(step.node, "epsilon", 1e-5)) if fact.sure else math.inf

    def _wide_scale(self, step: Step) -> bool:
        scale = self.flow.constants.get(step.inputs[1])
        found = None if scale is None else editing.array(scale)
        return found is not None and bool(((found < self.half.normal) | (found > self.half.largest)).any())

    def _value_reason(self, step: Step) -> str:
        """Why one of its tensors must not be 16-bit."""
        for key in self._read(step):
            why = self.demands.overflowing.get(key, "")
            if step.op not in value_rules.CONTRACTING:
                why = why or self.demands.exact.get(key, "")
            if why and not (self._makes_data(step) and self.demands.saturates(step, key)):
                return why
        outputs = list(self.flow.floats(step.outputs))
        return next(
            (
                why
                for table in (self.demands.overflowing, self.demands.exact)
                for key in outputs
                if (why := table.get(key, ""))
            ),
            "",
        )

    def _read(self, step: Step) -> list[str]:
        """The FP32 tensors that a step would read as 16-bit."""
        taken = takes(step.node, self.half, self.version)
        return [key for key, yes in zip(step.inputs, taken, strict=True) if yes and self.flow.is_float(key)]

    def _makes_data(self, step: Step) -> bool:
        """Whether data comes of a step, and not another mask."""
        return any(self.values[key].data for key in self.flow.floats(step.outputs))

    # What follows from the decisions so far.

    def _keep_readers_of_wide_scales(self) -> None:
        """A weighted operator computes in the type of its dequantized operands, without casts between."""
        for step in self.steps:
            if step.op in placement.WEIGHTED:
                wide = [one for one in self._dequantizing(step) if one.node.name in self.kept]
                if wide:
                    self.kept.setdefault(
                        step.node.name,
                        f"the scale of {wide[0].inputs[0]!r} is outside the normal range of {self.half.name}",
                    )

    def _dequantizing(self, step: Step) -> list[Step]:
        makers = (self.flow.maker(key) for key in step.inputs)
        return [one for one in makers if one is not None and one.op == "DequantizeLinear"]

    def _keep_quantized_products(self) -> None:
        """Matrix products of quantized operands give FP32, and only their results become 16-bit.

        TensorRT-RTX rounds the sum of the quantized products to the type of the result before it scales it (seen in
        1.5): sums of 256 INT8 or FP8 products leave the range of float16 although the scaled result is small.
        """
        for step in self.steps:
            found = self._dequantizing(step)
            if step.op in ("MatMul", "Gemm") and len(found) == 2:
                for kept in (step, *found):
                    self.kept.setdefault(kept.node.name, "")

    def _keep_between(self) -> None:
        """Nodes that only move values stay FP32 when everything around them is."""
        changed = True
        while changed:
            changed = False
            for step in self.steps:
                if step.node.name not in self.kept and step.op in _MOVING and self._surrounded(step):
                    self.kept[step.node.name] = ""
                    changed = True

    def _surrounded(self, step: Step) -> bool:
        sources = (key for key in self.flow.floats(step.inputs) if key not in self.flow.constants)
        readers = (reader for key in step.outputs for reader in self.flow.readers(key))
        return all(self._stays(self.flow.maker(key)) for key in sources) and all(self._stays(one) for one in readers)

    def _stays(self, step: Step | None) -> bool:
        """Whether FP32 is on the other side: an input, what control flow hands on, or a node that is kept."""
        return step is None or step.node is None or step.node.name in self.kept


def _names_a_type(node: Any, version: int) -> bool:
    """Whether an operator names the type of its results itself."""
    found = types.schema(node.op_type, node.domain, version)
    return node.op_type not in _RETYPED and not _NAMING.isdisjoint(found.attributes)


def _mask_size(fact: values.Fact) -> float:
    return max(fact.mask, fact.bound if fact.pure and not fact.unknown else 0.0)


def fragile(model: Any, ranges: Mapping[str, float] | None) -> Mapping[str, str]:
    """Tensors of the main graph whose exactness matters, and why: quantization spoils them more than float16 does."""
    return _float16_demands(model, ranges).exact


def _float16_demands(model: Any, ranges: Mapping[str, float] | None) -> Demands:
    half = HALVES["fp16"]
    flow = dataflow.flow(model)
    return Demands(flow, values.analyse(flow, ranges, half.limit, look_at_weights=False), half, half.limit)


def _factors(step: Step) -> tuple[str, ...]:
    """The operands of which a constant below the normal range is not next to nothing; biases are none."""
    if step.op in placement.RECURRENT:
        return step.inputs[1:3]
    if step.op in value_rules.CONTRACTING:
        return step.inputs[:2]
    return () if step.op in _ADDING else step.inputs


def masked_tensors(model: Any) -> set[str]:
    """Tensors of the main graph that carry values such as -3.4e38 or -infinity to a Softmax: ignore this."""
    judged = _float16_demands(model, None)
    return {key for key, fact in judged.values.items() if fact.mask and judged.settled(key)}
