"""What each operator makes of what is known of its operands' values.

Of an operator that is not here ordinary data comes where all that it reads is ordinary, and else any value; if it is
elementwise, running it tells more (see ``elementwise``). So a missing rule costs speed, never correctness.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx

from trtconv.graph import editing, elementwise
from trtconv.graph.dataflow import JOIN, Step
from trtconv.graph.value_arithmetic import ARITHMETIC
from trtconv.graph.value_facts import DATA, ORDINARY, Fact, Rule, Values, clean, of_constant, over, scalar, union

_P = onnx.TensorProto
_WHOLE = {
    _P.BOOL: (0.0, 1.0),
    _P.UINT8: (0.0, 255.0),
    _P.INT8: (-128.0, 127.0),
    _P.INT16: (-32768.0, 32767.0),
    _P.UINT16: (0.0, 65535.0),
    _P.UINT32: (0.0, math.inf),
    _P.UINT64: (0.0, math.inf),
}

MOVING = frozenset(
    {
        "Reshape",
        "Transpose",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Identity",
        "Slice",
        "Gather",
        "GatherElements",
        "GatherND",
        "Concat",
        "Split",
        "Expand",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
        "Dropout",
        "MaxPool",
        "Compress",
        "ScatterElements",
        "ScatterND",
        "ReverseSequence",
        "Unique",
        "TopK",
        "CenterCropPad",
        "GlobalMaxPool",
        "MaxRoiPool",
        "ReduceMin",
        "Where",
        JOIN,
    }
)
"""Operators whose results are values of their operands, and no others."""

BLENDING = frozenset(
    {"AveragePool", "GlobalAveragePool", "ReduceMean", "Mean", "Resize", "Upsample", "GridSample", "RoiAlign"}
)
"""Operators whose results lie between values of their operands."""

CONTRACTING = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN", "Attention", "DeformConv"}
)
"""Operators that sum up many products: their results carry rounding errors in any case."""

BOUNDED = {
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Hardmax": (0.0, 1.0),
    "Tanh": (-1.0, 1.0),
    "Erf": (-1.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "Sin": (-1.0, 1.0),
    "Cos": (-1.0, 1.0),
    "Sign": (-1.0, 1.0),
    "Atan": (-1.6, 1.6),
    "EyeLike": (0.0, 1.0),
}


SETTLED = frozenset(
    {
        *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"),
        *("MeanVarianceNormalization", "LSTM", "GRU", "RNN", "Attention", "DeformConv"),
    }
)
"""Operators whose results are ordinary again, however large or small what they read is."""

_SHOWN = frozenset({("Attention", 3)})
"""Outputs of those that show what is inside, masks and all."""

_BOUNDED_GROWTH = 0.05
"""Below this exponent a function does not grow with its argument, or as slowly as a logarithm."""


def fact(step: Step, position: int, values: Values) -> Fact:
    """What is known of one output of a step."""
    operands = [values[key] for key in values.flow.floats(step.inputs) if step.op != JOIN or key in values]
    every = step.op in MOVING | SETTLED and (step.op, position) not in _SHOWN
    rule = _RULES.get(step.op) if position == 0 or every else None
    made = _unlisted(step, position, operands, values) if rule is None else rule(step, operands, values)
    if made.mask and not made.pure and not any(one.mask for one in operands):
        made = replace(made, mask=0.0)
    if 0 < made.mask <= values.limit:  # a large factor that makes up for a small one
        made = replace(made, mask=0.0, pure=False, layered=False)
    return made if made.root else replace(made, root=step.outputs[position])


# What no rule is written for.


def _unlisted(step: Step, position: int, operands: list[Fact], values: Values) -> Fact:
    curve = elementwise.curve(step.node, values.flow.version) if step.node is not None else None
    if curve is not None and len(operands) == 1:
        return _along(curve, operands[0])
    hidden = (step.op, position) in _SHOWN or any(key and key not in values.flow.kinds for key in step.inputs)
    strange = any(one.mask or one.unknown or one.reach > values.limit for one in operands)
    return replace(DATA, low=-math.inf, high=math.inf, degree=0.0) if hidden or strange else DATA


def _along(curve: elementwise.Curve, one: Fact) -> Fact:
    """Values of an elementwise function."""
    like = replace(one, integer=False, mask=0.0, pure=False, infinite=False, layered=False)
    if one.mask or one.unknown:
        return clean(-math.inf, math.inf, like, degree=0.0)
    low, high = curve.span(one.low, one.high)
    if one.degree <= 0:
        return clean(low, high, like)
    far = curve.span(one.low * ORDINARY, one.high * ORDINARY)
    near, most = max(abs(low), abs(high)), max(abs(far[0]), abs(far[1]))
    if curve.endless(one.low * ORDINARY, one.high * ORDINARY):
        return clean(-math.inf if far[0] < 0 else 0.0, math.inf, like, degree=0.0)
    growth = math.log(most / near, ORDINARY) if near and most > near else 0.0
    if growth < _BOUNDED_GROWTH:
        return clean(*far, like, degree=0.0)
    return clean(min(low, far[0] / ORDINARY**growth), high, like, degree=growth * one.degree)


# Moving and blending.


def _move(step: Step, operands: list[Fact], values: Values) -> Fact:
    if not operands:
        return DATA
    kept, mask, infinite = over(operands)
    made = union(kept)
    if len(operands) == 1 or step.op == JOIN:
        made = replace(made, peak=operands[0].peak if len({one.peak for one in operands}) == 1 else "")
    return replace(made, mask=mask, infinite=infinite)


def _with_zero(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Pad, Trilu and OneHot: zeros, or other constants, among the values."""
    return _move(step, [*operands, Fact(0.0, 0.0, 0.0, data=False, integer=True)], values)


