"""configs/caffe.yaml runs to engines on the network that its script writes."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import INT8_CONVOLUTIONS

ROOT = Path(__file__).parents[3]


@INT8_CONVOLUTIONS
def test_the_example_job(tmp_path: Path, trtconv: Any) -> None:
    script = [sys.executable, ROOT / "scripts/caffe_networks.py", "--output", tmp_path / "build/caffe"]
    made = subprocess.run(script, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (tmp_path / "configs").mkdir()
    shutil.copy(ROOT / "configs/caffe.yaml", tmp_path / "configs")
    done = trtconv("run", "configs/caffe.yaml", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    verdicts = [step["result"] for step in steps if step["stage"] == "verify"]
    assert len(verdicts) == 3
    compared = importlib.util.find_spec("cv2") is not None
    for verdict in verdicts:
        assert verdict["reference_label"].startswith("OpenCV 4" if compared else "FP32 ONNX, not the source: OpenCV")
    assert {path.suffix for path in (tmp_path / "build/caffe-job").iterdir()} >= {".engine", ".onnx", ".cache"}
