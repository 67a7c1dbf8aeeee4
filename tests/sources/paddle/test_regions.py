"""Detection operators of Paddle 1 against NumPy, one box at a time, and against Paddle where it is there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sources.paddle.programs import Writer
from tests.sources.paddle.test_convert import PYTHON, with_paddle
from tests.sources.paddle.test_rules import lowered, ran, same
from trtconv import sources
from trtconv.core.records import SourceSpec
from trtconv.sources.paddle import cutting, files, lowering, network, rules

VARIANCES = [0.1, 0.1, 0.2, 0.2]
FIXED = {"fixed_sizes": [7.0, 12.0], "fixed_ratios": [1.0, 2.0], "densities": [3, 2], "variances": VARIANCES}


def dense_priors(feature: tuple[int, int], image: tuple[int, int], steps: tuple[float, float], clip: bool) -> Any:
    """[height, width, boxes, 4], by paddle/fluid/operators/detection/density_prior_box_op.h."""
    across, down = steps if all(steps) else (image[1] / feature[1], image[0] / feature[0])
    whole, found = int((across + down) * 0.5), []
    for row in range(feature[0]):
        for column in range(feature[1]):
            x, y = (column + 0.5) * across, (row + 0.5) * down
            for size, density in zip(FIXED["fixed_sizes"], FIXED["densities"], strict=True):
                shift = whole // density
                for ratio in FIXED["fixed_ratios"]:
                    wide, tall = size * math.sqrt(ratio), size / math.sqrt(ratio)
                    for i in range(density):
                        for j in range(density):
                            cx = x - whole / 2 + shift / 2 + j * shift
                            cy = y - whole / 2 + shift / 2 + i * shift
                            low = max((cx - wide / 2) / image[1], 0), max((cy - tall / 2) / image[0], 0)
                            high = min((cx + wide / 2) / image[1], 1), min((cy + tall / 2) / image[0], 1)
                            found.append([*low, *high])
    boxes = np.reshape(found, (*feature, -1, 4)).astype(np.float32)
    return boxes.clip(0, 1) if clip else boxes


@pytest.mark.parametrize(
    ("steps", "clip", "flat"), [((0.0, 0.0), False, False), ((9.0, 11.0), True, True), ((13.0, 12.0), False, True)]
)
def test_density_prior_box(steps: tuple[float, float], clip: bool, flat: bool, tmp_path: Path) -> None:
    net = Writer()
    net.feed("x", (-1, 8, 4, 5)), net.feed("image", (-1, 3, 40, 46))
    net.variable("boxes"), net.variable("var")
    given = {**FIXED, "step_w": steps[0], "step_h": steps[1], "clip": clip, "flatten_to_2d": flat, "offset": 0.5}
    net.op("density_prior_box", {"Input": "x", "Image": "image"}, {"Boxes": "boxes", "Variances": "var"}, **given)
    net.fetch("boxes", "var")
    wanted = dense_priors((4, 5), (40, 46), steps, clip)
    wanted = wanted.reshape(-1, 4) if flat else wanted
    var = np.broadcast_to(np.float32(VARIANCES), wanted.shape)
    found = ran(lowered(net, tmp_path), {"x": np.zeros((1, 8, 4, 5), "f"), "image": np.zeros((1, 3, 40, 46), "f")})
    same(found, {"boxes": wanted, "var": var})


def overlap(a: Any, b: Any) -> float:
    """Intersection over union of pixels, ends included."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low + 1, 0))
    return float(shared / (np.prod(a[2:] - a[:2] + 1) + np.prod(b[2:] - b[:2] + 1) - shared))


def proposed(scores: Any, deltas: Any, info: Any, anchors: Any, before: int, after: int) -> list[tuple[Any, float]]:
    """Proposals of one image, by Paddle 1's generate_proposals_op.cc."""
    flat, moves = scores.transpose(1, 2, 0).ravel(), deltas.transpose(1, 2, 0).reshape(-1, 4)
    found = []
    for place in np.argsort(-flat, kind="stable")[:before]:
        x1, y1, x2, y2 = anchors[place]
        wide, tall = x2 - x1 + 1, y2 - y1 + 1
        move = moves[place] * VARIANCES
        cx, cy = move[:2] * (wide, tall) + (x1 + wide / 2, y1 + tall / 2)
        wide, tall = np.exp(np.minimum(move[2:], math.log(1000 / 16))) * (wide, tall)
        box = np.array([cx - wide / 2, cy - tall / 2, cx + wide / 2 - 1, cy + tall / 2 - 1])
        box = np.clip(box, 0, [info[1] - 1, info[0] - 1] * 2)
        size = (box[2:] - box[:2]) / info[2] + 1
        middle = box[:2] + (box[2:] - box[:2] + 1) / 2
        if (size >= 4).all() and middle[0] <= info[1] and middle[1] <= info[0]:
            found.append((box, float(flat[place])))
    kept: list[tuple[Any, float]] = []
    for box, score in found:
        if all(overlap(box, other) <= 0.5 for other, _ in kept):
            kept.append((box, score))
    return kept[:after]