def _blend(step: Step, operands: list[Fact], values: Values) -> Fact:
    return replace(_move(step, operands[:1] if step.op != "Mean" else operands, values), integer=False, root="")


def _maximum(step: Step, operands: list[Fact], values: Values) -> Fact:
    return replace(_move(step, operands, values), root="", peak=operands[0].root if operands else "")


# Bounds.


def _bounded(step: Step, operands: list[Fact], values: Values) -> Fact:
    low, high = BOUNDED[step.op]
    return Fact(low, high, 0.0, data=any(one.data for one in operands), integer=step.op == "Sign")


def _between(one: Fact, low: float, high: float) -> Fact:
    """Values after they were clipped; -infinity and infinity for no bound."""
    bottom, top = max(one.low, min(low, one.high if one.sure else low)), min(one.high, max(high, one.low))
    bottom = min(bottom, top) if one.sure else bottom
    top, degree = max(top, bottom), one.degree
    closed = math.isfinite(high) and (math.isfinite(low) or one.low >= 0)
    if not one.sure and closed and max(abs(high), abs(low if math.isfinite(low) else 0.0)) < values_limit(one):
        bottom, top, degree = (low if math.isfinite(low) else max(one.low, 0.0)), high, 0.0
    return replace(one, low=bottom, high=top, degree=degree)


def values_limit(one: Fact) -> float:
    """Bounds at least as far away as this bound nothing."""
    return max(one.reach, 6e4) if not one.unknown else math.inf


def _clip(step: Step, operands: list[Fact], values: Values) -> Fact:
    low = scalar(step, 1, values) if len(step.inputs) > 1 else editing.attribute(step.node, "min")
    high = scalar(step, 2, values) if len(step.inputs) > 2 else editing.attribute(step.node, "max")
    made = _between(operands[0], -math.inf if low is None else low, math.inf if high is None else high)
    return replace(made, integer=False)


