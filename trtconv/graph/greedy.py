"""Greedy suppression of ordered boxes in ordinary operators, whose results all have fixed sizes.

ONNX's NonMaxSuppression gives as many rows as it finds, and TensorRT-RTX has no kernel for it. Here a box stays where
it is valid and no earlier box that stays overlaps it. Which boxes stay is the one fixed point of that sentence: what is
before a box decides it, so the n-th step at the latest is right for the first n, and nothing changes when all are.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from trtconv.graph.building import Builder


def keep(b: Builder, boxes: str, valid: str, overlap: float, offset: float, wish: str) -> str:
    """Which boxes stay.

    Args:
        b: the graph.
        boxes: [N, k, 4]: xmin, ymin, xmax, ymax, the most important first; k is known.
        valid: bool [N, k, 1].
        overlap: intersection over union above which the later box goes.
        offset: what is added to widths and heights, 1 for pixels that include their ends.
        wish: what names begin with.

    Returns:
        bool [N, k, 1].
    """
    depth = b.shape(boxes)[1]
    assert isinstance(depth, int)
    over = _overlaps(b, boxes, overlap, offset, wish)
    earlier = b.constant(np.tril(np.ones((depth, depth), np.float32), -1), f"{wish}/earlier")
    rivals = b.add("Mul", [b.add("Cast", [over], f"{wish}/over", to=TensorProto.FLOAT), earlier], f"{wish}/rivals")
    start = b.add("Cast", [valid], f"{wish}/start", to=TensorProto.FLOAT)
    stay = _fixed_point(b, rivals, start, depth, wish)
    return b.add("Greater", [stay, b.constant(0.5, f"{wish}/half")], f"{wish}/stay")


def _overlaps(b: Builder, boxes: str, overlap: float, offset: float, wish: str) -> str:
    """Whether two boxes, bool [N, k, k], share more than so much of their union."""
    sides = b.several(
        "Split",
        [boxes, b.constant([1, 1, 1, 1], f"{wish}/sides")],
        [f"{wish}/{name}" for name in ("left", "top", "right", "bottom")],
        axis=-1,
    )
    spans = [
        _spans(b, low, high, offset, f"{wish}/{name}")
        for low, high, name in zip(sides[:2], sides[2:], ("width", "height"), strict=True)
    ]
    area = b.add("Mul", [spans[0][0], spans[1][0]], f"{wish}/area")
    shared = b.add("Mul", [spans[0][1], spans[1][1]], f"{wish}/shared")
    both = b.add("Add", [area, b.add("Transpose", [area], f"{wish}/area_row", perm=[0, 2, 1])], f"{wish}/both")
    union = b.add("Sub", [both, shared], f"{wish}/union")
    bound = b.add("Mul", [union, b.constant(np.float32(overlap), f"{wish}/overlap")], f"{wish}/bound")
    return b.add("Greater", [shared, bound], f"{wish}/overlaps")


def _spans(b: Builder, low: str, high: str, offset: float, wish: str) -> tuple[str, str]:
    """Lengths along one axis: of each box, [N, k, 1], and of what two share, [N, k, k]; never negative."""
    ends = [b.add("Transpose", [side], f"{wish}_row", perm=[0, 2, 1]) for side in (low, high)]
    first, last = b.add("Max", [low, ends[0]], f"{wish}_first"), b.add("Min", [high, ends[1]], f"{wish}_last")
    lengths = []
    for start, end, name in ((low, high, "own"), (first, last, "common")):
        length = b.add("Sub", [end, start], f"{wish}_{name}_raw")
        if offset:
            length = b.add("Add", [length, b.constant(offset, f"{wish}_offset")], f"{wish}_{name}_whole")
        lengths.append(b.add("Relu", [length], f"{wish}_{name}"))
    return lengths[0], lengths[1]


def _fixed_point(b: Builder, rivals: str, start: str, depth: int, wish: str) -> str:
    """A Loop of at most k steps: s' = start (rivals s = 0), until nothing changes."""
    half, on = b.constant(0.5, f"{wish}/half"), b.constant(np.array(True), f"{wish}/on")
    steps = b.constant(np.int64(depth), f"{wish}/steps")
    name = {
        part: b.fresh(f"{wish}/{part}")
        for part in ("step", "going", "now", "hits", "free", "open", "next", "change", "size", "most", "more")
    }
    nodes = [
        helper.make_node("MatMul", [rivals, name["now"]], [name["hits"]], name["hits"]),
        helper.make_node("Less", [name["hits"], half], [name["free"]], name["free"]),
        helper.make_node("Cast", [name["free"]], [name["open"]], name["open"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [name["open"], start], [name["next"]], name["next"]),
        helper.make_node("Sub", [name["next"], name["now"]], [name["change"]], name["change"]),
        helper.make_node("Abs", [name["change"]], [name["size"]], name["size"]),
        helper.make_node("ReduceMax", [name["size"]], [name["most"]], name["most"], keepdims=0),
        helper.make_node("Greater", [name["most"], half], [name["more"]], name["more"]),
    ]
    state = [None, depth, 1]
    body = helper.make_graph(
        nodes,
        "step",
        [
            helper.make_tensor_value_info(name["step"], TensorProto.INT64, []),
            helper.make_tensor_value_info(name["going"], TensorProto.BOOL, []),
            helper.make_tensor_value_info(name["now"], TensorProto.FLOAT, state),
        ],
        [
            helper.make_tensor_value_info(name["more"], TensorProto.BOOL, []),
            helper.make_tensor_value_info(name["next"], TensorProto.FLOAT, state),
        ],
    )
    return b.like(start, "Loop", [steps, on, start], f"{wish}/loop", body=body)