def regional(images: int) -> tuple[Writer, dict[str, Any], Any]:
    """A program with ``generate_proposals`` of Paddle 1, its inputs, its anchors."""
    net, random = Writer(seed=3), np.random.default_rng(5)
    low = net.random.uniform(-8, 60, (5, 6, 3, 2))
    anchors = np.concatenate([low, low + net.random.uniform(2, 40, low.shape)], -1).astype(np.float32)
    net.feed("scores", (-1, 3, 5, 6)), net.feed("deltas", (-1, 12, 5, 6)), net.feed("info", (-1, 3))
    net.weight("anchors", anchors)
    net.weight("var", np.broadcast_to(np.float32(VARIANCES), anchors.shape).copy())
    net.variable("rois", (-1, 4), lod=1), net.variable("probs", (-1, 1), lod=1)
    inputs = {"Scores": "scores", "BboxDeltas": "deltas", "ImInfo": "info", "Anchors": "anchors", "Variances": "var"}
    limits = {"pre_nms_topN": 60, "post_nms_topN": 12, "nms_thresh": 0.5, "min_size": 4.0, "eta": 1.0}
    net.op("generate_proposals", inputs, {"RpnRois": "rois", "RpnRoiProbs": "probs"}, **limits)
    given = {
        "scores": random.permutation(images * 90).reshape(images, 3, 5, 6).astype(np.float32) / 1000,
        "deltas": random.standard_normal((images, 12, 5, 6)).astype(np.float32) * 3,
        "info": np.array([[64, 70, 1.6], [50, 60, 0.7]], np.float32)[:images],
    }
    return net, given, anchors.reshape(-1, 4)


def test_proposals_of_paddle_1(tmp_path: Path) -> None:
    net, given, anchors = regional(2)
    net.fetch("rois", "probs")
    found = ran(lowered(net, tmp_path), given)
    for image in range(2):
        wanted = proposed(given["scores"][image], given["deltas"][image], given["info"][image], anchors, 60, 12)
        assert 2 < len(wanted) <= 12
        rows, scores = found["rois"][image], found["probs"][image]
        np.testing.assert_allclose(rows[: len(wanted)], [box for box, _ in wanted], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(scores[: len(wanted), 0], [score for _, score in wanted], rtol=1e-6)
        assert (rows[len(wanted) :] == rows[0]).all()
        assert not scores[len(wanted) :].any()


@with_paddle
def test_paddle_computes_the_same(tmp_path: Path) -> None:
    """Paddle 3.2.2 still has both operators; sizes that are none as well, and regions that end as outputs."""
    net, given, _ = regional(2)
    net.one("box_clip", {"Input": "rois", "ImInfo": "info"}, "clipped", (-1, 4), out="Output")
    net.fetch("rois", "probs", "clipped")
    model = lowered(net, tmp_path)
    source = sources.open_model(SourceSpec(tmp_path / "model.pdmodel", python=Path(PYTHON)))
    for info in (given["info"], np.array([[-0.5, 0.3, 1.2], [0.7, -0.2, -0.4]], np.float32)):
        wanted, found = source.run({**given, "info": info}), ran(model, {**given, "info": info})
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)
    source.close()


@pytest.mark.parametrize("shape", [(4,), (5, 4), (20,)])
def test_boxes_within_the_image_as_it_was(shape: tuple[int, ...], tmp_path: Path) -> None:
    net, given, _ = regional(2)
    net.feed("more", (24, *shape))
    net.one("box_clip", {"Input": "more", "ImInfo": "info"}, "clipped", (-1, *shape), out="Output")
    net.fetch("rois", "clipped")
    boxes = np.random.default_rng(1).uniform(-30, 120, (24, *shape)).astype(np.float32)
    height, width = np.floor(given["info"][:, :2] / given["info"][:, 2:] + 0.5).T
    ends = np.stack([width - 1, height - 1] * 2, 1).repeat(12, 0)
    wanted = boxes.reshape(24, -1, 4).clip(0, ends[:, None]).reshape(boxes.shape)
    found = ran(lowered(net, tmp_path), {**given, "more": boxes})["clipped"]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-6)
    assert (wanted != boxes).any()


def test_the_best_of_all_levels(tmp_path: Path) -> None:
    net, random, counts = Writer(), np.random.default_rng(0), (5, 8)
    for level, count in enumerate(counts):
        net.feed(f"rois{level}", (count, 4)), net.feed(f"scores{level}", (count, 1))
    inputs = {f"MultiLevel{kind.title()}": [f"{kind}0", f"{kind}1"] for kind in ("rois", "scores")}
    net.variable("best", (-1, 4), lod=1)
    net.op("collect_fpn_proposals", inputs, {"FpnRois": "best"}, post_nms_topN=7)
    net.fetch("best")
    scores = random.permutation(13).astype(np.float32)
    given: dict[str, Any] = {"scores0": scores[:5, None], "scores1": scores[5:, None]}
    boxes = random.uniform(0, 50, (13, 4)).astype(np.float32)
    given |= {"rois0": boxes[:5], "rois1": boxes[5:]}
    wanted = boxes[np.argsort(-scores)[:7]]
    np.testing.assert_array_equal(ran(lowered(net, tmp_path), given)["best"].reshape(7, 4), wanted)


def test_the_best_of_several_images_is_refused(tmp_path: Path) -> None:
    net, _, _ = regional(2)
    net.variable("best", (-1, 4), lod=1)
    levels = {"MultiLevelRois": ["rois"], "MultiLevelScores": ["probs"]}
    net.op("collect_fpn_proposals", levels, {"FpnRois": "best"}, post_nms_topN=7)
    net.fetch("best")
    found = network.read(files.find(net.save(tmp_path)))
    plan = lowering.plan(cutting.cut(found.program, ["best"]))
    with pytest.raises(rules.Refused, match="the best of all images together") as caught:
        lowering.finish(lowering.empty(17), plan, found, found.tensors(), [])
    assert "--input" in caught.value.hint
