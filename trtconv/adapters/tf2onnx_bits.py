"""Operators of TensorFlow on the bits of integers, where ONNX has none for their type."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from trtconv.adapters.tf2onnx_place import Place

SIGNED = {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}
UNSIGNED = {TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64}


def shift(at: Place) -> None:
    """tf2onnx's own way, but for int64, which ONNX's BitShift does not take: a product or quotient of powers of two."""
    from tf2onnx.onnx_opset.math import BitShift

    if at.dtype != TensorProto.INT64:
        BitShift.version_11(at.graph, at.node)
        return
    value, count = at.inputs
    powers = at.constant([1 << bit for bit in range(63)])
    for part in (
        at.make("Min", count, at.constant(62)),
        at.make("Max", at.make("Sub", count, at.constant(62)), at.constant(0)),
    ):
        power = at.make("Gather", powers, part)
        if at.node.type == "LeftShift":
            value = at.make("Mul", value, power)
            continue
        quotient = at.make("Div", value, power)
        above = at.make("Less", value, at.make("Mul", quotient, power))
        value = at.make("Sub", quotient, at.cast(above, TensorProto.INT64))
    at.finish(value)


def invert(at: Place) -> None:
    """All bits turned: -1 - x, and the largest number less x where there are no negative ones."""
    wide = TensorProto.INT64 if at.dtype in (TensorProto.INT64, TensorProto.UINT32) else TensorProto.INT32
    if at.dtype == TensorProto.UINT64:
        raise at.refuse("ONNX has no arithmetic for its 64 bits", "use int64")
    from tf2onnx import utils

    top = np.iinfo(utils.map_onnx_to_numpy_type(at.dtype)).max if at.dtype in UNSIGNED else -1
    at.finish(at.cast(at.make("Sub", at.constant(top, wide), at.cast(at.inputs[0], wide)), at.dtype))
