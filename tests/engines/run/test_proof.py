"""What type every weighted operator computes in: on graphs written by hand, and by what inspectors told of engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import networks
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec, Proof
from trtconv.engines.run import inspector, proof
from trtconv.graph import types
from trtconv.stages.calibrate import CalibrateRequest, calibrate
from trtconv.stages.lower import LowerRequest, lower

RECORDED = Path(__file__).parents[2] / "data/inspector"
"""What inspectors printed of engines built with detailed verbosity, by version of TensorRT, network and precision."""


def quantized(name: str, source: str, kind: type = np.int8) -> list[onnx.NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [name]),
    ]


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float16), "w16"),
        numpy_helper.from_array(rng.integers(-9, 9, (4, 4)).astype(np.int8), "w8"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def counted(*nodes: onnx.NodeProto) -> dict[str, dict[str, int]]:
    made = model(list(nodes))
    return proof.weighted_types(proof.operators(made, types.infer(made)))


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


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
def test_weights_on_the_left_are_weights(op: str) -> None:
    stored = helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["wd"])
    column = helper.make_node("Transpose", ["x"], ["c"], perm=[1, 0])
    product = helper.make_node(op, ["wd", "c"], ["z"], "product")
    nodes = [column, stored, product, helper.make_node("Transpose", ["z"], ["y"], perm=[1, 0])]
    assert counted(*nodes) == {op: {"int8 weights": 1}}
    made = model(nodes)
    assert [one.weights for one in proof.operators(made, types.infer(made))] == [16]
    assert counted(column, *quantized("cd", "c"), stored, helper.make_node(op, ["wd", "cd"], ["z"]), nodes[-1]) == {
        op: {"int8": 1}
    }


@pytest.mark.parametrize("op", ["MatMul", "Gemm"])
@pytest.mark.parametrize("left", [False, True])
def test_a_quantized_activation_beside_one_in_float_is_no_weight(op: str, left: bool) -> None:
    column = helper.make_node("Transpose", ["x"], ["c"], perm=[1, 0])
    operands = ["cd", "x"] if left else ["c", "xd"]
    nodes = [column, *(quantized("cd", "c") if left else quantized("xd", "x")), helper.make_node(op, operands, ["z"])]
    assert counted(*nodes) == {op: {"float": 1}}
    made = model(nodes)
    assert [one.weights for one in proof.operators(made, types.infer(made))] == [0]


def test_an_activation_pair_alone_leaves_the_float_type() -> None:
    assert counted(*quantized("xd", "x"), helper.make_node("MatMul", ["xd", "w"], ["y"])) == {"MatMul": {"float": 1}}


def test_stored_types_are_found() -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])])
    assert proof.holds(made, "int8")
    assert not proof.holds(made, "float8e4m3fn", "int4")


@pytest.fixture
def lowered(tmp_path: Path) -> Any:
    """The typed model that an engine was recorded from: same operators, same names."""

    def make(network: str, precision: str) -> onnx.ModelProto:
        wide = np.random.default_rng(4).normal(size=(16, 64)).astype(np.float32)
        made, samples = {
            "perceptron": (networks.perceptron(), wide),
            "encoder": (networks.encoder(), wide.reshape(1, 16, 64)),
            "cnn": (networks.residual_cnn(width=32), networks.images(16)),
        }[network]
        source, cache, typed = tmp_path / "m.onnx", tmp_path / "m.cache", tmp_path / "typed.onnx"
        onnx.save(made, source)
        np.save(tmp_path / "x.npy", samples)
        calibrate(CalibrateRequest(source, FeedSpec(tmp_path / "x.npy"), cache), ignore)
        lower(LowerRequest(source, typed, precision, cache), ignore)
        return onnx.load(typed)

    return make


def recorded(name: str) -> str:
    return (RECORDED / f"tensorrt_rtx-1.5.0-{name}.json").read_text()


def judged(made: onnx.ModelProto, text: str) -> Proof:
    operators = proof.operators(made, types.infer(made))
    return proof.by_layers(operators, inspector.layers(text), "inspector of X on Y")


@pytest.mark.parametrize(
    ("network", "precision", "kind", "least"),
    [
        ("perceptron", "fp32", "float", 1.0),
        ("perceptron", "fp16", "float16", 1.0),
        ("perceptron", "bf16", "bfloat16", 1.0),
        ("perceptron", "int8", "int8", 1.0),
        ("cnn", "fp8", "float8e4m3fn", 0.99),
        ("encoder", "int8", "int8", 0.95),
    ],
)
def test_a_recorded_engine_keeps_what_its_model_promises(
    lowered: Any, network: str, precision: str, kind: str, least: float
) -> None:
    found = judged(lowered(network, precision), recorded(f"{network}-{precision}"))
    assert found.by == "inspector of X on Y"
    assert found.promised == pytest.approx(found.found)
    assert found.found[kind] >= least
    assert (found.wider, found.wider_share) == ((), 0)


def test_one_layer_in_float_is_named_with_its_share(lowered: Any) -> None:
    """The recorded engine with its middle product in float: 16384 of 28672 multiplications."""
    told = recorded("perceptron-fp16").splitlines()
    at = next(number for number, line in enumerate(told) if "FcAddRelu" in line)
    told[at] = told[at].replace('"Half"', '"Float"')
    found = judged(lowered("perceptron", "fp16"), "\n".join(told))
    (one,) = found.wider
    assert (one.node, one.op, one.promised, one.found) == ("MatMul_c", "MatMul", "float16", "float")
    assert one.layer == "__myl_FcAddRelu_myl0_3"
    assert one.share == found.wider_share == pytest.approx(128 * 128 / (64 * 128 + 128 * 128 + 128 * 32))
    assert found.found == pytest.approx({"float": one.share, "float16": 1 - one.share})


def test_a_transposed_convolution_that_was_built_for_fp8_and_runs_in_fp16() -> None:
    """As TensorRT-RTX 1.5 does: its two other convolutions were in FP16 from the start."""
    found = [
        proof.Operator("Conv_a", "Conv", "float16", "float16", 288, 73728),
        proof.Operator("Conv_b", "Conv", "float16", "float16", 4608, 294912),
        proof.Operator("ConvTranspose_y", "ConvTranspose", "float8e4m3fn", "float16", 8192, 524288),
    ]
    told = proof.by_layers(found, inspector.layers(recorded("convolutions-fp8")), "inspector")
    assert told.found == {"float16": 1.0}
    assert [(one.node, one.layer) for one in told.wider] == [("ConvTranspose_y", "ConvTranspose_y_myl0_4")]
    assert told.wider_share == pytest.approx(524288 / 892928)


def test_an_int8_model_in_an_fp16_engine_is_wider(lowered: Any) -> None:
    found = judged(lowered("perceptron", "int8"), recorded("perceptron-fp16"))
    assert found.found == {"float16": 1.0}
    assert found.wider_share == pytest.approx(1.0)
    assert [one.node for one in found.wider] == ["MatMul_c", "MatMul_a", "Gemm_y"]


def test_narrower_than_asked_is_no_fault(lowered: Any) -> None:
    found = judged(lowered("perceptron", "fp16"), recorded("perceptron-int8"))
    assert found.found == {"int8": 1.0}
    assert found.wider_share == 0


@pytest.mark.parametrize("text", ["", "nothing", '{"Layers": []}', '{"Layers": ["MatMul_a + Relu_b", "Gemm_y"]}'])
def test_an_inspector_that_tells_no_types_proves_nothing(lowered: Any, text: str) -> None:
    found = judged(lowered("perceptron", "fp16"), text)
    assert found.by == "typed ONNX (the inspector of X on Y tells no types of the operators' layers)"
    assert found.promised == {"float16": 1.0}
    assert (found.found, found.wider_share) == ({}, None)


def test_layers_that_are_closed_count_as_unknown(lowered: Any) -> None:
    """An operator that is in no layer, or in one without types, is neither proved nor refuted."""
    told = recorded("perceptron-fp16").replace("[ONNX Layer: MatMul_c]", "[ONNX Layer: elsewhere]")
    found = judged(lowered("perceptron", "fp16"), told)
    assert found.found == pytest.approx({"unknown": 16384 / 28672, "float16": 12288 / 28672})
    assert found.wider == ()


def cask(name: str, kind: str, weights: str, count: int) -> str:
    """A layer as TensorRT's guide prints it: no metadata, the type within the format, weights by count."""
    return (
        f'{{"Name": "{name}", "LayerType": "CaskConvolution", "Inputs": [{{"Name": "x", "Dimensions": [16,512,28,'
        f'28], "Format/Datatype": "{kind}"}}], "Outputs": [], "Weights": {{"Type": "{weights}", "Count": {count}}},'
        ' "Bias": {"Type": "Float", "Count": 256}}'
    )


