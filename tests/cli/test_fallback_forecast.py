"""check and plan say what would fall back, why, and what it costs, before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Cli
from tests.parts import FLOAT, IMAGE, WEIGHTS, block, node, save
from tests.parts_lines import detector
from trtconv.engines.plan import manifest

pytestmark = pytest.mark.rtx

JOB = """
version: 1
source: {path: detector.onnx}
output: out
precision: [PRECISION]
build: {fallback: onnxruntime, backend: rtx}
"""


@pytest.mark.parametrize("precision", ["fp16", "typed"])
def test_before_anything_is_built(tmp_path: Path, trtconv: Cli, precision: str) -> None:
    """The forecast by the source is what the build then finds."""
    detector(tmp_path)
    (tmp_path / "job.yaml").write_text(JOB.replace("PRECISION", precision))
    told = trtconv("check", "job.yaml")
    assert told.returncode == 0, told.stderr
    assert "would make engines: 1 with 100.0 % of the multiplications; parts for ONNX Runtime: 1" in told.stdout
    assert ("before its types are final" in told.stdout) == (precision == "fp16")
    assert "NonMaxSuppression_kept (NonMaxSuppression): kernel: TensorRT-RTX parses NonMaxSuppression" in told.stdout
    assert "Cast_y (Cast): data: the shape of 'kept' depends on data" in told.stdout
    for command in ("check", "plan"):
        document = json.loads(trtconv(command, "job.yaml", "--json").stdout)
        (one,) = document["fallback"]
        found = one["found"]
        assert (found["engines"], found["rests"], found["products"]) == (1, 1, 1)
        assert found["to_gpu"] == ["x"]
        assert found["to_host"] == ["b", "c"]
        assert found["gpu_bytes"] == 8 * 3 * 64 * 4  # at the optimum of the profile
        assert found["host_bytes"] == 8 * (4 + 5) * 64 * 4
    assert not (tmp_path / "out").exists()
    if precision == "typed":
        return
    done = trtconv("run", "job.yaml", "--json")
    assert done.returncode == 0, done.stderr
    build = next(step for step in json.loads(done.stdout)["steps"] if step["stage"] == "build")
    made = manifest.read(Path(build["outputs"][0])).facts
    assert [part["kind"] for part in made["parts"]] == ["engine", "onnx"]
    assert {n["op"] for n in made["fell_back"]} >= {fallen["op"] for fallen in found["fell_back"]}
    assert "before its types" not in trtconv("plan", "job.yaml").stdout  # now the typed model tells


def test_a_job_without_fallback_and_one_that_cannot_say(tmp_path: Path, trtconv: Cli) -> None:
    save(tmp_path / "detector.onnx", block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS)
    (tmp_path / "job.yaml").write_text(JOB.replace("PRECISION", "fp32"))
    plain = trtconv("check", "job.yaml", "--json", "--set", "build.fallback=none")
    assert "fallback" not in json.loads(plain.stdout)
    assert "would make engines: 1 with 100.0 %" in trtconv("check", "job.yaml").stdout
    open_shape = {"x": (FLOAT, ["n", 3, "h", "w"])}
    save(tmp_path / "detector.onnx", block("x", "y", "w1"), {"y": FLOAT}, WEIGHTS, open_shape)
    unclear = trtconv("check", "job.yaml")
    assert unclear.returncode == 0
    assert "what would fall back cannot be said: " in unclear.stdout


def test_data_that_decide_a_size_leave_the_bytes_unknown(tmp_path: Path, trtconv: Cli) -> None:
    nodes = [
        *block("x", "a", "w1"),
        node("NonZero", ["a"], "i"),
        node("Cast", ["i"], "f", to=FLOAT),
        node("ReduceSum", ["f"], "r", keepdims=0),
        node("Add", ["a", "r"], "b"),
        *block("b", "y"),
    ]
    save(tmp_path / "detector.onnx", nodes, {"y": FLOAT, "f": FLOAT}, WEIGHTS, IMAGE)
    (tmp_path / "job.yaml").write_text(JOB.replace("PRECISION", "typed"))
    (one,) = json.loads(trtconv("plan", "job.yaml", "--json").stdout)["fallback"]
    assert one["found"]["engines"] == 2
    assert set(one["found"]["to_gpu"]) == {"x", "r"}
    assert {each["by"] for each in one["found"]["fell_back"]} <= {"parser", "kernel", "data"}
    assert np.all([name in one["found"]["to_host"] for name in ("a", "y")])
    assert onnx.load(tmp_path / "detector.onnx").graph.node[0].op_type == "Conv"  # nothing was written
