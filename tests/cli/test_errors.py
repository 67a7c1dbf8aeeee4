"""What users get for their mistakes: the exit code, the place, the next step; never a traceback, never half a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

GOOD = "version: 1\nsource: {path: model.onnx}\n"


def tiny_model(path: Path) -> Path:
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


# Six broken jobs and models: (job, files beside it, exit code, what must be said)
BROKEN = {
    "misspelt key": (
        GOOD + "precison: [fp16]\n",
        {},
        2,
        ["job.yaml:3:1: unknown key 'precison'", "did you mean 'precision'?"],
    ),
    "wrong type": (
        GOOD + "bench: {iterations: many}\n",
        {},
        2,
        ['job.yaml:3:21: bench.iterations: expected a whole number, got "many"'],
    ),
    "missing file and unknown precision": (
        "version: 1\nsource: {path: modle.onnx}\nprecision: [fp61]\n",
        {},
        2,
        ["job.yaml:2:16: source.path: no such file or folder: modle.onnx", "job.yaml:3:13: precision.0: unknown value"],
    ),
    "truncated model": (GOOD, {"model.onnx": lambda data: data[: len(data) // 2]}, 3, ["model.onnx", "truncated"]),
    "foreign file": (GOOD, {"model.onnx": lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100)}, 3, ["model.onnx", "PNG image"]),
    "gated engine without a GPU": (GOOD + "bench: {backend: rtx, duration: 10ms}\n", {}, 5, ["bench", "next: "]),
}


@pytest.mark.rtx
@pytest.mark.parametrize("case", BROKEN)
def test_broken_jobs_and_models(case, trtconv, tmp_path):
    text, changes, code, said = BROKEN[case]
    if code == 5 and Path("/dev/nvidia0").exists():
        pytest.skip("there is a GPU")
    model = tiny_model(tmp_path / "model.onnx")
    for name, change in changes.items():
        (tmp_path / name).write_bytes(change(model.read_bytes()))
    (tmp_path / "job.yaml").write_text(text)
    done = trtconv("run", "job.yaml")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr
    if code != 5:
        assert [p for p in tmp_path.rglob("*") if p.suffix in (".engine", ".tmp")] == []


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["rnu", "job.yaml"], 2, "did you mean 'run'?"),
        (["run", "jbo.yaml"], 2, "did you mean 'job.yaml'?"),
        (["run", "job.yaml", "--force", "biuld"], 2, "did you mean 'build'?"),
        (["check", "job.yaml", "--force", "biuld"], 2, "did you mean 'build'?"),
        (["plan", "job.yaml", "--force", "biuld"], 2, "did you mean 'build'?"),
        (["calibrate", "job.yaml"], 2, "this job has no calibrate step"),
        (["convert", "job.yaml", "-o", "x.onnx"], 2, "-o goes with a model"),
        (["convert", "model.onnx"], 2, "needs -o FILE"),
        (["convert", "modle.onnx", "-o", "x.onnx"], 2, "did you mean 'model.onnx'?"),
        (["convert", "model.onnx", "-o", "x.onnx", "--opset", "99"], 2, "--opset: convert.opset: input should be less"),
        (["convert", "model.onnx", "-o", "x.onnx", "--input", "x"], 2, None),
        (["convert", "model.onnx", "-o", "x.onnx", "--input", "z:1,4"], 2, "next: choose one of x"),
        (["lower", "model.onnx", "-o", "x.onnx"], 2, "needs --precision"),
        (["lower", "model.onnx", "-o", "x.onnx", "--precision", "fp61"], 2, "did you mean 'fp16'?"),
        (["lower", "model.onnx", "-o", "x.onnx", "--precision", "int8"], 2, "needs a calibrate section"),
        (["build", "model.onnx", "-o", "x.engine", "--shapes", "x=1x2"], 2, "expected NAME=MINxOPTxMAX"),
        (["build", "model.onnx", "-o", "x.engine", "--values", "x=1x2"], 2, "with a number for every element"),
        (["build", "model.onnx", "-o", "x.engine", "--workspace", "big"], 2, "expected a size"),
        (["bench", "model.onnx", "--batch", "1,two"], 2, "expected positive numbers"),
        (["bench", "model.onnx", "--duration", "long"], 2, "expected a duration"),
        (["infer", "model.onnx", "-o", "y.npz"], 2, "needs -o FILE and either"),
        (["infer", "model.onnx", "--input", "x=-", "-o", "y.npz"], 2, "give --data -"),
        (["infer", "model.onnx", "--data", "x.npy", "-o", "y.npz", "--batch", "0"], 2, "0 is not in the range x>=1"),
        (["verify", "model.onnx", "model.onnx", "--data", "x.npy", "--batch", "-3"], 2, "-3 is not in the range x>=1"),
        (["verify", "model.onnx"], 2, "needs two models or more"),
        (["inspect", "nothing.onnx"], 2, "no such file or folder"),
    ],
)
def test_usage(args, code, said, trtconv, tmp_path):
    tiny_model(tmp_path / "model.onnx")
    (tmp_path / "job.yaml").write_text(GOOD)
    done = trtconv(*args)
    if said is None:
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.onnx").exists()


def test_files_that_will_be_gone_are_told_by_their_names(trtconv, tmp_path):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", 4]) for name in "xy")
    weight = numpy_helper.from_array(np.ones(4, np.float16), "w")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"], name="add")], "g", [x], [y], [weight])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "half.onnx"
    )
    done = trtconv("lower", "half.onnx", "-o", "again.onnx", "--precision", "fp16", "--json")
    assert done.returncode == 3
    (said,) = json.loads(done.stdout)["errors"].values()
    assert said["message"].startswith("model.onnx: ")
    assert str(tmp_path) not in done.stderr
    assert "/trtconv-" not in done.stderr


def test_errors_are_json_too(trtconv, tmp_path):
    tiny_model(tmp_path / "model.onnx")
    (tmp_path / "job.yaml").write_text(GOOD + "precison: fp16\n")
    done = trtconv("run", "job.yaml", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["check", "job.yaml"], 2),
        (["plan", "job.yaml"], 2),
        (["inspect", "job.yaml"], 3),
        (["cache", "show", "model.onnx"], 2),
    ],
)
def test_commands_that_only_look_tell_errors_as_json_too(args, code, trtconv, tmp_path):
    tiny_model(tmp_path / "model.onnx")
    (tmp_path / "job.yaml").write_text(GOOD + "precison: fp16\n")
    done = trtconv(*args, "--json")
    assert done.returncode == code
    assert json.loads(done.stdout)["exit_code"] == code
    assert json.loads(done.stdout)["message"] in done.stderr.replace("\n  ", "\n")


@pytest.mark.tf
def test_missing_packages_are_exit_5_with_the_install_line(trtconv, tmp_path, digits_data):
    """Without TensorFlow and TensorRT, the stages that need them name the extra."""
    (tmp_path / "hide").mkdir()
    for package in ("tensorflow", "tensorrt_rtx", "tensorrt"):
        absent = f'raise ModuleNotFoundError("No module named {package}", name="{package}")'
        (tmp_path / "hide" / f"{package}.py").write_text(absent)
    env = {"PYTHONPATH": f"{tmp_path / 'hide'}:{Path.cwd()}"}
    done = trtconv("freeze", digits_data / "saved_model", "-o", "f.pb", env=env)
    assert done.returncode == 5, done.stderr
    assert f"pip install -e '{Path.cwd()}[tf]'" in done.stderr
    tiny_model(tmp_path / "model.onnx")
    done = trtconv("build", "model.onnx", "-o", "m.engine", env=env)
    assert done.returncode == 5, done.stderr
    assert f"pip install -e '{Path.cwd()}[rtx]'" in done.stderr
    assert not (tmp_path / "m.engine").exists()


def test_a_closed_pipe_is_no_error(tmp_path):
    import subprocess

    command = f"{sys.executable} -m trtconv schema | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
