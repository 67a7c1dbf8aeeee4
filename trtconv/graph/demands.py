"""What a model asks of its tensors: which a 16-bit type may hold, which must stay FP32, which only have to saturate.

Judged are values, wherever they come from. A tensor overflows if what it reaches is beyond the type. It must be exact
if it holds large integers, is the argument of a periodic function, is divided by (or its root or logarithm is taken)
where it may be smaller than the type's normal numbers, or nearly cancels out. And it may saturate if its huge values
only ever say to a Softmax or to a comparison: leave this out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

from trtconv.graph import cancellation, elementwise, value_rules
from trtconv.graph.cancellation import CANCELLED
from trtconv.graph.dataflow import JOIN, Flow, Step
from trtconv.graph.half_types import Half
from trtconv.graph.values import Fact, Values

_PERIODIC = frozenset({"Sin", "Cos"})
_EXPONENTIAL = frozenset({"Softmax", "LogSoftmax", "Exp"})
"""Operators that make relative differences of absolute ones."""

_STEPPING = frozenset(
    {
        *("Floor", "Ceil", "Round", "Sign", "Mod", "ThresholdedRelu", "Shrink", "Unique", "NonZero"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Hardmax", "ArgMax", "ArgMin", "TopK"),
    }
)
"""Operators whose results jump: exactness matters where nothing has rounded what they read before."""

_CENTRING = frozenset(
    {"MeanVarianceNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"}
)
"""Operators that take the mean away on the way."""

_RELATIVE = {"Div": 1, "Sqrt": 0, "Reciprocal": 0, "Log": 0, "Pow": 0}
"""Operators, and which of their operands' relative precision matters however small it is."""

_INVERTING = frozenset({"Sqrt", "Reciprocal", "Pow"})
"""Operators between a variance and the data that it normalises: each rounding there is one of every value's."""

_SETTLING = frozenset(
    {
        "Softmax",
        "Hardmax",
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
        "Erf",
        "Softsign",
        "Sign",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Equal",
        "ArgMax",
        "ArgMin",
        "IsInf",
        "IsNaN",
        "Shape",
        "Size",
    }
)
"""Operators to which one large value is as good as another."""

_PASSING = value_rules.MOVING - {"ScatterND", "ScatterElements"} | frozenset(
    {"Add", "Sub", "Sum", "Min", "Max", "Clip", "ReduceMax", "Neg", "Abs", "Relu", "LeakyRelu", "Trilu", "Pad", "Cast"}
)
"""Operators that hand large values on, as large as they are or larger."""

MASK_SHARE = 0.5
"""What masks become, as a share of the largest value: so large that where all of a row is left out, scores up to 8
vanish beside them in float16 as they vanish in FP32 beside 1e9; and two of them do not overflow."""

LAYER_SHARE = 0.75
"""The part of that for the smallest of masks of several sizes; the rest keeps the larger ones apart."""

_LEAST_SCALE = 1 / 32
"""A mask scaled down by no more than this is still beyond every score: exp(-0.5 * 65504 / 32) is 0 in FP32."""

_MASK_OF_ATTENTION = 3  # input


