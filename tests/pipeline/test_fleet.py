"""Engines built on the nodes of a Ray cluster: the same bytes, nothing twice, whatever dies meanwhile.

``make fleet`` runs this with Ray. Two nodes on this machine stand for two machines: what travels is the same.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
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

from tests import digits
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
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
ENV = {**os.environ, "TRTCONV_CACHE": "off", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster:
    """A head that does no work, and nodes that do."""

    def __init__(self, folder: Path) -> None:
        import socket

        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{bound.getsockname()[1]}"
        port = self.address.rpartition(":")[2]
        self.folder = folder
        self._start("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false")
        self.nodes = {gpu: self.add(gpu) for gpu in ("sm86", "sm89")}

    def _start(self, *words: str) -> None:
        memory = ["--object-store-memory", "100000000", "--disable-usage-stats"]
        done = subprocess.run(
            [*RAY, "start", *words, *memory], env=ENV, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def add(self, gpu: str) -> set[int]:
        """Another node; its processes that take work."""
        before = raylets()
        self._start("--address", self.address, "--num-cpus", "1", "--labels", f"trtconv.io/gpu={gpu}")
        return raylets() - before

    def remove(self, gpu: str) -> None:
        for process in self.nodes.pop(gpu):
            os.kill(process, signal.SIGKILL)

    def close(self) -> None:
        subprocess.run([*RAY, "stop", "--force"], env=ENV, capture_output=True, timeout=120, check=False)


def processes(pattern: str) -> set[int]:
    """Of this user, by their command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if re.search(pattern, words):
            found.add(int(path.parent.name))
    return found


def raylets() -> set[int]:
    return processes(r"/raylet/raylet ")


def workers() -> set[int]:
    """Those that perform a step right now."""
    return processes(r"^ray::_work")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


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
        (victim, *_) = workers()
        os.kill(victim, signal.SIGKILL)  # its step is done again
        until(lambda: len(hashes(folder / "fleet")) >= 5)
        first.kill()  # the starter
        first.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in (folder / "fleet").glob("*.engine")}
    assert len(finished) < 12
    cluster.remove("sm89")  # the other node does the rest
    second = run(folder, "fleet.yaml", *fleet)
    assert second.returncode == 0, second.stderr
    cluster.nodes["sm89"] = cluster.add("sm89")
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "fleet").glob("*.engine")}
    assert len(after) == 12
    again = [name for name, when in finished.items() if after[name] != when]
    assert len(again) <= 1, "at most the one whose step was not recorded when the starter died"
    ended = statuses(second)
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


def test_no_cluster(folder: Path) -> None:
    done = run(folder, "fleet.yaml", "--fleet", "127.0.0.1:1", "--fleet-wait", "3")
    assert done.returncode == 5
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr
    assert "ray start --head" in done.stderr
