"""configs/pytorch.yaml runs to engines, on the weights and samples that its module writes."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.conftest import ROOT


@pytest.mark.rtx
def test_the_example_job_runs_to_engines(trtconv, torch_python, tmp_path):
    (tmp_path / "configs").mkdir()
    for name in ("pytorch.yaml", "tiny_resnet.py"):
        shutil.copy(ROOT / "configs" / name, tmp_path / "configs")
    subprocess.run([torch_python, tmp_path / "configs/tiny_resnet.py"], check=True)
    python = ("--set", f"source.python={torch_python}", "--set", "build.targets=[sm86]", "--set", "build.backend=rtx")
    done = trtconv("run", "configs/pytorch.yaml", "--allow-code", "--json", *python, timeout=600)
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert {"build[fp32]", "build[fp16]", "build[int8]"} <= steps.keys()
    assert steps["reference"]["result"]["framework"].startswith("PyTorch ")
    assert {one["output"] for one in steps["convert"]["result"]["checked"]} == {"logits", "features"}
