"""Operators that no rule names: what is known of them comes from running them, or is nothing."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.networks import Arrays, model, node, run, value
from trtconv.graph import autocast, editing, elementwise, strict, types

LOWEST = float(np.finfo(np.float32).min)
ROWS = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)


def lowered(nodes: list[Any], constants: Arrays, opset: int = 22, **ranges: float) -> tuple[Any, dict[str, str]]:
    network = model(nodes, [value("x", [4, 8])], [value("y", [4, 8])], constants, opset=opset, check=False)
    editing.normalize(network)
    report = autocast.lower(network, "fp16", ranges or None)
    types.check(network)
    return network, dict(report.kept)


def alone(op: str, **attributes: Any) -> elementwise.Curve | None:
    return elementwise.curve(node(op, "x", "y", **attributes), 22)


@pytest.mark.parametrize("op", ["Gelu", "HardSwish", "Mish", "Asinh", "Cosh", "Shrink", "Tan", "Abs"])
def test_elementwise_operators_are_found_by_running_them(op: str) -> None:
    assert alone(op) is not None


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "ReduceSum", "CumSum", "Det", "LRN", "Shape", "Size"])
def test_what_looks_at_more_than_one_element_is_not_elementwise(op: str) -> None:
    assert alone(op) is None


def test_a_curve_tells_size_and_sensitivity() -> None:
    gelu, tangent = alone("Gelu"), alone("Tan")
    assert gelu is not None
    assert tangent is not None
    low, high = gelu.span(-8, 8)
    assert low == pytest.approx(-0.17, abs=0.01)
    assert high == pytest.approx(8, abs=0.05)
    assert gelu.moved(-8, 8, "float16") < 2**-10
    assert tangent.moved(-30, 30, "float16") > 0.1


def test_an_activation_without_a_rule_computes_in_half() -> None:
    network, kept = lowered([node("Gelu", "x", "g"), node("Mul", "g two", "y")], {"two": np.float32(2)})
    assert kept == {}
    assert "Gelu" in [one.op_type for one in network.graph.node]


def test_one_that_explodes_or_is_steep_does_not() -> None:
    _, kept = lowered([node("Cosh", "x", "y")], {})
    assert "may reach" in kept["Cosh_y"]
    _, kept = lowered([node("Tan", "x", "y")], {}, x=20.0, y=30.0)
    assert "moves what Tan makes of it" in kept["Tan_y"]


def test_a_mask_behind_an_operator_without_a_rule_is_taken_for_any_value() -> None:
    """CumProd of a mask could be anything; what follows it stays FP32 with the reason."""
    nodes = [
        node("Where", "flags x low", "m"),
        node("CumProd" if types.schema("CumProd", "", 26) else "LRN", "m axis", "p"),
        node("Add", "p x", "y"),
    ]
    constants = {"flags": np.eye(4, 8) > 0, "low": np.float32(LOWEST), "axis": np.int64(1)}
    _, kept = lowered(nodes, constants, opset=26)
    assert "any value" in kept["Add_y"]


def test_squares_inside_are_reckoned_with() -> None:
    nodes = [node("LpNormalization", "x", "y", axis=1, p=2)]
    for reach, word in ((100.0, "above"), (1e-3, "below the normal range"), (3.0, "as small as 0")):
        _, kept = lowered(nodes, {}, x=reach, y=1.0)
        assert word in kept["LpNormalization_y"]
    assert "was not measured" in lowered(nodes, {})[1]["LpNormalization_y"]


@pytest.mark.parametrize("spelling", ["LogSoftmax", "Log"])
def test_logarithms_of_probabilities_are_finite(spelling: str) -> None:
    nodes = [node("LogSoftmax", "x", "y", axis=-1)]
    if spelling == "Log":
        nodes = [node("Softmax", "x", "p", axis=-1), node("Log", "p", "y")]
    x = np.float32([[30, 0, 1, 2, 3, 4, 5, 6]] * 4)
    wanted = run(model(nodes, [value("x", [4, 8])], [value("y", [4, 8])]), {"x": x})["y"]
    for ranges in ({}, {"x": 30.0, "p": 1.0, "y": 30.0}):
        network, _ = lowered(nodes, {}, **ranges)
        np.testing.assert_allclose(strict.run(network, {"x": x})["y"], wanted, atol=0.1)


def test_a_type_that_an_operator_names_itself_is_not_lowered() -> None:
    network = model(
        [node("BitCast", "x", "b", to=TensorProto.INT32), node("Cast", "b", "y", to=TensorProto.FLOAT)],
        [value("x", [4, 8])],
        [value("y", [4, 8])],
        opset=26,
        check=False,
    )
    editing.normalize(network)
    report = autocast.lower(network, "bf16")
    assert dict(report.kept)["BitCast_b"] == "BitCast has no bfloat16 form"


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_node_of_two_outputs_of_the_model(precision: str) -> None:
    network = model(
        [node("Split", "x", "a b", axis=1, num_outputs=2)],
        [value("x", [4, 8])],
        [value("a", [4, 4]), value("b", [4, 4])],
        opset=18,
    )
    editing.normalize(network)
    autocast.lower(network, precision)
    onnx.checker.check_model(network, full_check=True)
    found = strict.run(network, {"x": ROWS})
    np.testing.assert_allclose(np.concatenate([found["a"], found["b"]], 1), ROWS, rtol=2**-7)


def test_masks_of_an_attention_saturate() -> None:
    """What is left out counts nothing, and a row that is left out wholly is no NaN."""
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 8)).astype(np.float32)
    mask = np.zeros((1, 1, 4, 4), np.float32)
    mask[..., 0, :], mask[..., 1, 2:] = LOWEST, LOWEST
    shape = [1, 2, 4, 8]
    network = model(
        [node("Attention", "x x x mask", "y")],
        [value("x", shape), value("mask", [1, 1, 4, 4])],
        [value("y", shape)],
        opset=23,
        check=False,
    )
    wanted = run(network, {"x": x, "mask": mask})["y"]
    editing.normalize(network)
    for ranges in ({"x": 3.0, "y": 3.0}, None):
        half = copy.deepcopy(network)
        assert autocast.lower(half, "fp16", ranges).kept == ()
        found = strict.run(half, {"x": x, "mask": mask})["y"]
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found[:, :, 1:], wanted[:, :, 1:], atol=0.01)


def test_long_chains_are_judged_without_recursion() -> None:
    nodes = [node("Add", f"t{at} low" if at else "x low", f"t{at + 1}") for at in range(1500)]
    network, _ = lowered([*nodes, node("Softmax", "t1500", "y")], {"low": np.full(1, LOWEST, np.float32)})
    assert len(network.graph.node) > 1500
    _, kept = lowered([*nodes, node("Sin", "t1500", "y")], {"low": np.ones(1, np.float32)})
    assert len(kept) == 1501
