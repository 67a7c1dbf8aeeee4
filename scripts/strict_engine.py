#!/usr/bin/env python3
"""Strict arithmetic beside the engine, in FP16: the same verdict, and about the same difference from FP32?

The half-precision networks of ``make cases``, and twelve of PyTorch, torchvision and timm with seeded weights: each is
lowered to FP16, computed strictly on the CPU and by its engine on the GPU, and both are compared with FP32.

    python scripts/strict_engine.py [NETWORK ...] [--strict-only] [--markdown FILE]

A row holds if both ends get the same verdict from ``verify`` and their largest differences, where one is above 0.001,
are within a factor of 2. Exit 1 if a row does not hold, or could not be judged.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from trtconv.core.errors import TrtconvError  # noqa: E402
from trtconv.core.events import ignore  # noqa: E402
from trtconv.core.records import FeedSpec, ShapeRange, SourceSpec  # noqa: E402

FLOOR = 1e-3
FACTOR = 2.0
CASES = {
    "hfmask on prefill": ("hfmask", "hfmask", "prefill"),
    "hfmask on step": ("hfmask", "hfmask", "step"),
    "l2norm": ("l2norm", "l2norm", "l2norm"),
    "rope on rope_1k": ("rope", "rope", "rope_1k"),
    "rope on rope_4k": ("rope", "rope", "rope_4k"),
    "tstep": ("tstep", "tstep", "tstep"),
    "rms_mul": ("rms_eps", "rms_mul", "rms"),
    "rms_pow": ("rms_eps", "rms_pow", "rms"),
    "ort_fp16": ("ort_fp16", "ort_fp16", "ort_fp16"),
    "logmax": ("logmel_calib", "logmax", "lm"),
    "divnonan": ("logmel_calib", "divnonan", "lm"),
}
"""Row -> function of tests/cases/onnx_files.py, model, samples."""

NETWORKS = (
    *("resnet50", "mobilenet_v2", "densenet121", "vit", "convnext"),
    *("encoder", "lstm", "unet", "detector", "logmel", "points", "moments"),
)
"""Of strict_networks.py."""

PROFILES = {
    "hfmask": {
        "x": ShapeRange((2, 1, 32), (2, 1, 32), (2, 6, 32)),
        "mask": ShapeRange((2, 1), (2, 6), (2, 11)),
        "past_k": ShapeRange((2, 2, 0, 8), (2, 2, 5, 8), (2, 2, 5, 8)),
        "past_v": ShapeRange((2, 2, 0, 8), (2, 2, 5, 8), (2, 2, 5, 8)),
    }
}
"""Where the samples' own shapes are no profile: no keys are cached at first."""


@dataclass(frozen=True)
class Side:
    """What verify says of one end.

    Attributes:
        apart: the worst output's largest difference over its largest value; infinite for NaN or infinity.
        snr: in dB, of the worst output.
        missed: bounds that are not kept, empty where all are.
        why: why it did not run.
    """

    apart: float = 0.0
    snr: float = np.inf
    missed: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    strict: Side = Side()
    engine: Side = Side()
    trouble: str = ""
    seconds: float = 0.0

    @property
    def judged(self) -> bool:
        """Whether both ends ran."""
        return not (self.trouble or self.strict.why or self.engine.why)

    @property
    def factor(self) -> float:
        """How many times one difference is the other; 1 where both are below the floor."""
        low, high = sorted((self.strict.apart, self.engine.apart))
        return 1.0 if high <= FLOOR or low == high else high / max(low, 1e-30)

    @property
    def holds(self) -> bool:
        """Whether both ends tell the same."""
        return self.judged and bool(self.strict.missed) == bool(self.engine.missed) and self.factor <= FACTOR

    def cells(self) -> list[str]:
        """As the table shows it."""
        if not self.judged:
            return [self.name, *"----", f"not judged: {self.trouble or self.strict.why or self.engine.why}"]
        same = "same verdict" if bool(self.strict.missed) == bool(self.engine.missed) else "OTHER VERDICT"
        return [
            self.name,
            f"{self.strict.apart:.2e}",
            f"{self.engine.apart:.2e}",
            f"{self.factor:.2f}",
            f"{self.strict.snr:.1f} / {self.engine.snr:.1f}",
            f"{same}: {'missed' if self.engine.missed else 'kept'}" + ("" if self.holds else " WRONG"),
        ]


HEADER = ("network", "strict", "engine", "factor", "SNR dB", "verdict")


