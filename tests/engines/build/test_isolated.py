"""The same model gives the same bytes, whatever else differs between two processes that build it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import trtconv
from tests.networks import residual_cnn

pytestmark = pytest.mark.rtx
SEEDS = 8


def test_bytes_depend_on_the_model_alone(tmp_path):
    """Not on seeds of hashes, files not yet compiled, the folder of installation, Python's allocator: without a heap of
    its own this model came out in four orders."""
    onnx.save(residual_cnn(), tmp_path / "cnn.onnx")
    packages = Path(trtconv.__file__).parents[1]
    elsewhere = tmp_path / "another-folder-with-a-longer-name"
    shutil.copytree(packages / "trtconv", elsewhere / "trtconv", ignore=shutil.ignore_patterns("__pycache__"))
    plans = set()
    for seed in range(SEEDS):
        env = {
            **os.environ,
            "PYTHONHASHSEED": str(seed),
            "PYTHONPATH": str((packages, elsewhere)[seed % 2]),
            "TRTCONV_CACHE": "off",
        }
        env |= {5: {"PYTHONMALLOC": "malloc"}, 7: {"PYTHONDEVMODE": "1"}}.get(seed, {})
        if seed % 3 == 0:
            env["PYTHONPYCACHEPREFIX"] = str(tmp_path / f"compiled-{seed}")
        command = [sys.executable, "-m", "trtconv", "build", "cnn.onnx", "-o", f"{seed}.engine"]
        command += ["--precision", "fp32", "--shapes", "image=1x4x8"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        plans.add((tmp_path / f"{seed}.engine").read_bytes())
    assert len(plans) == 1
