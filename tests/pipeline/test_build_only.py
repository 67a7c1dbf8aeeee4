"""A precision that ONNX Runtime has no kernels for: the job's typed ONNX is computed strictly all the same."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests import networks
from trtconv.adapters import cuda_driver
from trtconv.core.records import KeepRules
from trtconv.job.schema_lower import Keep
from trtconv.pipeline import sections

JOB = """version: 1
source: {path: model.onnx}
inputs: {image: {profile: {min: 1, opt: 4, max: 8}}}
precision: [bf16]
build: {backend: rtx, targets: [sm86]}
verify: {data: {path: images.npy}}
infer: {data: {path: images.npy}, backend: BACKEND}
"""


@pytest.mark.rtx
@pytest.mark.skipif(bool(cuda_driver.gpus()), reason="a GPU may run it")
@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_bf16_without_a_gpu(tmp_path, backend):
    onnx.save(networks.residual_cnn(), tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", networks.images(8))
    (tmp_path / "j.yaml").write_text(JOB.replace("BACKEND", backend))
    done = subprocess.run(
        [sys.executable, "-m", "trtconv", "run", "j.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = tmp_path / "build" / "j"
    assert (made / "j.bf16.engine").exists()
    evaluator = ReferenceEvaluator(str(made / "j.bf16.onnx"))
    wanted = dict(zip(evaluator.output_names, evaluator.run(None, {"image": networks.images(8)}), strict=True))
    got = np.load(made / "j.bf16.results.npz")
    assert networks.decibels(wanted["logits"], got["logits"]) > 40  # the reference sums bfloat16 one by one
    assert "typed ONNX (strict) within tolerance: relative difference at most 0.05" in " ".join(done.stdout.split())


def test_limits_of_a_job_reach_the_lowering():
    assert sections.keep(Keep(ops=["Pow"], limit=300.0)) == KeepRules(("Pow",), (), 300.0)
