"""What a model in parts costs on this GPU: each kind of line, and ResNet-50 cut in three against its single engine.

python -m benchmarks.parts [-o results.json]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import resnet50
from trtconv.core.events import ignore
from trtconv.engines.run.opening import open_runner
from trtconv.stages.bench import BenchRequest, bench
from trtconv.stages.build import BuildRequest, build

BATCH = 32
CUTS = ("s0b2.out", "s2b0.out")
ROUNDS = 3


@dataclass(frozen=True)
class Figures:
    """Three engines in a row against one.

    Attributes:
        parts: the folder.
        whole_ms: median of the single engine's latency, the best of some rounds.
        parts_ms: likewise, of the parts.
        times: per part.
        worst: largest difference of the outputs, of the largest output.
        semantics: rules of ``bench``.
    """

    parts: Path
    whole_ms: float
    parts_ms: float
    times: tuple[Any, ...]
    worst: float
    semantics: str = "trtexec11"

    @property
    def ratio(self) -> float:
        """Cost of the cuts."""
        return self.parts_ms / self.whole_ms


def cut_in_three(folder: Path, semantics: str = "trtexec11") -> Figures:
    """Build ResNet-50 as one engine and as three, and measure both in turns at batch 32."""
    model = resnet50.write(folder / "resnet50.onnx")
    engine, parts = folder / "resnet50.engine", folder / "resnet50.parts"
    common: dict[str, Any] = {"model": model, "precision": "fp16", "backend": "rtx"}
    if not engine.exists():
        build(BuildRequest(engine=engine, **common), ignore)
        build(BuildRequest(engine=parts, fallback="onnxruntime", cuts=CUTS, **common), ignore)
    runs: dict[Path, list[Any]] = {engine: [], parts: []}
    for _ in range(ROUNDS):
        for path, found in runs.items():
            request = BenchRequest(path, backend="rtx", batches=(BATCH,), semantics=semantics, duration=1.0)
            found += bench(request, ignore).measurements
    return Figures(
        parts=parts,
        whole_ms=min(m.latency_ms["median"] for m in runs[engine]),
        parts_ms=min(m.latency_ms["median"] for m in runs[parts]),
        times=runs[parts][-1].part_times,
        worst=_difference(engine, parts),
        semantics=semantics,
    )


def _difference(engine: Path, parts: Path) -> float:
    x, found = resnet50.images(BATCH), []
    for path in (engine, parts):
        runner, _ = open_runner(path, "rtx")
        found.append(runner.run({"x": x})["y"])
        runner.close()
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[0]).max())


def main() -> int:
    """Measure ResNet-50 by all rules, print a table, and write it where it was asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("-o", "--output", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [cut_in_three(Path(folder), semantics) for semantics in ("trtexec11", "trtexec10", "app")]
    for one in found:
        print(f"{one.semantics}: {one.whole_ms:.3f} ms whole, {one.parts_ms:.3f} ms in three, {one.ratio:.3f} times")
    for part in found[0].times:
        print(f"  {part.name} on {part.on}: {part.ms:.3f} ms, in {part.h2d_ms:.3f} ms, out {part.d2h_ms:.3f} ms")
    if asked.output is not None:
        values = [{**dataclasses.asdict(one), "parts": "", "ratio": one.ratio} for one in found]
        asked.output.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
