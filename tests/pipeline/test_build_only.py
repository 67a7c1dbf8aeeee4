"""A precision that this machine can build but not run: said, and no failure; unless the job demands the runtime."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from tests import networks
from trtconv.adapters import cuda_driver
from trtconv.core.records import KeepRules
from trtconv.job.schema import Keep
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
@pytest.mark.parametrize(("backend", "code"), [("auto", 0), ("onnxruntime", 5)])
def test_bf16_without_a_gpu(tmp_path, backend, code):
    onnx.save(networks.residual_cnn(), tmp_path / "model.onnx")
    np.save(tmp_path / "images.npy", networks.images(8))
    (tmp_path / "j.yaml").write_text(JOB.replace("BACKEND", backend))
    done = subprocess.run(
        [sys.executable, "-m", "trtconv", "run", "j.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "build only on a CPU: ONNX Runtime has no kernel for Conv" in done.stderr
    assert (tmp_path / "build" / "j" / "j.bf16.engine").exists()
    assert not (tmp_path / "build" / "j" / "j.bf16.results.npz").exists()


def test_limits_of_a_job_reach_the_lowering():
    assert sections.keep(Keep(ops=["Pow"], limit=300.0)) == KeepRules(("Pow",), (), 300.0)
