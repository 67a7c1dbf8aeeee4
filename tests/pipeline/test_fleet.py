"""Engines built on the nodes of a Ray cluster: the same bytes, nothing twice, whatever dies meanwhile.

``make fleet`` runs this with Ray. Two nodes on this machine stand for two machines: what travels is the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from benchmarks.fleet import Cluster, two_nodes
from tests import digits
from tests.conftest import hear_interrupts
from tests.engines.build import test_plugins

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rtx,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray not installed: make fleet"),
]
JOB = """
version: 1
output: {output}
source: {{path: digits.onnx}}
inputs:
  x: {{profile: {{min: 1, opt: 32, max: 64}}}}
precision: [fp32, fp16]
matrix: {{target: [sm86, sm89], batch: [1, 4, 8]}}
"""
ENV = {**os.environ, "TRTCONV_CACHE": "off"}


def workers(cluster: Cluster) -> list[int]:
    """Processes that perform a step right now."""
    return [process for process, command in cluster.processes().items() if command.startswith("ray::_work")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_nodes() as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    digits.write(tmp_path)
    (tmp_path / "here.yaml").write_text(JOB.format(output="here"))
    (tmp_path / "fleet.yaml").write_text(JOB.format(output="fleet"))
    return tmp_path


def command(job: str, *options: str) -> list[str]:
    return [sys.executable, "-m", "trtconv", "run", job, "--set", "name=digits", *options]


def run(folder: Path, job: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(job, *options), cwd=folder, env=ENV, capture_output=True, text=True, timeout=300, check=False
    )


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.engine"))}


def statuses(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in json.loads(done.stdout)["steps"]}


def test_twelve_cells_whatever_dies_meanwhile(folder: Path, cluster: Cluster) -> None:
    fleet = ("--fleet", cluster.address, "--json")
    with (folder / "events").open("w") as heard:
        first = subprocess.Popen(
            command("fleet.yaml", *fleet), cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=heard
        )
        until(lambda: len(hashes(folder / "fleet")) >= 3)
        (victim, *_) = workers(cluster)
        os.kill(victim, signal.SIGKILL)  # its step is done again
        until(lambda: len(hashes(folder / "fleet")) >= 5)
        first.kill()  # the starter
        first.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in (folder / "fleet").glob("*.engine")}
    assert len(finished) < 12
    cluster.end("sm89")  # the other node does the rest
    began = time.monotonic()
    second = run(folder, "fleet.yaml", *fleet)
    spent = time.monotonic() - began
    assert second.returncode == 0, second.stderr
    cluster.add("sm89")
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "fleet").glob("*.engine")}
    assert len(after) == 12
    again = [name for name, when in finished.items() if after[name] != when]
    assert len(again) <= 1, "at most the one whose step was not recorded when the starter died"
    ended = statuses(second)
    took = [step["seconds"] for step in json.loads(second.stdout)["steps"] if step["status"] == "done"]
    assert sum(took) < spent, "one node does one after the other, and what waits for it takes no time"
    assert list(ended.values()).count("up to date") >= len(finished) - 1
    here = run(folder, "here.yaml", "--jobs", "1")
    assert here.returncode == 0, here.stderr
    assert hashes(folder / "fleet") == hashes(folder / "here")


def until(condition, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


PLUGIN_JOB = """
version: 1
output: fleet
source: {path: net.onnx}
precision: typed
plugins: [{python: "scale_plugin:creator"}]
matrix: {target: [sm86, sm89]}
infer: {data: {path: x.npz}, backend: rtx}
"""


def test_a_plugin_travels_and_runs_by_the_leave_that_was_given_here(folder: Path, cluster: Cluster) -> None:
    """The module comes along to the nodes, whose folders have none; what is run there is not what is built there."""
    onnx.save(parser.parse_model(test_plugins.NET), folder / "net.onnx")
    shutil.copy(test_plugins.EXAMPLES / "scale_plugin.py", folder)
    np.savez(folder / "x.npz", x=np.ones((2, 4), np.float32))
    (folder / "fleet.yaml").write_text(PLUGIN_JOB)
    refused = run(folder, "fleet.yaml", "--fleet", cluster.address)
    assert refused.returncode == 2
    assert "scale_plugin:creator is code, which runs only by your leave" in refused.stderr
    done = run(folder, "fleet.yaml", "--fleet", cluster.address, "--allow-code")
    assert len(hashes(folder / "fleet")) == 2, done.stderr
    for path in (folder / "fleet").glob("*.engine.json"):
        (facts,) = json.loads(path.read_text())["plugins"]
        assert facts["path"] == str(folder / "scale_plugin.py")
        assert (path.parent / facts["file"]).resolve() == folder / "scale_plugin.py"
        assert facts["sha256"] == hashlib.sha256((folder / "scale_plugin.py").read_bytes()).hexdigest()
    assert done.returncode == 5, done.stderr  # for want of a GPU, and not of the module or of leave
    assert "libcuda" in done.stderr
    assert "needs the plugin" not in done.stderr
    assert "by your leave" not in done.stderr


def test_a_target_without_a_node_ends_with_its_name(folder: Path, cluster: Cluster) -> None:
    """Measuring on the GPU needs it: the other cells are built nevertheless."""
    text = (folder / "fleet.yaml").read_text() + "bench: {backend: rtx, duration: 100ms}\n"
    (folder / "fleet.yaml").write_text(text)
    narrow = ("--set", "matrix.target=[sm120]", "--set", "matrix.batch=[1]", "--set", "precision=[fp16]")
    done = run(folder, "fleet.yaml", "--fleet", cluster.address, "--fleet-wait", "3", *narrow)
    assert done.returncode == 5, done.stderr
    assert "no node of the fleet has a GPU sm120" in done.stderr
    assert "--labels trtconv.io/gpu=sm120" in done.stderr
    assert len(hashes(folder / "fleet")) == 1


def test_what_is_wrong_with_a_model_comes_back_as_it_is_here(folder: Path, cluster: Cluster) -> None:
    narrow = ("--set", "matrix=null", "--set", "precision=[fp32]", "--set", "inputs.x.profile={min: 1, opt: 9, max: 4}")
    here = run(folder, "here.yaml", *narrow)
    there = run(folder, "fleet.yaml", "--fleet", cluster.address, *narrow)
    assert here.returncode == there.returncode != 0
    assert there.stderr.splitlines()[-2:] == here.stderr.splitlines()[-2:]


HOOK = """
import os
import numpy as np

