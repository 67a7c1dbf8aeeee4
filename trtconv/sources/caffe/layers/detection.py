"""The layers of SSD: prior boxes, which are constants, and the detections that they lead to."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from trtconv.graph import detection
from trtconv.sources.caffe.context import LayerContext
from trtconv.sources.caffe.text import Message


def prior_box(at: LayerContext) -> str:
    """Boxes around the cells of a map, and their variances: [1, 2, cells boxes 4]."""
    given = at.parameters("prior_box_param")
    height, width = at.sizes(at.shape()[2:], "a map")
    image = _image(at, given)
    steps = _steps(given, image, (height, width))
    sizes = np.array(_box_sizes(at, given))
    offset = given.number("offset", 0.5)
    x, y = ((np.arange(count) + offset) * step for count, step in ((width, steps[1]), (height, steps[0])))
    centers = np.stack(np.meshgrid(x, y), -1)[:, :, None]
    span = np.array(image[::-1])
    boxes = np.concatenate([(centers - sizes / 2) / span, (centers + sizes / 2) / span], -1).reshape(-1)
    if given.flag("clip", False):
        boxes = np.clip(boxes, 0, 1)
    return at.constant(np.stack([boxes, _variances(at, given, boxes.size)])[None].astype(np.float32), "priors")


def _image(at: LayerContext, given: Message) -> tuple[float, float]:
    """Height and width of the image: as said, or those of the second bottom."""
    size = given.number("img_size", 0)
    height, width = given.number("img_h", size), given.number("img_w", size)
    if height and width:
        return height, width
    if len(at.inputs) < 2:
        raise at.refusal("knows no size of the image", "give it the image as second bottom, or img_size")
    height, width = at.sizes(at.shape(1)[2:], "an image")
    return height, width


def _steps(given: Message, image: tuple[float, float], layer: tuple[int, int]) -> tuple[float, float]:
    step = given.number("step", 0)
    steps = given.number("step_h", step), given.number("step_w", step)
    if all(steps):
        return steps
    return image[0] / layer[0], image[1] / layer[1]


def _box_sizes(at: LayerContext, given: Message) -> list[tuple[float, float]]:
    """(width, height) of the boxes of a cell; Caffe keeps whole numbers of the sizes."""
    least, most = given.numbers("min_size"), given.numbers("max_size")
    if not least or (most and len(most) != len(least)):
        raise at.refusal(f"has {len(least)} min_size and {len(most)} max_size", "as many max_size as min_size, or none")
    ratios = given.numbers("aspect_ratio")
    if not all(0 < value < math.inf for value in [*least, *most, *ratios]):
        raise at.refusal(f"has sizes {least + most} and aspect ratios {ratios}", "they must be above 0")
    if any(size % 1 for size in least + most):
        at.findings.notes.append(
            f"layer {at.layer.name!r} (PriorBox): {least + most} lose their fractions, as in Caffe"
        )
    boxes = []
    for place, size in enumerate(map(int, least)):
        boxes.append((float(size), float(size)))
        if most:
            boxes.append((math.sqrt(size * int(most[place])),) * 2)
        boxes += [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in _ratios(given)]
    return boxes


def _ratios(given: Message) -> list[float]:
    """Aspect ratios besides 1, each once, with their inverses where boxes are flipped."""
    found = [1.0]
    for ratio in given.numbers("aspect_ratio"):
        if all(abs(ratio - other) >= 1e-6 for other in found):
            found += [ratio, 1 / ratio] if given.flag("flip", True) else [ratio]
    return [ratio for ratio in found if abs(ratio - 1) >= 1e-6]


def _variances(at: LayerContext, given: Message, size: int) -> Any:
    values = given.numbers("variance") or [0.1]
    if len(values) not in (1, 4):
        raise at.refusal(f"has {len(values)} variances", "one, or four")
    return np.tile(values * (4 // len(values)), size // 4)


def rule(given: Message) -> detection.Suppression:
    """What a DetectionOutput layer keeps."""
    nms, background = given.message("nms_param"), given.integer("background_label_id", 0)
    return detection.Suppression(
        overlap=nms.number("nms_threshold", 0.3),
        score=given.number("confidence_threshold", -float(np.finfo(np.float32).max)),
        candidates=nms.integer("top_k", -1),
        results=given.integer("keep_top_k", -1),
        classes=tuple(label for label in range(given.integer("num_classes", 0)) if label != background),
    )


CODES = ("", "CORNER", "CENTER_SIZE", "CORNER_SIZE")
"""How offsets say a box, by the enum's number."""


def detection_output(at: LayerContext) -> str:
    """Rows (image, class, score, xmin, ymin, xmax, ymax), [images, 1, keep_top_k, 7]; -1 where there is none.

    Caffe makes as many rows as it finds, of all images in one; engines have outputs of known sizes.
    """
    given = at.parameters("detection_output_param")
    classes = given.integer("num_classes", 0)
    if given.message("nms_param").number("eta", 1) < 1:
        raise at.refusal("lowers its threshold as it goes (eta below 1)", _CUT.format(", ".join(at.layer.bottoms)))
    if len(at.inputs) != 3 or classes < 1:
        raise at.refusal(f"has {len(at.inputs)} bottoms and {classes} classes", "it needs offsets, scores and priors")
    boxes, count = _boxes(at, given, classes)
    scores = _scores(at, classes, count)
    wish = at.layer.name
    found = detection.suppress(at.b, boxes, scores, rule(given), wish)
    table = detection.rows(
        at.b, found, [detection.images(at.b, found, wish), found.classes, found.scores], f"{wish}/rows"
    )
    return at.add("Reshape", [table, at.constant([-1, 1, found.rows, 7], "shape")])


_CUT = "end the network before it: convert.outputs: [{}]"


def _boxes(at: LayerContext, given: Message, classes: int) -> tuple[str, int]:
    """Boxes [images, priors, 4], or [images, classes, priors, 4] where each class has its own; number of priors."""
    count = at.sizes(at.shape(2)[2:3], "its priors")[0] // 4
    shared, wish = given.flag("share_location", True), at.layer.name
    groups = 1 if shared else classes
    apart = [count, 4] if shared else [count, groups, 4]
    deltas = at.add("Reshape", [at.bottom(0), at.constant([-1, *apart], "offsets_shape")], "offsets")
    rows = at.add("Reshape", [at.bottom(2), at.constant([2, count, *[1] * (not shared), 4], "priors_shape")], "table")
    sides = [f"{wish}/priors", f"{wish}/variances"]
    priors, variances = at.b.several("Split", [rows, at.constant([1, 1], "halves")], sides, axis=0)
    if given.flag("variance_encoded_in_target", False):
        variances = ""
    code = given.choice("code_type", CODES, "CORNER")
    if code == "CENTER_SIZE":
        boxes = detection.decode_centers(at.b, deltas, priors, variances, wish)
    else:
        boxes = detection.decode_corners(at.b, deltas, priors, variances, wish, by_size=code == "CORNER_SIZE")
    if given.flag("clip", False):
        boxes = detection.clip(at.b, boxes, wish)
    return boxes if shared else at.add("Transpose", [boxes], "by_class", perm=[0, 2, 1, 3]), count


def _scores(at: LayerContext, classes: int, count: int) -> str:
    shape = at.constant([-1, count, classes], "scores_shape")
    apart = at.add("Reshape", [at.bottom(1), shape], "scores_apart")
    return at.add("Transpose", [apart], "scores", perm=[0, 2, 1])


TABLE: dict[str, Callable[[LayerContext], str]] = {"PriorBox": prior_box, "DetectionOutput": detection_output}
