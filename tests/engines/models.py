"""Small ONNX models for tests of building and running."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IMAGE = ("batch", 3, 16, 16)
CLASSES = 10


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto],
    *,
    shape: Sequence[int | str] = IMAGE,
    output: Sequence[int | str] = ("batch", CLASSES),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a model from ``x`` to ``y``."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, output)],
        list(weights),
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def conv_net(path: Path, half: bool = False) -> Path:
    """Convolution, ReLU, pooling, a dense layer: FP32, or FP16 with FP32 inputs and outputs."""
    rng, kind = np.random.default_rng(0), np.float16 if half else np.float32
    weights = [
        ("k", rng.normal(size=(8, 3, 3, 3)) / 5),
        ("kb", rng.normal(size=8)),
        ("w", rng.normal(size=(8, CLASSES))),
        ("b", rng.normal(size=CLASSES)),
    ]
    node = helper.make_node
    nodes = [
        node("Conv", ["x0", "k", "kb"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"], name="relu"),
        node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        node("Flatten", ["p"], ["f"], name="flat"),
        node("Gemm", ["f", "w", "b"], ["y0"], name="dense"),
    ]
    ends = (TensorProto.FLOAT16, TensorProto.FLOAT)
    nodes.insert(0, node("Cast", ["x"], ["x0"], name="down", to=ends[0]) if half else node("Identity", ["x"], ["x0"]))
    nodes.append(node("Cast", ["y0"], ["y"], name="up", to=ends[1]) if half else node("Identity", ["y0"], ["y"]))
    return save(path, nodes, [numpy_helper.from_array(value.astype(kind), name) for name, value in weights])


def images(count: int, seed: int = 0) -> np.ndarray:
    """Samples for ``conv_net``."""
    return np.random.default_rng(seed).normal(size=(count, 3, 16, 16)).astype(np.float32)
