"""What is known of the values of every float tensor of a model, subgraphs included, before it ever ran or after.

An interval is kept per tensor, under the premise of all half precision that activations are ordinary: the inputs of a
network, and what its weighted operators make, have some magnitude near 1 that is not known. How far a tensor can be
from that is its degree: a square has degree 2, and it leaves float16 when an ordinary value of ORDINARY is squared,
whereas a scaled activation does not. Constants are known, measured ranges replace what was assumed, and every operator
that moves, bounds or combines values passes on what is known of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from trtconv.graph import value_rules
from trtconv.graph.dataflow import JOIN, Flow, Step
from trtconv.graph.value_facts import DATA, MASK, ORDINARY, TYPICAL, WEIGHT, Fact, Values, of_constant

__all__ = ["MASK", "ORDINARY", "TYPICAL", "Fact", "Values", "analyse"]

_LARGE = 2**17  # values of a constant that take time to look at

_TURNS = 3
"""Passes over a model with loops; what still grows then has no bounds."""


def analyse(flow: Flow, ranges: Mapping[str, float] | None, limit: float, look_at_weights: bool = True) -> Values:
    """Facts of all float tensors.

    Args:
        flow: of the model.
        ranges: largest magnitude per tensor of the main graph on real samples; None: nothing was measured.
        limit: of the type to be lowered to: what is beyond it, and beyond MASK, can only be a mask or a mistake.
        look_at_weights: whether to look at all values of large matrices and kernels; else they are taken for ordinary.
    """
    values = Values(flow, limit)
    for key, tensor in flow.constants.items():
        if flow.is_float(key):
            ordinary = not look_at_weights and _is_weight(flow, key)
            values[key] = WEIGHT if ordinary else of_constant(tensor, key, limit)
    for key in flow.floats(sorted(flow.inputs)):
        values[key] = _measured(replace(DATA, root=key, given=True), ranges, key)
    turns = _TURNS if any(_opens_loop(step, flow) for step in flow.steps) else 1
    for turn in range(turns):
        before = dict(values)
        for step in flow.steps:
            for position, key in enumerate(step.outputs):
                if flow.is_float(key):
                    found = value_rules.fact(step, position, values)
                    values[key] = _measured(_widened(found, before.get(key), turn), ranges, key)
        if before == values:
            break
    return values


def _is_weight(flow: Flow, key: str) -> bool:
    """Whether a constant is large, and only multiplied with data."""
    large = math.prod(flow.constants[key].dims) > _LARGE
    return large and all(step.op in ("Conv", "ConvTranspose", "Gemm", "MatMul") for step in flow.readers(key))


def _opens_loop(step: Step, flow: Flow) -> bool:
    """Whether a step reads what only later steps make."""
    return step.op == JOIN and len(step.inputs) > 1 and flow.is_float(step.outputs[0])


def _widened(found: Fact, before: Fact | None, turn: int) -> Fact:
    """A fact that still changes in the last turn of a loop goes on changing: no bounds."""
    if turn < _TURNS - 1 or before is None or before == found:
        return found
    low = 0.0 if min(found.low, before.low) >= 0 else -math.inf
    return replace(found, low=low, high=math.inf)


def _measured(fact: Fact, ranges: Mapping[str, float] | None, key: str) -> Fact:
    """A fact with measured bounds; masks keep their own, since their size says nothing about the data."""
    peak = (ranges or {}).get(key, math.inf)
    if not math.isfinite(peak):
        return fact
    if fact.given and peak >= MASK:
        return replace(fact, low=-peak, high=peak, degree=0.0, mask=peak, pure=True, given=False, measured=True)
    if fact.mask and peak >= MASK:
        return fact
    low = min(fact.low, peak) if fact.low >= 0 else -peak
    high = min(fact.high, 0.0) if fact.high <= 0 else peak
    return replace(fact, low=low, high=high, degree=0.0, given=False, measured=True)
