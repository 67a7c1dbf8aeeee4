"""A fact: what is known of the values of one tensor (see ``values``), and how facts go together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trtconv.graph import editing, weights_aside
from trtconv.graph.dataflow import Flow, Step

ORDINARY = 1024.0
"""A large but ordinary activation: its square is beyond float16."""

TYPICAL = 16.0
"""A typical large activation: a factor under which it leaves the type is too large to be taken for a mere scale."""

MASK = 1e8
"""Values of at least this magnitude mean nothing but: leave this out. FP32 adds no score to them either: its spacing
there is 8, whereas smaller ones keep a part of the scores, which decides where all of a row is left out."""


@dataclass(frozen=True)
class Fact:
    """What is known of one float tensor's values.

    Attributes:
        low: smallest value when the data is between -1 and 1. Not negative means: never negative.
        high: largest value when the data is between -1 and 1; infinite when nothing is known.
        degree: the power of the data that the values grow with; 0 when ``low`` and ``high`` are bounds.
        data: whether they depend on floating-point inputs or on weighted operators.
        integer: whether they are integers.
        mask: the largest magnitude of values that were put there to be larger than all others; 0 for none.
        pure: whether the interval is that of the mask itself, and not of the data that it was put over.
        layered: whether masks of several sizes are among them, of which the larger ones leave out what others keep.
        infinite: whether infinity is among them by intent.
        given: whether it is an input of the model, perhaps moved, of which nothing was measured.
        measured: whether the bounds are from samples.
        root: the tensor that these are the values of, up to order, sign, scale and offset.
        peak: the tensor whose largest values along some axis these are.
    """

    low: float = -1.0
    high: float = 1.0
    degree: float = 1.0
    data: bool = True
    integer: bool = False
    mask: float = 0.0
    pure: bool = False
    layered: bool = False
    infinite: bool = False
    given: bool = False
    measured: bool = False
    root: str = ""
    peak: str = ""

    @property
    def bound(self) -> float:
        """Largest magnitude under the assumption that data is between -1 and 1."""
        return max(abs(self.low), abs(self.high))

    @property
    def reach(self) -> float:
        """Largest magnitude that has to be reckoned with."""
        if self.degree <= 0 or self.bound == 0:
            return self.bound
        return self.bound * (TYPICAL if self.degree <= 1 else ORDINARY ** min(self.degree, 16))

    @property
    def unknown(self) -> bool:
        """Whether nothing bounds the values, not even the premise that data is ordinary."""
        return math.isinf(self.bound)

    @property
    def sure(self) -> bool:
        """Whether ``low`` and ``high`` are bounds."""
        return self.degree == 0 and not self.unknown


DATA = Fact()
"""What is assumed of data."""

WEIGHT = Fact(-1.0, 1.0, 0.0, data=False)
"""What is assumed of weights that nobody looked at."""


Rule = Callable[["Step", list[Fact], "Values"], Fact]
"""From a step and the facts of its float operands to the fact of its first output."""


class Values(dict[str, Fact]):
    """Facts by tensor; of a tensor that nothing is known of, what is assumed of data."""

    def __init__(self, flow: Flow, limit: float) -> None:
        super().__init__()
        self.flow = flow
        self.limit = limit

    def __missing__(self, key: str) -> Fact:
        return replace(DATA, root=key)


def of_constant(tensor: Any, key: str, limit: float) -> Fact:
    """The fact of a constant."""
    values = editing.array(tensor)
    if not values.size:
        return Fact(0.0, 0.0, 0.0, data=False, root=key)
    (low, high), infinite = weights_aside.bounds(tensor, values), False
    if not (math.isfinite(high) and math.isfinite(low)):
        finite, infinite = values[np.isfinite(values)], bool(np.isinf(values).any())
        high, low = (float(finite.max()), float(finite.min())) if finite.size else (0.0, 0.0)
    peak = max(abs(high), abs(low))
    whole = values.size <= editing.SMALL and bool((values == np.floor(values)).all())
    mask = math.inf if infinite else peak if peak > limit and peak >= MASK else 0.0
    return Fact(low, high, 0.0, data=False, integer=whole, mask=mask, pure=mask > 0, infinite=infinite, root=key)


def union(facts: list[Fact]) -> Fact:
    """Values of any of some tensors, side by side."""
    roots = {one.root for one in facts}
    return Fact(
        low=min(one.low for one in facts),
        high=max(one.high for one in facts),
        degree=max(one.degree for one in facts),
        data=any(one.data for one in facts),
        integer=all(one.integer for one in facts),
        mask=max(one.mask for one in facts),
        pure=any(one.pure for one in facts),
        layered=any(one.layered for one in facts) or len({one.mask for one in facts} - {0.0}) > 1,
        infinite=any(one.infinite for one in facts),
        given=all(one.given for one in facts),
        root=roots.pop() if len(roots) == 1 else "",
    )


def over(facts: list[Fact]) -> tuple[list[Fact], float, bool]:
    """Operands without the masks that are put over their data, the mask's magnitude, and whether it has infinities.

    What depends on lengths and positions only, and may have any size, is such a mask as well if it meets data.
    """
    data = any(one.data or (one.mask and not one.pure) for one in facts if not one.pure)
    masks = [one for one in facts if one.pure or (data and one.unknown and not one.data)]
    others = [one for one in facts if one not in masks]
    peak = max((one.mask for one in facts), default=0.0)
    infinite = any(one.infinite for one in facts)
    if not (masks and data):
        return facts, peak, infinite
    unknown = any(one.unknown for one in masks)
    return others, math.inf if unknown else peak, infinite or unknown


def clean(low: float, high: float, like: Fact, **changes: Any) -> Fact:
    """A fact with these bounds, NaN where infinities met; data that nothing bounds is ordinary again."""
    low, high = (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)
    return replace(like, low=low, high=high, **{"root": "", "peak": "", "given": False, "measured": False, **changes})


def scalar(step: Step, position: int, values: Values) -> float | None:
    """The value of a constant operand that has only one."""
    key = step.inputs[position] if position < len(step.inputs) else ""
    tensor = values.flow.constants.get(key)
    if tensor is None or int(np.prod(tensor.dims, dtype=np.int64)) != 1:
        return None
    return float(editing.array(tensor).reshape(-1)[0])
