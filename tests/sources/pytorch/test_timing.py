"""PyTorch beside engines: a job that measures its source too, eager and compiled, on the CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

JOB = """\
version: 1
source: {path: nets:Plain, python: PYTHON}
inputs: {image: {shape: [batch, 3, 8, 8]}}
matrix: {precision: [fp32, fp16], batch: [1, 4]}
bench: {duration: 50ms, warmup: 0s, against: [pytorch], against_device: cpu}
"""


@pytest.fixture
def job(tmp_path: Path, torch_python: Path) -> Path:
    shutil.copy(Path(__file__).with_name("nets.py"), tmp_path)
    file = tmp_path / "job.yaml"
    file.write_text(JOB.replace("PYTHON", str(torch_python)))
    return file


def runs(document: Any) -> dict[str, Any]:
    return {step["precision"]: step["result"]["runs"] for step in document["steps"] if step["stage"] == "framework"}


@pytest.mark.rtx
def test_a_source_is_measured_beside_its_engines(job: Path, trtconv: Any) -> None:
    done = trtconv("run", "job.yaml", "--allow-code", "--json", timeout=600)
    assert done.returncode == 0, done.stderr
    found = runs(json.loads(done.stdout))
    assert {name: [run["batch"] for run in each] for name, each in found.items()} == {"fp32": [1, 4], "fp16": [1, 4]}
    for precision, each in found.items():
        for run in each:
            assert run["problem"] == ""
            assert run["runner"].startswith("PyTorch ")
            assert run["runner"].endswith(" on CPU")
            assert run["measurement"]["queries"] >= 10
            assert run["measurement"]["latency_ms"]["median"] > 0
            assert run["conditions"] == {"clock": "host", "transfers": False, "tf32": False}
            ratios = [out["snr_db"] for out in run["outputs"]]
            if precision == "fp32":
                assert [out["max_abs"] for out in run["outputs"]] == [0.0] * len(ratios)
            else:
                assert all(ratio is not None and 30 < ratio < 120 for ratio in ratios)
    again = trtconv("run", "job.yaml", "--allow-code", "--json")
    statuses = {step["status"] for step in json.loads(again.stdout)["steps"] if step["stage"] == "framework"}
    assert statuses == {"up to date"}
    report = trtconv("report", "job.yaml", "--allow-code").stdout
    assert "## Against the source's framework" in report
    assert "pytorch fp16 (ms)" in report


@pytest.mark.rtx
def test_without_a_gpu_every_row_says_so(job: Path, trtconv: Any, torch_python: Path) -> None:
    if _answers(torch_python, "torch.cuda.is_available()"):
        pytest.skip("PyTorch has a GPU here")
    settings = ("--set", "bench.against_device=gpu", "--set", "bench.against=[pytorch,pytorch-compiled]")
    done = trtconv("bench", "job.yaml", "--allow-code", "--json", *settings, timeout=600)
    assert done.returncode == 0, done.stderr
    problems = {run["problem"] for each in runs(json.loads(done.stdout)).values() for run in each}
    assert len(problems) == 1
    assert problems.pop().startswith("no GPU that PyTorch can use: ")


@pytest.mark.slow
@pytest.mark.rtx
def test_compiled_or_a_reason(job: Path, trtconv: Any, torch_python: Path) -> None:
    """torch.compile needs a C++ compiler: with it outputs are the same, without it the row says what is missing."""
    settings = ["--set", "matrix={precision: [fp32, int8], batch: [2]}", "--set", "bench.against=[pytorch-compiled]"]
    settings += ["--set", "calibrate={data: {path: x.npz}}"]
    job.with_name("make.py").write_text("import numpy as np; np.savez('x.npz', image=np.ones((4, 3, 8, 8), 'float32'))")
    subprocess.run([torch_python, "make.py"], cwd=job.parent, check=True)
    command = ("bench", "job.yaml", "--allow-code", "--json", *settings)
    done = trtconv(*command, timeout=900)
    assert done.returncode == 0, done.stderr
    found = runs(json.loads(done.stdout))
    (compiled,) = found["fp32"]
    assert compiled["problem"] == "" or "compiler" in compiled["problem"]
    if not compiled["problem"]:
        assert compiled["conditions"]["mode"] == "default"
        assert compiled["outputs"][0]["max_rel"] < 1e-4
    assert found["int8"][0]["problem"].startswith("PyTorch runs no int8 form of this network")
    none = trtconv(*command, "--force", "framework", timeout=900, env={"CXX": "/nowhere/g++"})
    (refused,) = runs(json.loads(none.stdout))["fp32"]
    assert refused["problem"].startswith("torch.compile fails: ")
    assert refused["measurement"] is None


def _answers(python: Path, expression: str) -> bool:
    asked = subprocess.run([python, "-c", f"import torch; print({expression})"], capture_output=True, text=True)
    return asked.stdout.strip() == "True"


@pytest.mark.parametrize(("name", "count"), [("resnet50", 25_557_032), ("inception_v3", 23_834_568)])
def test_the_networks_of_the_classic_tables(name: str, count: int, torch_python: Path) -> None:
    """As many parameters as their papers' networks have elsewhere (torchvision's, auxiliary classifiers left out)."""
    code = f"import classic_networks as c; print(sum(p.numel() for p in c.{name}().parameters()))"
    done = subprocess.run([torch_python, "-c", code], cwd=ROOT / "configs", capture_output=True, text=True, check=True)
    assert int(done.stdout) == count
