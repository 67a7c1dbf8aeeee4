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
from trtconv.sources.paddle.rules import Call, Made, Padding

_GROWTH = math.log(1000.0 / 16.0)
"""Largest logarithm of a proposal's growth (phi/kernels/funcs/detection/bbox_util.h)."""

_ABSENT = -2e30
"""Score of a proposal that is too small or outside; below ``_ANY``."""

_ANY = -1e30


def prior_box(call: Call) -> Made:
    """Boxes around every cell of a feature map (SSD), as constants."""
    height, width = call.sizes(call.input("Input"), "the feature map", (2, 3))
    size = np.array(call.sizes(call.input("Image"), "the image", (3, 2)), np.float32)
    steps = _steps(call, size, (width, height))
    half = np.array(_prior_sizes(call), np.float32) / 2
    boxes = _around(_centers(steps, (width, height), float(call.get("offset", 0.5))), half, half) / np.tile(size, 2)
    return _priors(call, np.clip(boxes, 0, 1) if call.get("clip", False) else boxes)


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


def box_clip(call: Call) -> Made:
    """Boxes within their image; ImInfo is height, width and scale."""
    b, boxes, info = call.b, call.input("Input"), call.input("ImInfo")
    parts = b.several(
        "Split", [info, call.constant([2, 1], "parts")], [f"{call.name}/size", f"{call.name}/scale"], axis=1
    )
    size = call.add("Round", [call.add("Div", parts, "unscaled")], "whole")
    return {"Output": _within(call, boxes, size, 1.0)}


def _within(call: Call, boxes: str, size: str, offset: float) -> str:
    """Boxes [B, ..., 4] within 0 and height and width [B, 2], less ``offset``."""
    swapped = call.add("Gather", [size, call.constant([1, 0, 1, 0], "order")], "limits", axis=1)
    if offset:
        swapped = call.add("Sub", [swapped, call.constant(offset, "offset")], "last_pixels")
    for _ in range(len(call.b.shape(boxes)) - 2):
        swapped = call.add("Unsqueeze", [swapped, call.constant([1], "one")], "limits_apart")
    lower = call.add("Max", [boxes, call.constant(0.0, "zero")], "above_zero")
    return call.add("Min", [lower, swapped], "within")


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
    rows = call.add("Reshape", [table, call.constant([-1, 6], "flat")], "out")
    call.pad("Out", Padding(found.rows, -1.0))
    call.pad("Index", Padding(found.rows, -1.0))
    made: dict[str, str | Sequence[str]] = {"Out": rows, "NmsRoisNum": _number(call, found)}
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


def _number(call: Call, found: Detections) -> str:
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


def generate_proposals(call: Call) -> Made:
    """Proposals of a region proposal network: the best anchors, moved, clipped and suppressed."""
    if float(call.get("eta", 1.0)) < 1:
        raise call.refusal("its threshold adapts (eta)")
    b, old = call.b, "ImInfo" in call.op.inputs
    offset = 1.0 if old or call.get("pixel_offset", True) else 0.0
    scores, deltas, anchors, variances, count = _anchored(call)
    limit = int(call.get("pre_nms_topN", 6000))
    if 0 < limit < count:
        amount = call.constant([limit], "candidates")
        scores, order = b.several("TopK", [scores, amount], [f"{call.name}/top_scores", f"{call.name}/top"], axis=1)
        index = call.add("Unsqueeze", [order, call.constant([2], "index_axis")], "index")
        deltas = call.add("GatherND", [deltas, index], "top_deltas", batch_dims=1)
        anchors, variances = (
            call.add("Gather", [values, order], f"top_{name}", axis=0)
            for name, values in (("anchors", anchors), ("variances", variances))
        )
    boxes = _moved(call, deltas, anchors, variances, offset)
    size, scale = _image(call, old)
    boxes = _within(call, boxes, size, offset)
    scores = _large_enough(call, boxes, scores, size, scale, offset)
    column = call.add("Unsqueeze", [scores, call.constant([1], "class_axis")], "class_scores")
    wanted = int(call.get("post_nms_topN", 1000))
    rule = Suppression(float(call.get("nms_thresh", 0.5)), _ANY, 0, wanted, (0,), offset, grouped=False)
    found = detection.suppress(b, boxes, column, rule, call.name)
    return _proposals(call, found)


