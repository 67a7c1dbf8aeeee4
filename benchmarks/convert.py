#!/usr/bin/env python3
"""Time and memory of converting Keras SavedModels to ONNX, beside ``python -m tf2onnx.convert`` on the first of them.

Memory is the largest sum of resident memory over a process and all processes below it, looked at every 20 ms.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from process_memory import watch

from trtconv.core.units import format_bytes
from trtconv.report.tables import table

_MAKE = """
import sys, keras
keras.utils.set_random_seed(3)
getattr(keras.applications, sys.argv[1])(weights=None).export(sys.argv[2], verbose=False)
"""


def main() -> None:
    """Measure and print one table."""
    options = _options()
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for index, model in enumerate(options.models):
            source = folder / model
            subprocess.run([sys.executable, "-c", _MAKE, model, str(source)], check=True, capture_output=True)
            ours = ["-m", "trtconv", "convert", str(source), "-o", str(folder / "ours.onnx"), "--quiet"]
            seconds, peak = measured(ours)
            rows.append([model, "trtconv convert", f"{seconds:.1f} s", format_bytes(peak), ""])
            if index == 0 and not options.alone:
                bare = ["-m", "tf2onnx.convert", "--saved-model", str(source), "--output", str(folder / "bare.onnx"),
                        "--opset", "17"]  # fmt: skip
                theirs, their_peak = measured(bare)
                rows[-1][-1] = f"{seconds / theirs:.2f} of the line below"
                rows.append([model, "python -m tf2onnx.convert", f"{theirs:.1f} s", format_bytes(their_peak), ""])
    print(table(["model", "command", "wall", "peak memory", ""], rows, "llrr"))


def measured(arguments: list[str]) -> tuple[float, int]:
    """Wall seconds and peak bytes of ``python ARGUMENTS`` with its children; a failure ends the benchmark."""
    run = watch([sys.executable, *arguments])
    if run.code != 0:
        sys.exit(f"{' '.join(arguments)} ended with {run.code}:\n{(run.out + run.said)[-2000:]}")
    return run.seconds, run.peak


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["ResNet50"], help="of keras.applications (ResNet50)")
    parser.add_argument("--alone", action="store_true", help="leave bare tf2onnx out: it takes 6 GB")
    parser.add_argument("--folder", help="where the models go (the system's temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
