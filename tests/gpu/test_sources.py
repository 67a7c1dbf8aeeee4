"""Sources besides TensorFlow and ONNX on a GPU: the jobs of configs/, from the source to bench.

Caffe and scripts need no framework to be converted; PyTorch is asked for, and the network comes from a function.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from trtconv.adapters import tensorrt

pytestmark = pytest.mark.gpu

PRECISIONS = ("tf32", "fp16")  # TensorRT-RTX 1.5 computes FP32 in TF32 on compute capability 9.0
BATCHES = [1, 8]
JOBS = {
    "pytorch": ("configs/tiny_resnet.py", "PyTorch "),
    "caffe": ("scripts/caffe_networks.py", ("OpenCV 4", "FP32 ONNX, not the source: OpenCV")),
    "network": ("", "FP32 ONNX, not the source: layers of a script"),
}
"""Job -> (program that writes its model and samples, what engines are compared with)."""


@pytest.mark.parametrize("name", JOBS)
def test_from_the_source_to_bench(name: str, tmp_path: Path, trtconv: Any) -> None:
    if not any(found.version for found in tensorrt.probe()):
        pytest.skip("no TensorRT is installed")
    if name == "pytorch":
        pytest.importorskip("torch")
        pytest.importorskip("onnxscript")
    program, reference = JOBS[name]
    for folder in ("configs", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    if program:
        subprocess.run([sys.executable, tmp_path / program], check=True, cwd=tmp_path)
    images = np.random.default_rng(0).standard_normal((16, 1, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "images.npz", data=images)
    against = ", against: [pytorch]" if name == "pytorch" else ""
    settings = [f"precision=[{','.join(PRECISIONS)}]", f"bench={{batch: {BATCHES}, duration: 500ms{against}}}"]
    settings += ["verify={data: {path: ../images.npz}}"] if name == "network" else []
    given = [part for setting in settings for part in ("--set", setting)]
    done = trtconv("run", f"configs/{name}.yaml", "--allow-code", "--json", *given, timeout=600)
    assert done.returncode == 0, done.stderr
    results = {step["name"]: step["result"] for step in json.loads(done.stdout)["steps"]}
    for precision in PRECISIONS:
        verified, measured = results[f"verify[{precision}]"], results[f"bench[{precision}]"]
        assert verified["reference_label"].startswith(reference)
        engines = [verdict for verdict in verified["verdicts"] if verdict["runner"].startswith("TensorRT")]
        assert [verdict["skipped"] for verdict in engines] == [""]
        assert measured["fell_back"] == ""
        assert [one["batch"] for one in measured["measurements"]] == BATCHES
        assert all(one["throughput"] > 0 for one in measured["measurements"])
    runs = [run for step, result in results.items() if step.startswith("framework") for run in result["runs"]]
    assert len(runs) == (len(PRECISIONS) * len(BATCHES) if name == "pytorch" else 0)
    for run in runs:
        assert run["problem"] == ""
        assert run["conditions"]["clock"] == "GPU events"
        assert run["memory"] > 0
        assert all(one["snr_db"] is None or one["snr_db"] > 30 for one in run["outputs"])
