"""Sizes that a model leaves open and every profile fixes: TensorRT asks for them before it sees a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.rtx


def upsampling(folder: Path, rank: int, group: int = 1) -> Path:
    """A transposed convolution of 8 channels, whose input leaves all of its sizes open."""
    free = ["batch", "channels", "high", "wide"][:rank]
    weights = np.random.default_rng(0).standard_normal((8, 2, *[3] * (rank - 2))).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w"], ["y"], "up", group=group)],
        "upsampling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "up.onnx")
    return folder / "up.onnx"


def sidecar(engine: Path) -> Any:
    return json.loads(engine.with_name(f"{engine.name}.json").read_text())


def test_the_shapes_of_trtexec_are_all_that_there_is(trtconv: Any, tmp_path: Path) -> None:
    model = upsampling(tmp_path, 3, group=2)
    run = trtconv("trtexec", f"--onnx={model}", "--shapes=x:1x8x32", "--skipInference", "--saveEngine=up.engine")
    assert run.returncode == 0, run.stderr
    assert sidecar(tmp_path / "up.engine")["profiles"] == [
        {"x": {"min": [1, 8, 32], "opt": [1, 8, 32], "max": [1, 8, 32]}}
    ]


def test_only_the_channels_are_fixed(trtconv: Any, tmp_path: Path) -> None:
    model = upsampling(tmp_path, 4)
    run = trtconv("build", str(model), "-o", "up.engine", "--shapes", "x=1,8,4,4x2,8,8,8x4,8,16,16")
    assert run.returncode == 0, run.stderr
    (profile,) = sidecar(tmp_path / "up.engine")["profiles"]
    assert profile["x"]["max"] == [4, 8, 16, 16]


def test_two_profiles_that_agree_on_the_channels(trtconv: Any, tmp_path: Path) -> None:
    upsampling(tmp_path, 3)
    spans = "{min: [1, 8, 4], opt: [1, 8, 8], max: [1, 8, 8]}, {min: [1, 8, 16], opt: [4, 8, 16], max: [4, 8, 32]}"
    (tmp_path / "up.yaml").write_text(
        f"version: 1\nsource: {{path: up.onnx}}\nprecision: [fp16]\ninputs:\n  x:\n    profile: [{spans}]\n"
    )
    run = trtconv("build", "up.yaml")
    assert run.returncode == 0, run.stderr


def test_channels_that_vary_are_named(trtconv: Any, tmp_path: Path) -> None:
    model = upsampling(tmp_path, 3)
    run = trtconv("build", str(model), "-o", "up.engine", "--shapes", "x=1,8,4x2,8,8x4,16,16")
    assert run.returncode == 4
    assert "must not be dynamic" in run.stderr
    assert "next: say the size: the same number for min, opt and max" in run.stderr
    shaped = trtconv("convert", str(model), "-o", "shaped.onnx", "--input", "x:batch,8,16")
    assert shaped.returncode == 0, shaped.stderr
    again = trtconv("build", "shaped.onnx", "-o", "up.engine")
    assert again.returncode == 0, again.stderr
