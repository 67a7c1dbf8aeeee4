"""What nearly cancels out before it is divided by: roundings of its terms count many times in the quotient.

A divisor that is a sum of values of both signs may be anything, however large its terms. What rounds them decides the
result: engines keep the terms of some sums in FP32 inside a kernel and round those of others, so only terms that are
FP32 in the graph mean the same everywhere.
"""

from __future__ import annotations

from functools import cached_property

from trtconv.graph import value_rules
from trtconv.graph.dataflow import Flow, Step
from trtconv.graph.value_facts import Values

CANCELLED = 2.0**-4
"""A sum that is smaller than this share of its operands has lost four bits."""

_ADDING = frozenset({"Add", "Sub", "Sum", "Mean"})
_REDUCING = frozenset({"ReduceSum", "ReduceMean", "CumSum", "AveragePool", "GlobalAveragePool"})
_ONE_SIDED = frozenset({"Max", "Min", "Clip", "Relu", "LeakyRelu", "Abs", "Neg", "Cast", "Pad", "Trilu"})
_SCALING = frozenset({"Mul", "Div"}) | _ADDING


def terms(flow: Flow, values: Values, key: str) -> list[str]:
    """The tensors of which a tensor is the sum that may cancel out, and those between; empty if it cannot.

    Terms are followed to where they are made: to the product of matrices that they are elements of, or to what both
    sides of a difference are computed from (the mean of squares and the square of the mean of the same values).
    """
    return list(_Search(flow, values, key).found)


class _Search:
    def __init__(self, flow: Flow, values: Values, key: str) -> None:
        self.flow = flow
        self.values = values
        self.found: dict[str, None] = {}
        self.sides: list[str] = []
        if way := self._way(key):
            self.found.update(dict.fromkeys(way))
            self._follow(list(self.sides))

    def _way(self, key: str) -> list[str]:
        """The tensors from a divisor to the sum that cancels out; behind a constant, to what that is added to."""
        way: list[str] = []
        beside = False
        while (step := self.flow.maker(key)) is not None and key not in way:
            way.append(key)
            sources = self._data(step)
            if self._cancels(step):
                if len(sources) > 1 or step.op in _REDUCING:
                    self.sides = sources
                    return way
                beside = True
            if len(sources) != 1 or not self._linear(step):
                break
            key = sources[0]
        return way if beside else []

    def _data(self, step: Step) -> list[str]:
        return [key for key in self.flow.floats(step.inputs) if key not in self.flow.constants]

    def _cancels(self, step: Step) -> bool:
        """Whether a sum may be small although its terms are not."""
        result = self.values[step.outputs[0]]
        if step.op not in _ADDING | _REDUCING or not result.data:
            return False
        terms = [self.values[key] for key in self.flow.floats(step.inputs)]
        if result.sure and max(result.low, -result.high) > CANCELLED * max(one.bound for one in terms):
            return False
        signs = [(one.low >= 0, one.high <= 0) for one in terms]
        if step.op == "Sub":
            signs[1:] = [(below, above) for above, below in signs[1:]]
        return not (all(above for above, _ in signs) or all(below for _, below in signs))

    def _linear(self, step: Step) -> bool:
        """Whether a step hands on the values of one tensor, moved, scaled, bounded or with a constant beside them."""
        if step.op in _SCALING:
            scaled = [key for key in step.inputs if key not in self.flow.constants]
            return len(scaled) == 1 and (step.op != "Div" or scaled[0] == step.inputs[0])
        return step.op in value_rules.MOVING | _ONE_SIDED | _REDUCING

    def _follow(self, ahead: list[str]) -> None:
        """Note terms, and what they are made of: what they are elements of, and what is between them and its origin."""
        between, shared = self._origins
        while ahead:
            key = ahead.pop()
            if key not in self.found and key not in shared:
                self.found[key] = None
                step = self.flow.maker(key)
                if step is not None and not self._contracted(key):
                    ahead += [one for one in self._data(step) if self._linear(step) or one in between]

    @cached_property
    def _origins(self) -> tuple[set[str], set[str]]:
        """Of a difference: what is between it and the values that both sides are computed from; and those values.

        Both sides have the same roundings of those. Where both only move, scale or add them up, elements of them are
        what cancels out, and they are none.
        """
        sides = [self._behind(key, False) for key in self.sides]
        if len(sides) != 2:
            return set(), set()
        common = sides[0] & sides[1]
        between = (sides[0] | sides[1]) - common if common else set()
        elements = set.intersection(*(self._behind(key, True) for key in self.sides))
        return {key for key in between if not self._contracted(key)}, common - elements

    def _behind(self, key: str, linear: bool) -> set[str]:
        """What a tensor is computed from (linearly), as far as the results of products of matrices."""
        found, ahead = set(), [key]
        while ahead:
            key = ahead.pop()
            if key not in found:
                found.add(key)
                step = self.flow.maker(key)
                if step is not None and not self._contracted(key) and (self._linear(step) or not linear):
                    ahead += self._data(step)
        return found

    def _contracted(self, key: str) -> bool:
        step = self.flow.maker(key)
        return step is not None and step.op in value_rules.CONTRACTING
