"""Other quantizers on the precision zoo's networks: the same FP32 model, the same samples, their own settings.

nvidia-modelopt does not share an environment with trtconv, so this file is also a program for another interpreter; it
needs nothing of trtconv:

    python zoo_rivals.py METHOD MODEL.onnx CALIBRATION.npz OUTPUT.onnx      # prints seconds and peak MB as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ONNXRUNTIME = ("MinMax", "Entropy", "Percentile")
MODELOPT = ("max", "entropy")
BATCH = 16
"""Samples per run, for everybody who takes such a setting."""


def onnxruntime(model: Path, samples: Path, typed: Path, method: str) -> None:
    """onnxruntime.quantization as TensorRT can read it: symmetric, per channel, weighted operators, no bias."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    ((name, values),) = np.load(samples).items()

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        batches = iter(np.split(values, len(values) // BATCH))  # its histograms take batches of one size only

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch}

    weighted = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
    quantize_static(
        str(model),
        str(typed),
        Reader(),
        QuantFormat.QDQ,
        weighted,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, method),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "CalibTensorRangeSymmetric": True,
            "OpTypesToExcludeOutputQuantization": weighted,
        },
    )


def modelopt(python: Path, model: Path, samples: Path, typed: Path, method: str) -> tuple[float, float]:
    """nvidia-modelopt's INT8 quantization: seconds of a second time, without its imports, and peak MB of its process.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    command = [str(python), __file__, method, str(model), str(samples), str(typed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures["seconds"], figures["peak"]


def _modelopt(method: str, model: Path, samples: Path, typed: Path) -> None:
    from modelopt.onnx.quantization import quantize

    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "model.onnx")  # it writes into the file that it is given
            copy.write_bytes(model.read_bytes())
            started = time.perf_counter()
            quantize(
                str(copy),
                quantize_mode="int8",
                calibration_data=dict(np.load(samples)),
                calibration_method=method,
                calibration_eps=["cpu"],
                high_precision_dtype="fp32",
                output_path=str(typed),
            )
            seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text()
    print(json.dumps({"seconds": seconds, "peak": int(status.partition("VmHWM:")[2].split()[0]) / 1000}))


if __name__ == "__main__":
    _modelopt(sys.argv[1], *map(Path, sys.argv[2:]))