def _anchored(call: Call) -> tuple[str, str, str, str, int]:
    """Scores [B, P], deltas [B, P, 4], anchors and variances [P, 4] in the same order, and P."""
    kinds, height, width = call.sizes(call.input("Scores"), "the feature map", (1, 2, 3))
    count = kinds * height * width
    last = call.add("Transpose", [call.input("Scores")], "scores_last", perm=[0, 2, 3, 1])
    scores = call.add("Reshape", [last, call.constant([-1, count], "scores_shape")], "scores")
    last = call.add("Transpose", [call.input("BboxDeltas")], "deltas_last", perm=[0, 2, 3, 1])
    deltas = call.add("Reshape", [last, call.constant([-1, count, 4], "deltas_shape")], "deltas")
    flat = call.constant([-1, 4], "flat")
    anchors, variances = (
        call.add("Reshape", [call.input(name), flat], name.lower()) for name in ("Anchors", "Variances")
    )
    return scores, deltas, anchors, variances, count


def _moved(call: Call, deltas: str, anchors: str, variances: str, offset: float) -> str:
    """Anchors moved by deltas that do not let them grow beyond all bounds."""
    scaled = call.add("Mul", [deltas, variances], "moves")
    most = call.constant(np.array([3e38, 3e38, _GROWTH, _GROWTH], np.float32), "growth")
    return detection.decode_centers(call.b, call.add("Min", [scaled, most], "bounded"), anchors, "", call.name, offset)


def _image(call: Call, old: bool) -> tuple[str, str]:
    """Height and width [B, 2], and the scale [B, 1] that older programs have."""
    if not old:
        return call.input("ImShape"), ""
    names = [f"{call.name}/image_size", f"{call.name}/image_scale"]
    size, scale = call.b.several("Split", [call.input("ImInfo"), call.constant([2, 1], "info_parts")], names, axis=1)
    return size, scale


def _large_enough(call: Call, boxes: str, scores: str, size: str, scale: str, offset: float) -> str:
    """Scores [B, P], marked where a box is smaller than ``min_size`` or its centre lies outside."""
    b = call.b
    low, high = b.several(
        "Split", [boxes, call.constant([2, 2], "corners")], [f"{call.name}/lows", f"{call.name}/highs"], axis=-1
    )
    extent = call.add("Sub", [high, low], "extent")
    whole = call.add("Add", [extent, call.constant(offset, "offset")], "whole_extent") if offset else extent
    original = whole
    if scale:  # sizes in the image as it was, of which 1 pixel more
        apart = call.add("Unsqueeze", [scale, call.constant([1], "one")], "scale_apart")
        original = call.add(
            "Add", [call.add("Div", [extent, apart], "unscaled"), call.constant(1.0, "pixel")], "original"
        )
    least = call.constant(max(float(call.get("min_size", 0.1)), 1.0), "min_size")
    fits = call.add("GreaterOrEqual", [original, least], "large")
    if offset:
        reach = call.add("Mul", [whole, call.constant(0.5, "half")], "reach")
        limits = call.add("Gather", [size, call.constant([1, 0], "width_height")], "image_limits", axis=1)
        limits = call.add("Unsqueeze", [limits, call.constant([1], "one")], "limits_of_all")
        inside = call.add("LessOrEqual", [call.add("Add", [low, reach], "middle"), limits], "inside")
        fits = call.add("And", [fits, inside], "fits")
    both = call.add(
        "ReduceMin", [call.add("Cast", [fits], "fit", to=TensorProto.FLOAT)], "fit_both", axes=[-1], keepdims=0
    )
    taken = call.add("Greater", [both, call.constant(0.5, "middle_of_bool")], "taken")
    return call.add("Where", [taken, scores, call.constant(_ABSENT, "absent")], "scores_taken")


def _proposals(call: Call, found: Detections) -> Made:
    b = call.b
    valid = call.add("Unsqueeze", [found.valid, call.constant([2], "coordinate")], "valid_boxes")
    first = call.add("Slice", [found.boxes, *(call.constant([at], f"at{at}") for at in (0, 1, 1))], "first")
    boxes = call.add("Where", [valid, found.boxes, first], "filled")
    scores = call.add("Where", [found.valid, found.scores, call.constant(0.0, "none")], "probabilities")
    call.pad("RpnRois", Padding(found.rows, None))
    call.pad("RpnRoiProbs", Padding(found.rows, 0.0))
    return {
        "RpnRois": call.add("Reshape", [boxes, call.constant([-1, 4], "rois")], "rois_out"),
        "RpnRoiProbs": b.add("Reshape", [scores, call.constant([-1, 1], "column")], f"{call.name}/probabilities_out"),
        "RpnRoisNum": _number(call, found),
    }


