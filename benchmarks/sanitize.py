"""compute-sanitizer (memcheck) over a short run of trtconv on a GPU: several engines, contexts, threads and shapes.

    python -m benchmarks.sanitize

It watches every access of every kernel to the GPU's memory, and every call of CUDA. Engines are built and their kernels
compiled before, outside of it. What it finds in calls and kernels of TensorRT-RTX is told and is not ours; anything
else makes exit code 1, as does a run that does not come to its end.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.engines.models import conv_net, images
from trtconv import Engine
from trtconv.adapters import cuda
from trtconv.core.events import ignore
from trtconv.engines.run.runner import open_onnx
from trtconv.stages.build import BuildRequest, build

BATCHES = (1, 3, 8, 21)
ENGINES, CONTEXTS, THREADS, CALLS = 2, 2, 4, 80
TOLERANCE = 2e-2  # of outputs of about 5, in FP16
KERNELS = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu/test_scaling.py", "-k", "kernels")
"""The tests of trtconv's own kernels."""
_MARK = "========="
_NO_FINDING = re.compile(r"^\s*(COMPUTE-SANITIZER|ERROR SUMMARY|LEAK SUMMARY)|API call to cuGetProcAddress")
"""Its head and end, and what CUDA's bindings ask of a driver that may be too old to have it."""
_OF_LIBRARY = re.compile(r"tensorrt_rtx|cudnn|cublas", re.IGNORECASE)
_OF_OURS = re.compile(r"cuda/bindings|pycuda|_ctypes|Landing|\b(first|second)\(", re.IGNORECASE)


def main() -> int:
    """Build, then run this file and the kernels' tests under the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="after which a run is given up")
    parser.add_argument("--under", type=Path, help="run the engines of a folder, as it does under the tool")
    parser.add_argument("--device-api", default="cuda", choices=list(cuda.APIS))
    asked = parser.parse_args()
    if asked.under is not None:
        return run(sorted(asked.under.glob("*.engine")), asked.device_api)
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer is not on the PATH: it comes with CUDA's toolkit", file=sys.stderr)
        return 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(ENGINES):
            model = conv_net(folder / f"net{number}.onnx", half=True)
            build(BuildRequest(model, model.with_suffix(".engine"), "fp16"), ignore)
        run(sorted(folder.glob("*.engine")), asked.device_api)
        engines = ("-m", "benchmarks.sanitize", "--under", str(folder), "--device-api", asked.device_api)
        return max(watched(what, asked.seconds) for what in (engines, KERNELS))


def run(plans: list[Path], api: str) -> int:
    """Calls from many threads, now and in the background, and an engine that is opened and closed meanwhile."""
    expected = {n: open_onnx(plans[0].with_suffix(".onnx")).run({"x": images(n)})["y"] for n in BATCHES}
    opened = [Engine(plan, contexts=CONTEXTS, device_api=api, backend="rtx") for plan in plans]

    def call(number: int) -> float:
        engine, n = opened[number % len(opened)], BATCHES[number // 3 % len(BATCHES)]
        y = engine.submit(images(n)).result() if number % 4 == 0 else engine(images(n))
        return float(np.abs(y - expected[n]).max())

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            calls = [pool.submit(call, number) for number in range(CALLS)]
            with Engine(plans[0], contexts=1, device_api=api, backend="rtx") as another:
                worst = [float(np.abs(another(images(3)) - expected[3]).max())]
            worst += [done.result() for done in calls]
    finally:
        for engine in opened:
            engine.close()
    print(f"{len(worst)} calls, largest difference from ONNX Runtime {max(worst):.2g}", flush=True)
    return int(not max(worst) < TOLERANCE)


def watched(command: tuple[str, ...], seconds: float) -> int:
    """Run Python under memcheck, and tell what it says; 1 if that is anything of ours."""
    tool = ("compute-sanitizer", "--tool", "memcheck", "--target-processes", "all", "--launch-timeout", "60")
    print("under compute-sanitizer:", *command[1:3], flush=True)
    try:
        done = subprocess.run(
            (*tool, sys.executable, *command), capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
        print(said.decode(errors="replace")[-2000:] if isinstance(said, bytes) else said[-2000:])
        print(f"  given up after {seconds:.0f} s")
        return 1
    ours, library = sort(findings(done.stdout))
    print(*(line for line in done.stdout.splitlines() if not line.startswith(_MARK)), sep="\n")
    for what, found in (("OURS", ours), ("in TensorRT-RTX", library)):
        for text in found[:5]:
            print(f"  {what}:\n{text}")
    checked = "ERROR SUMMARY" in done.stdout
    print(f"  findings of ours: {len(ours)}, of the library: {len(library)}; exit code {done.returncode}")
    if not checked:
        print(done.stdout[-2000:], done.stderr[-2000:], "  the tool came to no summary", sep="\n")
    return int(bool(ours) or done.returncode != 0 or not checked)


def findings(said: str) -> list[str]:
    """The tool's reports, a text each: a line with its mark, and those under it, which are indented further."""
    found: list[list[str]] = []
    for line in (line.removeprefix(_MARK).rstrip() for line in said.splitlines() if line.startswith(_MARK)):
        if line.startswith("  ") and found:
            found[-1].append(line)
        elif line.strip():
            found.append([line])
    texts = ["\n".join(lines) for lines in found]
    return [text for text in texts if not _NO_FINDING.search(text.partition("\n")[0])]


def sort(reports: list[str]) -> tuple[list[str], list[str]]:
    """Those of ours, and those that arise in TensorRT-RTX: what its frames do not show is taken for ours."""
    library = [text for text in reports if _OF_LIBRARY.search(text) and not _first_is_ours(text)]
    return [text for text in reports if text not in library], library


def _first_is_ours(text: str) -> bool:
    """Whether a frame of ours comes before the library's first: it was our call, or our kernel."""
    ours, theirs = _OF_OURS.search(text), _OF_LIBRARY.search(text)
    return ours is not None and theirs is not None and ours.start() < theirs.start()


if __name__ == "__main__":
    sys.exit(main())
