"""Paddle's detection operators in ONNX operators: priors, decoding, suppression.

Paddle's results have as many rows as boxes were found. Here every image has the same number, so that engines need no
output of unknown size: rows behind the last are -1 in results, and copies of an image's first box in proposals, where
they change nothing (a later suppression drops copies).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from trtconv.graph import detection
from trtconv.graph.detection import Detections, Suppression
from trtconv.sources.paddle.padding import Padding
from trtconv.sources.paddle.rules import Call, Made


def prior_box(call: Call) -> Made:
    """Boxes around every cell of a feature map (SSD), as constants."""
    height, width = call.sizes(call.input("Input"), "the feature map", (2, 3))
    size = np.array(call.sizes(call.input("Image"), "the image", (3, 2)), np.float32)
    steps = _steps(call, size, (width, height))
    half = np.array(_prior_sizes(call), np.float32) / 2
    boxes = _around(_centers(steps, (width, height), float(call.get("offset", 0.5))), half, half) / np.tile(size, 2)
    return _priors(call, np.clip(boxes, 0, 1) if call.get("clip", False) else boxes)


def density_prior_box(call: Call) -> Made:
    """Boxes of fixed sizes in grids around every cell (PyramidBox, arXiv 1803.07737), as constants."""
    height, width = call.sizes(call.input("Input"), "the feature map", (2, 3))
    size = np.array(call.sizes(call.input("Image"), "the image", (3, 2)), np.float32)
    steps = _steps(call, size, (width, height))
    moves, halves = _grid(call, int(float(steps.sum()) / 2))
    centers = _centers(steps, (width, height), float(call.get("offset", 0.5))) + moves
    low, high = ((-np.inf, np.inf), (0, 1))[bool(call.get("clip", False))]
    least, most = np.array([0, 0, low, low], np.float32), np.array([high, high, 1, 1], np.float32)
    boxes = np.clip(_around(centers, halves, halves) / np.tile(size, 2), least, most)
    return _priors(call, boxes.reshape(-1, 4) if call.get("flatten_to_2d", False) else boxes)


def _grid(call: Call, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the boxes of a cell are, from its centre, and half their width and height; both [boxes, 2].

    Distances are whole pixels, rounded down (density_prior_box_op.h).
    """
    moves, halves = list[tuple[float, float]](), list[tuple[float, float]]()
    for size, density in zip(call.get("fixed_sizes", ()), call.get("densities", ()), strict=True):
        apart = step // density
        places = [(apart - step) / 2 + place * apart for place in range(density)]
        for root in map(math.sqrt, call.get("fixed_ratios", ())):
            moves += [(x, y) for y in places for x in places]
            halves += [(size * root / 2, size / root / 2)] * density**2
    return np.array(moves, np.float32), np.array(halves, np.float32)


