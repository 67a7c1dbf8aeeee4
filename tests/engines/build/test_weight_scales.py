"""One scale for all weights of a product becomes one for each channel, and the model computes what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.parts import FLOAT, node, save
from trtconv.adapters import onnxruntime
from trtconv.engines.build import workarounds

ONE = np.float32(0.1)
WEIGHTS = np.random.default_rng(0).integers(-127, 128, (6, 4)).astype(np.int8)


def model(folder: Path, last: Any, weights: np.ndarray, scale: Any = ONE, **more: Any) -> Path:
    zero = np.zeros(np.shape(scale), np.int8)
    constants = {"w": weights, "scale": np.float32(0.02), "fine": scale, "zero": np.int8(0), "zeros": zero}
    nodes = [
        node("DequantizeLinear", ["w", "fine", "zeros"], "f", **more),
        node("QuantizeLinear", ["x", "scale", "zero"], "q"),
        node("DequantizeLinear", ["q", "scale", "zero"], "u"),
        last,
        node("Relu", ["a"], "y"),
    ]
    return save(folder / "net.onnx", nodes, {"y": FLOAT}, constants, {"x": (FLOAT, ["n", 6])})


@pytest.mark.parametrize(
    ("last", "weights", "axis"),
    [
        (node("MatMul", ["u", "f"], "a"), WEIGHTS, 1),
        (node("Gemm", ["u", "f"], "a"), WEIGHTS, 1),
        (node("Gemm", ["u", "f"], "a", transB=1), WEIGHTS.T.copy(), 0),
    ],
    ids=["matmul", "gemm", "transposed"],
)
def test_one_scale_becomes_one_for_each_channel(tmp_path: Path, last: Any, weights: np.ndarray, axis: int) -> None:
    path = model(tmp_path, last, weights)
    made = workarounds.rewritten(path)
    assert made is not None
    loaded = onnx.load_from_string(made)
    dequantized = next(each for each in loaded.graph.node if each.output[0] == "f")
    stored = {tensor.name: tensor for tensor in loaded.graph.initializer}
    assert [list(stored[name].dims) for name in dequantized.input[1:]] == [[4], [4]]
    assert onnx.helper.get_node_attr_value(dequantized, "axis") == axis
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)}
    wanted, got = (onnxruntime.session(each, optimize=False).run(feeds)["y"] for each in (path.read_bytes(), made))
    np.testing.assert_array_equal(wanted, got)


def test_others_stay(tmp_path: Path) -> None:
    product = node("MatMul", ["u", "f"], "a")
    channels = model(tmp_path, product, WEIGHTS, np.full(4, 0.1, np.float32), axis=1)
    assert workarounds.rewritten(channels) is None
    read_as_it_is = model(tmp_path, node("MatMul", ["f", "f"], "a"), np.eye(4, dtype=np.int8))
    assert workarounds.rewritten(read_as_it_is) is None