def distribute_fpn_proposals(call: Call) -> Made:
    """Regions by the level of the pyramid that fits their size.

    Every level gets all regions, and the index that brings them back into order takes each from its own: no output of
    unknown size, at the price of more work per region.
    """
    rois = call.input("FpnRois")
    least, most = int(call.get("min_level", 2)), int(call.get("max_level", 5))
    offset = 1.0 if call.get("pixel_offset", True) else 0.0
    low, high = call.b.several(
        "Split", [rois, call.constant([2, 2], "corners")], [f"{call.name}/lows", f"{call.name}/highs"], axis=-1
    )
    extent = call.add("Sub", [high, low], "extent")
    if offset:
        extent = call.add("Add", [extent, call.constant(offset, "offset")], "whole_extent")
    positive = call.add("Max", [extent, call.constant(0.0, "zero")], "positive")
    scale = call.add("Sqrt", [call.add("ReduceProd", [positive], "area", axes=[1], keepdims=0)], "scale")
    ratio = call.add("Div", [scale, call.constant(float(call.get("refer_scale", 224)), "refer_scale")], "ratio")
    shifted = call.add("Add", [ratio, call.constant(1e-6, "epsilon")], "ratio_above_zero")
    octave = call.add("Div", [call.add("Log", [shifted], "log"), call.constant(math.log(2), "log2")], "octave")
    level = call.add("Floor", [octave], "floor")
    base = call.constant(float(call.get("refer_level", 4)) - least, "refer_level")
    above = call.add(
        "Clip",
        [
            call.add("Add", [level, base], "above"),
            call.constant(0.0, "zero"),
            call.constant(float(most - least), "levels"),
        ],
        "level",
    )
    return {
        "MultiFpnRois": [rois] * (most - least + 1),
        "RestoreIndex": _restored(call, rois, above),
        "MultiLevelRoIsNum": call.inputs("RoisNum") * (most - least + 1),
    }


def _restored(call: Call, rois: str, level: str) -> str:
    """Where in the rows of all levels each region's own is, int32 [R, 1]."""
    size = call.add("Shape", [rois], "shape")
    rows = call.add("Gather", [size, call.constant(np.int64(0), "first")], "rows", axis=0)
    place = call.add("Range", [call.constant(np.int64(0), "start"), rows, call.constant(np.int64(1), "step")], "place")
    whole = call.add("Cast", [level], "whole_level", to=TensorProto.INT64)
    index = call.add("Add", [call.add("Mul", [whole, rows], "level_start"), place], "index")
    column = call.add("Unsqueeze", [index, call.constant([1], "column")], "index_column")
    return call.add("Cast", [column], "index_out", to=TensorProto.INT32)


def roi_align(call: Call) -> Made:
    """Values of a feature map around sampled points of each region; every image has as many regions as any other."""
    x, rois = call.input("X"), call.input("ROIs")
    aligned = "half_pixel" if call.get("aligned", False) else "output_half_pixel"
    ratio = int(call.get("sampling_ratio", -1))
    return {
        "Out": call.add(
            "RoiAlign",
            [x, rois, _owners(call, x, rois)],
            "out",
            mode="avg",
            output_height=int(call.get("pooled_height", 1)),
            output_width=int(call.get("pooled_width", 1)),
            sampling_ratio=max(ratio, 0),
            spatial_scale=float(call.get("spatial_scale", 1.0)),
            coordinate_transformation_mode=aligned,
        )
    }


def roi_pool(call: Call) -> Made:
    """The largest value of each bin of a region."""
    x, rois = call.input("X"), call.input("ROIs")
    owner = call.add("Cast", [_owners(call, x, rois)], "owner", to=TensorProto.FLOAT)
    column = call.add("Unsqueeze", [owner, call.constant([1], "column")], "owner_column")
    table = call.add("Concat", [column, rois], "regions", axis=1)
    bins = [int(call.get("pooled_height", 1)), int(call.get("pooled_width", 1))]
    return {
        "Out": call.add(
            "MaxRoiPool", [x, table], "out", pooled_shape=bins, spatial_scale=float(call.get("spatial_scale", 1.0))
        )
    }


def _owners(call: Call, x: str, rois: str) -> str:
    """The image that each region belongs to, int64 [R]."""
    images, regions = call.b.shape(x)[0], call.b.shape(rois)[0]
    if isinstance(images, int) and isinstance(regions, int):
        return call.constant(np.arange(regions) // max(regions // images, 1), "owners")
    zero, one = call.constant(np.int64(0), "zero"), call.constant(np.int64(1), "one")
    count, total = (
        call.add("Gather", [call.add("Shape", [tensor], f"{name}_shape"), zero], name, axis=0)
        for name, tensor in (("images", x), ("regions", rois))
    )
    each = call.add("Div", [total, count], "each")
    return call.add("Div", [call.add("Range", [zero, total, one], "region"), each], "owners")
