"""The package as a user gets it: a wheel, in an environment with nothing but its own dependencies."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from trtconv.cli.main import COMMANDS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def call(*arguments: object, cwd: Path) -> str:
    done = subprocess.run([str(a) for a in arguments], cwd=cwd, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``trtconv`` of a fresh environment."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "env/bin/python"
    call(sys.executable, "-m", "venv", "env", cwd=folder)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("trtconv-*.whl")
    subprocess.run([*pip, "install", wheel], check=True)
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert len(names) == 2, names  # the package and its dist-info
    assert "trtconv" in names
    assert {"trtconv/data/scaling.cu", "trtconv/data/scaling.ptx"} <= set(zipfile.ZipFile(wheel).namelist())
    assert any(name.endswith("LICENSE") for name in zipfile.ZipFile(wheel).namelist())
    return folder / "env/bin/trtconv"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help(program: Path, command: str, tmp_path: Path) -> None:
    assert f"Usage: trtconv {command}" in call(program, command, "--help", cwd=tmp_path)


def test_doctor_finds_the_base_and_no_extra(program: Path, tmp_path: Path) -> None:
    facts = json.loads(call(program, "doctor", "--json", cwd=tmp_path))
    assert "onnxruntime" in facts["packages"]
    assert facts["extras"]["tf"]["install"] == "pip install 'trtconv[tf]'"
    assert facts["extras"]["rtx"]["missing"] == ["tensorrt-rtx"]


def test_onnx_files_need_no_extra(program: Path, tmp_path: Path) -> None:
    """Convert, lower and infer an ONNX model: y = x W, checked against numpy at half precision."""
    weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    graph = onnx.parser.parse_graph("g (float[batch, 4] x) => (float[batch, 3] y) { y = MatMul(x, w) }")
    graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "source.onnx")
    samples = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", x=samples)
    call(program, "convert", "source.onnx", "-o", "model.onnx", cwd=tmp_path)
    call(program, "lower", "model.onnx", "-o", "half.onnx", "--precision", "fp16", cwd=tmp_path)
    call(program, "infer", "half.onnx", "--data", "samples.npz", "-o", "results.npz", cwd=tmp_path)
    assert np.load(tmp_path / "results.npz")["y"] == pytest.approx(samples @ weights, rel=1e-2, abs=1e-2)
