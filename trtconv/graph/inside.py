"""What operators compute on their way, between what they read and what they make: why a 16-bit type may not hold it."""

from __future__ import annotations

import math

from trtconv.graph import elementwise, value_rules
from trtconv.graph.dataflow import Step
from trtconv.graph.demands import Demands
from trtconv.graph.half_types import Half

_SQUARING = frozenset({"ReduceL2", "ReduceSumSquare"})
"""Operators that square their input on the way; the square must fit too."""

_SUMMING = frozenset({"ReduceSum", "ReduceL1", "ReduceLogSum", "CumSum"}) | _SQUARING
"""Operators that add up an unknown number of values: FP32 unless ranges are known."""

_MANY = 256
"""How many squares an operator may add up inside, of which nobody knows what it does."""

_EXPONENTIAL = frozenset({"Softplus", "ReduceLogSumExp"})
"""Operators that take exponentials of their input on the way."""

_LOGARITHMIC = frozenset({"LogSoftmax", "SoftmaxCrossEntropyLoss"})
"""Operators that take the logarithm of a Softmax on the way."""

_OPEN = (
    (value_rules.LISTED - value_rules.SETTLED - _EXPONENTIAL - _LOGARITHMIC)
    | value_rules.CONTRACTING
    | {"ReduceLogSum", "BatchNormalization"}
)
"""Operators inside of which nothing is larger than what they read and make. Of others nobody knows: they may sum up
squares on the way, as normalizations do. To leave one out costs speed, never correctness."""


def reason(step: Step, found: Demands) -> str:
    """Why what an operator computes on its way does not fit; empty where it does."""
    outputs = list(found.flow.floats(step.outputs))
    closed = bool(outputs) and step.op not in _OPEN
    sums = closed and elementwise.curve(step.node, found.flow.version) is None
    unmeasured = not all(found.values[key].measured for key in outputs)
    if unmeasured and (sums or step.op in _SUMMING | _EXPONENTIAL | _LOGARITHMIC):
        return f"{step.op} may leave the range of {found.half.name} and was not measured"
    data = [key for key in found.flow.floats(step.inputs) if key not in found.flow.constants]
    squared = [*data, *outputs] if step.op == "ReduceL2" else data  # its output is the root of what is summed up
    if (closed and step.op not in _EXPONENTIAL | _LOGARITHMIC) or step.op in _SQUARING:
        count = _MANY if sums and step.op not in value_rules.SETTLED else 1
        if why := next(filter(None, (_square(key, found, count) for key in squared)), ""):
            return why
    if why := next(filter(None, (_exponential(step.op, key, found.values[key].reach, found.half) for key in data)), ""):
        return why
    if step.op == "LpNormalization":
        return f"nothing is added to the norm of {step.inputs[0]!r} that it is divided by, and it may be as small as 0"
    return _scores(step, found) if step.op == "Attention" else ""


def _square(key: str, found: Demands, count: int) -> str:
    reach = found.values[key].reach
    if reach * reach * count > found.limit:
        return f"the square of {key!r}, which reaches {reach:.4g}, is above {found.limit:.4g}"
    if 0 < reach * reach < found.half.normal:
        return f"the square of {key!r}, which reaches {reach:.4g}, is below the normal range of {found.half.name}"
    return ""


def _exponential(op: str, key: str, reach: float, half: Half) -> str:
    if op in _EXPONENTIAL and reach > math.log(half.largest):
        return f"the exponential of {key!r}, which reaches {reach:.4g}, is above {half.largest:.4g}"
    if op in _LOGARITHMIC and 2 * reach > -math.log(half.normal):
        return f"probabilities of {key!r}, which reaches {reach:.4g}, are below the normal range of {half.name}"
    return ""


def _scores(step: Step, found: Demands) -> str:
    """Why the products of queries and keys do not fit."""
    first, second = step.inputs[:2]
    reach = found.values[first].reach * found.values[second].reach
    if reach <= found.limit:
        return ""
    return f"products of {first!r} and {second!r} reach {reach:.4g}, above {found.limit:.4g}"
