"""Leftovers of TensorFlow Lite's quantization: the same numbers from plain arithmetic, or none of the rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import onnxruntime
from trtconv.graph import clean
from trtconv.sources.tflite import quantization


def build(body: str, **weights: np.ndarray) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {body}')
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in weights.items())
    clean.prepare(model)
    return model


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return onnxruntime.session(model.SerializeToString(), optimize=False).run({"x": x})["y"]


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, -7), (np.uint8, 131)])
def test_quantizing_with_a_zero_point_is_spelt_out(dtype: type, zero: int) -> None:
    name = np.dtype(dtype).name
    weights = {"s": np.array(0.05, np.float32), "z": np.array(zero, dtype)}
    model = build(f"(float[1, 4001] x) => ({name}[1, 4001] y) {{ y = QuantizeLinear(x, s, z) }}", **weights)
    x = np.linspace(-20, 20, 4001, dtype=np.float32)[None]  # beyond both ends, and onto halves
    wanted = run(model, x)
    assert (wanted.min(), wanted.max()) == (np.iinfo(dtype).min, np.iinfo(dtype).max)
    quantization.finish_dequantizing(model)
    onnx.checker.check_model(model, full_check=True)
    assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}
    np.testing.assert_array_equal(run(model, x), wanted)


def test_quantizing_without_a_zero_point_stays() -> None:
    weights = {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    model = build("(float[1, 4] x) => (int8[1, 4] y) { y = QuantizeLinear(x, s, z) }", **weights)
    quantization.finish_dequantizing(model)
    assert [node.op_type for node in model.graph.node] == ["QuantizeLinear"]


def test_ranges_of_single_batches_are_left_out() -> None:
    model = build(
        """(float[1, 4] x) => (float[1, 2] y) {
        q, s, z = DynamicQuantizeLinear(x) d = DequantizeLinear(q, s, z) y = MatMul(d, w) }""",
        w=np.arange(8, dtype=np.float32).reshape(4, 2),
    )
    x = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    rounded = run(model, x)
    quantization.finish_dequantizing(model)
    clean.clean(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]
    exact = run(model, x)
    np.testing.assert_allclose(exact, x @ np.arange(8, dtype=np.float32).reshape(4, 2), rtol=1e-6)
    assert 0 < np.abs(exact - rounded).max() < 0.1
