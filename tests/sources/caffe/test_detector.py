"""A small single-shot detector, whole: priors, scores and DetectionOutput."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import caffe_networks as caffe
from tests.sources.caffe.nets import converted, normal, run
from trtconv.core.records import SourceSpec
from trtconv.sources.caffe import decided
from trtconv.sources.caffe.reference import CaffeNetwork

CLASSES = 4
HEADS = ("loc", "conf_flat", "priors")


def detector(images: int, rule: str) -> str:
    """Two maps with six and four priors a cell, as SSD puts them together."""
    text = caffe.head("ssd", images, 3, 40, 48) + caffe.conv("conv1", "data", 8, 3, "pad: 1 stride: 4")
    text += caffe.conv("conv2", "conv1", 12, 3, "pad: 1 stride: 2")
    for number, (ratios, count) in enumerate((("aspect_ratio: 2 aspect_ratio: 3", 6), ("aspect_ratio: 2", 4)), 1):
        source = f"conv{number}"
        for head, width in (("loc", 4), ("conf", CLASSES)):
            name = f"{head}{number}"
            text += caffe.conv(name, source, count * width, 3, "pad: 1", relu=False)
            text += caffe.layer(
                "Permute", f"{name}_perm", name, f"{name}_perm", "permute_param { order: 0 order: 2 order: 3 order: 1 }"
            )
            text += caffe.layer("Flatten", f"{name}_flat", f"{name}_perm", f"{name}_flat")
        sizes = f"min_size: {10 * number} max_size: {10 * number + 10}"
        text += caffe.layer(
            "PriorBox",
            f"prior{number}",
            f"{source} data",
            f"prior{number}",
            f"prior_box_param {{ {sizes} {ratios} variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }}",
        )
    text += caffe.layer("Concat", "loc", "loc1_flat loc2_flat", "loc")
    text += caffe.layer("Concat", "conf", "conf1_flat conf2_flat", "conf")
    text += caffe.layer("Concat", "priors", "prior1 prior2", "priors", "concat_param { axis: 2 }")
    text += caffe.layer(
        "Reshape", "rows", "conf", "rows", f"reshape_param {{ shape {{ dim: 0 dim: -1 dim: {CLASSES} }} }}"
    )
    text += caffe.layer("Softmax", "prob", "rows", "prob", "softmax_param { axis: 2 }")
    text += caffe.layer("Flatten", "conf_flat", "prob", "conf_flat")
    return text + caffe.layer(
        "DetectionOutput",
        "found",
        "loc conf_flat priors",
        "found",
        f"detection_output_param {{ num_classes: {CLASSES} {rule} }}",
    )


RULE = "code_type: CENTER_SIZE keep_top_k: 12 confidence_threshold: 0.3 nms_param { nms_threshold: 0.45 top_k: 40 }"


def made(folder: Path, images: int = 2, rule: str = RULE, outputs: Any = ()) -> Any:
    text = detector(images, rule)
    (folder / "net.prototxt").write_text(text)
    return converted(folder, text, caffe.seeded(folder / "net.prototxt"), outputs)


def test_what_is_found(tmp_path: Path) -> None:
    """The heads through a plain loop over boxes."""
    images = normal(2, 3, 40, 48)
    heads = run(made(tmp_path, outputs=HEADS).model, {"data": images})
    table = run(made(tmp_path).model, {"data": images})["found"]
    assert table.shape == (2, 1, 12, 7)
    wanted = decoded(heads["loc"].astype(np.float64), heads["priors"][0].astype(np.float64))
    scores = heads["conf_flat"].reshape(2, -1, CLASSES)
    for image in range(2):
        rows = detections(image, wanted[image], scores[image], 0.3, 0.45, 40, 12)
        assert len(rows) > 5
        np.testing.assert_allclose(table[image, 0, : len(rows)], rows, rtol=1e-4, atol=1e-5)
        assert np.all(table[image, 0, len(rows) :] == -1)


def decoded(loc: Any, priors: Any) -> Any:
    box, variance = priors[0].reshape(-1, 4), priors[1].reshape(-1, 4)
    move = loc.reshape(len(loc), -1, 4) * variance
    size, center = box[:, 2:] - box[:, :2], (box[:, 2:] + box[:, :2]) / 2
    center, size = move[..., :2] * size + center, np.exp(move[..., 2:]) * size
    return np.concatenate([center - size / 2, center + size / 2], -1)


def detections(image: int, boxes: Any, scores: Any, least: float, most: float, top: int, keep: int) -> Any:
    rows = []
    for label in range(1, CLASSES):
        order = [p for p in np.argsort(-scores[:, label], kind="stable") if scores[p, label] > least][:top]
        kept: list[int] = []
        for p in order:
            if all(shared(boxes[p], boxes[q]) <= most for q in kept):
                kept.append(p)
        rows += [[image, label, scores[p, label], *boxes[p]] for p in kept]
    best = sorted(rows, key=lambda row: -row[2])[:keep]
    return sorted(best, key=lambda row: (row[1], -row[2]))


def shared(a: Any, b: Any) -> float:
    inside = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside))


def test_priors(tmp_path: Path) -> None:
    """The first cells of the first map, from the paper's formulas."""
    priors = run(made(tmp_path, outputs=["prior1"]).model, {"data": normal(2, 3, 40, 48)})["prior1"]
    assert priors.shape == (1, 2, 10 * 12 * 6 * 4)
    sides = [(10, 10), (np.sqrt(10 * 20),) * 2]
    sides += [(10 * np.sqrt(r), 10 / np.sqrt(r)) for r in (2, 1 / 2, 3, 1 / 3)]
    boxes = []
    for x, y in ((2, 2), (6, 2)):
        boxes += [[(x - w / 2) / 48, (y - h / 2) / 40, (x + w / 2) / 48, (y + h / 2) / 40] for w, h in sides]
    np.testing.assert_allclose(priors[0, 0, : 12 * 4].reshape(-1, 4), boxes, rtol=1e-5, atol=1e-7)
    assert np.allclose(priors[0, 1].reshape(-1, 4), [0.1, 0.1, 0.2, 0.2])


