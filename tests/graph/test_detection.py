"""Box decoding and suppression in ONNX operators, against the same computed one box at a time in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from trtconv.core.records import TensorInfo
from trtconv.graph import detection
from trtconv.graph.building import Builder

OPSET = 17
PRIORS = 24


def run(b: Builder, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
    model = b.model(outputs)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(outputs, feeds))


def overlap(a: Any, b: Any, offset: float) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inside = np.prod(np.maximum(high - low + offset, 0))
    area = [np.prod(box[2:] - box[:2] + offset) for box in (a, b)]
    return float(inside / (area[0] + area[1] - inside))


def expected(boxes: Any, scores: Any, rule: detection.Suppression) -> list[list[float]]:
    """Rows [image, class, score, box] as Caffe's DetectionOutput orders them; boxes [B, C, P, 4], scores [B, C, P]."""
    rows = []
    for image in range(len(scores)):
        found = []
        for label in rule.classes:
            order = [
                p for p in np.argsort(-scores[image, label], kind="stable") if scores[image, label, p] > rule.score
            ]
            kept: list[int] = []
            for p in order[: rule.candidates if rule.candidates > 0 else None]:
                if all(
                    overlap(boxes[image, label, p], boxes[image, label, q], rule.offset) <= rule.overlap for q in kept
                ):
                    kept.append(p)
            found += [(scores[image, label, p], label, p) for p in kept]
        best = sorted(found, key=lambda one: -one[0])[: rule.results if rule.results > 0 else None]
        if rule.grouped:
            best.sort(key=lambda one: (one[1], -one[0]))
        rows += [[image, label, score, *boxes[image, label, p]] for score, label, p in best]
    return rows


def suppressed(
    boxes: Any, scores: Any, rule: detection.Suppression, batch: int | str = "batch", opset: int = OPSET
) -> Any:
    b = Builder(opset)
    b.input(TensorInfo("boxes", "float", (batch, *boxes.shape[1:])))
    b.input(TensorInfo("scores", "float", (batch, *scores.shape[1:])))
    found = detection.suppress(b, "boxes", "scores", rule, "nms")
    columns = [detection.images(b, found, "nms"), found.classes, found.scores]
    table = detection.rows(b, found, columns, "table")
    return run(b, [table, found.priors], {"boxes": boxes, "scores": scores})


