"""Whether detections are decided: the same rows come of scores and boxes that differ in their last digits.

Suppression compares and sorts. Where scores are equal, or an overlap is at the threshold, two programs that round
differently rightly give different rows, and comparing them says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trtconv.sources.caffe.layers import detection
from trtconv.sources.caffe.net import Layer

_DIGITS = 2e-6
"""Change of scores and offsets, over their largest value: a few times what single precision loses in a network."""

_TRIALS = 3

Rows = list[tuple[int, int, int]]
"""Image, class and prior of every row."""


def undecided(layer: Layer, loc: Any, conf: Any, priors: Any) -> bool:
    """Whether the rows of a DetectionOutput layer change when its bottoms do in their last digits."""
    given = layer.message.message("detection_output_param")
    heads = [np.asarray(one, np.float64) for one in (loc, conf, priors)]
    boxes = _boxes(given, heads[0], heads[2])
    if not all(np.isfinite(one).all() for one in (*heads, boxes)):
        return True
    wanted, random = _rows(given, boxes, heads[1]), np.random.default_rng(0)
    for _ in range(_TRIALS):
        moved = [one + random.normal(0, _DIGITS * np.abs(one).max(), one.shape) for one in heads[:2]]
        if _rows(given, _boxes(given, moved[0], heads[2]), moved[1]) != wanted:
            return True
    return False


def _boxes(given: Any, loc: Any, priors: Any) -> Any:
    """[images, priors, groups, 4], where groups are classes with boxes of their own, or one."""
    prior, variance = priors.reshape(-1, priors.shape[-1] // 4, 1, 4)[:2]
    groups = 1 if given.flag("share_location", True) else given.integer("num_classes", 1)
    moves = loc.reshape(len(loc), prior.shape[0], groups, 4)
    if not given.flag("variance_encoded_in_target", False):
        moves = moves * variance
    size = prior[..., 2:] - prior[..., :2]
    code = given.choice("code_type", detection.CODES, "CORNER")
    if code != "CENTER_SIZE":
        return prior + moves * (np.tile(size, 2) if code == "CORNER_SIZE" else 1)
    with np.errstate(over="ignore"):
        center, half = (prior[..., :2] + prior[..., 2:]) / 2 + moves[..., :2] * size, np.exp(moves[..., 2:]) * size / 2
    return np.concatenate([center - half, center + half], -1)


def _rows(given: Any, boxes: Any, conf: Any) -> Rows:
    rule = detection.rule(given)
    scores = conf.reshape(len(boxes), boxes.shape[1], -1)
    rows: Rows = []
    for image in range(len(boxes)):
        found: list[tuple[float, int, int]] = []
        for label in rule.classes:
            own = boxes[image, :, label if boxes.shape[2] > 1 else 0]
            found += [
                (scores[image, prior, label], label, prior) for prior in _kept(own, scores[image, :, label], rule)
            ]
        best = sorted(found, key=lambda one: -one[0])[: rule.results if rule.results > 0 else None]
        rows += [(image, label, prior) for _, label, prior in sorted(best, key=lambda one: (one[1], -one[0]))]
    return rows


def _kept(boxes: Any, scores: Any, rule: Any) -> Sequence[int]:
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > rule.score][: rule.candidates if rule.candidates > 0 else None]
    area, kept = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), -1), []
    while len(order):
        first, order = int(order[0]), order[1:]
        kept.append(first)
        inside = np.minimum(boxes[order, 2:], boxes[first, 2:]) - np.maximum(boxes[order, :2], boxes[first, :2])
        shared = np.prod(np.maximum(inside, 0), -1)
        order = order[shared <= rule.overlap * (area[order] + area[first] - shared)]
    return kept
