"""What an operator of one operand does to values, found by running it: for those that no rule is written for.

It is elementwise if each result depends on one element alone, wherever that stands. Of such a function a curve is
sampled, which tells how large results become, how they grow, and how much rounding the argument moves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from trtconv.adapters import onnxruntime
from trtconv.core.errors import TrtconvError
from trtconv.graph import editing, types
from trtconv.graph.half_types import HALVES

Floats = NDArray[np.float32]

_NEAR = np.arange(-32, 32, 1 / 64, dtype=np.float32) + np.float32(1 / 1024)
_FAR = np.geomspace(2.0**-20, 2.0**16, 1024, dtype=np.float32)
_POINTS = np.sort(np.concatenate([_NEAR, _FAR, -_FAR]))
_IR = 10


@dataclass(frozen=True, eq=False)
class Curve:
    """An elementwise function at some points.

    Attributes:
        x: the points, ascending.
        y: its results; not finite where it is not defined.
        rounded: by 16-bit type, its results where the argument is rounded to that.
    """

    x: Floats
    y: Floats
    rounded: Mapping[str, Floats]

    def span(self, low: float, high: float) -> tuple[float, float]:
        """The least and the largest finite result for arguments of an interval."""
        inside = self.y[(self.x >= low) & (self.x <= high) & np.isfinite(self.y)]
        return (float(inside.min()), float(inside.max())) if inside.size else (0.0, 0.0)

    def endless(self, low: float, high: float) -> bool:
        """Whether results of an interval are beyond FP32."""
        return bool(np.isinf(self.y[(self.x >= low) & (self.x <= high)]).any())

    def moved(self, low: float, high: float, half: str) -> float:
        """How far rounding the argument moves results, as a share of the largest; infinite where they get lost."""
        inside = (self.x >= low) & (self.x <= high) & np.isfinite(self.y)
        y, found = self.y[inside], self.rounded[half][inside]
        if not np.isfinite(found).all():
            return np.inf
        peak = float(np.abs(y).max(initial=0))
        return float(np.abs(found - y).max(initial=0)) / peak if peak else 0.0


def curve(node: Any, version: int) -> Curve | None:
    """The curve of an operator; None where it is not elementwise, or ONNX Runtime cannot run it."""
    if len(node.input) != 1 or len(node.output) != 1 or node.domain not in editing.ONNX_DOMAINS:
        return None
    ins, outs = types.formals(node, version)
    if not ins or ins[0].type_str != outs[0].type_str or editing.bodies(node):
        return None
    alone = helper.make_node(node.op_type, ["x"], ["y"])
    alone.attribute.extend(node.attribute)
    return _sampled(alone.SerializeToString(deterministic=True), version)


@cache
def _sampled(serialized: bytes, version: int) -> Curve | None:
    node = onnx.NodeProto.FromString(serialized)
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph([node], "alone", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=_IR)
    with np.errstate(over="ignore"):
        low = {half.name: _POINTS.astype(half.dtype).astype(np.float32) for half in HALVES.values()}
    try:
        session = onnxruntime.session(model.SerializeToString(), threads=1)
        y, again, one = (session.run({"x": x})["y"] for x in (_POINTS, _POINTS[::-1].copy(), _POINTS[:1]))
        if y.shape != _POINTS.shape or not _same(y, again[::-1]) or not _same(y[:1], one):
            return None
        return Curve(_POINTS, y, {name: session.run({"x": x})["y"] for name, x in low.items()})
    except TrtconvError:
        return None


def _same(one: Floats, other: Floats) -> bool:
    """Equal but for the last bits, which vector units round otherwise at the ends of an array."""
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-5, atol=1e-6, equal_nan=True))
