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


def overflowing(path):
    """A convolution whose outputs are scaled beyond the largest FP16 number, and back."""
    network(path, 1)
    model = onnx.load(path)
    graph, last = model.graph, "c0"
    graph.initializer.append(numpy_helper.from_array(np.full((1, 32, 1, 1), 1e3, np.float32), "thousand"))
    for name, op in (("scale_up1", "Mul"), ("scale_up2", "Mul"), ("scale_down1", "Div"), ("scale_down2", "Div")):
        out = "y" if name == "scale_down2" else name
        graph.node.append(helper.make_node(op, [last, "thousand"], [out], name=name))
        last = out
    graph.output[0].name = "y"
    onnx.save(model, path)


def test_a_keep_list_that_hurts_accuracy_is_exit_6(trtconv, folder):
    overflowing(folder / "model.onnx")
    kept = JOB + "lower: {keep: {names: [scale]}}\n"
    (folder / "job.yaml").write_text(kept)
    good = trtconv("verify", "job.yaml")
    assert good.returncode == 0, good.stderr
    (folder / "job.yaml").write_text(kept.replace("[scale]", "[conv0]"))
    done = trtconv("run", "job.yaml", "--junit", "gates.xml")
    assert done.returncode == 6, done.stderr
    suite = ElementTree.parse(folder / "gates.xml").getroot()
    assert [(c.get("name"), c.find("failure").get("type")) for c in suite] == [("verify[fp16]", "accuracy")]


def test_gates_of_the_command_line(trtconv, folder):
    kept = trtconv("bench", "model.onnx", "--duration", "100ms", "--gate", "latency_p50<=20s")
    assert kept.returncode == 0, kept.stderr
    assert "kept  latency_p50[model.onnx]" in kept.stderr
    missed = trtconv("bench", "model.onnx", "--duration", "50ms", "--gate", "latency_p50<=1us", "--json")
    assert missed.returncode == 7
    assert "MISSED  latency_p50[model.onnx] at batch 1: " in missed.stderr
    assert json.loads(missed.stdout)["bench"]["measurements"]
    done = trtconv("run", "job.yaml", "--gate", "throughput[fp16]>=1e9", "--gate", "engine_size<=1GiB", "--json")
    assert done.returncode == 7
    verdicts = {verdict["name"]: verdict["passed"] for verdict in json.loads(done.stdout)["gates"]}
    assert verdicts == {"verify[fp16]": True, "throughput[fp16] at batch 4": False, "engine_size[fp16]": True}


def test_energy_without_a_gpu_is_refused_before_anything_runs(trtconv, folder):
    model = trtconv(
        "bench", "model.onnx", "--duration", "50ms", "--gate", "energy<=1J", env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert model.returncode == 5
    assert "the gate on energy cannot be judged" in model.stderr
    job = trtconv("run", "job.yaml", "--gate", "energy<=1J", "--junit", "gates.xml", env={"CUDA_VISIBLE_DEVICES": ""})
    assert job.returncode == 5
    assert "bench[fp16]" not in job.stdout
    assert "the gate on energy needs a GPU" in job.stderr
    suite = ElementTree.parse(folder / "gates.xml").getroot()
    assert [(case.get("name"), case[0].tag) for case in suite] == [("job", "error")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "job.yaml", "--batch", "4"], "--batch goes with a model"),
        (["bench", "job.yaml", "--repeats", "4"], "--repeats goes with a model"),
        (["bench", "job.yaml", "--save-baseline", "b.json", "--gate", "energy<=1"], "--gate goes with a model"),
        (["bench", "model.onnx", "--save-baseline", "b.json"], "--save-baseline goes with a job file"),
        (["bench", "model.onnx", "--set", "bench.batch=4"], "--set goes with a job file"),
        (["bench", "model.onnx", "--gate", "engine_size<=1MiB"], "of a model, only latency_p50"),
        (["bench", "model.onnx", "--gate", "latency<=1ms"], "measure: unknown value 'latency'"),
        (["infer", "job.yaml", "-o", "out.npz"], "-o goes with a model"),
        (["infer", "model.onnx", "--force", "infer", "-o", "out.npz", "--data", "data.npz"], "--force goes with a job"),
        (["verify", "job.yaml", "--max-rel", "1"], "--max-rel goes with a model"),
        (["verify", "job.yaml", "--per-layer"], "--per-layer goes with a model"),
        (["run", "job.yaml", "--gate", "latency_p50<2"], "expected MEASURE<=VALUE"),
        (["run", "job.yaml", "--gate", "latency_p50<=2kg"], "--gate latency_p50<=2kg: gates.0: expected a duration"),
    ],
)
def test_options_that_would_change_nothing_are_refused(trtconv, folder, arguments, said):
    done = trtconv(*arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr


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
