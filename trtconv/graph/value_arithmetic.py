"""What sums, products, powers and their like make of what is known of their operands' values."""

from __future__ import annotations

import math
from dataclasses import replace

from trtconv.graph.dataflow import Step
from trtconv.graph.value_facts import DATA, Fact, Rule, Values, clean, over, scalar, union

_LARGEST_EXPONENT = 88.0  # of FP32's exponential function
_SMALLEST_LOGARITHM = -104.0  # of the smallest FP32 number


def _add(step: Step, operands: list[Fact], values: Values) -> Fact:
    kept, mask, infinite = over(operands)
    signs = [1.0] * len(kept)
    if step.op == "Sub" and len(operands) == 2 and kept[-1] is operands[1]:
        signs[-1] = -1.0
        peak = operands[1].peak
        if peak and peak == operands[0].root:  # nothing is larger than the largest
            return clean(-2 * operands[0].bound, 0.0, operands[0], mask=mask, infinite=infinite, integer=False)
    low = sum(one.low if sign > 0 else -one.high for one, sign in zip(kept, signs, strict=True))
    high = sum(one.high if sign > 0 else -one.low for one, sign in zip(kept, signs, strict=True))
    masks = [one.mask for one in operands if one.mask]
    layered = len(masks) > 1 or any(one.layered for one in operands)
    mask = max(mask, sum(masks))
    made = replace(_combined(kept), mask=mask, infinite=infinite, layered=layered)
    data = [one for one in kept if one.data]
    return clean(low, high, made, root=data[0].root if len(data) == 1 else "")


def _combined(operands: list[Fact]) -> Fact:
    made = union(operands)
    return replace(made, given=False)


def _multiply(step: Step, operands: list[Fact], values: Values) -> Fact:
    if len(operands) != 2:
        return DATA
    first, second = operands
    same = bool(first.root) and first.root == second.root
    made = _product(first, second, same)
    if step.inputs[0] == step.inputs[1]:
        made = replace(made, low=max(made.low, first.low**2 if first.low > 0 else 0.0))
    scaled = first if not second.data else second if not first.data else None
    return replace(made, root=scaled.root if scaled is not None and scaled.data else "")


def _product(first: Fact, second: Fact, same: bool) -> Fact:
    ends = [_times(a, b) for a in (first.low, first.high) for b in (second.low, second.high)]
    made = replace(_combined([first, second]), pure=first.pure or second.pure)
    factors = [1.0 if one.unknown else one.bound for one in (second, first)]  # of unknown ones 0 and 1 are likely
    mask = max(_times(first.mask, factors[0]), _times(second.mask, factors[1]))
    made = replace(
        made, mask=mask if made.pure else max(first.mask, second.mask), integer=first.integer and second.integer
    )
    degrees = (first.degree, second.degree)
    if not (first.data and second.data):
        degree = sum(degrees)
        if made.data and any(one.unknown and not one.data for one in (first, second)):
            return clean(-1.0, 1.0, replace(made, degree=max(degree, 1.0)))
    elif same or max(degrees) > 1:
        degree = sum(degrees)
    else:
        degree = max(degrees) if min(degrees) >= 0 else max(sum(degrees), 0.0)
    if min(degrees) < 0 and first.data and second.data:
        return clean(-1.0, 1.0, replace(made, degree=max(sum(degrees), 0.0)))
    return clean(min(ends), max(ends), replace(made, degree=degree))


def _times(first: float, second: float) -> float:
    return 0.0 if first == 0 or second == 0 else first * second


def _divide(step: Step, operands: list[Fact], values: Values) -> Fact:
    if len(operands) != 2:
        return DATA
    above, below = operands
    if above.sure and not above.data and below.data:
        return _product(above, _inverse(below), same=False)
    if below.data or below.unknown:
        low = 0.0 if above.low >= 0 and below.low >= 0 else -1.0
        degree = max(0.0, above.degree - below.degree)
        if not above.data and above.unknown:
            return clean(math.copysign(math.inf, low - 0.5), math.inf, _combined(operands))
        if not (above.data or below.data):
            low, degree = -math.inf if low else 0.0, 0.0
            return clean(low, math.inf, replace(_combined(operands), integer=False, degree=degree))
        return clean(low, 1.0, replace(_combined(operands), integer=False, mask=0.0, pure=False, degree=degree))
    made = _product(above, _inverse(below), same=False)
    return replace(made, integer=False, root=above.root)


def _inverse(one: Fact) -> Fact:
    """Values of 1 / x."""
    if one.low > 0 or one.high < 0:
        ends = sorted((1 / one.low if one.low else math.inf, 1 / one.high if one.high else -math.inf))
        return clean(ends[0], ends[1], replace(one, degree=-one.degree, mask=0.0, pure=False, integer=False))
    low, high = (0.0, math.inf) if one.low >= 0 else (-1.0, 1.0)
    return clean(low, high, replace(one, degree=-one.degree, mask=0.0, pure=False, integer=False))


def _reciprocal(step: Step, operands: list[Fact], values: Values) -> Fact:
    made = _inverse(operands[0])
    return made if operands[0].data or operands[0].sure else replace(made, high=math.inf)


def _power(step: Step, operands: list[Fact], values: Values) -> Fact:
    exponent = scalar(step, 1, values)
    if exponent is None:
        return clean(-math.inf, math.inf, replace(operands[0], integer=False))
    if exponent < 0:
        return _raised(_inverse(operands[0]), -exponent)
    return _raised(operands[0], exponent)


