#!/usr/bin/env python3
"""What a Ray cluster costs over local processes: twelve small engines by ``--fleet`` and by ``--jobs 2``, in turns.

Two nodes of one CPU each on this machine stand for two machines. Every round builds all engines anew both ways; figures
are medians over the rounds, of wall time and of processor time: of trtconv with all that it starts, and of the
cluster's own processes meanwhile. The engines are as small as can be: what is compared is the way to them. What the
cluster takes to start is not counted. Ends with 1 where the bound is missed, or engines differ.

    python benchmarks/fleet.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.report.tables import table

ROOT = Path(__file__).resolve().parents[1]
JOB = """\
version: 1
source: {path: small.onnx}
inputs:
  x: {profile: {min: 1, opt: 32, max: 64}}
precision: [fp32, fp16]
matrix: {target: [sm86, sm89], batch: [1, 4, 8]}
"""
RATIO = 1.5
"""At most so many times the wall time of local processes."""

_MARK = "TRTCONV_BENCH_FLEET"
_LOOK = 0.2  # seconds between two looks at the cluster
_TICKS = os.sysconf("SC_CLK_TCK")

Seconds = tuple[float, float, float]
"""Wall time, processor time, and the cluster's share of that."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of both, in turns (default 5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="trtconv-bench-") as name, two_nodes() as cluster:
        folder = Path(name)
        _write_job(folder)
        ways = {"--jobs 2": list[str](), "--jobs 2 --fleet": ["--fleet", cluster.address]}
        made = {way: _built(folder, words, cluster)[1] for way, words in ways.items()}  # the first ones compile modules
        turns = [{way: _built(folder, words, cluster)[0] for way, words in ways.items()} for _ in range(rounds)]
    middle = {way: [median(each) for each in zip(*(turn[way] for turn in turns), strict=True)] for way in ways}
    rows = [[f"run {way}", *(f"{seconds:.1f} s" for seconds in middle[way])] for way in ways]
    print(table(["12 engines by", "wall", "processor", "of it the cluster"], rows, "lrrr"))
    ratio = middle["--jobs 2 --fleet"][0] / middle["--jobs 2"][0]
    same = made["--jobs 2"] == made["--jobs 2 --fleet"]
    print(f"\nwall time, fleet / local: {ratio:.2f} (bound {RATIO}: {'kept' if ratio <= RATIO else 'MISSED'})")
    print(f"engines: {'the same bytes' if same else 'OTHER BYTES'}")
    sys.exit(0 if same and ratio <= RATIO else 1)


def _write_job(folder: Path) -> None:
    """A product and a bias: 64 numbers to 10, with seeded random weights."""
    draw = np.random.default_rng(0)
    weights = {"w": draw.standard_normal((64, 10)), "b": draw.standard_normal(10)}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])
        for name, size in (("x", 64), ("y", 10))
    ]
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], "small", ends[:1], ends[1:], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "small.onnx")
    (folder / "job.yaml").write_text(JOB)


class Cluster:
    """A head that does no work, and nodes that do, on this machine; no other cluster is touched.

    Their processes are known by a variable of their environment and, since Ray's agents write their titles over it, by
    the session (setsid) of those that have it.
    """

    def __init__(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
        self.address, self._mark = f"127.0.0.1:{port}", uuid.uuid4().hex
        self._used: dict[str, float] = {}
        self._start("head", "--head", "--port", str(port), "--num-cpus", "0", "--include-dashboard", "false")

    def add(self, gpu: str, *words: str) -> None:
        """One more node, with one CPU, that says it has such a GPU."""
        self._start(gpu, "--address", self.address, "--num-cpus", "1", "--labels", f"trtconv.io/gpu={gpu}", *words)

    def _start(self, name: str, *words: str) -> None:
        command = ["setsid", sys.executable, "-m", "ray.scripts.scripts", "start", *words]
        command += ["--object-store-memory", "100000000"]
        _run([*command, "--disable-usage-stats"], {_MARK: f"{self._mark}-{name}-", "TRTCONV_CACHE": "off"})

    def processes(self, name: str = "") -> dict[int, str]:
        """Command lines of a node's processes, or of all."""
        mark, sessions, marked = f"{_MARK}={self._mark}-{name}".encode(), dict[int, int](), set[int]()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                sessions[int(path.name)] = os.getsid(int(path.name))
                if mark in (path / "environ").read_bytes():
                    marked.add(int(path.name))
        theirs = {sessions[process] for process in marked}
        return {process: _command(process) for process in sessions if process in marked or sessions[process] in theirs}

    def look(self) -> None:
        """Note the processor time of all that live, with their children that ended (proc(5), stat, fields 14 to 17).

        The cluster's nodes do not add up what their workers used, so those are looked at while they live; what the
        workers start is added up there.
        """
        for process, command in self.processes().items():
            if not re.search(r"trtconv[./]core", command):
                with suppress(OSError):
                    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                    self._used[f"{process} {fields[19]}"] = sum(map(int, fields[11:15])) / _TICKS

    def seconds(self) -> float:
        """Processor time of the cluster so far."""
        self.look()
        return sum(self._used.values())

    def end(self, name: str = "") -> None:
        """End a node, or all, as a machine that loses its power."""
        for process in self.processes(name):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _command(process: int) -> str:
    """Empty for one that has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A cluster of two nodes, for two GPUs."""
    cluster = Cluster()
    try:
        for gpu in ("sm86", "sm89"):
            cluster.add(gpu)
        yield cluster
    finally:
        cluster.end()


def _built(folder: Path, words: Sequence[str], cluster: Cluster) -> tuple[Seconds, Mapping[str, str]]:
    """All engines, anew: what it took, and their digests by name."""
    before = cluster.seconds()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-m", "trtconv", "run", str(folder / "job.yaml"), "--quiet", "--jobs", "2"]
        command += ["--set", f"output={out}", *words]
        wall, processor = _run(command, {"TRTCONV_CACHE": "off"}, cluster.look)
        made = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(out).glob("*.engine")}
    meanwhile = cluster.seconds() - before
    return (wall, processor + meanwhile, meanwhile), made


def _run(
    command: Sequence[str], environment: Mapping[str, str], meanwhile: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Wall and processor time of a program and what it starts; a failure ends the benchmark with what it printed."""
    others = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": others, **environment}
    start, before = time.perf_counter(), _children()
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env=env)
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
                break
            meanwhile()
        taken = time.perf_counter() - start, _children() - before
        if process.returncode != 0:
            told.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{told.read().decode(errors='replace')}")
    return taken


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
