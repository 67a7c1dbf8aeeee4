"""One look at a GPU machine: builds a network there, compares it with ONNX Runtime, measures it by every semantics.

Run it from the repository's root: ``python tests/gpu/smoke.py [RESULTS.json]``. Not a test: it prints a table.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.engines.models import save
from trtconv.adapters import cuda
from trtconv.core import versions
from trtconv.core.events import Event, Message
from trtconv.core.records import ShapeRange
from trtconv.engines.run.runner import open_engine, open_onnx
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build

WIDTHS = (64, 128, 256, 512)
SHAPE = (3, 128, 128)


def network(path: Path) -> Path:
    """Twelve 3x3 convolutions in FP16, halving the image four times; about 2.4 GFLOP per image."""
    rng, node, nodes, weights = np.random.default_rng(0), helper.make_node, [], []
    nodes.append(node("Cast", ["x"], ["t"], to=TensorProto.FLOAT16))
    channels, last = 3, "t"
    for stage, width in enumerate(WIDTHS):
        for layer in range(3):
            name = f"c{stage}{layer}"
            scale = np.sqrt(2 / (9 * channels))
            kernel = (rng.normal(size=(width, channels, 3, 3)) * scale).astype(np.float16)
            weights.append(numpy_helper.from_array(kernel, name + "w"))
            stride = [2, 2] if layer == 0 else [1, 1]
            nodes.append(node("Conv", [last, name + "w"], [name], name=name, pads=[1, 1, 1, 1], strides=stride))
            nodes.append(node("Relu", [name], [name + "r"]))
            channels, last = width, name + "r"
    nodes += [
        node("GlobalAveragePool", [last], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Cast", ["f"], ["y"], to=TensorProto.FLOAT),
    ]
    return save(path, nodes, weights, shape=("batch", *SHAPE), output=("batch", WIDTHS[-1]))


def tell(event: Event) -> None:
    """Warnings only."""
    if isinstance(event, Message) and event.level == "warning":
        print("warning:", event.text)


def main() -> None:
    """Print everything."""
    print(cuda.probe())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = network(Path(folder) / "net.onnx")
        engine = model.with_suffix(".engine")
        span = ShapeRange((1, *SHAPE), (32, *SHAPE), (128, *SHAPE))
        print(build(BuildRequest(model, engine, "fp16", profiles=({"x": span},)), tell))
        x = np.random.default_rng(1).normal(size=(16, *SHAPE)).astype(np.float32)
        expected = open_onnx(model).run({"x": x})["y"]
        for start in ("first", "second"):
            began = time.perf_counter()
            runner = open_engine(engine, emit=tell)
            found = runner.run({"x": x})["y"]
            print(
                f"{start} start, to the first result: {time.perf_counter() - began:.2f} s; "
                f"largest difference {np.abs(found - expected).max() / np.abs(expected).max():.2e}"
            )
            runner.close()
        apis = [name for name, (_, package) in cuda.APIS.items() if versions.of([package])]
        for api in apis:
            for semantics, streams in (("trtexec10", 1), ("trtexec10", 4), ("trtexec11", 1), ("app", 1), ("app", 4)):
                request = BenchRequest(
                    engine, batches=(1, 32, 128), semantics=semantics, streams=streams, duration=1.5, device_api=api
                )
                result = bench(request, tell)
                rows.append({"api": api, **dataclasses.asdict(result)})
                for m in result.measurements:
                    parts = [m.h2d_ms, m.compute_ms, m.d2h_ms, m.enqueue_ms]
                    print(
                        f"{api:7}{semantics:10}streams {streams}  batch {m.batch:4}  {m.throughput:10.1f}/s  "
                        f"p50 {m.latency_ms['p50']:8.3f}  p99 {m.latency_ms['p99']:8.3f}  h2d/compute/d2h/enqueue "
                        f"{' '.join('   -   ' if p is None else f'{p:7.3f}' for p in parts)}  "
                        f"graph {m.cuda_graph!s:5}  {m.queries} queries"
                    )
                print("       ", result.runner, result.conditions, *result.notes, sep=" | ")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
