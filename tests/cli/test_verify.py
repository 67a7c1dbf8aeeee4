"""verify on the command line: per tensor, and the search for what to keep."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests.stages.test_verify_inside import squares


def trtconv(*arguments, folder):
    command = [sys.executable, "-m", "trtconv", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    onnx.save(squares(), tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0.5, 1, (20, 8)).astype(np.float32))
    done = trtconv("lower", "model.onnx", "-o", "half.onnx", "--precision", "fp16", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_hidden_overflow_misses_the_gate(folder):
    done = trtconv("verify", "model.onnx", "half.onnx", "--data", "x.npy", "--per-layer", folder=folder)
    assert done.returncode == 6
    assert "output 'y' holds NaN or infinity; half precision overflows at 'squares' (Mul 'square')" in done.stderr
    assert "half.onnx, tensors by error:" in done.stdout
    assert "infinite" in done.stdout


def test_bisect_prints_the_yaml(folder):
    options = ("--data", "x.npy", "--bisect", "--precision", "fp16", "--max-rel", "0.01")
    done = trtconv("verify", "model.onnx", *options, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "lower:\n  keep:\n    names:\n      - '^square$'" in done.stdout
    found = json.loads(trtconv("verify", "model.onnx", *options, "--json", folder=folder).stdout)["bisect"][0]
    assert found["nodes"] == ["square", "average", "shrink"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bisect",), "bisect needs one FP32 ONNX model, --data FILE and --precision"),
        (("--bisect", "--data", "x.npy", "--precision", "fp16"), "bisect needs a gate"),
        (("--bisect", "--min-cosine", "0.9"), "do not go with --bisect"),
        (("--bisect", "--data", "x.npy", "--precision", "int8", "--max-rel", "1"), "needs the calibration cache"),
        (("--precision", "fp16"), "belong to --bisect"),
    ],
)
def test_what_bisect_needs(folder, arguments, message):
    done = trtconv("verify", "model.onnx", *arguments, folder=folder)
    assert done.returncode == 2
    assert message in done.stderr


def test_samples_of_a_glob(folder):
    np.save(folder / "x2.npy", np.full((3, 8), 0.5, np.float32))
    done = trtconv("verify", "model.onnx", "model.onnx", "--data", "x*.npy", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verify"]["samples"] == 23


def test_without_a_bound_the_precision_has_one_and_exit_0_means_that_it_was_kept(folder):
    """Squares near 800,000 lose everything in half precision, and FP32 is itself."""
    lost = trtconv("verify", "model.onnx", "half.onnx", "--data", "x.npy", "--json", folder=folder)
    assert lost.returncode == 6
    (verdict,) = json.loads(lost.stdout)["verify"]["verdicts"]
    assert (verdict["basis"], verdict["bound"].split(",")[0]) == ("strict", "relative difference at most 0.01")
    same = trtconv("verify", "model.onnx", "model.onnx", "--data", "x.npy", "--tolerance", "1e-6", folder=folder)
    assert same.returncode == 0, same.stderr
    assert "model.onnx: within tolerance (relative difference at most 1e-06)" in same.stdout