def crowd(seed: int, batch: int, classes: int) -> tuple[Any, Any]:
    """Boxes [B, C, P, 4] that often overlap, and scores [B, C, P]."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 0.5, (batch, classes, PRIORS, 2))
    boxes = np.concatenate([low, low + random.uniform(0.1, 0.5, low.shape)], -1).astype(np.float32)
    return boxes, random.uniform(0, 1, (batch, classes, PRIORS)).astype(np.float32)


RULES = {
    "as SSD does": detection.Suppression(0.45, 0.3, 10, 7, (1, 2)),
    "no bounds": detection.Suppression(0.3, 0.0, 0, -1, (0, 1, 2)),
    "negative threshold": detection.Suppression(0.3, -float(np.finfo(np.float32).max), -1, 5, (0, 2)),
    "one class": detection.Suppression(0.5, 0.1, 12, 4, (1,)),
    "by score": detection.Suppression(0.4, 0.2, 9, 6, (0, 1, 2), grouped=False),
    "pixels": detection.Suppression(0.4321, 0.2, 9, 6, (0, 1, 2), offset=1.0),
    "nothing found": detection.Suppression(0.4, 2.0, 9, 6, (0, 1, 2)),
}


@pytest.mark.parametrize("pairs", [detection.PAIRS, 0], ids=["by pairs", "NonMaxSuppression"])
@pytest.mark.parametrize("own", [False, True], ids=["shared boxes", "boxes per class"])
@pytest.mark.parametrize("batch", [2, "batch"])
@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_suppression(
    rule: detection.Suppression, batch: int | str, own: bool, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "PAIRS", pairs)
    boxes, scores = crowd(5, 2, 3)
    if rule.offset:
        boxes = np.round(boxes * 40)
    if not own:
        boxes = np.repeat(boxes[:, :1], 3, 1)
    wanted = expected(boxes, scores, rule)
    table, priors = suppressed(boxes if own else boxes[:, 0], scores, rule, batch)
    valid = table[..., 0] >= 0
    np.testing.assert_allclose(table[valid], np.reshape(wanted, (-1, 7)), rtol=1e-6)
    assert np.all(table[~valid] == -1)
    for row, prior in zip(table[valid], priors[valid], strict=True):
        assert np.all(boxes[int(row[0]), int(row[1]), prior] == row[3:])


def test_a_long_chain_is_undone_link_by_link() -> None:
    """Every box overlaps the next one only: the second goes, so the third stays, and so on to the last."""
    count = 60
    left = np.arange(count, dtype=np.float32)[None, None] * 0.6
    boxes = np.stack([left, np.zeros_like(left), left + 1, np.ones_like(left)], -1)
    scores = np.linspace(1, 0.5, count, dtype=np.float32)[None, None]
    rule = detection.Suppression(0.2, 0.1, 0, 0, (0,))
    table, priors = suppressed(boxes, scores, rule)
    assert priors[table[..., 0] >= 0].tolist() == list(range(0, count, 2))


@pytest.mark.rtx
@pytest.mark.parametrize("batch", [1, "batch"])
def test_tensorrt_rtx_builds_it(batch: int | str, tmp_path: Path, trtconv: Any) -> None:
    b = Builder(OPSET)
    b.input(TensorInfo("boxes", "float", (batch, 50, 4)))
    b.input(TensorInfo("scores", "float", (batch, 3, 50)))
    found = detection.suppress(b, "boxes", "scores", detection.Suppression(0.45, 0.3, 20, 10, (1, 2)), "nms")
    columns = [detection.images(b, found, "nms"), found.classes, found.scores]
    onnx.save(b.model([detection.rows(b, found, columns, "table")]), tmp_path / "model.onnx")
    shapes = ["--shapes", "boxes=1x2x4", "--shapes", "scores=1x2x4"] if batch == "batch" else []
    done = trtconv("build", "model.onnx", "-o", "model.engine", "--backend", "rtx", "--precision", "fp16", *shapes)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("opset", [13, 18])
def test_opsets(opset: int) -> None:
    boxes, scores = crowd(5, 2, 3)
    rule = RULES["as SSD does"]
    table, _ = suppressed(boxes, scores, rule, opset=opset)
    np.testing.assert_allclose(table[table[..., 0] >= 0], np.reshape(expected(boxes, scores, rule), (-1, 7)), rtol=1e-6)


def decoded(how: Any, deltas: Any, priors: Any, variances: Any, **options: Any) -> Any:
    b = Builder(OPSET)
    b.input(TensorInfo("deltas", "float", deltas.shape))
    factors = b.constant(variances, "variances") if variances is not None else ""
    return run(b, [how(b, "deltas", b.constant(priors, "priors"), factors, "box", **options)], {"deltas": deltas})[0]


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_centers(offset: float) -> None:
    random = np.random.default_rng(1)
    priors, deltas = crowd(2, 1, 1)[0][0, 0], random.normal(0, 1, (2, PRIORS, 4)).astype(np.float32)
    variances = np.array([0.1, 0.1, 0.2, 0.2], np.float32)
    got = decoded(detection.decode_centers, deltas, priors, variances, offset=offset)
    for image in range(2):
        for d, p, box in zip(deltas[image].astype(np.float64), priors.astype(np.float64), got[image], strict=True):
            width, height = p[2] - p[0] + offset, p[3] - p[1] + offset
            x, y = 0.1 * d[0] * width + p[0] + width / 2, 0.1 * d[1] * height + p[1] + height / 2
            w, h = np.exp(0.2 * d[2]) * width, np.exp(0.2 * d[3]) * height
            wanted = [x - w / 2, y - h / 2, x + w / 2 - offset, y + h / 2 - offset]
            np.testing.assert_allclose(box, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by_size", [False, True])
def test_corners(by_size: bool) -> None:
    priors, deltas = crowd(2, 1, 1)[0][0, 0], crowd(3, 1, 2)[0][0]
    got = decoded(detection.decode_corners, deltas, priors, None, by_size=by_size)
    size = np.tile(priors[:, 2:] - priors[:, :2], 2) if by_size else 1
    np.testing.assert_allclose(got, priors + deltas * size, rtol=1e-5, atol=1e-6)
