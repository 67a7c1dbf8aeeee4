"""Functions of single values, and arithmetic of several tensors or of one and its arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import TensorProto

from trtconv.sources.caffe.context import LayerContext
from trtconv.sources.caffe.text import Message


def _as(op: str) -> Callable[[LayerContext], str]:
    """A layer that is one operator without parameters."""
    return lambda at: at.add(op, [at.x])


def relu(at: LayerContext) -> str:
    """max(x, 0), with a slope below 0."""
    slope = at.parameters("relu_param").number("negative_slope", 0)
    return at.add("LeakyRelu", [at.x], alpha=slope) if slope else at.add("Relu", [at.x])


def prelu(at: LayerContext) -> str:
    """A slope below 0 per channel, or one for all."""
    rank, shared = len(at.shape()), at.parameters("prelu_param").flag("channel_shared", False)
    size = 1 if shared else at.sizes(at.shape()[1:2], "channels")[0]
    slope = at.array(0, (size,), "slopes").reshape(size, *[1] * (rank - 2))
    return at.add("PRelu", [at.x, at.constant(slope, "slope")])


def elu(at: LayerContext) -> str:
    """x, and alpha (exp(x) - 1) below 0."""
    return at.add("Elu", [at.x], alpha=at.parameters("elu_param").number("alpha", 1))


def clip(at: LayerContext) -> str:
    """X within min and max."""
    given = at.parameters("clip_param")
    return _clipped(at, given.number("min", 0), given.number("max", 0))


def _clipped(at: LayerContext, low: float, high: float) -> str:
    return at.add("Clip", [at.x, at.constant(np.float32(low), "min"), at.constant(np.float32(high), "max")])


def swish(at: LayerContext) -> str:
    """X sigmoid(beta x)."""
    beta = at.parameters("swish_param").number("beta", 1)
    inner = at.x if beta == 1 else at.add("Mul", [at.x, at.constant(np.float32(beta), "beta")], "scaled")
    return at.add("Mul", [at.x, at.add("Sigmoid", [inner], "sigmoid")])


def threshold(at: LayerContext) -> str:
    """1 above the threshold, 0 elsewhere."""
    level = np.float32(at.parameters("threshold_param").number("threshold", 0))
    above = at.add("Greater", [at.x, at.constant(level, "threshold")], "above")
    return at.add("Cast", [above], to=TensorProto.FLOAT)


def power(at: LayerContext) -> str:
    """(shift + scale x)^power."""
    given = at.parameters("power_param")
    exponent = given.number("power", 1)
    raised = [("Pow", exponent)] if exponent != 1 else []
    return _chain(at, [*_affine(given.number("scale", 1), given.number("shift", 0)), *raised])


def _affine(scale: float, shift: float) -> list[tuple[str, float]]:
    """What shift + scale x takes."""
    return ([("Mul", scale)] if scale != 1 else []) + ([("Add", shift)] if shift else [])


def exp(at: LayerContext) -> str:
    """base^(shift + scale x); base -1 is e."""
    given = at.parameters("exp_param")
    factor = _logarithm(at, given)
    return _chain(at, _affine(given.number("scale", 1) * factor, given.number("shift", 0) * factor), "Exp")


def log(at: LayerContext) -> str:
    """Logarithm to a base of shift + scale x; base -1 is e."""
    given = at.parameters("log_param")
    factor = _logarithm(at, given)
    before = _affine(given.number("scale", 1), given.number("shift", 0))
    if factor == 1:
        return _chain(at, before, "Log")
    natural = _chain(at, before, "Log", "natural")
    return at.add("Mul", [natural, at.constant(np.float32(1 / factor), "base")])


def _logarithm(at: LayerContext, given: Message) -> float:
    """Of the base that a layer says; -1 is e."""
    base = given.number("base", -1)
    if base != -1 and (base <= 0 or base == 1 or not math.isfinite(base)):
        raise at.refusal(f"has the base {base:g}", "a base is above 0 and not 1, or -1 for e")
    return 1.0 if base == -1 else math.log(base)


def _chain(at: LayerContext, steps: Sequence[tuple[str, float]], last: str = "", part: str = "") -> str:
    """Operators with a number one after the other, then one without; Identity when there is none."""
    x, ops = at.x, [*steps, *([(last, math.nan)] if last else [])] or [("Identity", math.nan)]
    for place, (op, value) in enumerate(ops):
        operands = [x] if math.isnan(value) else [x, at.constant(np.float32(value), op.lower())]
        x = at.add(op, operands, part if place == len(ops) - 1 else f"step{place}")
    return x


def scale(at: LayerContext) -> str:
    """X s (+ b) along ``num_axes`` axes from ``axis`` on; a second bottom gives s."""
    given, taken = at.parameters("scale_param"), len(at.inputs) > 1
    factor = _second(at, given.integer("axis", 1)) if taken else _along(at, "scale_param", 0, "factors")
    if not given.flag("bias_term", False):
        return at.add("Mul", [at.x, factor])
    scaled = at.add("Mul", [at.x, factor], "scaled")
    return at.add("Add", [scaled, _along(at, "scale_param", 0 if taken else 1, "bias")])


def bias(at: LayerContext) -> str:
    """X + b along ``num_axes`` axes from ``axis`` on; a second bottom gives b."""
    taken = len(at.inputs) > 1
    axis = at.parameters("bias_param").integer("axis", 1)
    return at.add("Add", [at.x, _second(at, axis) if taken else _along(at, "bias_param", 0, "bias")])


def _along(at: LayerContext, key: str, place: int, what: str) -> str:
    """A blob, shaped so that it broadcasts from its axis on."""
    given, dims = at.parameters(key), at.shape()
    axis = at.axis(given.integer("axis", 1), len(dims))
    if len(at.inputs) > 1:  # of a bias beside a second bottom: as large as that
        span = at.shape(1)
    else:
        count = given.integer("num_axes", 1)
        span = dims[axis:] if count == -1 else dims[axis : axis + count]
    sizes = at.sizes(span, f"the axes of its {what}")
    return at.constant(at.array(place, sizes, what).reshape(*sizes, *[1] * (len(dims) - axis - len(sizes))), what)


def _second(at: LayerContext, axis: int) -> str:
    """The second bottom, with ones behind its dimensions so that it broadcasts from the axis on."""
    rank, own = len(at.shape()), len(at.shape(1))
    missing = rank - at.axis(axis, rank) - own
    if missing < 0:
        raise at.refusal(f"has bottoms of shapes {list(at.shape())} and {list(at.shape(1))}", "correct its axis")
    if not missing:
        return at.bottom(1)
    return at.add("Unsqueeze", [at.bottom(1), at.constant(list(range(own, own + missing)), "axes")], "factor")


def eltwise(at: LayerContext) -> str:
    """Product, weighted sum or largest of the bottoms."""
    given, inputs = at.parameters("eltwise_param"), [at.x, *at.inputs[1:]]
    kind, coeff = given.choice("operation", ("PROD", "SUM", "MAX"), "SUM"), given.numbers("coeff")
    if coeff and (kind != "SUM" or len(coeff) != len(inputs)):
        raise at.refusal(f"has {len(coeff)} coeff for {len(inputs)} bottoms in {kind}", "one per bottom, for SUM only")
    parts = [
        part if factor == 1 else at.add("Mul", [part, at.constant(np.float32(factor), "coeff")], "weighted")
        for part, factor in zip(inputs, coeff or [1.0] * len(inputs), strict=True)
    ]
    if kind == "MAX":
        return at.add("Max", parts)
    op, total = "Mul" if kind == "PROD" else "Add", parts[0]
    if len(parts) == 1:
        return at.add("Identity", parts)
    for place, part in enumerate(parts[1:], 1):
        total = at.add(op, [total, part], "" if place == len(parts) - 1 else f"step{place}")
    return total


def axpy(at: LayerContext) -> str:
    """The sum a x + y with a factor a per image and channel (SENet's fork)."""
    factor = at.bottom(0)
    if len(at.shape(0)) == 2:
        factor = at.add("Unsqueeze", [factor, at.constant([2, 3], "axes")], "factor")
    return at.add("Add", [at.add("Mul", [factor, at.bottom(1)], "scaled"), at.bottom(2)])


TABLE: dict[str, Callable[[LayerContext], str]] = {
    "ReLU": relu,
    "ReLU6": lambda at: _clipped(at, 0, 6),
    "PReLU": prelu,
    "ELU": elu,
    "Sigmoid": _as("Sigmoid"),
    "TanH": _as("Tanh"),
    "AbsVal": _as("Abs"),
    "BNLL": _as("Softplus"),
    "Dropout": _as("Identity"),
    "Clip": clip,
    "Swish": swish,
    "Threshold": threshold,
    "Power": power,
    "Exp": exp,
    "Log": log,
    "Scale": scale,
    "Bias": bias,
    "Eltwise": eltwise,
    "Axpy": axpy,
}

TRAINED = frozenset({"PReLU", "Scale", "Bias"})