class Demands:
    """The demands of one model.

    Args:
        flow: of the model.
        values: what is known of its tensors.
        half: the type.
        limit: magnitudes above it stay FP32.

    Attributes:
        overflowing: tensor -> why the type cannot hold it.
        exact: tensor -> why the type would spoil it; what weighted operators read or make excepted.
        cancelling: those of these that are terms of a divisor; products of matrices among them.
    """

    def __init__(self, flow: Flow, values: Values, half: Half, limit: float) -> None:
        self.flow = flow
        self.values = values
        self.half = half
        self.limit = limit
        self.overflowing: dict[str, str] = {}
        self.exact: dict[str, str] = {}
        self.cancelling: set[str] = set()
        self._find()

    # Masks.

    def saturates(self, step: Step, key: str) -> bool:
        """Whether a step may read a tensor of huge values, or of values of unknown size, after they were clipped."""
        fact = self.values[key]
        beyond = fact.pure and fact.bound > self.limit
        bound = self.bounds(step, key)
        return bound or ((beyond or fact.mask > 0 or self._may_mask(step, key)) and self._settles(step, key))

    def _may_mask(self, step: Step, key: str) -> bool:
        """Whether a tensor that may have any size is put over data: what is no data, or an input never measured."""
        ahead, seen = [(step, key)], {key}
        while ahead:
            step, key = ahead.pop()
            fact = self.values[key]
            if not (fact.unknown and not fact.data) and not fact.given:
                return False
            if step.op in value_rules.MOVING and len(list(self.flow.floats(step.inputs))) == 1:
                further = [(one, out) for out in self.flow.floats(step.outputs) for one in self.flow.readers(out)]
                if not further:
                    return False
                ahead += [(one, out) for one, out in further if out not in seen]
                seen.update(out for _, out in further)
            elif not masks(step, key) and not self._over_data(step, key):
                return False
        return True

    def _over_data(self, step: Step, key: str) -> bool:
        others = [other for other in self.flow.floats(step.inputs) if other != key]
        return step.op in ("Add", "Sub", "Sum", "Where", "Max", "Min") and any(self.values[o].data for o in others)

    def settled(self, key: str) -> bool:
        """Whether every way from a tensor ends where one large value is as good as another."""
        return key not in self._unsettled

    @cached_property
    def _unsettled(self) -> set[str]:
        """Tensors of which large values do harm somewhere."""
        harmful: list[str] = []
        sources: dict[str, list[str]] = {}
        for key in {key for step in self.flow.steps for key in (*step.inputs, *step.outputs)} | self.flow.inputs:
            ways = [self._onward(step, key) for step in self.flow.readers(key)]
            if key in self.flow.outputs or not ways or None in ways:
                harmful.append(key)
            for out in (out for way in ways if way for out in way):
                sources.setdefault(out, []).append(key)
        found: set[str] = set()
        while harmful:
            key = harmful.pop()
            if key not in found:
                found.add(key)
                harmful += sources.get(key, ())
        return found

    def _settles(self, step: Step, key: str) -> bool:
        onward = self._onward(step, key)
        return onward is not None and not any(out in self._unsettled for out in onward)

    def _onward(self, step: Step, key: str) -> list[str] | None:
        """Where the large values of a tensor go behind a step that reads it; None where they do harm."""
        if step.op in _SETTLING or self.bounds(step, key) or masks(step, key):
            return []
        if step.op == "Exp":
            return [] if self.values[key].high <= max(self.limit, 0.0) and self.values[key].mask > 0 else None
        if step.op in ("Mul", "Div"):
            passing = self._scales(step, key)
        else:
            passing = step.op in _PASSING
        return [out for out in step.outputs if self.flow.is_float(out)] if passing else None

    def bounds(self, step: Step, key: str) -> bool:
        """Whether a tensor bounds another one from so far away that it never does."""
        fact = self.values[key]
        if fact.bound <= self.limit or fact.data or step.op not in ("Min", "Max", "Clip") or key not in step.inputs:
            return False
        upper = step.op == "Min" or (step.op == "Clip" and step.inputs.index(key) == 2)
        return fact.low >= self.limit if upper else fact.high <= -self.limit

    def _scales(self, step: Step, key: str) -> bool:
        """Whether a product or quotient only scales a tensor, and not to nothing."""
        others = [self.values[other] for other in step.inputs if other != key]
        if len(others) != 1 or others[0].data or not others[0].sure or (key != step.inputs[0] and step.op == "Div"):
            return False
        least, most = sorted((abs(others[0].low), abs(others[0].high)))
        return least >= _LEAST_SCALE if step.op == "Mul" else 0 < most <= 1 / _LEAST_SCALE

    # What must stay FP32.

    def _find(self) -> None:
        for step in self.flow.steps:
            for key in self.flow.floats(step.outputs):
                self._judge(key)
            self._look_at(step)
        for key in (*self.flow.inputs, *self.flow.constants):
            if self.flow.is_float(key):
                self._judge(key)
        for key in [out for step in self.flow.steps if step.op == JOIN for out in step.outputs]:
            if key in self.overflowing and self.values[key].measured:
                self._hand_back(key)

    def _judge(self, key: str) -> None:
        fact = self.values[key]
        if fact.mask and not fact.pure and not self.settled(key):
            self.overflowing[key] = f"{key!r} holds {_shown(fact.mask)} that reaches more than a Softmax"
        elif self._counts(key, fact) and self.half.integers < fact.reach <= self.limit:
            self.exact.setdefault(key, self._integers(key, fact))
        elif fact.unknown and not fact.data and not (fact.mask and fact.infinite):
            why = self._integers(key, fact) if fact.integer else f"{key!r} comes from positions or lengths of any size"
            self.exact.setdefault(key, why)
        elif 0 < fact.bound < self.half.normal and key not in self.flow.constants:
            self.overflowing[key] = (
                f"{key!r} is no larger than {_shown(fact.bound)}, below the normal range of {self.half.name}"
            )
        elif fact.reach > self.limit:
            may = f"reaches {_shown(fact.reach)}" if fact.sure else f"may reach {_shown(fact.reach)} (not measured)"
            self.overflowing[key] = f"{key!r} {may}, above {self.limit:.4g}"

    def _hand_back(self, result: str) -> None:
        """What control flow was seen to hand on comes from bodies of which nothing was measured: FP32 like it."""
        ahead, seen = [result], {result}
        while ahead:
            step = self.flow.maker(ahead.pop())
            for key in self.flow.floats(step.inputs if step is not None else ()):
                if key not in seen and key not in self.flow.constants and not self.values[key].measured:
                    seen.add(key)
                    ahead.append(key)
                    self.overflowing.setdefault(key, self.overflowing[result])

    def _counts(self, key: str, fact: Fact) -> bool:
        """Whether a tensor holds positions, lengths or their like; a whole number among the constants is a factor."""
        return fact.integer and not fact.data and key not in self.flow.constants

    def _integers(self, key: str, fact: Fact) -> str:
        reach = f"integers up to {fact.reach:.4g}" if math.isfinite(fact.reach) else "integers of any size"
        return f"{key!r} holds {reach}; above {self.half.integers} {self.half.name} is not exact"

    def _look_at(self, step: Step) -> None:
        inputs = [key for key in self.flow.floats(step.inputs) if key not in self.flow.constants]
        if step.op in _STEPPING:
            self._look_at_steps(step, inputs)
        elif step.op in _RELATIVE and self._relative(step):
            key = step.inputs[_RELATIVE[step.op]]
            logarithm = step.op == "Log" and self.values[key].low < self.half.normal
            if (self._small(key) or logarithm) and key not in self.flow.constants:
                why = f"{key!r} goes into {step.op} and may be as small as {_shown(max(self.values[key].low, 0.0))}"
                self._demand(key, why, self._small)
            self._look_at_cancellation(step, key)
        elif step.op in ("Add", "Sub"):
            self._look_at_sum(step, inputs)
        elif step.op in _CENTRING and (why := self._offset(step, step.inputs[0])):
            self._demand(step.inputs[0], why, lambda one: True)
        elif inputs and step.node is not None and (why := self._sensitive(step, inputs[0])):
            self._demand(inputs[0], why, lambda key: True)
        if step.op in _INVERTING and inputs and inputs[0] in self.exact:
            self.exact.setdefault(step.outputs[0], self.exact[inputs[0]])

    def _look_at_cancellation(self, step: Step, key: str) -> None:
        """What an operand is the sum of that may be anything."""
        for one in cancellation.terms(self.flow, self.values, key):
            self.exact.setdefault(one, f"{key!r} goes into {step.op} and may cancel out, down to 0")
            self.cancelling.add(one)

    def _look_at_steps(self, step: Step, inputs: list[str]) -> None:
        for key in inputs:
            if not self._rounded(key) and not self.values[key].mask:
                self._demand(key, f"a rounding of {key!r} may change what {step.op} makes of it", lambda one: True)

    def _sensitive(self, step: Step, key: str) -> str:
        """Why rounding an operand spoils what an operator makes of it; empty where it does not."""
        if step.op in _PERIODIC:
            reach = self._argument(key)
            return f"{key!r} is the argument of {step.op} and reaches {_shown(reach)}" * (reach > self.half.angle)
        if step.op in _EXPONENTIAL:
            spoilt = self._spoils_exponent(step, key)
            return f"{key!r} is the exponent of {step.op} and reaches {_shown(self.values[key].reach)}" * spoilt
        if (moved := self._moved(step, key)) > self.half.steep:
            return f"rounding {key!r} moves what {step.op} makes of it by {moved:.2g} of its largest value"
        return ""

    def _spoils_exponent(self, step: Step, key: str) -> bool:
        """Whether the type rounds a known exponent too coarsely, and nothing has rounded it as coarsely before."""
        fact = self.values[key]
        known = (fact.measured or fact.sure) and not fact.mask
        least = fact.low if step.op == "Exp" and fact.high <= 0 else 0.0  # small results count little beside large ones
        return known and least >= 0 and fact.reach > self.half.exponent and not self._rounded(key)

    def _rounded(self, key: str) -> bool:
        """Whether a sum of products is on the way to a tensor: it carries rounding errors in any case."""
        ahead, seen = [key], {key}
        while ahead:
            key = ahead.pop()
            maker = self.flow.maker(key)
            if maker is not None and maker.op in value_rules.CONTRACTING:
                if key not in self.overflowing:
                    return True
            elif maker is not None:
                fresh = [one for one in self.flow.floats(maker.inputs) if one not in seen]
                seen.update(fresh)
                ahead += fresh
        return False

    def _moved(self, step: Step, key: str) -> float:
        """How far rounding the operand of an elementwise operator without a rule moves its results."""
        if step.op in value_rules.LISTED or (curve := elementwise.curve(step.node, self.flow.version)) is None:
            return 0.0
        fact, scale = self.values[key], 1.0
        if fact.degree > 0 and fact.bound:
            scale = fact.reach / fact.bound
        return curve.moved(fact.low * scale, fact.high * scale, self.half.name)

    def _argument(self, key: str) -> float:
        fact = self.values[key]
        return math.inf if fact.degree > 0 else fact.reach

    def _relative(self, step: Step) -> bool:
        """Whether small values of the operand make large results; powers of it only if they are roots or inverse."""
        if step.op != "Pow":
            return True
        exponent = self.values[step.inputs[1]]
        return not exponent.sure or exponent.low < 1

    def _small(self, key: str) -> bool:
        """Whether a tensor of magnitudes may hold some that are no normal numbers of the type."""
        fact = self.values[key]
        return 0 <= fact.low < self.half.normal and fact.bound > 0 and not fact.integer

    def _look_at_sum(self, step: Step, inputs: list[str]) -> None:
        result = self.values[step.outputs[0]]
        most = max((self.values[key].bound for key in self.flow.floats(step.inputs)), default=0.0)
        if not self.flow.is_float(step.outputs[0]) or result.unknown or math.isinf(most) or result.mask:
            return
        usual = self.values[step.inputs[-1]].peak and any(self._rounded(key) for key in inputs)  # of a Softmax
        if 0 < result.bound < most * CANCELLED and not usual:
            why = f"of {_shown(most)} only {_shown(result.bound)} is left in {step.outputs[0]!r}"
            for key in inputs:
                self._demand(key, why, lambda one: self.values[one].bound > most * CANCELLED)

    def _offset(self, step: Step, key: str) -> str:
        """Why little is left of a tensor without its mean; empty where more is, or where sums of products made it."""
        fact = self.values[key]
        spread = fact.high - fact.low
        if not 0 < spread < fact.bound * CANCELLED or self._rounded(key):
            return ""
        return f"of {_shown(fact.bound)} only {_shown(spread)} is left of {key!r} in {step.op}"

    def _demand(self, key: str, why: str, goes_on: Callable[[str], bool]) -> None:
        """Demand exactness of a tensor and of all that it is computed from, as far as exactness goes."""
        ahead = [key]
        while ahead:
            key = ahead.pop()
            maker = self.flow.maker(key)
            if key in self.exact or (maker is not None and not self._keeps(maker, key)):
                continue
            self.exact[key] = why
            if maker is not None:
                sources = (one for one in self.flow.floats(maker.inputs) if one not in self.flow.constants)
                ahead += [one for one in sources if goes_on(one)]

    def _keeps(self, step: Step, key: str) -> bool:
        """Whether a step's result is as exact as its operands: sums of many products are if none can cancel out."""
        if step.op not in value_rules.CONTRACTING:
            return True
        operands = [one for one in self.flow.floats(step.inputs) if one not in self.flow.constants]
        return self.values[key].low >= 0 or not all(self.values[one].data for one in operands)


def masks(step: Step, key: str) -> bool:
    """Whether a tensor is the mask of an Attention."""
    return step.op == "Attention" and key in step.inputs[_MASK_OF_ATTENTION:][:1] and step.inputs.count(key) == 1


def _shown(value: float) -> str:
    return "any value" if math.isinf(value) else f"{value:.4g}"
