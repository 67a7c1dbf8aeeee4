"""What type every weighted operator computes in, on graphs written by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv.backends import proof
from trtconv.graph import types


def quantized(name: str, source: str, kind: type = np.int8) -> list[onnx.NodeProto]:
    return [helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [name])]  # fmt: skip


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), "w"),
               numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float16), "w16"),
               numpy_helper.from_array(rng.integers(-9, 9, (4, 4)).astype(np.int8), "w8"),
               numpy_helper.from_array(np.float32(0.1), "scale"),
               numpy_helper.from_array(np.int8(0), "zero")]  # fmt: skip
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])], weights)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def counted(*nodes: onnx.NodeProto) -> dict[str, dict[str, int]]:
    made = model(list(nodes))
    return proof.weighted_types(made, types.infer(made))


def test_float() -> None:
    assert counted(helper.make_node("MatMul", ["x", "w"], ["y"])) == {"MatMul": {"float": 1}}


def test_half_behind_a_cast() -> None:
    cast = helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16)
    assert counted(cast, helper.make_node("Gemm", ["x16", "w16"], ["y16"])) == {"Gemm": {"float16": 1}}


def test_int8_on_both_sides_stored_either_way() -> None:
    stored = helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["wd"])
    matmul = helper.make_node("MatMul", ["xd", "wd"], ["y"])
    assert counted(*quantized("xd", "x"), stored, matmul) == {"MatMul": {"int8": 1}}
    assert counted(*quantized("xd", "x"), *quantized("wd", "w"), matmul) == {"MatMul": {"int8": 1}}


def test_int8_weights_alone_are_called_so() -> None:
    stored = helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["wd"])
    turned = helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0])
    matmul = helper.make_node("MatMul", ["x", "wt"], ["y"])
    assert counted(stored, turned, matmul) == {"MatMul": {"int8 weights": 1}}


def test_an_activation_pair_alone_leaves_the_float_type() -> None:
    assert counted(*quantized("xd", "x"), helper.make_node("MatMul", ["xd", "w"], ["y"])) == {"MatMul": {"float": 1}}


def test_stored_types_are_found() -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])])
    assert proof.holds(made, "int8")
    assert not proof.holds(made, "float8e4m3fn", "int4")
