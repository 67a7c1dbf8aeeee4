#!/usr/bin/env python3
"""Time the command line itself, beside what the same work costs without it.

Programs are started in turns, so that a machine that slows down slows all of them, with compiled modules, as after an
installation. The run is of configs/digits.yaml: once to bring it up to date, then measured. Hashing is of a file of
random bytes that was just written, so that disks of any speed give the same comparison: with sha256sum, which computes
the same, and with cat, which only reads.

With --against CHECKOUT it times the same commands of two versions instead, in turns, each with its own compiled modules
and its own files, and compares processor time: what is imported and computed, not what the machine did meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import onnx
from onnx import TensorProto, helper

from trtconv.core import digests
from trtconv.pipeline.state import State
from trtconv.report.tables import table

ROOT = Path(__file__).parents[1]
BARE = "import click, yaml, pydantic"
MATRIX = """\
version: 1
source: {{path: {model}}}
bench: {{}}
matrix:
  precision: [fp32, tf32, fp16, bf16]
  batch: [1, 2, 3, 4, 6, 8, 12, 16, 32, 64]
  target: [sm80, sm86, sm89, sm90, sm120]
"""
"""200 engines."""

SLOWER = 1.05
"""At most so many times the processor time of the other version."""

Row = list[str]


def main() -> None:
    """Measure and print two tables."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="trtconv-bench-") as folder:
        if options.against is not None:
            rows, kept = _against(options, Path(folder))
            print(table(["command", "there", "here", "least there", "least here", "here / there", ""], rows, "lrrrrr"))
            sys.exit(0 if kept else 1)
        python = _Python(Path(folder))
        print(table(["command", "median", "runs", "", "bound"], _starts(python, options, Path(folder)), "lrrl"))
        print()
        print(table([f"hashing {options.size} MB", "seconds", "read", ""], _hashing(Path(folder), options.size), "lrr"))


def _starts(python: _Python, options: argparse.Namespace, folder: Path) -> list[Row]:
    """Starts of programs: what is bare, what is ours."""
    _write_matrix(folder)
    trtconv = ["-m", "trtconv"]
    commands = {
        f"python -c '{BARE}'": ["-c", BARE],
        "trtconv --help": [*trtconv, "--help"],
        f"trtconv run {options.job.name}": [*trtconv, "run", str(options.job.resolve()), "--quiet"],
        "trtconv plan, 200 engines": [*trtconv, "plan", str(folder / "matrix.yaml")],
        "trtconv check, 200 engines": [*trtconv, "check", str(folder / "matrix.yaml")],
    }
    bare = next(iter(commands))
    if importlib.util.find_spec("pydantic") is None:
        print("pydantic is not installed: the run is compared with click and yaml alone, which is harder to keep\n")
        commands[bare] = ["-c", "import click, yaml"]
    first = {name: python.seconds(command) for name, command in commands.items()}  # compiles, and brings up to date
    times = [{name: python.seconds(command) for name, command in commands.items()} for _ in range(options.runs)]
    middle = {name: median(each[name] for each in times) for name in commands}
    run = f"trtconv run {options.job.name}"
    said = {
        run: f"up to date, {middle[run] / middle[bare]:.2f} times the first line; "
        f"the run before took {first[run]:.1f} s",
        "trtconv --help": f"{middle['trtconv --help'] / middle[bare]:.2f} times the first line",
    }
    bounds = {
        run: _kept("0.5 s and 2.5 times", middle[run] <= 0.5 and middle[run] <= 2.5 * middle[bare]),
        "trtconv plan, 200 engines": _kept("1.5 s", middle["trtconv plan, 200 engines"] <= 1.5),
        "trtconv check, 200 engines": _kept("1.5 s", middle["trtconv check, 200 engines"] <= 1.5),
    }
    return [
        [name, f"{1e3 * middle[name]:.0f} ms", str(options.runs), said.get(name, ""), bounds.get(name, "")]
        for name in commands
    ]