def _steps(call: Call, size: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    steps = np.array([call.get("step_w", 0.0), call.get("step_h", 0.0)], np.float32)
    return steps if steps.all() else size / np.array(cells, np.float32)


def _prior_sizes(call: Call) -> list[tuple[float, float]]:
    """Width and height of the boxes of one cell, in order."""
    ratios = [1.0]
    for ratio in call.get("aspect_ratios", ()):
        if all(abs(ratio - known) >= 1e-6 for known in ratios):
            ratios += [ratio, 1 / ratio] if call.get("flip", False) else [ratio]
    sizes: list[tuple[float, float]] = []
    largest = list(call.get("max_sizes", ()))
    for place, least in enumerate(call.get("min_sizes", ())):
        shaped = [(least * math.sqrt(ratio), least / math.sqrt(ratio)) for ratio in ratios]
        square = [(math.sqrt(least * largest[place]),) * 2] if largest else []
        if call.get("min_max_aspect_ratios_order", False):
            sizes += [shaped[0], *square, *shaped[1:]]
        else:
            sizes += [*shaped, *square]
    return sizes


def _centers(steps: np.ndarray, cells: tuple[int, int], offset: float) -> np.ndarray:
    """Both coordinates of every cell, [height, width, 1, 2]."""
    x, y = (((np.arange(count) + offset) * step).astype(np.float32) for count, step in zip(cells, steps, strict=True))
    return np.stack(np.meshgrid(x, y), -1)[:, :, None]


def _around(centers: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.concatenate([centers - low, centers + high], -1).astype(np.float32)


def _priors(call: Call, boxes: np.ndarray, output: str = "Boxes") -> Made:
    variances = np.broadcast_to(np.array(call.get("variances", (0.1, 0.1, 0.2, 0.2)), np.float32), boxes.shape)
    return {output: call.constant(boxes, "boxes"), "Variances": call.constant(np.ascontiguousarray(variances), "var")}


def anchor_generator(call: Call) -> Made:
    """Anchors around every cell of a feature map (Faster R-CNN), in pixels, as constants."""
    height, width = call.sizes(call.input("Input"), "the feature map", (2, 3))
    stride = np.array(call.get("stride", (16.0, 16.0)), np.float32)
    halves = []
    for ratio in call.get("aspect_ratios", ()):
        base = math.floor(math.sqrt(float(stride[0] * stride[1]) / ratio) + 0.5)
        tall = math.floor(base * ratio + 0.5)
        halves += [
            [0.5 * (size / stride[0] * base - 1), 0.5 * (size / stride[1] * tall - 1)]
            for size in call.get("anchor_sizes", ())
        ]
    cells = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[:, :, None]
    centers = cells * stride + float(call.get("offset", 0.5)) * (stride - 1)
    half = np.array(halves, np.float32)
    return _priors(call, _around(centers, half, half), "Anchors")


def box_coder(call: Call) -> Made:
    """Boxes from offsets of centre and size to priors."""
    if call.get("code_type", "encode_center_size") != "decode_center_size":
        raise call.refusal("boxes are encoded, which only training needs")
    b, axis = call.b, int(call.get("axis", 0))
    place = call.constant([1 if axis == 1 else 0], "axis")
    priors = call.add("Unsqueeze", [call.input("PriorBox"), place], "priors")
    given, listed = call.inputs("PriorBoxVar"), list(call.get("variance", ()))
    variances = ""
    if given:
        variances = call.add("Unsqueeze", [given[0], place], "variances") if len(b.shape(given[0])) == 2 else given[0]
    elif listed:
        variances = call.constant(np.array(listed, np.float32), "variances")
    offset = 0.0 if call.get("box_normalized", True) else 1.0
    return {"OutputBox": detection.decode_centers(b, call.input("TargetBox"), priors, variances, call.name, offset)}


def within(call: Call, boxes: str, size: str, offset: float) -> str:
    """Boxes [B, ..., 4] within 0, which comes last, and height and width [B, 2], less ``offset``."""
    swapped = call.add("Gather", [size, call.constant([1, 0, 1, 0], "order")], "limits", axis=1)
    if offset:
        swapped = call.add("Sub", [swapped, call.constant(offset, "offset")], "last_pixels")
    for _ in range(len(call.b.shape(boxes)) - 2):
        swapped = call.add("Unsqueeze", [swapped, call.constant([1], "one")], "limits_apart")
    upper = call.add("Min", [boxes, swapped], "below_limits")
    return call.add("Max", [upper, call.constant(0.0, "zero")], "within")


def multiclass_nms(call: Call) -> Made:
    """Suppression per class, and the best of an image: rows of class, score and box."""
    if float(call.get("nms_eta", 1.0)) < 1:
        raise call.refusal("its threshold adapts (nms_eta)")
    boxes, scores = _candidates(call)
    count, priors = call.sizes(scores, "its scores", (1, 2))
    background = int(call.get("background_label", 0))
    rule = Suppression(
        overlap=float(call.get("nms_threshold", 0.3)),
        score=float(call.get("score_threshold", 0.0)),
        candidates=int(call.get("nms_top_k", -1)),
        results=int(call.get("keep_top_k", -1)),
        classes=tuple(label for label in range(count) if label != background),
        offset=0.0 if call.get("normalized", True) else 1.0,
    )
    found = detection.suppress(call.b, boxes, scores, rule, call.name)
    if len(call.b.shape(call.input("Scores"))) == 2:
        found = _by_place(call, found, priors, count)
    table = detection.rows(call.b, found, [found.classes, found.scores], f"{call.name}/rows")
    rows = call.add("Reshape", [table, call.constant([call.all_rows(scores, found.rows), 6], "flat")], "out")
    call.pad("Out", Padding(found.rows, -1.0))
    call.pad("Index", Padding(found.rows, -1.0))
    made: dict[str, str | Sequence[str]] = {"Out": rows, "NmsRoisNum": number(call, found)}
    if "Index" in call.op.outputs:
        made["Index"] = _index(call, found, priors, count)
    return made


def _candidates(call: Call) -> tuple[str, str]:
    """Boxes [B, P, 4] or [B, C, P, 4] and scores [B, C, P]; of regions, they come as [B P, C, 4] and [B P, C]."""
    boxes, scores = call.input("BBoxes"), call.input("Scores")
    if len(call.b.shape(scores)) == 3:
        return boxes, scores
    count = call.sizes(scores, "its scores", (1,))[0]
    regions = call.per_image(scores)
    apart = call.add("Reshape", [scores, call.constant([-1, regions, count], "regions")], "scores_apart")
    shaped = call.add("Reshape", [boxes, call.constant([-1, regions, count, 4], "region_boxes")], "boxes_apart")
    return (
        call.add("Transpose", [shaped], "class_boxes", perm=[0, 2, 1, 3]),
        call.add("Transpose", [apart], "class_scores", perm=[0, 2, 1]),
    )


def _by_place(call: Call, found: Detections, priors: int, count: int) -> Detections:
    """Rows by class and then by region, as Paddle has them where every class has boxes of its own."""
    b = call.b
    group = call.add("Mul", [found.classes, call.constant(priors, "stride")], "class_start")
    key = call.add("Add", [group, found.priors], "place_key")
    last = call.add("Where", [found.valid, key, call.constant(priors * count, "end")], "place_or_end")
    amount = call.constant([found.rows], "all_rows")
    names = [f"{call.name}/places", f"{call.name}/order"]
    order = b.several("TopK", [last, amount], names, axis=1, largest=0)[1]
    index = call.add("Unsqueeze", [order, call.constant([2], "order_axis")], "order_index")

    def sorted_(tensor: str, wish: str) -> str:
        return call.add("GatherND", [tensor, index], wish, batch_dims=1)

    whole = call.add("Cast", [found.valid], "valid_number", to=TensorProto.INT64)
    valid = call.add("Cast", [sorted_(whole, "valid_sorted")], "valid", to=TensorProto.BOOL)
    return Detections(
        sorted_(found.scores, "scores_sorted"),
        sorted_(found.classes, "classes_sorted"),
        sorted_(found.boxes, "boxes_sorted"),
        sorted_(found.priors, "priors_sorted"),
        valid,
        found.rows,
    )


def number(call: Call, found: Detections) -> str:
    """How many rows of each image are results, int32."""
    whole = call.add("Cast", [found.valid], "valid_rows", to=TensorProto.INT32)
    return call.add("ReduceSum", [whole, call.constant([1], "rows_axis")], "number", keepdims=0)


def _index(call: Call, found: Detections, priors: int, count: int) -> str:
    """Where in the boxes of all images each row was, int32 [B K, 1]."""
    b = call.b
    base = call.add("Mul", [detection.images(b, found, f"{call.name}/index"), call.constant(priors, "priors")], "base")
    place = call.add("Add", [base, found.priors], "place")
    if len(b.shape(call.input("Scores"))) == 2:  # each class has boxes of its own
        place = call.add("Mul", [place, call.constant(count, "count")], "place_of_all")
        place = call.add("Add", [place, found.classes], "place_of_class")
    chosen = call.add("Where", [found.valid, place, call.constant(-1, "nowhere")], "index")
    flat = call.add("Reshape", [chosen, call.constant([-1, 1], "column")], "index_column")
    return call.add("Cast", [flat], "index_out", to=TensorProto.INT32)
