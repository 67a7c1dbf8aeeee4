"""plan and check: what would run and why, without touching anything or loading anything heavy."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest

from tests.cli.test_errors import tiny_model

JOB = """\
version: 1
source: {path: model.onnx}
precision: [fp32, fp16]
verify: {data: {path: data.npz}}
"""


@pytest.fixture
def folder(tmp_path):
    tiny_model(tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", x=np.ones((3, 4), np.float32))
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.mark.rtx
def test_plan_follows_what_happens(trtconv, folder):
    def plan(*args):
        done = trtconv("plan", "job.yaml", "--json", *args)
        assert done.returncode == 0, done.stderr
        return {s["name"]: s for s in json.loads(done.stdout)["steps"]}

    before = plan()
    assert [s["will_run"] for s in before.values()] == [True] * 7
    assert before["verify[fp16]"]["needs"] == ["build[fp16]", "lower[fp16]", "convert"]
    assert not (folder / "build").exists()
    assert trtconv("run", "job.yaml").returncode == 0
    assert {s["why"] for s in plan().values()} == {""}
    assert plan("--force", "lower")["lower[fp16]"]["why"] == "forced"
    np.savez(folder / "data.npz", x=np.zeros((3, 4), np.float32))
    changed = {name: s["why"] for name, s in plan().items() if s["will_run"]}
    assert changed == {"verify[fp32]": "input changed: data", "verify[fp16]": "input changed: data"}
    (folder / "build/job/job.fp16.engine").unlink()
    assert plan()["build[fp16]"]["why"] == "job.fp16.engine is missing"


def test_dot_names_every_step_and_arrow(trtconv, folder):
    text = trtconv("plan", "job.yaml", "--dot").stdout
    assert text.startswith("digraph plan {")
    assert '"lower[fp16]" -> "build[fp16]";' in text
    assert f'"{folder / "model.onnx"}" -> "convert";' in text
    assert len(re.findall(r'^  ".*" -> ".*";$', text, re.MULTILINE)) == text.count("->")


def test_planning_loads_nothing_heavy(folder):
    import subprocess

    code = (
        "import sys; sys.argv[1:] = ['plan', 'job.yaml']\n"
        "from trtconv.cli.main import cli\n"
        "cli(standalone_mode=False)\n"
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'tensorflow', 'tensorrt_rtx', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.rtx
def test_a_function_of_the_users_is_an_input(trtconv, folder):
    (folder / "mine.py").write_text("def twice(outputs):\n    return {k: 2 * v for k, v in outputs.items()}\n")
    call = "infer: {data: {path: data.npz}, postprocess: [{call: {function: 'mine:twice'}}]}\n"
    (folder / "job.yaml").write_text(JOB.replace("[fp32, fp16]", "[fp32]").replace("verify:", "#") + call)
    assert trtconv("run", "job.yaml", "--allow-code").returncode == 0
    (folder / "mine.py").write_text("def twice(outputs):\n    return {k: v + v for k, v in outputs.items()}\n")
    steps = json.loads(trtconv("plan", "job.yaml", "--allow-code", "--json").stdout)["steps"]
    assert {s["name"]: s["why"] for s in steps if s["will_run"]} == {"infer[fp32]": "input changed: code mine"}
