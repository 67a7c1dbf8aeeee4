"""Runs that are killed, and runs beside each other."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import INT8_CONVOLUTIONS, hear_interrupts

pytestmark = INT8_CONVOLUTIONS

JOB = """\
version: 1
output: out
source: {path: model.onnx}
precision: [fp16, int8]
calibrate: {data: {path: data.npz}}
verify: {data: {path: data.npz}}
"""


def prepare(folder: Path) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(scale=0.2, size=(32, 16, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 32, 8, 8])],
        [numpy_helper.from_array(weights, "w")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx"
    )
    np.savez(folder / "data.npz", x=rng.normal(size=(20, 16, 8, 8)).astype(np.float32))
    (folder / "job.yaml").write_text(JOB)


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), "TRTCONV_CACHE": str(folder / "store")}
    command = [sys.executable, "-m", "trtconv", "run", "job.yaml", "--log-json", *args]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    )


def made(folder: Path) -> dict[str, str]:
    """Digest per file in the output folder; what measures time is left out."""
    names = [p for p in (folder / "out").iterdir() if p.is_file() and not p.name.endswith(".engine.json")]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


def whole(folder: Path) -> None:
    """Every file that is there under its own name can be read to its end."""
    for path in (folder / "out").glob("*") if (folder / "out").exists() else []:
        if path.name.startswith(".") or path.is_dir():
            continue
        data = path.read_bytes()
        if path.suffix == ".onnx":
            onnx.checker.check_model(onnx.load(path))
        elif path.suffix == ".engine":
            assert int.from_bytes(data[16:24], "little") == len(data)
        elif path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".cache":
            assert data.endswith(b"\n")


def finished(process: subprocess.Popen[str]) -> list[str]:
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return [e["node"] for e in events if e["event"] == "NodeFinished" and e["status"] == "done"]


def torture(folder: Path, rounds: int) -> None:
    reference = folder / "reference"
    reference.mkdir(parents=True)
    prepare(reference)
    began = time.monotonic()
    steps = finished(start(reference))
    length = time.monotonic() - began
    expected = made(reference)
    assert len(steps) == 8
    draw = random.Random(0)
    for index in range(rounds):
        work = folder / f"round{index}"
        work.mkdir()
        prepare(work)
        process = start(work)
        time.sleep(draw.uniform(0, length))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole(work)
        finished(start(work))
        assert made(work) == expected
        assert not list((work / "out").glob(".*.tmp"))


def test_killed_runs_leave_nothing_torn_and_the_next_ends_the_same(tmp_path):
    torture(tmp_path, 3)


@pytest.mark.slow
def test_fifty_killed_runs(tmp_path):
    torture(tmp_path, 50)


def test_two_runs_at_once_do_the_work_once(tmp_path):
    prepare(tmp_path)
    first, second = start(tmp_path), start(tmp_path)
    done = [finished(first), finished(second)]
    assert sorted(map(len, done)) == [0, 8]


def test_interrupt_is_exit_130_and_keeps_what_was_finished(tmp_path):
    prepare(tmp_path)
    process = start(tmp_path)
    for line in process.stderr:
        if '"NodeFinished"' in line:
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(finished(start(tmp_path))) < 8


def test_the_lock_holds_and_refuses(tmp_path):
    prepare(tmp_path)
    finished(start(tmp_path))
    locked = (tmp_path / "job.lock.yaml").read_text()
    assert str(tmp_path) not in locked
    assert finished(start(tmp_path, "--locked")) == []
    (tmp_path / "out").rename(tmp_path / "old")
    finished(start(tmp_path, "--locked", "--force", "all"))
    assert (tmp_path / "job.lock.yaml").read_text() == locked
    np.savez(tmp_path / "data.npz", x=np.ones((4, 16, 8, 8), np.float32))
    process = start(tmp_path, "--locked")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "calibrate: input changed: data" in stderr
    assert "lower[fp16]" not in stderr  # what comes before the change is judged by the lock, not guessed


def test_the_same_bytes_wherever_the_job_lies(tmp_path):
    """TensorRT orders work by memory address, and the lengths of paths move addresses."""
    found = []
    for length in (3, 9, 50):
        work = tmp_path / ("f" * length)
        work.mkdir()
        prepare(work)
        (work / "job.yaml").write_text("version: 1\noutput: out\nsource: {path: model.onnx}\nprecision: fp16\n")
        finished(start(work))
        found.append(made(work))
    assert found[0] == found[1] == found[2]
