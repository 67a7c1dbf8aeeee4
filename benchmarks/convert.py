#!/usr/bin/env python3
"""Time and memory of ``trtconv convert`` on Keras SavedModels, beside ``python -m tf2onnx.convert`` where that fits.

Three models with random weights: ResNet50 (102 MB), VGG16 (553 MB), and Large, dense layers of 2.4 GB whose ONNX model
has a file for them beside it. Bare tf2onnx runs on the first only: VGG16 takes it more than 22 GB. What comes out is
run by ONNX Runtime and compared with what the model computed in TensorFlow before it was saved.

Memory is the largest sum of resident memory over a process and all processes below it, looked at every 20 ms; mapped
files count, and what two processes share counts twice. Ends with 1 when a figure is over its bound.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from process_memory import watch

from trtconv.report.tables import table

_MAKE = """
import sys, keras, numpy as np
name, folder = sys.argv[1:]
keras.utils.set_random_seed(3)
if name == "Large":
    dense = [keras.layers.Dense(12288, activation="relu") for _ in range(4)]
    model = keras.Sequential([keras.Input((12288,)), *dense, keras.layers.Dense(100)])
else:
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
x = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
np.savez(f"{folder}/observed.npz", x=x, y=model(x, training=False))
model.export(f"{folder}/saved", verbose=False)
"""

BOUNDS: Mapping[str, float] = {"ResNet50": 1.3, "VGG16": 3.0, "Large": 9.0}
"""Peak memory of ``trtconv convert`` in GB, its processes together."""

RATIO = 0.8
"""Its wall time over that of bare tf2onnx."""

ERROR = 1e-4
"""Its difference from TensorFlow, over the largest value."""

_BARE = ("ResNet50",)
_HEADER = ("model", "command", "wall", "peak memory", "max rel error", "files", "")


@dataclass(frozen=True)
class Figures:
    """What one command did.

    Attributes:
        seconds: wall time.
        peak: memory in GB.
        error: largest difference from TensorFlow, over the largest value.
        files: size in MB of each file that it wrote.
    """

    seconds: float
    peak: float
    error: float
    files: tuple[float, ...]

    def row(self, model: str, command: str, note: str = "") -> list[str]:
        """A line of the table."""
        sizes = " + ".join(f"{size:.1f} MB" for size in self.files)
        return [model, command, f"{self.seconds:.1f} s", f"{self.peak:.2f} GB", f"{self.error:.1e}", sizes, note]


def main() -> None:
    """Measure and print one table."""
    options = _options()
    rows: list[list[str]] = []
    missed: list[str] = []
    for model in options.models:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            subprocess.run([sys.executable, "-c", _MAKE, model, name], check=True, capture_output=True)
            beside = model in _BARE and not options.alone
            ours, bare = measured(Path(name), beside, options.repeat if beside else 1)
        note = "" if bare is None else f"{ours.seconds / bare.seconds:.2f} of the time below"
        rows.append(ours.row(model, "trtconv convert", note))
        rows += [] if bare is None else [bare.row(model, "python -m tf2onnx.convert")]
        missed += [f"{model}: {what}" for what in misses(model, ours, bare)]
    print(table(_HEADER, rows, "llrrrr"))
    sys.exit("\n".join(missed) or 0)


def measured(folder: Path, beside: bool, repeat: int) -> tuple[Figures, Figures | None]:
    """Our figures and those of bare tf2onnx, one after the other each time; medians, but the highest peak."""
    source, target = folder / "saved", folder / "written" / "model.onnx"
    ours = ["trtconv", "convert", str(source), "-o", str(target), "--quiet"]
    bare = ["tf2onnx.convert", "--saved-model", str(source), "--output", str(target), "--opset", "17"]
    runs = [(run(folder, ours), run(folder, bare) if beside else None) for _ in range(repeat)]
    return middle([a for a, _ in runs]), middle([b for _, b in runs if b]) if beside else None


def run(folder: Path, module: list[str]) -> Figures:
    """Figures of ``python -m MODULE`` with nothing stored from before; a failure ends the benchmark."""
    written, store = folder / "written", folder / "store"
    for path in (written, store):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
    done = watch([sys.executable, "-m", *module], {"TRTCONV_CACHE": str(store)})
    if done.code != 0:
        sys.exit(f"{' '.join(module)} ended with {done.code}:\n{(done.out + done.said)[-2000:]}")
    sizes = sorted(path.stat().st_size / 1e6 for path in written.iterdir())
    return Figures(done.seconds, done.peak / 1e9, largest_error(written / "model.onnx", folder), tuple(sizes))


def middle(runs: list[Figures]) -> Figures:
    """The median time, the highest peak and the largest error."""
    seconds = statistics.median(run.seconds for run in runs)
    return Figures(seconds, max(run.peak for run in runs), max(run.error for run in runs), runs[0].files)


def largest_error(model: Path, folder: Path) -> float:
    """How far ONNX Runtime's output is from what TensorFlow computed."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    with np.load(folder / "observed.npz") as seen:
        (got,) = session.run(None, {session.get_inputs()[0].name: seen["x"]})
        return float(np.abs(got - seen["y"]).max() / np.abs(seen["y"]).max())


def misses(model: str, ours: Figures, bare: Figures | None) -> Iterator[str]:
    """Figures over their bounds, in words."""
    if ours.peak > BOUNDS.get(model, float("inf")):
        yield f"{ours.peak:.2f} GB, at most {BOUNDS[model]} GB wanted"
    if bare is not None and ours.seconds > RATIO * bare.seconds:
        yield f"{ours.seconds / bare.seconds:.2f} of bare tf2onnx's time, at most {RATIO} wanted"
    if not ours.error <= ERROR:
        yield f"{ours.error:.1e} from TensorFlow, at most {ERROR:.0e} wanted"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(BOUNDS), help="Large, or of keras.applications (all three)")
    parser.add_argument("--alone", action="store_true", help="leave bare tf2onnx out: it takes 8 GB")
    parser.add_argument("--repeat", type=int, default=3, help="runs of a pair, of which the median counts (3)")
    parser.add_argument("--folder", help="where the files go, 15 GB with Large (the system's temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
