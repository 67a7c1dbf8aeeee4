"""Gates through the front door: regressions fail with their exit code, noise does not."""

from __future__ import annotations

import json
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytestmark = pytest.mark.rtx

JOB = """\
version: 1
output: out
source: {path: model.onnx}
precision: fp16
verify: {data: {path: data.npz}}
bench: {batch: 4, duration: 300ms}
"""


def network(path, layers):
    """Some 3x3 convolutions over 32 channels of 16x16: about a millisecond each on a CPU at batch 4."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for index in range(layers):
        kernel = rng.normal(scale=0.06, size=(32, 32, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(helper.make_node("Conv", [last, f"w{index}"], [f"c{index}"], name=f"conv{index}", pads=[1] * 4))
        last = f"c{index}"
    shape = ["batch", 32, 16, 16]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", last))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def folder(tmp_path):
    network(tmp_path / "model.onnx", 4)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).normal(size=(8, 32, 16, 16)).astype(np.float32))
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


def test_baseline_and_regression(trtconv, folder):
    saved = trtconv("bench", "job.yaml", "--save-baseline", "base.json", "--quiet")
    assert saved.returncode == 0, saved.stderr
    assert json.loads((folder / "base.json").read_text())["engines"]["fp16"]["measurements"]["4"]["throughput"] > 0
    gate = "gates: [{measure: throughput, baseline: base.json}, {measure: accuracy_drop, max: 1}]\n"
    (folder / "job.yaml").write_text(JOB + gate)
    refused = trtconv("check", "job.yaml", "--set", "verify=null")
    assert refused.returncode == 2
    assert "gates: accuracy_drop needs a verify section" in refused.stderr
    (folder / "job.yaml").write_text(JOB + "gates: [{measure: throughput, baseline: base.json}]\n")
    network(folder / "model.onnx", 16)  # four times the work
    slower = trtconv("run", "job.yaml", "--junit", "gates.xml")
    assert slower.returncode == 7, slower.stderr
    assert "throughput[fp16] at batch 4" in slower.stderr
    suite = ElementTree.parse(folder / "gates.xml").getroot()
    assert {c.get("name"): [e.tag for e in c] for c in suite} == {
        "verify[fp16]": ["system-out"],
        "throughput[fp16] at batch 4": ["failure"],
    }


def test_lost_accuracy_is_exit_6_and_named_in_junit(trtconv, folder):
    done = trtconv("run", "job.yaml", "--set", "verify.tolerance.fp16=1e-6", "--junit", "gates.xml", "--github")
    assert done.returncode == 6
    assert "MISSED  verify[fp16]" in done.stdout
    assert "::error file=job.yaml,title=verify[fp16]::typed ONNX: output" in done.stdout
    suite = ElementTree.parse(folder / "gates.xml").getroot()
    assert [c.find("failure").get("type") for c in suite] == ["accuracy"]


@pytest.mark.slow
def test_twenty_benches_on_a_busy_machine_never_fail_a_gate(trtconv, folder):
    assert trtconv("bench", "job.yaml", "--save-baseline", "base.json", "--quiet").returncode == 0
    (folder / "job.yaml").write_text(
        JOB + "gates: [{measure: throughput, baseline: base.json}, {measure: latency_p50, baseline: base.json}]\n"
    )
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        codes = [trtconv("bench", "job.yaml", "--force", "bench", "--quiet").returncode for _ in range(20)]
    finally:
        for process in busy:
            process.kill()
    assert codes == [0] * 20
