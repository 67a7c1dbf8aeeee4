"""What the commands that only look load: a bound that no noise of the machine can move, as a time would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_errors import tiny_model
from tests.conftest import environment

FRAMEWORKS = {"google", "ml_dtypes", "numpy", "onnx", "onnxruntime", "rich", "tensorflow", "tensorrt", "tensorrt_rtx"}
SLOW_TO_LOAD = {"asyncio", "concurrent", "ctypes", "email", "logging", "multiprocessing", "random", "socket", "zipfile"}
HEAVY = FRAMEWORKS | SLOW_TO_LOAD | {"subprocess", "tempfile", "torch"}
"""Packages whose import takes longer than what these commands do."""

JOB = """\
version: 1
source: {path: model.onnx}
precision: [fp32, fp16]
verify: {data: {path: data.npz}}
infer: {data: {path: data.npz}}
bench: {batch: [1], duration: 50ms}
"""
MATRIX = """\
version: 1
source: {path: model.onnx}
bench: {}
matrix: {precision: [fp32, fp16], batch: [1, 8, 64], target: [sm80, sm89]}
"""
PROGRAM = """\
import sys, json, contextlib, io
from trtconv.cli.main import cli
with contextlib.redirect_stdout(io.StringIO()):
    cli(sys.argv[1:], prog_name="trtconv", standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((3, 4), np.float32))
    (tmp_path / "job.yaml").write_text(JOB)
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    return tmp_path


def loaded(folder: Path, *arguments: str) -> list[str]:
    """Modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env={**os.environ, **environment(folder / "scratch")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def heavy(names: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in names} & HEAVY


def own(names: list[str]) -> list[str]:
    return [name for name in names if name.partition(".")[0] == "trtconv"]


def test_the_list_sees_what_is_loaded(folder: Path) -> None:
    assert {"numpy", "onnx", "tempfile"} <= heavy(loaded(folder, "inspect", "model.onnx"))


@pytest.mark.parametrize(
    ("arguments", "most"),
    [(("--help",), 14), (("check", "matrix.yaml"), 78), (("plan", "matrix.yaml"), 78), (("plan", "job.yaml"), 80)],
)
def test_looking_loads_little(folder: Path, arguments: tuple[str, ...], most: int) -> None:
    names = loaded(folder, *arguments)
    assert not heavy(names)
    assert len(own(names)) <= most, own(names)


@pytest.mark.rtx
def test_a_run_with_nothing_to_do_loads_little(folder: Path, trtconv) -> None:
    assert trtconv("run", "job.yaml").returncode == 0
    names = loaded(folder, "run", "job.yaml", "--quiet")
    assert not heavy(names)
    assert len(own(names)) <= 95, own(names)


def test_rows_are_checked_without_numpy(folder: Path) -> None:
    """What they say is plain; samples alone need arrays."""
    rows = "[{resize: {size: [8, 8]}}, {letterbox: {size: [9, 9], fill: [1, 2, 3]}}, {normalize: {std: [1, 2, 3]}}]"
    data = f"{{path: data.npz, preprocess: {rows}}}"
    post = "[{softmax: {}}, {topk: {k: 2}}]"
    job = f"version: 1\nsource: {{path: model.onnx}}\ninfer: {{data: {data}, postprocess: {post}}}\n"
    (folder / "rows.yaml").write_text(job + f"verify: {{data: {data}}}\nexport: {{triton: {{repository: served}}}}\n")
    assert not heavy(loaded(folder, "plan", "rows.yaml"))


def test_check_reads_samples_with_numpy_and_nothing_more(folder: Path) -> None:
    """It looks at the samples themselves: that takes NumPy, and no framework."""
    assert not heavy(loaded(folder, "check", "job.yaml")) & (FRAMEWORKS - {"numpy", "ml_dtypes"})
