"""The UFF flow on the command line: what TensorFlow computes between the same two cuts, channels first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtconv.adapters import onnxruntime

pytestmark = pytest.mark.tf

WITHOUT_DROPOUT = """
def preprocess(graph):
    (reader,) = graph.find_nodes_by_name("matmul_1")
    reader.input[0] = "fc1/Relu"
    graph.remove(graph.find_nodes_by_path("dropout"), remove_exclusive_dependencies=True)
"""


@pytest.fixture
def seen(graphs: Path) -> dict[str, np.ndarray]:
    """TensorFlow's tensors on one batch, by node; images and feature maps turned to channels first."""
    with np.load(graphs / "lenet/observed.npz") as stored:
        arrays = dict(stored)
    return {name: a.transpose(0, 3, 1, 2) if a.ndim == 4 else a for name, a in arrays.items()}


def require_same(model: Path, given: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    got = onnxruntime.session(model).run(given)
    assert got.keys() == wanted.keys()
    for name, reference in wanted.items():
        assert np.ptp(reference) > 0.1
        np.testing.assert_allclose(got[name], reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def test_nodes_are_listed_without_tensorflow(graphs: Path, trtconv: Any, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not here')")
    for arguments in ([graphs / "lenet/frozen.pb"], ["tensorflow", "--input-file", graphs / "lenet/frozen.pb"]):
        done = trtconv("uff", *arguments, "-l", env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"})
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert rows[2:4] == [["0", "Placeholder", "Placeholder"], ["1", "Placeholder", "keep_prob"]]
        assert rows[-1][1:] == ["Relu", "fc2/Relu"]


def test_inner_nodes_as_outputs_and_a_text_form(
    graphs: Path, trtconv: Any, tmp_path: Path, seen: dict[str, np.ndarray]
) -> None:
    done = trtconv("uff", graphs / "lenet/frozen.pb", "-o", "m.onnx", "-O", "pool1", "-O", "fc1/Relu:0", "-t", "-q")
    assert done.returncode == 0, done.stderr
    require_same(
        tmp_path / "m.onnx",
        {"Placeholder": seen["Placeholder"]},
        {"pool1": seen["pool1"], "fc1/Relu": seen["fc1_Relu"]},
    )
    assert "[batch, 1, 12, 12]" in done.stdout
    text = (tmp_path / "m.onnx.txt").read_text()
    assert all(f"{node.op_type} " in text for node in onnx.load(tmp_path / "m.onnx").graph.node)


def test_an_inner_node_as_input_under_a_new_name(
    graphs: Path, trtconv: Any, tmp_path: Path, seen: dict[str, np.ndarray]
) -> None:
    done = trtconv(
        "uff",
        graphs / "lenet/frozen.pb",
        "-o",
        "m.onnx",
        "-O",
        "fc2/Relu",
        "--constant",
        "keep_prob=1.0",
        "-I",
        "conv1/Relu,features,DT_FLOAT,-1,12,12,4",
    )
    assert done.returncode == 0, done.stderr
    require_same(tmp_path / "m.onnx", {"features": seen["conv1_Relu"]}, {"fc2/Relu": seen["fc2_Relu"]})


def test_the_form_of_tensorrt_3_with_a_preprocessor(
    graphs: Path, trtconv: Any, tmp_path: Path, seen: dict[str, np.ndarray]
) -> None:
    (tmp_path / "prepare.py").write_text(WITHOUT_DROPOUT)
    command = ["uff", "tensorflow", "--input-file", graphs / "lenet/frozen.pb", "-o", "m.uff", "-p", "prepare.py"]
    refused = trtconv(*command)
    assert refused.returncode == 2
    assert "add --allow-code" in refused.stderr
    assert not list(tmp_path.glob("m.*"))
    done = trtconv(*command, "--allow-code", "--write_preprocessed")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.glob("m.*")} == {"m.onnx", "m.preprocessed.pb"}  # no UFF is written
    require_same(tmp_path / "m.onnx", {"Placeholder": seen["Placeholder"]}, {"fc2/Relu": seen["fc2_Relu"]})


def test_a_job_cuts_at_the_same_nodes(graphs: Path, trtconv: Any, tmp_path: Path, seen: dict[str, np.ndarray]) -> None:
    job = tmp_path / "lenet.yaml"
    job.write_text(f"""
version: 1
source:
  path: {graphs / "lenet/frozen.pb"}
  register_input: {{Placeholder: [1, 12, 12]}}
  register_output: [conv1/Relu, fc2/Relu]
  input_order: nchw
  constants: {{keep_prob: 1.0}}
""")
    done = trtconv("convert", "lenet.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (step,) = json.loads(done.stdout)["steps"]
    assert step["result"]["inputs"] == [{"name": "Placeholder", "dtype": "float", "shape": ["batch", 1, 12, 12]}]
    assert all(row["max_rel"] < 1e-5 for row in step["result"]["checked"])
    require_same(
        Path(step["result"]["model"]),
        {"Placeholder": seen["Placeholder"]},
        {"conv1/Relu": seen["conv1_Relu"], "fc2/Relu": seen["fc2_Relu"]},
    )


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["-I", "conv1/Relu,x,float31,-1"], 2, "expected NAME,NEW_NAME,DTYPE,DIM"),
        (["--input-file", "other.pb"], 2, "both name a graph"),
        (["--constant", "keep_prob=full"], 2, "expected a number, true or false"),
        (["--constant", "keep_prob"], 2, "expected NAME=VALUE"),
        (["-O", "fc1/Relu", "-o", "/dev/stdout"], 2, "not an ordinary file"),
        (["-O", "fc1/Relu", "-o", "frozen.pb"], 2, "frozen.pb is the source"),
        (["-O", "fc2/Rleu"], 3, "did you mean 'fc2/Relu'?"),
        (["-O", "fc2/Relu"], 3, "--constant keep_prob=1.0"),
    ],
)
def test_mistakes(graphs: Path, trtconv: Any, tmp_path: Path, options: list[str], code: int, says: str) -> None:
    graph = (graphs / "lenet/frozen.pb").read_bytes()
    (tmp_path / "frozen.pb").write_bytes(graph)
    done = trtconv("uff", "frozen.pb", "-o", "m.onnx", *options)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["frozen.pb"]
    assert (tmp_path / "frozen.pb").read_bytes() == graph
