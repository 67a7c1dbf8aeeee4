#!/usr/bin/env python3
"""What calibration costs: time and memory beside the bare forward passes and onnxruntime.quantization, in one run.

A network of ResNet50's shape at 224x224, batch 10. Each row is a process of its own; peak memory is that of the process
from its start. The rows take turns, so that a machine that slows down slows all of them: figures are medians over the
rounds, and ``x bare`` is the median of what was measured within a round. ``lower`` takes a model of 400 MB; it and
onnxruntime.quantization, which takes minutes, run once.

    python benchmarks/calibrate.py [--samples 500] [--rounds 3] [--cores 2] [--skip-onnxruntime]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv.core.child import peak_memory

Figures = dict[str, float]
"""Seconds of wall and CPU time, peak memory in MB."""

HERE = Path(__file__).resolve().parent
BATCH = 10
LARGE = 100 * 2**20
"""Weights of the model that ``lower`` gets: 400 MiB of FP32."""


def bare(folder: Path) -> None:
    """The forward passes alone."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    images = np.load(folder / "images.npy", mmap_mode="r")
    for start in range(0, len(images), BATCH):
        session.run(None, {"image": np.asarray(images[start : start + BATCH])})


def trtconv(method: str) -> Callable[[Path], None]:
    """The calibrate stage."""

    def work(folder: Path) -> None:
        from trtconv.core.events import ignore
        from trtconv.core.records import FeedSpec
        from trtconv.stages.calibrate import CalibrateRequest, calibrate

        feed = FeedSpec(folder / "images.npy")
        calibrate(CalibrateRequest(folder / "model.onnx", feed, folder / f"{method}.cache", method, BATCH), ignore)

    return work


def onnxruntime_entropy(folder: Path) -> None:
    """onnxruntime.quantization's entropy calibrator with stride 1, the setting that bounds its memory."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    images = np.load(folder / "images.npy", mmap_mode="r")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.position, self.end = 0, len(images)

        def __len__(self) -> int:
            return len(images) // BATCH

        def set_range(self, start_index: int, end_index: int) -> None:
            self.position, self.end = start_index * BATCH, end_index * BATCH

        def get_next(self) -> dict[str, np.ndarray] | None:
            if self.position >= self.end:
                return None
            start, self.position = self.position, self.position + BATCH
            return {"image": np.asarray(images[start : start + BATCH])}

    calibrator = create_calibrator(
        str(folder / "model.onnx"), ["Conv", "Gemm"], str(folder / "augmented.onnx"), CalibrationMethod.Entropy
    )
    reader = Reader()
    for batch in range(len(reader)):
        reader.set_range(batch, batch + 1)
        calibrator.collect_data(reader)
    calibrator.compute_data()


def lower(folder: Path) -> None:
    """INT8 with FP16 of the large model."""
    from trtconv.core.events import ignore
    from trtconv.stages.lower import LowerRequest, lower

    lower(LowerRequest(folder / "large.onnx", folder / "typed.onnx", "int8", folder / "large.cache"), ignore)


ROWS = {
    "bare forward passes": bare,
    "trtconv entropy": trtconv("entropy"),
    "trtconv minmax": trtconv("minmax"),
    "onnxruntime entropy, stride 1": onnxruntime_entropy,
    "trtconv lower int8, 400 MiB": lower,
}


def large(folder: Path) -> None:
    """A chain of matrices, and ranges for it in TensorRT's format."""
    side = 4096
    count = LARGE // (side * side)
    random = np.random.default_rng(0)
    matrix = random.normal(0, side**-0.5, (side, side)).astype(np.float32)
    constants = [numpy_helper.from_array(np.roll(matrix, k, 0), f"w{k}") for k in range(count)]
    nodes = [helper.make_node("MatMul", [f"x{k}", f"w{k}"], [f"x{k + 1}"], f"m{k}") for k in range(count)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", side]) for name in ("x0", f"x{count}")]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "large.onnx"
    )
    lines = ["TRT-8501-EntropyCalibration2", *(f"x{k}: 3d000000" for k in range(count + 1))]
    (folder / "large.cache").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Make the inputs, run every row, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=0, help="leave the others of a larger machine alone")
    parser.add_argument("--skip-onnxruntime", action="store_true", help="leave the slowest row out")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        _confine(options.cores)
        _one(options.row, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sys.path.insert(0, str(HERE))
        from calibration_network import resnet50, write_images

        onnx.save(resnet50(), folder / "model.onnx")
        write_images(folder / "images.npy", options.samples)
        large(folder)
        where = f", {options.cores or os.cpu_count()} cores"
        print(f"{options.samples} samples of 3x224x224, batch {BATCH}{where}")
        print(f"{'':32}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'x bare':>9}")
        rounds: dict[str, list[Figures]] = {row: [] for row in ROWS}
        for number in range(options.rounds):
            for row, found in rounds.items():
                once = "onnxruntime" in row or "lower" in row
                if not (once and number) and not (options.skip_onnxruntime and "onnxruntime" in row):
                    found.append(_measure(row, folder, options.cores))
        for row, found in rounds.items():
            if found:
                print(_line(row, found, rounds[next(iter(ROWS))]))


def _line(row: str, found: list[Figures], bare: list[Figures]) -> str:
    wall, cpu, peak = (median(each[what] for each in found) for what in ("wall", "cpu", "peak"))
    share = median(each["wall"] / beside["wall"] for each, beside in zip(found, bare, strict=False))
    return f"{row:32}{wall:9.1f}{cpu:9.1f}{peak:9.0f}" + ("" if "lower" in row else f"{share:9.2f}")


def _measure(row: str, folder: Path, cores: int) -> Figures:
    command = [sys.executable, __file__, "--row", row, "--folder", str(folder), "--cores", str(cores)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def _confine(cores: int) -> None:
    """To so many cores. ONNX Runtime would set its threads' affinity itself, unless their number is given."""
    if not cores:
        return
    import onnxruntime

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.intra_op_num_threads = cores

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    onnxruntime.SessionOptions = Options


def _one(row: str, folder: Path) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    ROWS[row](folder)
    seconds, used = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": seconds, "cpu": used, "peak": peak_memory() / 1e6}))


if __name__ == "__main__":
    main()