REFUSED = {
    "threshold that falls": (f"{RULE} nms_param {{ eta: 0.9 }}", "eta"),
    "no classes": ("num_classes: 0", "0 classes"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_refused(tmp_path: Path, case: Any) -> None:
    from trtconv.core.errors import ConversionError

    with pytest.raises(ConversionError, match=case[1]):
        made(tmp_path, rule=case[0])


def changed(heads: Any, place: int, to: Any) -> list[Any]:
    moved = [np.array(heads[name]) for name in HEADS]
    moved[place][...] = to(moved[place])
    return moved


def test_detections_that_hang_on_a_last_digit_are_not_compared(tmp_path: Path) -> None:
    """Two programs that round differently may then differ in whole rows, and both be right."""
    found = made(tmp_path)
    heads = run(made(tmp_path, outputs=HEADS).model, {"data": normal(2, 3, 40, 48)})
    layer = found.layers[-1]
    assert not decided.undecided(layer, *(heads[name] for name in HEADS))
    assert decided.undecided(layer, *changed(heads, 1, lambda conf: np.where(conf > 0.3, 0.5, conf)))  # ties
    assert decided.undecided(layer, *changed(heads, 0, lambda loc: loc * 1e4))  # boxes without end


RULES = {
    "centers": RULE,
    "corners": "keep_top_k: 20 confidence_threshold: 0.25 nms_param { top_k: 60 }",
    "another background": f"{RULE} background_label_id: 2",
}


@pytest.mark.skipif(
    importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed: pip install 'trtconv[caffe]'"
)
@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_against_opencv(tmp_path: Path, rule: str) -> None:
    model = made(tmp_path, rule=rule).model
    source = CaffeNetwork(SourceSpec(tmp_path / "net.prototxt", weights=tmp_path / "net.caffemodel"))
    for seed in range(3):
        feeds = {"data": normal(2, 3, 40, 48, seed=seed)}
        wanted = source.run(feeds)["found"]
        assert (wanted[..., 0] >= 0).sum() > 4
        np.testing.assert_allclose(run(model, feeds)["found"], wanted, atol=1e-4)
    source.close()
