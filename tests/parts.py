"""Small models that TensorRT does not take whole, and their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv import Engine
from trtconv.adapters import onnxruntime
from trtconv.core.events import ignore
from trtconv.engines.plan import manifest
from trtconv.graph import strict
from trtconv.stages.build import BuildRequest, build

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
RANDOM = np.random.default_rng(0)
IMAGE = {"x": (FLOAT, ["n", 3, 8, 8])}


def node(op: str, inputs: Sequence[str], *outputs: str, **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), f"{op}_{outputs[0]}", **attributes)


def conv(x: str, weights: str, y: str) -> Any:
    return node("Conv", [x, weights], y, pads=[1] * 4)


def weights(*shape: int) -> Any:
    return (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


WEIGHTS = {"w1": weights(16, 3, 3, 3), "w2": weights(16, 16, 3, 3), "bias": weights(8)}
"""``bias`` fits BiasGelu where the last dimension is 8."""


def save(
    path: Path,
    nodes: Sequence[Any],
    outputs: Mapping[str, int],
    constants: Mapping[str, Any],
    inputs: Mapping[str, tuple[int, list[Any]]] = IMAGE,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def block(x: str, y: str, first: str = "w2") -> list[Any]:
    """Two convolutions: worth an engine."""
    return [
        conv(x, first, f"{y}1"),
        node("Relu", [f"{y}1"], f"{y}2"),
        conv(f"{y}2", "w2", f"{y}3"),
        node("Relu", [f"{y}3"], y),
    ]


def gelu(x: str, y: str) -> Any:
    return node("BiasGelu", [x, "bias"], y, domain="com.microsoft")


def made(model: Path, **options: Any) -> manifest.Manifest:
    target = model.with_suffix(".parts")
    build(BuildRequest(model=model, engine=target, backend="rtx", fallback="onnxruntime", **options), ignore)
    return manifest.read(target)


def kinds(found: manifest.Manifest) -> list[str]:
    return [part["kind"] for part in found.parts]


def ops(found: manifest.Manifest) -> set[str]:
    return {one["op"] for one in found.facts["fell_back"]}


def require_equal(
    model: Path, found: manifest.Manifest, feeds: Sequence[Mapping[str, Any]], *, bound: float = 1e-5
) -> None:
    """The parts' ONNX in order against the whole model: ONNX Runtime, or strictly where types ask for it."""
    loaded = onnx.load(model)
    low = strict.needed(loaded)
    session = None if low else onnxruntime.session(model)
    with Engine(found.folder, backend="onnxruntime") as engine:
        assert engine.runner.endswith(f"{len(found.parts)} parts")
        for feed in feeds:
            wanted = strict.run(loaded, feed) if session is None else session.run(feed)
            got = engine(feed)
            got = got if isinstance(got, dict) else {next(iter(wanted)): got}
            for name, array in wanted.items():
                assert got[name].dtype == array.dtype
                assert got[name].shape == array.shape
                np.testing.assert_allclose(got[name], array, atol=1e-5, rtol=1e-5)


def images(*sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [{"x": RANDOM.normal(size=size).astype(np.float32)} for size in sizes]


BATCHES = images((1, 3, 8, 8), (5, 3, 8, 8), (32, 3, 8, 8))


def body(name: str, nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[str]) -> Any:
    return helper.make_graph(list(nodes), name, list(inputs), [helper.make_empty_tensor_value_info(o) for o in outputs])


def pair(x: str, y: str) -> list[Any]:
    return [
        node("QuantizeLinear", [x, "scale", "zero"], f"{y}_q"),
        node("DequantizeLinear", [f"{y}_q", "scale", "zero"], y),
    ]


def quick(x: str, y: str) -> Any:
    """An operator of ONNX Runtime alone that takes any shape."""
    return node("QuickGelu", [x], y, domain="com.microsoft")