@pytest.mark.parametrize(
    ("kind", "weights", "found"),
    [
        ("Thirty-two wide channel vectorized row major Int8 format.", "Int8", "int8"),
        ("Channel major FP16 format where channel % 8 == 0", "Half", "float16"),
        ("Row major linear BFloat16 format", "BFloat16", "bfloat16"),
        ("Row major linear FP32", "Float", "float"),
        ("Row major linear FP16 format", "Int8", "int8 weights"),
        ("N/A due to dynamic shapes", "Half", "float16"),
    ],
)
def test_the_words_of_tensorrt(kind: str, weights: str, found: str) -> None:
    one = proof.Operator("conv1", "Conv", "int8", "float16", 131072, 7)
    text = f'{{"Layers": [{cask("conv1 + relu1 || conv2", kind, weights, 131072)}]}}'
    told = proof.by_layers([one], inspector.layers(text), "inspector")
    assert told.found == {found: 1.0}
    assert bool(told.wider) is (found != "int8")


def test_quantized_weights_alone_promise_the_type_of_the_operands() -> None:
    one = proof.Operator("conv1", "Conv", "int8 weights", "float16", 131072, 7)
    half = f'{{"Layers": [{cask("conv1", "Row major linear FP16 format", "Half", 131072)}]}}'
    single = f'{{"Layers": [{cask("conv1", "Row major linear FP32", "Float", 131072)}]}}'
    assert proof.by_layers([one], inspector.layers(half), "i").wider == ()
    assert [w.found for w in proof.by_layers([one], inspector.layers(single), "i").wider] == ["float"]


