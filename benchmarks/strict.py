#!/usr/bin/env python3
"""What strict arithmetic costs: ResNet-50 in FP16, computed as it says, beside the same network in FP32.

Each is a process of its own that opens the model file and runs one batch again and again; they take turns, figures are
medians over the rounds. Peak memory is that of the process. Exit 1 where strict takes more than 4 times the time or 2
times the memory.

    python benchmarks/strict.py [--batch 8] [--rounds 3] [--cores 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
RUNS = 5
TIME_AT_MOST, MEMORY_AT_MOST = 4.0, 2.0


def single_precision(half: Path, path: Path) -> None:
    """The same weights and nodes without the casts, in FP32."""
    model = onnx.load(half)
    graph = model.graph
    for tensor in graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for node in graph.node:
        if node.op_type == "Cast":
            node.op_type = "Identity"
            del node.attribute[:]
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in graph.initializer)
    onnx.save(model, path)


def work(kind: str, folder: Path, batch: int, cores: int) -> None:
    """Open, run, print seconds per run and peak bytes."""
    import resnet50

    from trtconv.adapters import onnxruntime
    from trtconv.core.child import peak_memory
    from trtconv.graph import strict

    path = folder / f"{kind}.onnx"
    session = strict.open_file(path, cores) if kind == "strict" else onnxruntime.session(path, threads=cores)
    feeds = {"x": resnet50.images(batch)}
    session.run(feeds)
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        session.run(feeds)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": median(seconds), "peak": peak_memory()}))


def measured(kind: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Figures of one process."""
    command = [sys.executable, __file__, "--kind", kind, "--folder", str(folder), "--batch", str(options.batch)]
    done = subprocess.run(
        [*command, "--cores", str(options.cores)], check=True, capture_output=True, text=True, cwd=HERE.parent
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> int:
    """Measure both in turns and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--kind", choices=("fp32", "strict"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
        work(options.kind, options.folder, options.batch, options.cores)
        return 0
    import resnet50

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        resnet50.write(folder / "strict.onnx")
        single_precision(folder / "strict.onnx", folder / "fp32.onnx")
        rounds = [{kind: measured(kind, folder, options) for kind in ("fp32", "strict")} for _ in range(options.rounds)]
    return report(rounds, options)


def report(rounds: list[dict[str, dict[str, float]]], options: argparse.Namespace) -> int:
    """Print medians and ratios; 1 where a bound is not kept."""
    print(f"ResNet-50, batch {options.batch}, {options.cores} cores, medians of {options.rounds} rounds")
    for kind in ("fp32", "strict"):
        seconds, peak = (median(one[kind][figure] for one in rounds) for figure in ("seconds", "peak"))
        print(f"{kind:<7} {seconds * 1e3:8.0f} ms  {peak / 2**20:8.0f} MiB")
    time_ratio, memory_ratio = (
        median(one["strict"][figure] / one["fp32"][figure] for one in rounds) for figure in ("seconds", "peak")
    )
    print(
        f"strict takes {time_ratio:.2f} times the time (at most {TIME_AT_MOST:g}) and "
        f"{memory_ratio:.2f} times the memory (at most {MEMORY_AT_MOST:g})"
    )
    return int(time_ratio > TIME_AT_MOST or memory_ratio > MEMORY_AT_MOST)


if __name__ == "__main__":
    sys.exit(main())
