"""``source.weights``: for networks whose own file has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from tests import networks


def test_weights_of_a_model_that_has_its_own(tmp_path: Path, trtconv: Any) -> None:
    onnx.save(networks.perceptron(), tmp_path / "model.onnx")
    (tmp_path / "net.caffemodel").write_bytes(b"\x0a\x01n")
    done = trtconv("convert", "model.onnx", "--weights", "net.caffemodel", "-o", "out.onnx")
    assert done.returncode == 2
    assert "weights" in done.stderr
    assert "leave it out" in done.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_weights_that_are_not_there(tmp_path: Path, trtconv: Any) -> None:
    onnx.save(networks.perceptron(), tmp_path / "model.onnx")
    done = trtconv("convert", "model.onnx", "--weights", "net.caffemodel", "-o", "out.onnx")
    assert done.returncode == 2
    assert "net.caffemodel" in done.stderr
