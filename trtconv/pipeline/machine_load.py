"""How busy this machine is: a fixed piece of work, measured beside what is to be judged.

A network on the CPU shares its cores with whatever else runs. The same small convolution network, timed at the same
moment, is slowed down by the same neighbours, so the ratio of its times says how much of a slowdown is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv.adapters import onnxruntime

SECONDS = 0.25
_SHAPE = [4, 32, 16, 16]


def figures() -> dict[str, float]:
    """``latency_p50``, ``latency_p99`` and ``latency_min`` of the control in ms, ``throughput`` in runs per second."""
    session = onnxruntime.session(_network().SerializeToString())
    feeds = {"x": np.random.default_rng(1).normal(size=_SHAPE).astype(np.float32)}
    session.run(feeds)
    times: list[float] = []
    began = now = time.perf_counter()
    while now - began < SECONDS or len(times) < 10:
        session.run(feeds)
        after = time.perf_counter()
        times.append((after - now) * 1e3)
        now = after
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "latency_p50": float(p50),
        "latency_p99": float(p99),
        "latency_min": min(times),
        "throughput": len(times) / (now - began),
    }


def slowdown(then: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Per figure, how many times slower the control is than it was; at least 1."""
    return {
        name: max(1.0, then[name] / now[name] if name == "throughput" else now[name] / then[name])
        for name in then.keys() & now.keys()
    }


def _network() -> onnx.ModelProto:
    """Four 3x3 convolutions over 32 channels: some milliseconds."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(scale=0.06, size=(32, 32, 3, 3)).astype(np.float32) for _ in range(4)]
    weights = [numpy_helper.from_array(kernel, f"w{i}") for i, kernel in enumerate(kernels)]
    nodes = [helper.make_node("Conv", [f"c{i}" if i else "x", f"w{i}"], [f"c{i + 1}"], pads=[1] * 4) for i in range(4)]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, _SHAPE) for name in ("x", "c4"))
    graph = helper.make_graph(nodes, "control", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
