"""Handwritten digits to classify: a network fitted in a moment, held-out images, and a job that does the rest."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from onnx import helper, numpy_helper

from tests.engines.models import save

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
JOB = """
version: 1
output: out
source: {path: digits.onnx}
inputs:
  x: {profile: {min: 1, opt: 32, max: 64}}
precision: fp16
infer:
  data: {path: heldout.npz, labels: labels}
  format: csv
  postprocess:
    - softmax: {}
    - topk: {k: 3, labels: names.txt}
"""


def write(folder: Path) -> tuple[Path, np.ndarray]:
    """The job with all that it names; and the held-out labels."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(images))
    train, heldout = order[360:], order[:360]
    weights, bias = _fitted(images[train], digits.target[train])
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["y"])]
    weights_of = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    save(folder / "digits.onnx", nodes, weights_of, shape=("batch", 1, 8, 8), output=("batch", 10))
    np.savez(folder / "heldout.npz", x=images[heldout], labels=digits.target[heldout])
    (folder / "names.txt").write_text("\n".join(NAMES))
    (folder / "job.yaml").write_text(JOB)
    return folder / "job.yaml", digits.target[heldout]


def _fitted(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression by gradient descent: weights [64, 10] and bias [10]."""
    x, wanted = images.reshape(len(images), -1), np.eye(10, dtype=np.float32)[labels]
    weights, bias = np.zeros((64, 10), np.float32), np.zeros(10, np.float32)
    for _ in range(500):
        scores = np.exp(x @ weights + bias)
        slope = (scores / scores.sum(1, keepdims=True) - wanted) / len(x)
        weights -= 5 * x.T @ slope
        bias -= 5 * slope.sum(0)
    return weights, bias


def check(table: Path, labels: np.ndarray) -> None:
    """One line per image, three classes with names and falling scores, and nearly all images right."""
    with table.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["sample"]) for row in rows] == list(range(len(labels)))
    for row in rows:
        classes = [int(row[f"y_class[{k}]"]) for k in range(3)]
        scores = [float(row[f"y_score[{k}]"]) for k in range(3)]
        assert [row[f"y_label[{k}]"] for k in range(3)] == [NAMES[c] for c in classes]
        assert scores == sorted(scores, reverse=True)
        assert len(set(classes)) == 3
        assert 0 < sum(scores) <= 1.001
    right = sum(int(row["y_class[0]"]) == label for row, label in zip(rows, labels, strict=True))
    assert right >= 0.93 * len(labels)
