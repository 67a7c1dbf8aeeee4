import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.networks import constant, model, node, residual_cnn, value
from trtconv.core.errors import ConversionError
from trtconv.graph import types

HALF = TensorProto.FLOAT16


def mixed(first: int, second: int, op: str = "Add"):
    return model(
        [node(op, "a b", "c", "sum")],
        [value("a", [2], first), value("b", [2], second)],
        [value("c", [2], first)],
        check=False,
    )


def test_types_agree_with_onnx_shape_inference_on_a_whole_network():
    network = residual_cnn()
    inferred = onnx.shape_inference.infer_shapes(network, strict_mode=True)
    scope = types.infer(network)
    assert len(inferred.graph.value_info) > 10
    for one in inferred.graph.value_info:
        assert scope[one.name] == one.type.tensor_type.elem_type
    types.check(network)


def test_mixed_operands_are_refused_with_node_and_types():
    with pytest.raises(ConversionError, match=r"'sum' \(Add\).*float .*float16"):
        types.check(mixed(TensorProto.FLOAT, HALF))
    types.check(mixed(HALF, HALF))


def test_stricter_than_onnx_where_tensorrt_is():
    pow_of_mixed = mixed(TensorProto.FLOAT, HALF, "Pow")
    onnx.checker.check_model(pow_of_mixed, full_check=True)  # ONNX allows it
    with pytest.raises(ConversionError, match="Pow"):
        types.check(pow_of_mixed)


def test_types_that_an_operator_does_not_take():
    with pytest.raises(ConversionError, match=r"'sum': Add does not take input 0 \('a'\) as bool"):
        types.check(mixed(TensorProto.BOOL, TensorProto.BOOL))


def test_scales_of_resize_stay_float_beside_half_data():
    network = model(
        [node("Resize", "x - scales", "y", mode="nearest")],
        [value("x", [1, 1, 2, 2], HALF)],
        [value("y", [1, 1, 4, 4], HALF)],
        {"scales": np.array([1, 1, 2, 2], "float32")},
    )
    types.check(network)
    assert types.infer(network)["y"] == HALF


def test_casts_quantization_and_shapes():
    network = model(
        [
            node("QuantizeLinear", "x scale zero", "q"),
            node("DequantizeLinear", "q scale zero", "d"),
            node("Cast", "d", "h", to=HALF),
            node("Shape", "h", "s"),
            node("ConstantOfShape", "s", "z"),
        ],
        [value("x", [2])],
        [value("h", [2], HALF), value("z", [2])],
        {"scale": np.float32(0.5), "zero": np.int8(0)},
    )
    scope = types.infer(network)
    assert [scope[name] for name in ("q", "d", "h", "s", "z")] == [
        TensorProto.INT8,
        TensorProto.FLOAT,
        HALF,
        TensorProto.INT64,
        TensorProto.FLOAT,
    ]
    types.check(network)


def branches(then_kind: int, else_kind: int):
    bodies = {}
    for name, kind in (("then_branch", then_kind), ("else_branch", else_kind)):
        cast = node("Cast", "x", f"{name}_out", to=kind)
        bodies[name] = helper.make_graph([cast], name, [], [value(f"{name}_out", [2], kind)])
    given = [value("condition", [], TensorProto.BOOL), value("x", [2])]
    return model([node("If", "condition", "y", "choice", **bodies)], given, [value("y", [2], then_kind)], check=False)


def test_branches_must_make_the_same_type():
    types.check(branches(HALF, HALF))
    with pytest.raises(ConversionError, match=r"'choice' \(If\).*float and float16"):
        types.check(branches(HALF, TensorProto.FLOAT))


def test_nodes_inside_subgraphs_are_checked_with_what_they_capture():
    inner = helper.make_graph(
        [node("Add", "x w", "inside", "deep")],
        "body",
        [],
        [value("inside", [2])],
        [constant(np.zeros(2, "float16"), "w")],
    )
    other = helper.make_graph([node("Identity", "x", "outside")], "body", [], [value("outside", [2])])
    choice = node("If", "condition", "y", then_branch=inner, else_branch=other)
    given = [value("condition", [], TensorProto.BOOL), value("x", [2])]
    network = model([choice], given, [value("y", [2])], check=False)
    with pytest.raises(ConversionError, match="'deep'"):
        types.check(network)


def loop(carried: int):
    body = helper.make_graph(
        [node("Cast", "state", "next", to=carried), node("Identity", "go", "again")],
        "body",
        [value("step", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", [2])],
        [value("again", [], TensorProto.BOOL), value("next", [2], carried)],
    )
    return model(
        [node("Loop", "count - x", "y", "turns", body=body)],
        [value("x", [2])],
        [value("y", [2])],
        {"count": np.int64(3)},
        check=False,
    )


def test_what_a_loop_carries_keeps_its_type():
    types.check(loop(TensorProto.FLOAT))
    with pytest.raises(ConversionError, match="loop-carried value 0"):
        types.check(loop(HALF))


def test_an_output_of_another_type_than_declared():
    network = model([node("Cast", "x", "y", to=HALF)], [value("x", [2])], [value("y", [2])], check=False)
    with pytest.raises(ConversionError, match="output 'y' is declared float but made as float16"):
        types.check(network)
