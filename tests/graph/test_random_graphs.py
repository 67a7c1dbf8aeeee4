"""Random graphs in half precision: what strict arithmetic makes of the lowered model is what FP32 makes of the model.

Without samples and with them. Faults that these draws found while the rules were written, with a seed that shows each:
masks added up before they are clipped lose their order (125), so did masks beside a bound of -3.4e38 (2577), a bound
such as Min(x, inf) passed for a mask (141) and so did a factor of 1e9 (3608), a Clip of masks of several sizes ended in
an error (3326), the reciprocal of a norm without a floor (54), a mask of tokens of any integer (100), and values scaled
below the normal range and back (16).
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.graph.random_graphs import draw
from tests.networks import Arrays, run
from trtconv.graph import autocast, editing, observe, strict, types

ALLOWED = {"fp16": 0.02, "bf16": 0.12}
"""Largest difference, as a share of the output's largest value: about 40 roundings."""

KINDS = {"fp16": (TensorProto.FLOAT16, np.float16), "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}
SEEDS = (16, 54, 100, 125, 141, 2577, 3326, 3608, *range(1000, 1031))


def difference(wanted: Any, found: Any) -> float:
    """Largest difference over the largest finite value; infinite where NaN is new."""
    wanted, found = np.float64(wanted), np.float64(found)
    if (np.isnan(found) & ~np.isnan(wanted)).any():
        return np.inf
    apart = np.where((wanted == found) | np.isnan(wanted), 0, np.abs(wanted - found))
    return float(apart.max(initial=0) / np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-30))


@cache
def drawn(seed: int, width: int = 8) -> tuple[Any, Arrays, Any, dict[str, float]]:
    """A model, its inputs, its FP32 output, and the ranges of its tensors."""
    network, feeds = draw(seed, width)
    editing.normalize(network)
    names = [name for name in observe.activations(network) if name not in feeds]
    shown = copy.deepcopy(network)
    present = {one.name for one in network.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    found = run(shown, feeds)
    floats = {name: array for name, array in {**feeds, **found}.items() if array.dtype == np.float32}
    ranges = {name: float(np.abs(array[np.isfinite(array)]).max(initial=0)) for name, array in floats.items()}
    return network, feeds, found[network.graph.output[0].name], ranges


def unavoidable(network: Any, feeds: Arrays, wanted: Any, precision: str) -> float:
    """What rounding the data and the products of matrices alone does to the output."""
    element, dtype = KINDS[precision]
    rounded = copy.deepcopy(network)
    for graph in editing.graphs(rounded.graph):
        nodes = []
        for one in graph.node:
            nodes.append(one)
            if one.op_type == "MatMul":
                name = one.output[0]
                one.output[0] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_low"], to=element))
                nodes.append(helper.make_node("Cast", [f"{name}_low"], [name], to=TensorProto.FLOAT))
        editing.replace_nodes(graph, nodes)
    data = {name: array.astype(dtype).astype(np.float32) if name == "x" else array for name, array in feeds.items()}
    with np.errstate(all="ignore"):
        return difference(wanted, ReferenceEvaluator(rounded).run(None, data)[0])


def check(seed: int, precision: str, measured: bool) -> None:
    network, feeds, wanted, ranges = drawn(seed)
    assert np.isfinite(wanted).any()
    if not measured and np.abs(wanted[np.isfinite(wanted)]).max() < 1e-3:
        return  # without samples nobody knows that all of it is nearly nothing
    half = copy.deepcopy(network)
    autocast.lower(half, precision, ranges if measured else None)
    types.check(half)
    (found,) = strict.run(half, feeds).values()
    apart = difference(wanted, found)
    if apart > ALLOWED[precision]:  # rarely: some graphs amplify any rounding
        assert apart <= ALLOWED[precision] + 4 * unavoidable(network, feeds, wanted, precision), (
            network.graph.doc_string
        )


@pytest.mark.parametrize("measured", [False, True], ids=["plain", "measured"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("seed", SEEDS)
def test_half_precision_computes_what_fp32_does(seed, precision, measured):
    check(seed, precision, measured)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(2000, 3000, 100))
def test_many_more_graphs(first):
    for seed in range(first, first + 100):
        for precision in KINDS:
            check(seed, precision, False)
            check(seed, precision, True)


def test_the_draws_cover_what_they_are_for():
    """Many graphs hold something that casting everything would break."""
    broken = 0
    for seed in SEEDS:
        network, feeds, wanted, _ = drawn(seed)
        everything = copy.deepcopy(network)
        for graph in editing.graphs(everything.graph):
            _round_everything(graph)
        with np.errstate(all="ignore"):
            broken += difference(wanted, ReferenceEvaluator(everything).run(None, feeds)[0]) > ALLOWED["fp16"]
    assert broken > len(SEEDS) / 3


def _round_everything(graph: Any) -> None:
    """Round every float tensor that a node of the graph makes to float16."""
    scope = types.infer(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    nodes = []
    for one in graph.node:
        nodes.append(one)
        for position, name in enumerate(list(one.output)):
            if scope.find(name) == TensorProto.FLOAT and not editing.bodies(one):
                one.output[position] = f"{name}_exact"
                nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_low"], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [f"{name}_low"], [name], to=TensorProto.FLOAT))
    editing.replace_nodes(graph, nodes)