def test_operands_that_are_both_computed_meet_in_a_layer() -> None:
    """As in attention: no weights; the product is where two inputs of one type meet, not where results are scaled."""

    def layer(kind: str, inputs: str) -> str:
        parts = ", ".join(f'{{"Name": "t", "Datatype": "{word}"}}' for word in inputs.split())
        return f'{{"Name": "l", "LayerType": "{kind}", "Inputs": [{parts}], "Metadata": "[ONNX Layer: scores]"}}'

    one = proof.Operator("scores", "MatMul", "float16", "float16", 0, 7)
    for inputs, found in (("Half Half", "float16"), ("Float Float", "float"), ("Half Half Float", "float16")):
        text = f'{{"Layers": [{layer("kgen", "Float Float")}, {layer("gemm", inputs)}]}}'
        assert proof.by_layers([one], inspector.layers(text), "i").found == {found: 1.0}


def test_what_follows_an_operator_does_not_speak_for_it() -> None:
    """An LSTM in TensorRT-RTX 1.5: its products bear no name, only the gates behind them do."""
    gates = (
        '{"Name": "g", "LayerType": "kgen", "Inputs": [{"Datatype": "Half"}, {"Datatype": "Half"}], "Metadata": '
        '"[ONNX Layer: lstm]"}'
    )
    layers = inspector.layers(f'{{"Layers": [{gates}]}}')
    for weights, found in ((8192, {}), (0, {"float16": 1.0})):
        one = proof.Operator("lstm", "LSTM", "float16", "float16", weights, 7)
        assert proof.by_layers([one], layers, "i").found == found


def test_products_are_counted_at_the_shapes_given() -> None:
    """By hand: a 3x3 convolution of 4 to 8 channels over 5x5 outputs; 8 x 2 x 16 transposed; a matrix turned over."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("ConvTranspose", ["c", "t"], ["d"], name="deconv", strides=[2, 2]),
        helper.make_node("Gemm", ["a", "m"], ["g"], name="gemm", transA=1),
    ]
    ends = [networks.value("x", ["batch", 4, 7, 7]), networks.value("a", [6, "batch"])]
    constants = {
        "w": np.ones((8, 4, 3, 3), np.float32),
        "t": np.ones((8, 16, 2, 2), np.float32),
        "m": np.ones((6, 10), np.float32),
    }
    made = networks.model(nodes, ends, [networks.value("d"), networks.value("g")], constants, check=False)
    counted = {one.node: one.products for one in proof.operators(made, types.infer(made), {"x": (2, 4, 7, 7)})}
    assert counted == {"conv": 2 * 8 * 25 * 4 * 9, "deconv": 2 * 8 * 25 * 16 * 4, "gemm": 1 * 10 * 6}


def test_what_has_no_known_shape_counts_by_its_weights() -> None:
    odd = helper.make_node("Odd", ["x"], ["a"], domain="elsewhere")
    made = networks.model(
        [odd, helper.make_node("MatMul", ["a", "w"], ["y"])],
        [networks.value("x", ["batch", 6])],
        [networks.value("y")],
        {"w": np.ones((6, 10), np.float32)},
        check=False,
    )
    (one,) = proof.operators(made, types.infer(made), {"x": (8, 6)})
    assert (one.node, one.products) == ("node_of_y", 60)


def test_a_recurrent_operator_counts_both_its_matrices_at_every_step() -> None:
    made = networks.recurrent(size=32, hidden=64, steps=12)
    lstm, matrix = proof.operators(made, types.infer(made), {"x": (12, 5, 32)})
    assert (lstm.op, lstm.kind, lstm.weights) == ("LSTM", "float", 4 * 64 * 32)
    assert lstm.products == 12 * 5 * 4 * 64 * (32 + 64)
    assert matrix.products == 5 * 64 * 32
