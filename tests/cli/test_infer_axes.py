"""Samples along another axis than the first: results per sample, and batches that are measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

X = np.arange(5 * 3, dtype=np.float32).reshape(5, 3)
STATE = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3) * 10


def cell(folder: Path, batch: Any, layers: Any = 2, named: bool = True) -> Path:
    """y = x - sum of the layers' states, next = state + x; state is [layers, batch, 3]."""
    nodes = [
        helper.make_node("Add", ["state", "x"], ["next"]),
        helper.make_node("ReduceSum", ["state", "first"], ["all"], keepdims=0),
        helper.make_node("Sub", ["x", "all"], ["y"]),
    ]
    size = batch if named else None
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "cell",
        [tensor("state", TensorProto.FLOAT, [layers, size, 3]), tensor("x", TensorProto.FLOAT, [size, 3])],
        [tensor("y", TensorProto.FLOAT, [size, 3]), tensor("next", TensorProto.FLOAT, [layers, size, 3])],
        [helper.make_tensor("first", TensorProto.INT64, [1], [0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "cell.onnx")
    np.savez(folder / "samples.npz", x=X, state=STATE)
    return folder / "cell.onnx"


def check(file: Path, count: int = 5) -> None:
    """As a formula gives them, one entry per sample."""
    made = np.load(file)
    np.testing.assert_array_equal(made["y"], (X - STATE.sum(0))[:count])
    np.testing.assert_array_equal(made["next"], np.moveaxis(STATE + X, 1, 0)[:count])


@pytest.mark.parametrize("batch", ["2", "32"])
def test_the_axis_that_is_called_batch(trtconv: Any, tmp_path: Path, batch: str) -> None:
    done = trtconv("infer", cell(tmp_path, "batch"), "--data", "samples.npz", "-o", "y.npz", "--batch", batch)
    assert done.returncode == 0, done.stderr
    check(tmp_path / "y.npz")


def test_a_batch_that_the_model_fixes_is_filled_up(trtconv: Any, tmp_path: Path) -> None:
    """Five samples of a model for four; its sizes are all numbers, so the axis is said."""
    model = cell(tmp_path, 4)
    done = trtconv("infer", model, "--data", "samples.npz", "-o", "y.npz", "--batch-axis", "state=1")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "y.npz")


def test_a_stack_of_whole_inputs_gives_a_stack_of_whole_outputs(trtconv: Any, tmp_path: Path) -> None:
    model = cell(tmp_path, 1)
    np.savez(tmp_path / "samples.npz", x=X[:, None], state=np.moveaxis(STATE, 1, 0)[:, :, None])
    done = trtconv("infer", model, "--data", "samples.npz", "-o", "y.npz")
    assert done.returncode == 0, done.stderr
    made = np.load(tmp_path / "y.npz")
    np.testing.assert_array_equal(made["y"], (X - STATE.sum(0))[:, None])
    np.testing.assert_array_equal(made["next"], np.moveaxis(STATE + X, 1, 0)[:, :, None])


def test_what_the_sizes_do_not_tell_is_asked_for(trtconv: Any, tmp_path: Path) -> None:
    """Two layers, and a batch of two: either axis of the next state could count the samples."""
    model = cell(tmp_path, 2)
    arguments = ("infer", model, "--data", "samples.npz", "-o", "y.npz", "--batch-axis", "state=1")
    done = trtconv(*arguments)
    assert done.returncode == 2
    assert "output 'next' of shape [2, 2, 3]" in done.stderr
    assert "next: --batch-axis next=1" in done.stderr
    done = trtconv(*arguments, "--batch-axis", "next=1")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "y.npz")
    done = trtconv(*arguments, "--batch-axis", "nxt=1")
    assert done.returncode == 2
    assert "no input 'nxt'" in done.stderr


@pytest.mark.rtx
def test_a_job_builds_and_runs_it(trtconv: Any, tmp_path: Path) -> None:
    cell(tmp_path, "batch", named=False)
    (tmp_path / "cell.yaml").write_text(
        "version: 1\nsource: {path: cell.onnx}\nprecision: [fp32]\n"
        "inputs:\n"
        "  state: {shape: [2, streams, 3], profile: {min: [2, 1, 3], opt: [2, 2, 3], max: [2, 4, 3]}}\n"
        "  x: {shape: [streams, 3], profile: {min: [1, 3], opt: [2, 3], max: [4, 3]}}\n"
        "infer: {data: {path: samples.npz, batch_axis: {state: 1, next: 1}}, format: npz}\n"
    )
    done = trtconv("infer", "cell.yaml")
    assert done.returncode == 0, done.stderr
    check(tmp_path / "build" / "cell" / "cell.fp32.results.npz")


@pytest.mark.parametrize(
    ("batch", "named", "options", "measured"),
    [
        ("batch", True, ["--batch", "5", "--data", "samples.npz"], 5),
        ("batch", False, ["--batch", "4"], 4),
        ("batch", False, ["--batch", "4", "--data", "samples.npz", "--batch-axis", "state=1"], 4),
        (4, True, [], 4),
    ],
)
def test_measured_with_the_batch_on_any_axis(
    trtconv: Any, tmp_path: Path, batch: Any, named: bool, options: list[str], measured: int
) -> None:
    model = cell(tmp_path, batch, named=named)
    done = trtconv("bench", model, "--duration", "20ms", "--warmup", "1ms", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert [row["batch"] for row in json.loads(done.stdout)["bench"]["measurements"]] == [measured]


def test_an_input_without_dimensions_is_measured(trtconv: Any, tmp_path: Path) -> None:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "a"], ["y"])],
        "scaled",
        [tensor("x", TensorProto.FLOAT, ["batch", 3]), tensor("a", TensorProto.FLOAT, [])],
        [tensor("y", TensorProto.FLOAT, ["batch", 3])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "scaled.onnx"
    )
    done = trtconv("bench", "scaled.onnx", "--duration", "20ms", "--batch", "2")
    assert done.returncode == 0, done.stderr


def test_inputs_of_fixed_and_different_first_sizes_are_measured(trtconv: Any, tmp_path: Path) -> None:
    model = cell(tmp_path, 4)
    done = trtconv("bench", model, "--duration", "20ms", "--batch", "3")
    assert done.returncode == 2
    assert "has a fixed batch of" in done.stderr
