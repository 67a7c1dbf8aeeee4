"""Paddle's operators for regions: proposals, levels of a pyramid, pooling; see ``rules_detection``."""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from trtconv.graph import detection
from trtconv.graph.detection import Detections, Suppression
from trtconv.sources.paddle.padding import Padding
from trtconv.sources.paddle.rules import Call, Made
from trtconv.sources.paddle.rules_detection import number, within

_GROWTH = math.log(1000.0 / 16.0)
"""Largest logarithm of a proposal's growth (phi/kernels/funcs/detection/bbox_util.h)."""

_ABSENT = -2e30
"""Score of a proposal that is too small or outside; below ``_ANY``."""

_ANY = -1e30


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
    boxes = within(call, boxes, size, offset)
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
    """What is found, and the first of it once more in the other rows; a box of zeros where nothing is."""
    b = call.b
    valid = call.add("Unsqueeze", [found.valid, call.constant([2], "coordinate")], "valid_boxes")
    nowhere = call.constant(0.0, "nowhere")
    boxes = call.add("Where", [valid, found.boxes, nowhere], "found")
    first = call.add("Slice", [boxes, *(call.constant([at], f"at{at}") for at in (0, 1, 1))], "first")
    boxes = call.add("Where", [valid, boxes, first], "filled")
    scores = call.add("Where", [found.valid, found.scores, call.constant(0.0, "none")], "probabilities")
    count = call.all_rows(call.input("Scores"), found.rows)
    call.pad("RpnRois", Padding(found.rows, None))
    call.pad("RpnRoiProbs", Padding(found.rows, 0.0))
    return {
        "RpnRois": call.add("Reshape", [boxes, call.constant([count, 4], "rois")], "rois_out"),
        "RpnRoiProbs": b.add(
            "Reshape", [scores, call.constant([count, 1], "column")], f"{call.name}/probabilities_out"
        ),
        "RpnRoisNum": number(call, found),
    }


def collect_fpn_proposals(call: Call) -> Made:
    """The best proposals of all levels of a pyramid, in the order of their scores."""
    rois, scores = call.inputs("MultiLevelRois"), call.inputs("MultiLevelScores")
    if call.b.shape(rois[0])[0] != call.per_image(rois[0]):
        raise call.refusal("it takes the best of all images together", "convert for one: --input NAME:1,3,H,W")
    boxes = call.add("Concat", rois, "boxes", axis=0)
    column = call.add("Concat", scores, "score_column", axis=0)
    flat = call.add("Reshape", [column, call.constant([-1], "flat")], "scores")
    rows = min(int(call.get("post_nms_topN", 1000)), *call.sizes(flat, "the number of proposals", (0,)))
    names = [f"{call.name}/best_scores", f"{call.name}/best"]
    order = call.b.several("TopK", [flat, call.constant([rows], "rows")], names, axis=0)[1]
    call.pad("FpnRois", Padding(rows, None))
    return {
        "FpnRois": call.add("Gather", [boxes, order], "rois", axis=0),
        "RoisNum": call.constant(np.array([rows], np.int32), "number"),
    }


def box_clip(call: Call) -> Made:
    """Boxes within the image as it was before it was scaled, its last pixel included."""
    boxes = call.input("Input")
    kept = call.b.shape(boxes)[1:]
    if not all(isinstance(size, int) for size in kept):
        raise call.refusal(f"the shape of its boxes is not known ({list(call.b.shape(boxes))})")
    inner = math.prod(size for size in kept if isinstance(size, int)) // 4
    each = call.per_image(boxes) * inner
    apart = call.add("Reshape", [boxes, call.constant([-1, each, 4], "by_image_shape")], "by_image")
    size, scale = _image(call, old=True)
    pixels = call.add("Add", [call.add("Div", [size, scale], "unscaled"), call.constant(0.5, "half_pixel")], "rounding")
    clipped = within(call, apart, call.add("Floor", [pixels], "pixels"), 1.0)
    return {"Output": call.add("Reshape", [clipped, call.constant([-1, *kept], "box_shape")], "out")}


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
