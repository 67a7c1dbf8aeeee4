"""The last step of detectors in an engine: a Loop, sorting and gathering, against one box at a time in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.graph.test_detection import OPSET, expected
from trtconv.adapters import tensorrt
from trtconv.core.events import ignore
from trtconv.core.records import TensorInfo
from trtconv.engines.run.runner import open_engine
from trtconv.graph import detection
from trtconv.graph.building import Builder
from trtconv.stages.build import BuildRequest, build

pytestmark = pytest.mark.gpu
IMAGES, CLASSES, PRIORS = 2, 4, 300


def test_suppression(tmp_path: Path) -> None:
    if not any(found.version for found in tensorrt.probe()):
        pytest.skip("no TensorRT is installed")
    rule = detection.Suppression(0.45, 0.3, 100, 50, (1, 2, 3))
    b = Builder(OPSET)
    b.input(TensorInfo("boxes", "float", (IMAGES, PRIORS, 4)))
    b.input(TensorInfo("scores", "float", (IMAGES, CLASSES, PRIORS)))
    found = detection.suppress(b, "boxes", "scores", rule, "nms")
    table = detection.rows(b, found, [detection.images(b, found, "nms"), found.classes, found.scores], "table")
    onnx.save(b.model([table]), tmp_path / "head.onnx")
    build(BuildRequest(tmp_path / "head.onnx", tmp_path / "head.engine", "fp32"), ignore)
    runner = open_engine(tmp_path / "head.engine")
    for seed in range(3):
        random = np.random.default_rng(seed)
        low = random.uniform(0, 0.7, (IMAGES, PRIORS, 2))
        boxes = np.concatenate([low, low + random.uniform(0.1, 0.3, low.shape)], -1).astype(np.float32)
        scores = random.permutation(IMAGES * CLASSES * PRIORS).reshape(IMAGES, CLASSES, PRIORS).astype(np.float32)
        scores /= scores.size
        rows = runner.run({"boxes": boxes, "scores": scores})[table]
        wanted = expected(np.repeat(boxes[:, None], CLASSES, 1), scores, rule)
        np.testing.assert_allclose(rows[rows[..., 0] >= 0], np.reshape(wanted, (-1, 7)), rtol=1e-5)
    runner.close()
