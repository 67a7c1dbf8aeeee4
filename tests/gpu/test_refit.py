"""An engine with other weights is verified where a GPU can run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Cli
from tests.networks import residual_cnn

pytestmark = pytest.mark.gpu


def test_the_new_engine_is_the_model_trained_again(trtconv: Cli, tmp_path: Path) -> None:
    for seed, name in enumerate(("first", "second")):
        onnx.save(residual_cnn(seed), tmp_path / f"{name}.onnx")
    built = trtconv("build", "first.onnx", "-o", "first.engine", "--precision", "fp16", "--shapes", "image=1x4x9")
    assert built.returncode == 0, built.stderr
    done = trtconv("refit", "first.engine", "second.onnx", "-o", "new.engine", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["refit"]["how"] == "rebuilt"
    (verdict,) = found["verify"]["verdicts"]
    assert "TensorRT" in verdict["runner"]
    assert min(output["cosine"] for output in verdict["outputs"]) > 0.999
    # the old engine is another function: the comparison can tell
    assert trtconv("lower", "second.onnx", "-o", "second.typed.onnx", "--precision", "fp16").returncode == 0
    arguments = ("second.typed.onnx", "first.engine", "--data", "x.npy")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((4, 8, 8, 1), np.float32))
    assert trtconv("verify", *arguments).returncode == 6
