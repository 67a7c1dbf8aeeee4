"""A source whose framework lives in another environment: ``source.python`` and ``--python``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests import environments, networks
from tests.conftest import ROOT, environment

BASE = ("click", "PyYAML", "numpy", "onnx", "ml_dtypes", "onnxruntime", "rich", "tensorrt-rtx")
MAKE = """
import sys, numpy, tensorflow as tf
class Net(tf.Module):
    def __init__(self):
        random = numpy.random.default_rng(5)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 2, 4)), dtype=tf.float32)
        self.matrix = tf.Variable(random.normal(size=(4, 3)), dtype=tf.float32)
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 2), tf.float32, "image")])
    def __call__(self, image):
        hidden = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "SAME"))
        return {"scores": tf.nn.softmax(tf.reduce_mean(hidden, (1, 2)) @ self.matrix)}
net = Net()
tf.saved_model.save(net, sys.argv[1], signatures={"serving_default": net.__call__})
images = numpy.random.default_rng(6).normal(size=(12, 8, 8, 2)).astype("float32")
numpy.savez(sys.argv[2], image=images, scores=net(images)["scores"])
"""
JOB = """
version: 1
source: {path: model, python: PYTHON}
inputs: {image: {shape: [batch, 8, 8, 2]}}
precision: fp16
build: {backend: rtx, targets: [sm86]}
verify: {data: {path: samples.npz}}
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with what trtconv itself needs, and no TensorFlow."""
    python = environments.make(tmp_path_factory.mktemp("bare") / "env", *BASE)
    found = subprocess.run([python, "-c", "import onnx, tensorflow"], capture_output=True, text=True, check=False)
    assert "No module named 'tensorflow'" in found.stderr
    return python


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a SavedModel, and an .npz with its input and what TensorFlow made of it."""
    folder = tmp_path_factory.mktemp("saved")
    subprocess.run(
        [sys.executable, "-c", MAKE, folder / "model", folder / "samples.npz"], check=True, capture_output=True
    )
    return folder


@pytest.fixture
def bare_trtconv(bare: Path, saved: Path, tmp_path: Path):
    """Run trtconv where no TensorFlow is."""
    (tmp_path / "model").symlink_to(saved / "model")
    with np.load(saved / "samples.npz") as samples:
        np.savez(tmp_path / "samples.npz", image=samples["image"])
    (tmp_path / "scratch").mkdir()

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [bare, "-m", "trtconv", *map(str, args)],
            cwd=tmp_path,
            env={**environment(tmp_path / "scratch"), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def error_of(made: Path, saved: Path) -> float:
    """Largest difference between ONNX Runtime on a file and what TensorFlow computed when the model was saved."""
    with np.load(saved / "samples.npz") as samples:
        (scores,) = onnxruntime.InferenceSession(made).run(["scores"], {"image": samples["image"]})
        return float(np.abs(scores - samples["scores"]).max())


@pytest.mark.tf
@pytest.mark.rtx
def test_a_saved_model_goes_the_whole_line_where_trtconv_has_no_tensorflow(bare_trtconv, saved, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(JOB.replace("PYTHON", sys.executable))
    done = bare_trtconv("run", job, "--json")
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["convert"]["result"]["checked"][0]["max_rel"] < 1e-5
    assert steps["reference"]["result"]["framework"].startswith("TensorFlow 2.")
    assert steps["freeze"]["peak_memory"] > 200e6  # TensorFlow's process counts
    assert error_of(Path(steps["convert"]["result"]["model"]), saved) < 1e-5
    assert not list(tmp_path.rglob(".trtconv-*"))

    def reasons(python: Path) -> dict[str, str]:
        job.write_text(JOB.replace("PYTHON", str(python)))
        planned = bare_trtconv("plan", job, "--json")
        assert planned.returncode == 0, planned.stderr
        return {step["name"]: step["why"] for step in json.loads(planned.stdout)["steps"]}

    alike = environments.make(tmp_path / "alike", "tensorflow-cpu", "tensorflow", "tf2onnx", "tf-keras")
    assert not any(reasons(alike).values())
    (metadata,) = tmp_path.glob("alike/lib/python*/site-packages/tf2onnx-*.dist-info")
    metadata.rename(metadata.with_name("tf2onnx-1.16.9.dist-info"))
    assert reasons(alike)["freeze"] == "version changed: tf2onnx"
    for file in (job.with_suffix(".lock.yaml"), *tmp_path.rglob("state.json")):
        assert str(Path(sys.executable).parent) not in file.read_text()


@pytest.mark.tf
def test_convert_and_freeze_take_the_interpreter_as_an_option(bare_trtconv, saved, tmp_path):
    done = bare_trtconv("convert", "model", "--python", sys.executable, "-o", "model.onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert error_of(tmp_path / "model.onnx", saved) < 1e-5
    refused = bare_trtconv("freeze", "model", "-o", "model.pb")
    assert refused.returncode == 5
    assert "tensorflow" in refused.stderr


@pytest.mark.tf
def test_errors_there_keep_their_exit_code_and_hint(bare_trtconv, tmp_path):
    done = bare_trtconv("convert", "model", "--python", sys.executable, "-o", "m.onnx", "--signature", "serving")
    assert done.returncode == 3
    assert "serving_default" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "model").unlink()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/saved_model.pb").write_bytes(b"\x08\x01\x12\x04\x0a\x02\x12\x00\xff")
    done = bare_trtconv("convert", "model", "--python", sys.executable, "-o", "m.onnx")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """What looks like a SavedModel to whoever reads no more than its first bytes."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/saved_model.pb").write_bytes(b"\x08\x01\x12\x04\x0a\x02\x12\x00")
    return tmp_path / "net"


@pytest.mark.parametrize("command", ["check", "run", "plan", "convert"])
def test_a_missing_interpreter_is_told_by_every_command_with_the_lines_that_make_it(
    trtconv, foreign, tmp_path, command
):
    (tmp_path / "job.yaml").write_text("version: 1\nsource: {path: net, python: envs/tf/bin/python}\n")
    done = trtconv(command, "job.yaml")
    assert done.returncode == 5
    assert f"{tmp_path}/envs/tf/bin/python: no such file" in done.stderr
    assert f"python3 -m venv {tmp_path}/envs/tf && {tmp_path}/envs/tf/bin/pip install " in done.stderr
    assert "'tf2onnx==1.17.*'" in done.stderr


def test_an_interpreter_without_the_framework_is_told_with_the_line_that_installs_it(bare, trtconv, foreign):
    done = trtconv("convert", "net", "--python", bare, "-o", "net.onnx")
    assert done.returncode == 5
    assert "has no tensorflow, tf2onnx, which a model of TensorFlow needs" in done.stderr
    assert f"{bare} -m pip install 'tensorflow-cpu>=2.21,<2.22' 'tf2onnx==1.17.*'" in done.stderr


def test_an_interpreter_for_what_needs_no_framework_is_refused(trtconv, tmp_path):
    onnx.save(networks.perceptron(), tmp_path / "model.onnx")
    done = trtconv("convert", "model.onnx", "--python", sys.executable, "-o", "other.onnx")
    assert done.returncode == 2
    assert "an interpreter of its framework is for" in done.stderr
    assert "this is onnx" in done.stderr


def test_a_bare_name_is_looked_for_where_the_shell_does(trtconv, foreign, bare, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/framework-python").symlink_to(bare)
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    done = trtconv("convert", "net", "--python", "framework-python", "-o", "net.onnx", env=path)
    assert f"{tmp_path}/bin/framework-python has no tensorflow" in done.stderr