def _write_matrix(folder: Path) -> None:
    """The job of 200 engines, and a model of one node for it."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], name="relu")], "one", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    (folder / "matrix.yaml").write_text(MATRIX.format(model=folder / "model.onnx"))


def _against(options: argparse.Namespace, folder: Path) -> tuple[list[Row], bool]:
    """Two versions in turns: processor time of every command, and whether all are as fast as they were."""
    _write_matrix(folder)
    trtconv, matrix = ["-m", "trtconv"], str(folder / "matrix.yaml")
    commands: dict[str, list[str]] = {
        "trtconv --help": [*trtconv, "--help"],
        f"trtconv run {options.job.name}, up to date": [*trtconv, "run", str(options.job.resolve()), "--quiet"],
        "trtconv plan, 200 engines": [*trtconv, "plan", matrix],
        "trtconv check, 200 engines": [*trtconv, "check", matrix],
    }
    sides = [_Python(folder / "there", options.against.resolve()), _Python(folder / "here", ROOT)]
    rows, kept = [], True
    for name, command in commands.items():
        own = [["--set", f"output={side.folder}"] if "run" in command else [] for side in sides]
        pairs = list(zip(sides, own, strict=True))
        for side, more in pairs:
            side.seconds([*command, *more])  # compiles, and brings up to date
        times = [[side.cpu_seconds([*command, *more]) for side, more in pairs] for _ in range(options.runs)]
        there, here = zip(*times, strict=True)
        ratio = median(here) / median(there)
        kept = kept and ratio <= SLOWER
        figures = [f"{1e3 * each:.0f} ms" for each in (median(there), median(here), min(there), min(here))]
        rows.append([name, *figures, f"{ratio:.3f}", _kept(f"{SLOWER} times", ratio <= SLOWER)])
    return rows, kept


def _kept(bound: str, kept: bool) -> str:
    return f"{bound}: {'kept' if kept else 'MISSED'}"


def _hashing(folder: Path, megabytes: int) -> list[Row]:
    """A large file by others and by us, and once more when it did not change."""
    file = folder / "large.bin"
    with file.open("wb") as out:
        for _ in range(megabytes):
            out.write(os.urandom(10**6))
    state = State(folder / "state")
    kinds: dict[str, Callable[[], object]] = {
        "cat FILE > /dev/null": lambda: _shell("cat", file),
        "sha256sum FILE": lambda: _shell("sha256sum", file),
        "trtconv, first time": lambda: state.digest(file),
        "trtconv, size, mtime and inode as before": lambda: state.digest(file),
    }
    _shell("cat", file)  # what the disk's cache does is not ours to measure
    rows = []
    for name, work in kinds.items():
        before, start = _bytes_read(), time.perf_counter()
        work()
        taken = time.perf_counter() - start
        ours = name.startswith("trtconv")
        read = f"{(_bytes_read() - before) / 1e6:.0f} MB" if ours else f"{megabytes} MB"
        rows.append([name, f"{taken:.4f}", read, f"{megabytes / taken / 1e3:.2f} GB/s" if taken > 1e-3 else ""])
    assert state.digest(file) == digests.of_file(file)
    return rows


def _shell(program: str, file: Path) -> None:
    subprocess.run([program, str(file)], stdout=subprocess.DEVNULL, check=True)


def _bytes_read() -> int:
    """Bytes that this process read, from files or their cache (proc(5), ``rchar``), without this reading."""
    return int(Path("/proc/self/io").read_text().split()[1])


class _Python:
    """Starts programs of this Python, with their compiled modules in a folder of their own."""

    def __init__(self, folder: Path, checkout: Path = ROOT) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        others = filter(None, [str(checkout), kept.get("PYTHONPATH", "")])
        own = {"PYTHONPYCACHEPREFIX": str(folder / "compiled"), "PYTHONPATH": os.pathsep.join(others)}
        self.environment = {**kept, **own}

    def cpu_seconds(self, arguments: Sequence[str]) -> float:
        """Processor time of ``python ARGUMENTS``, user's and system's, with the processes that it starts."""
        before = _children()
        self.seconds(arguments)
        return _children() - before

    def seconds(self, arguments: Sequence[str]) -> float:
        """Wall time of ``python ARGUMENTS``; a failure ends the benchmark with what it printed."""
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], cwd="/", capture_output=True, text=True, check=False, env=self.environment
        )
        taken = time.perf_counter() - start
        if done.returncode != 0:
            sys.exit(f"python {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return taken


def _children() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--job", type=Path, default=ROOT / "configs/digits.yaml", help="job to run (%(default)s)")
    parser.add_argument("--runs", type=int, default=15, help="starts of each program (%(default)s)")
    parser.add_argument("--size", type=int, default=2000, help="file to hash, in MB (%(default)s)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with the version in this folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
