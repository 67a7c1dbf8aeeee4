"""Results never take the place of what they are made from, nor of folders and devices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }"""


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    onnx.save(parser.parse_model(MODEL), tmp_path / "model.onnx")
    return (tmp_path / "model.onnx").read_bytes()


@pytest.mark.parametrize("command", [["check"], ["run"], ["plan"], ["build", "--json"]])
def test_a_job_that_would_replace_its_source_is_refused(command, model, trtconv, tmp_path):
    (tmp_path / "model.yaml").write_text("version: 1\noutput: .\nsource: {path: model.onnx}\n")
    done = trtconv(command[0], "model.yaml", *command[1:])
    assert done.returncode == 2
    assert f"{tmp_path / 'model.onnx'} is the source" in done.stderr
    assert (tmp_path / "model.onnx").read_bytes() == model
    if "--json" in command:
        assert json.loads(done.stdout)["exit_code"] == 2


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("model.onnx", "is the source"),
        ("folder", "folder is a folder"),
        ("model.onnx/below", "model.onnx is not a folder"),
        ("/dev/stdout", "not an ordinary file"),
        ("-", "not to standard output"),
    ],
)
def test_places_of_one_result(place, said, model, trtconv, tmp_path):
    (tmp_path / "folder").mkdir()
    done = trtconv("lower", "model.onnx", "-o", place, "--precision", "fp16")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "model.onnx").read_bytes() == model
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("scratch")) == ["folder", "model.onnx"]


def test_a_disk_that_fills_up_is_told_with_the_file(trtconv, tmp_path):
    """A limit on the size of files stands for the disk."""
    model = parser.parse_model(MODEL.replace("Relu(x)", "Add(x, w)"))
    weight = np.random.default_rng(1).standard_normal((4096, 4)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4096
    onnx.save(model, tmp_path / "model.onnx")
    limited = f"ulimit -f 32; exec {sys.executable} -m trtconv convert model.onnx -o again.onnx"
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stderr
    assert "/again.onnx: File too large" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]


def test_an_output_folder_that_is_a_file(model, trtconv, tmp_path):
    (tmp_path / "job.yaml").write_text("version: 1\noutput: model.onnx\nsource: {path: model.onnx}\n")
    for command in ("check", "run"):
        done = trtconv(command, "job.yaml")
        assert done.returncode == 2
        assert "model.onnx is not a folder" in done.stderr


def test_a_job_inside_its_source_is_up_to_date_nevertheless(model, trtconv, tmp_path):
    """What it made is not what it was given."""
    (tmp_path / "job.yaml").write_text("version: 1\nsource: {path: .}\n")
    statuses = []
    for change in ("", "", "again"):
        (tmp_path / "notes.txt").write_text(change)
        done = trtconv("convert", "job.yaml", "--json")
        assert done.returncode == 0, done.stderr
        statuses += [step["status"] for step in json.loads(done.stdout)["steps"]]
    assert statuses == ["done", "up to date", "done"]