def _raised(one: Fact, exponent: float) -> Fact:
    low = max(one.low, 0.0) if exponent != int(exponent) else one.low
    ends = sorted((_power_of(low, exponent), _power_of(one.high, exponent)))
    if exponent == int(exponent) and int(exponent) % 2 == 0 and low < 0 < one.high:
        ends[0] = 0.0
    whole = one.integer and exponent == int(exponent)
    return clean(ends[0], ends[1], replace(one, degree=one.degree * exponent, integer=whole))


def _power_of(base: float, exponent: float) -> float:
    try:
        found = base**exponent
    except (OverflowError, ZeroDivisionError):
        return math.inf
    return found if isinstance(found, float) else math.nan


def _root(step: Step, operands: list[Fact], values: Values) -> Fact:
    return _raised(operands[0], 0.5)


def _exponential(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    bounded = one.degree <= 0 or one.high <= 0
    high = math.exp(one.high) if bounded and one.high < _LARGEST_EXPONENT else math.inf
    low = math.exp(one.low) if one.sure and abs(one.low) < _LARGEST_EXPONENT else 0.0
    return clean(low, high, replace(one, degree=0.0, mask=0.0, pure=False, infinite=False, integer=False))


def _logarithm(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    low = math.log(one.low) if one.low > 0 else _SMALLEST_LOGARITHM
    high = math.log(one.high) if one.sure and one.high > 0 else _LARGEST_EXPONENT + 1
    return clean(low, max(low, high), replace(one, degree=0.0, mask=0.0, pure=False, integer=False))


def _negate(step: Step, operands: list[Fact], values: Values) -> Fact:
    return replace(operands[0], low=-operands[0].high, high=-operands[0].low, peak="")


def _absolute(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    low = 0.0 if one.low < 0 < one.high else min(abs(one.low), abs(one.high))
    return replace(one, low=low, high=one.bound, peak="")


def _rounded(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    return replace(
        one,
        low=math.floor(one.low) if math.isfinite(one.low) else one.low,
        integer=True,
        high=math.ceil(one.high) if math.isfinite(one.high) else one.high,
    )


def _remainder(step: Step, operands: list[Fact], values: Values) -> Fact:
    bound = operands[-1].bound
    low = 0.0 if operands[0].low >= 0 and operands[-1].low >= 0 else -bound
    return Fact(
        low, bound, operands[-1].degree, any(one.data for one in operands), integer=all(one.integer for one in operands)
    )


def _total(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Sums over axes: of data, ordinary again, bounds or not; of what is no data, as large as the axis is long."""
    one = operands[0]
    if not one.data or one.integer:
        return clean(-math.inf if one.low < 0 else 0.0, math.inf if one.high > 0 else 0.0, one)
    return replace(one, degree=max(one.degree, 1.0), root="", peak="", measured=False)


def _norm(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    square = step.op == "ReduceSumSquare"
    made = clean(0.0, one.bound**2 if square else one.bound, one)
    return replace(made, degree=max(one.degree * (2 if square else 1), 1.0), integer=False)


def _exploding(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    if one.low >= 0 and one.sure and one.high <= 1:
        return clean(0.0, 1.0, one)
    return clean(0.0 if one.low >= 0 else -math.inf, math.inf, one)


def _softplus(step: Step, operands: list[Fact], values: Values) -> Fact:
    one = operands[0]
    return clean(0.0, max(one.high, 1.0), replace(one, integer=False, mask=0.0, pure=False))


def _log_softmax(step: Step, operands: list[Fact], values: Values) -> Fact:
    return clean(-max(operands[0].bound, 1.0), 0.0, replace(operands[0], integer=False))


def _matrix(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Products of matrices: data is ordinary again, unless it is multiplied by itself; integers stay integers."""
    if len(operands) == 2 and not any(one.data for one in operands) and _positions(operands):
        return Fact(-math.inf, math.inf, 0.0, data=False, integer=all(one.integer for one in operands))
    if len(operands) == 2 and operands[0].data and operands[0].root == operands[1].root and operands[0].root:
        return replace(DATA, degree=operands[0].degree + operands[1].degree)
    return _contract(step, operands, values)


def _contract(step: Step, operands: list[Fact], values: Values) -> Fact:
    """Sums of products: nothing negative comes of what is never negative, and nothing smaller: powers stay powers."""
    if not operands or any(one.low < 0 for one in operands):
        return DATA
    return replace(DATA, low=0.0, degree=max(1.0, *(one.degree for one in operands if one.data), 1.0))


def _positions(operands: list[Fact]) -> bool:
    """Whether integers that are no data are among the operands."""
    return any(one.integer and not one.data and one.unknown for one in operands)


ARITHMETIC: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Sum"), _add),
    **dict.fromkeys(("Floor", "Ceil", "Round"), _rounded),
    **dict.fromkeys(("ReduceSum", "CumSum"), _total),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare"), _norm),
    **dict.fromkeys(("Conv", "Gemm", "ConvTranspose"), _contract),
    **dict.fromkeys(("MatMul", "Einsum"), _matrix),
    "Mul": _multiply,
    "Div": _divide,
    "Reciprocal": _reciprocal,
    "Pow": _power,
    "Sqrt": _root,
    "Exp": _exponential,
    "Log": _logarithm,
    "ReduceLogSum": _logarithm,
    "Neg": _negate,
    "Abs": _absolute,
    "Mod": _remainder,
    "ReduceProd": _exploding,
    "Softplus": _softplus,
    "LogSoftmax": _log_softmax,
}