def _min_max(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Min and Max: a constant bounds the others."""
    largest = step.op == "Max"
    never = -math.inf if largest else math.inf
    open_ended = [scalar(step, position, values) == never for position in range(len(step.inputs))]
    operands = [one for one, idle in zip(operands, open_ended, strict=True) if not idle] or operands
    operands = _contenders(operands, largest)
    constant = [one for one in operands if one.sure and not one.data]
    others = [one for one in operands if one not in constant]
    if len(others) != 1 or not constant:
        kept, mask, infinite = over(operands)
        pick = max if largest else min
        made = union(kept)
        return replace(
            made,
            low=pick(one.low for one in kept),
            high=pick(one.high for one in kept),
            mask=mask,
            infinite=infinite,
            root="",
        )
    bound = max(one.low for one in constant) if largest else min(one.high for one in constant)
    made = _between(others[0], *((bound, math.inf) if largest else (-math.inf, bound)))
    return replace(made, integer=False, infinite=others[0].infinite and made.mask > 0)


def _contenders(operands: list[Fact], largest: bool) -> list[Fact]:
    """Operands that can be the greatest (or least) of all."""
    if largest:
        least = max(one.low for one in operands)
        return [one for one in operands if one.high >= least] or operands
    most = min(one.high for one in operands)
    return [one for one in operands if one.low <= most] or operands


def _relu(step: Step, operands: list[Fact], values: Values) -> Fact:
    return _between(operands[0], 0.0, math.inf)


def _below_zero(step: Step, operands: list[Fact], values: Values) -> Fact:
    """LeakyRelu, Elu and their like: the upper side stays, the lower one shrinks towards 0."""
    return replace(operands[0], high=max(operands[0].high, 0.0), root="", integer=False)


# What makes values out of nothing.


def _cast(step: Step, operands: list[Fact], values: Values) -> Fact:
    if operands:
        return _move(step, operands, values)
    kind = values.flow.kinds.get(step.inputs[0])
    if kind in (_P.FLOAT16, _P.BFLOAT16, _P.DOUBLE):
        return DATA
    low, high = _WHOLE.get(kind or 0, (-math.inf, math.inf))
    return Fact(low, high, 0.0, data=False, integer=True)


def _filled(step: Step, operands: list[Fact], values: Values) -> Fact:
    tensor = editing.attribute(step.node, "value")
    return Fact(0.0, 0.0, 0.0, data=False) if tensor is None else of_constant(tensor, "", values.limit)


def _counted(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Range."""
    start, stop, delta = (scalar(step, position, values) for position in range(3))
    low = start if start is not None and delta is not None and delta > 0 else -math.inf
    high = stop if stop is not None and delta is not None and delta > 0 else math.inf
    whole = all(one is not None and one == int(one) for one in (start, delta))
    return Fact(low, max(low, high), 0.0, data=False, integer=whole)


def _ordinary(step: Step, operands: list[Fact], values: Values) -> Fact:
    return DATA


def _dequantized(step: Step, operands: list[Fact], values: Values) -> Fact:
    constant = values.flow.constants.get(step.inputs[1])
    if constant is None:
        return DATA
    peak = 448.0 if values.flow.kinds.get(step.inputs[0]) == _P.FLOAT8E4M3FN else 128.0
    high = peak * float(np.abs(editing.array(constant)).max(initial=0))
    return Fact(-high, high, 0.0, data=step.inputs[0] not in values.flow.constants)


_RULES: dict[str, Rule] = {
    **ARITHMETIC,
    **dict.fromkeys(MOVING, _move),
    **dict.fromkeys(BLENDING, _blend),
    **dict.fromkeys(BOUNDED, _bounded),
    **dict.fromkeys(("Pad", "Trilu", "OneHot"), _with_zero),
    **dict.fromkeys(("Min", "Max"), _min_max),
    **dict.fromkeys(("LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "PRelu"), _below_zero),
    **dict.fromkeys(("Cast", "CastLike"), _cast),
    "ReduceMax": _maximum,
    "Clip": _clip,
    "Relu": _relu,
    "ConstantOfShape": _filled,
    "Range": _counted,
    "DequantizeLinear": _dequantized,
    **dict.fromkeys(SETTLED, _ordinary),
}

LISTED = frozenset(_RULES)
"""Operators with a rule of their own."""