def of_case(name: str, folder: Path) -> tuple[Path, Path]:
    """Model and samples of a case."""
    from tests.cases import onnx_files

    maker, model, samples = CASES[name]
    getattr(onnx_files, maker)(folder)
    return folder / f"{model}.onnx", folder / f"{samples}.npz"


def of_network(name: str, folder: Path) -> tuple[Path, Path]:
    """Model and samples of a network of PyTorch."""
    import strict_networks

    from trtconv.stages.convert import ConvertRequest, convert

    strict_networks.write(name, folder)
    model = folder / f"{name}.fp32.onnx"
    convert(ConvertRequest(SourceSpec(folder / f"{name}.onnx", "onnx"), model), ignore)
    return model, folder / f"{name}.npz"


def judge(name: str, make: Callable[[str, Path], tuple[Path, Path]], folder: Path, strict_only: bool) -> Row:
    """Lower, build, and compare both ends with FP32."""
    started = time.monotonic()
    try:
        model, samples = make(name, folder)
        typed = folder / "typed.onnx"
        _lower(model, typed)
        engine = typed if strict_only else _build(typed, samples, folder / "typed.engine")
        strict, found = compared(model, typed, engine, samples)
    except (TrtconvError, ImportError) as error:
        return Row(name, trouble=f"{type(error).__name__}: {str(error).splitlines()[0][:120]}")
    return Row(name, strict, found, seconds=time.monotonic() - started)


def _lower(model: Path, typed: Path) -> None:
    from trtconv.stages.lower import LowerRequest, lower

    lower(LowerRequest(model, typed, "fp16", None), ignore)


def _build(typed: Path, samples: Path, engine: Path) -> Path:
    """An engine at the shapes of the samples, or at those of the table."""
    from trtconv.stages.build import BuildRequest, build

    build(BuildRequest(typed, engine, "fp16", "auto", profiles=profiles(typed, samples)), ignore)
    return engine


def profiles(model: Path, samples: Path) -> tuple[dict[str, ShapeRange], ...]:
    """One profile, or none where no dimension is open."""
    arrays = np.load(samples)
    for known in PROFILES.values():
        if set(known) <= set(arrays.files):
            return (known,)
    graph = onnx.load(model, load_external_data=False).graph
    open_inputs = [
        value.name for value in graph.input if any(not dim.dim_value for dim in value.type.tensor_type.shape.dim)
    ]
    spans = {name: ShapeRange(*[arrays[name].shape] * 3) for name in open_inputs}
    return (spans,) if spans else ()


def compared(model: Path, typed: Path, engine: Path, samples: Path) -> tuple[Side, Side]:
    """What verify says of the typed model and of the engine."""
    from trtconv.stages.verify import VerifyRequest, verify

    size = max(len(array) for array in np.load(samples).values())
    request = VerifyRequest(model, "FP32", {"strict": typed}, FeedSpec(samples), size, corners=False)
    return side(verify(request, ignore)), side(verify(replace(request, candidates={"engine": engine}), ignore))


def side(result: Any) -> Side:
    """The worst of one verdict."""
    (verdict,) = result.verdicts
    if verdict.skipped:
        return Side(why=verdict.skipped)
    apart = max(one.max_rel if one.finite else np.inf for one in verdict.outputs)
    return Side(apart, min(one.snr_db for one in verdict.outputs), tuple(result.violations))


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """All rows asked for."""
    known = {**dict.fromkeys(CASES, of_case), **dict.fromkeys(NETWORKS, of_network)}
    for name in options.networks or known:
        with tempfile.TemporaryDirectory() as folder:
            yield judge(name, known[name], Path(folder), options.strict_only)


def main() -> None:
    """Print rows as they come, then what holds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="rows to make (default: all)")
    parser.add_argument(
        "--strict-only", action="store_true", help="strict on both ends: tries the script without a GPU"
    )
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    found, lines = [], [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    for row in rows(options):
        cells = row.cells()
        print(
            f"{cells[0]:20}" + "".join(f"{cell:>12}" for cell in cells[1:4]) + "  " + "  ".join(cells[4:]), flush=True
        )
        lines.append(" | ".join(cells))
        found.append(row)
    if options.markdown:
        options.markdown.write_text("".join(f"| {line} |\n" for line in lines))
    wrong = [row.name for row in found if not row.holds]
    print(f"{len(found)} networks in {sum(row.seconds for row in found):.0f} s; {len(found) - len(wrong)} hold")
    if wrong:
        print(f"not: {', '.join(wrong)}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
