"""The proof of an engine's precision through the front door: a recorded inspector, or none where there is no GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest

from tests import networks

TESTS = Path(__file__).parents[1]
RECORDED, SINGLE = (TESTS / f"data/inspector/tensorrt_rtx-1.5.0-perceptron-{name}.json" for name in ("fp16", "fp32"))
WIDER = "MatMul_c (MatMul): float16 was asked, float runs in layer __myl_FcAddRelu_myl0_2, 57.14 %"


@pytest.fixture
def gpu(tmp_path, trtconv):
    """The command line with a recorded TensorRT-RTX 1.5 on a pretended H200, and a model that it was recorded from."""
    onnx.save(networks.perceptron(), tmp_path / "model.onnx")

    def call(layers, *args):
        path = os.pathsep.join((str(TESTS / "pretended"), os.environ["PYTHONPATH"]))
        return trtconv(*args, env={"PYTHONPATH": path, "TRTCONV_TEST_LAYERS": str(layers), "TRTCONV_CACHE": "off"})

    return call


def test_an_engine_that_keeps_its_promise(gpu, tmp_path):
    done = gpu(RECORDED, "build", "model.onnx", "-o", "m.engine", "--precision", "fp16")
    assert done.returncode == 0, done.stderr
    assert "computes 100.0 % in float16, by the inspector of TensorRT-RTX 1.5.0.114 on NVIDIA H200" in done.stdout
    proof = json.loads((tmp_path / "m.engine.json").read_text())["precision"]["proof"]
    assert proof["found"] == proof["promised"] == {"float16": 1.0}
    assert proof["wider"] == []
    told = gpu(RECORDED, "inspect", "m.engine")
    assert "computes 100.0 % in float16, by the inspector of TensorRT-RTX 1.5.0.114 on NVIDIA H200" in told.stdout


def test_fp32_where_fp16_was_asked_is_exit_6(gpu, tmp_path):
    done = gpu(SINGLE, "build", "model.onnx", "-o", "m.engine", "--precision", "fp16")
    assert done.returncode == 6, done.stderr
    assert "precision gate missed" in done.stderr
    assert WIDER in done.stderr
    assert max(map(len, done.stdout.splitlines())) < 220
    assert "gates: [{measure: wider_share, max: 1.0}]" in done.stderr
    assert "Traceback" not in done.stderr
    wider = json.loads((tmp_path / "m.engine.json").read_text())["precision"]["proof"]["wider"]
    assert [(one["node"], one["found"]) for one in wider] == [
        (name, "float") for name in ("MatMul_c", "MatMul_a", "Gemm_y")
    ]


def test_a_job_can_allow_it_and_is_failed_again_without(gpu, tmp_path):
    job = "version: 1\noutput: out\nsource: {path: model.onnx}\nprecision: fp16\n"
    (tmp_path / "job.yaml").write_text(job)
    assert gpu(SINGLE, "run", "job.yaml").returncode == 6
    again = gpu(SINGLE, "run", "job.yaml")  # up to date, and not good all the same
    assert again.returncode == 6
    assert WIDER in again.stderr
    assert gpu(SINGLE, "report", "job.yaml", "-o", "report.md").returncode == 0
    assert f"; {WIDER};".replace("_", "\\_") in (tmp_path / "report.md").read_text()
    (tmp_path / "job.yaml").write_text(job + "gates: [{measure: wider_share, max: 1}]\n")
    allowed = gpu(SINGLE, "run", "job.yaml", "--json")
    assert allowed.returncode == 0, allowed.stderr
    document = json.loads(allowed.stdout)
    assert [step["status"] for step in document["steps"]] == ["up to date"] * 3  # nothing was built again for that
    assert document["gates"][0]["name"] == "wider_share[fp16]"


def test_trtexec_warns_since_its_flags_only_allow_a_type(gpu):
    done = gpu(SINGLE, "trtexec", "--onnx=model.onnx", "--fp16", "--saveEngine=m.engine", "--skipInference")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if "[W]" in line]
    assert any("100.00 % of the arithmetic runs wider than the typed ONNX says" in line for line in warnings)
    assert any(WIDER in line for line in warnings)
    kept = gpu(RECORDED, "trtexec", "--onnx=model.onnx", "--fp16", "--saveEngine=m.engine", "--skipInference")
    assert "It computes 100.0 % in float16, by the inspector of TensorRT-RTX 1.5.0.114" in kept.stdout
    assert "runs wider" not in kept.stdout


def test_an_engine_without_details_says_so(gpu, tmp_path):
    (tmp_path / "names.json").write_text('{"Layers": ["MatMul_a_myl0_2", "__myl_FcAddRelu_myl0_3"]}')
    done = gpu(tmp_path / "names.json", "build", "model.onnx", "-o", "m.engine", "--precision", "fp16")
    assert done.returncode == 0, done.stderr
    assert "by the typed ONNX (the inspector of TensorRT-RTX 1.5.0.114 on NVIDIA H200 tells no types" in done.stdout


@pytest.mark.rtx
def test_without_a_gpu_the_typed_onnx_is_the_proof(trtconv, tmp_path):
    onnx.save(networks.perceptron(), tmp_path / "model.onnx")
    done = trtconv("build", "model.onnx", "-o", "m.engine", "--precision", "fp16", env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    assert "computes 100.0 % in float16, by the typed ONNX (" in done.stdout
    proof = json.loads((tmp_path / "m.engine.json").read_text())["precision"]["proof"]
    assert (proof["promised"], proof["found"]) == ({"float16": 1.0}, {})


def test_an_engine_that_exists_is_proved_where_it_runs(gpu, tmp_path):
    assert gpu(RECORDED, "lower", "model.onnx", "-o", "typed.onnx", "--precision", "fp16").returncode == 0
    assert gpu(RECORDED, "build", "typed.onnx", "-o", "m.engine").returncode == 0
    kept = gpu(RECORDED, "inspect", "m.engine", "--prove")
    assert kept.returncode == 0, kept.stderr
    assert "proved now: it computes 100.0 % in float16, by the inspector of TensorRT-RTX 1.5.0.114" in kept.stdout
    missed = gpu(SINGLE, "inspect", "m.engine", "--prove", "--json")
    assert missed.returncode == 6
    assert WIDER in missed.stderr
    assert json.loads(missed.stdout)["proof"]["wider"][0]["node"] == "MatMul_c"
    (tmp_path / "typed.onnx").rename(tmp_path / "moved.onnx")
    lost = gpu(RECORDED, "inspect", "m.engine", "--prove")
    assert lost.returncode == 2
    assert "--prove --model TYPED.onnx" in lost.stderr
    assert gpu(RECORDED, "inspect", "m.engine", "--prove", "--model", "moved.onnx").returncode == 0
    (tmp_path / "moved.onnx").rename(tmp_path / "typed.onnx")
    onnx.save(networks.perceptron(seed=9), tmp_path / "typed.onnx")
    changed = gpu(RECORDED, "inspect", "m.engine", "--prove")
    assert changed.returncode == 3
    assert "it has changed since" in changed.stderr


def test_proving_needs_an_engine_and_a_gpu(gpu, trtconv):
    assert gpu(RECORDED, "inspect", "model.onnx", "--prove").returncode == 2
    assert gpu(RECORDED, "inspect", "model.onnx", "--model", "model.onnx").returncode == 2
    assert gpu(RECORDED, "build", "model.onnx", "-o", "m.engine").returncode == 0
    nowhere = trtconv("inspect", "m.engine", "--prove", env={"CUDA_VISIBLE_DEVICES": ""})
    assert nowhere.returncode == 5
    assert "cannot be proved here: what is known is the typed ONNX (" in nowhere.stderr