def seen(outputs):
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {**outputs, "seen": np.full(len(outputs["y"]), int(gpus) if gpus else -1)}
"""


def test_functions_of_ones_own_run_on_the_node_and_see_its_gpu(folder: Path, cluster: Cluster) -> None:
    """A node whose GPU Ray knows of gives it to one step at a time; that one sees it, whatever Ray hides by default."""
    cluster.add("sm75", "--num-gpus", "1")
    (folder / "hook.py").write_text(HOOK)
    rows = "infer: {data: {path: heldout.npz}, format: npz, postprocess: [{call: {function: 'hook:seen'}}]}\n"
    for job in ("here.yaml", "fleet.yaml"):
        (folder / job).write_text(JOB.format(output=job.partition(".")[0]) + rows)
    narrow = ("--set", "matrix={target: [sm75]}", "--set", "precision=[fp16]", "--allow-code")
    for job, options in (("here.yaml", ()), ("fleet.yaml", ("--fleet", cluster.address))):
        done = run(folder, job, *options, *narrow)
        assert done.returncode == 0, done.stderr
    here, there = (np.load(next((folder / name).glob("*.npz"))) for name in ("here", "fleet"))
    np.testing.assert_array_equal(here["y"], there["y"])
    assert set(there["seen"]) == {0}
    cluster.end("sm75")


def test_ctrl_c_ends_what_is_under_way_on_the_nodes(folder: Path, cluster: Cluster) -> None:
    with (folder / "said").open("w") as said:
        words = command("fleet.yaml", "--fleet", cluster.address)
        started = subprocess.Popen(
            words, cwd=folder, env=ENV, stderr=said, stdout=subprocess.DEVNULL, preexec_fn=hear_interrupts
        )
        until(lambda: len(hashes(folder / "fleet")) >= 1)
        started.send_signal(signal.SIGINT)
        assert started.wait(timeout=30) == 130
    until(lambda: not [one for one in cluster.processes().values() if "trtconv.core" in one], 10)
    assert not [path for path in (folder / "fleet").iterdir() if path.name.endswith(".tmp")]


def test_a_cluster_that_goes_is_told(folder: Path) -> None:
    with two_nodes() as cluster:
        command_line = command("fleet.yaml", "--fleet", cluster.address)
        done = subprocess.Popen(command_line, cwd=folder, env=ENV, stderr=subprocess.PIPE, text=True)
        until(lambda: len(hashes(folder / "fleet")) >= 1)
        cluster.end("head")
        _, said = done.communicate(timeout=50)  # Ray itself ends its program after a minute, with 1
    assert done.returncode == 5, said
    assert "no Ray cluster at" in said
    assert "next: ray start --head" in said


def test_no_cluster(folder: Path) -> None:
    done = run(folder, "fleet.yaml", "--fleet", "127.0.0.1:1", "--fleet-wait", "3")
    assert done.returncode == 5
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "ray start --head" in done.stderr
