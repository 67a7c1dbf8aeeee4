"""Jobs with parts: killed, locked, and taken from the store."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests import parts
from tests.pipeline.test_torture import finished, start
from trtconv.engines.plan import manifest

pytestmark = pytest.mark.rtx

JOB = """\
version: 1
name: net
output: out
operators: {"com.microsoft::BiasGelu": keep, "com.microsoft::QuickGelu": keep}
source: {path: net.onnx}
precision: typed
build: {fallback: onnxruntime, backend: rtx}
"""


def prepare(folder: Path, last: str = "Relu") -> None:
    folder.mkdir(exist_ok=True)
    nodes = [
        *parts.block("x", "a", "w1"),
        parts.gelu("a", "b"),
        *parts.block("b", "c"),
        parts.quick("c", "d"),
        *parts.block("d", "e"),
        parts.node(last, ["e"], "y"),
    ]
    parts.save(folder / "net.onnx", nodes, {"y": parts.FLOAT}, parts.WEIGHTS)
    (folder / "job.yaml").write_text(JOB)


def made(folder: Path) -> dict[str, str]:
    """Digest per file, but of those that tell times and places."""
    names = [p for p in (folder / "out/net.typed.parts").iterdir() if not p.name.endswith((".engine.json", "nce.json"))]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


def require_whole(folder: Path) -> None:
    """The parts are those of the manifest, or not there at all."""
    target = folder / "out/net.typed.parts"
    if target.exists():
        manifest.read(target)


def kill(folder: Path, rounds: int) -> None:
    """First builds, and builds over older parts, which are whole at every moment."""
    old, new = folder / "old", folder / "new"
    prepare(old, "Tanh")
    finished(start(old))
    prepare(new)
    began = time.monotonic()
    finished(start(new))
    length = time.monotonic() - began
    expected = made(new)
    draw = random.Random(0)
    for index in range(rounds):
        work = folder / f"round{index}"
        shutil.copytree(old, work) if index % 2 else work.mkdir()
        prepare(work)
        process = start(work)
        time.sleep(draw.uniform(0.3, 1) * length)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not index % 2 or (work / "out/net.typed.parts").exists()
        require_whole(work)
        finished(start(work))
        assert made(work) == expected
        assert not list((work / "out").glob(".*.tmp"))


def test_killed_builds_leave_parts_whole_or_none(tmp_path: Path) -> None:
    kill(tmp_path, 2)


@pytest.mark.slow
def test_thirty_killed_builds(tmp_path: Path) -> None:
    kill(tmp_path, 30)


def statuses(done: Any) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return {step["stage"]: step["status"] for step in json.loads(done.stdout)["steps"]}


def test_parts_from_the_store_and_under_a_lock(tmp_path: Path, trtconv: Any) -> None:
    env = {"TRTCONV_CACHE": str(tmp_path / "store")}
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    for work in (one, two, three):
        prepare(work)
    (two / "job.yaml").write_text(JOB.replace("name: net", "name: other"))
    assert statuses(trtconv("run", "job.yaml", "--json", cwd=one, env=env))["build"] == "done"
    done = trtconv("run", "job.yaml", "--json", cwd=two, env=env)
    assert statuses(done)["build"] == "from cache"
    build = next(step for step in json.loads(done.stdout)["steps"] if step["stage"] == "build")
    assert build["result"]["sidecar"] == str(two / "out/other.typed.parts/manifest.json")
    found = manifest.read(two / "out/other.typed.parts")
    assert manifest.model_of(found.folder) == two / "out/other.typed.onnx"
    assert found.facts == manifest.read(one / "out/net.typed.parts").facts
    (found.folder / "part00.engine.kernels").write_bytes(b"compiled when it ran")
    assert statuses(trtconv("run", "job.yaml", "--json", cwd=two, env=env))["build"] == "up to date"

    lock = (one / "job.lock.yaml").read_text()
    (three / "job.lock.yaml").write_text(lock)
    assert statuses(trtconv("run", "job.yaml", "--json", "--locked", cwd=three, env=env))["build"] == "from cache"
    shutil.rmtree(three / "out")
    again = trtconv("run", "job.yaml", "--json", "--locked", cwd=three, env={"TRTCONV_CACHE": "off"})
    assert statuses(again)["build"] == "done"
    assert (three / "job.lock.yaml").read_text() == lock
    (three / "job.yaml").write_text(JOB.replace("rtx}", "rtx, min_subgraph_size: 5}"))
    refused = trtconv("run", "job.yaml", "--locked", cwd=three, env=env)
    assert refused.returncode == 2
    assert "build[typed]: option changed" in refused.stderr

    for kept in (tmp_path / "store").glob("??/*/0/part00.engine"):
        kept.write_bytes(b"damaged")
    shutil.rmtree(two / "out")
    assert statuses(trtconv("run", "job.yaml", "--json", cwd=two, env=env))["build"] == "done"
