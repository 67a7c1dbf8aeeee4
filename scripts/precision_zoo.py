#!/usr/bin/env python3
"""One table of every precision on many networks: what is lowered, how close it stays to FP32, whether it builds.

Each network of ``zoo_networks.py`` goes through the stages as a job would take it: freeze, convert, calibrate, lower,
verify, build for compute capability 8.6 and 8.9.

    python scripts/precision_zoo.py [NETWORK ...] [--compare] [--modelopt PYTHON] [--table] [--markdown FILE]

Rows are stored in ``build/precision-zoo/NETWORK/result.json`` and not made again while the code that they come from is
the same, so a run that was interrupted goes on where it was. ``--table`` only prints what is stored. The command ends
with what each network makes of noise by itself, to read the decibels by, and with what the zoo is there to show, and
fails when one of it does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import zoo_rivals
from zoo_networks import ZOO

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

FOLDER = HERE.parent / "build" / "precision-zoo"
DEFAULT = "minmax"
METHODS = (DEFAULT, "entropy", "percentile", "mse")
PRECISIONS = (("fp16", DEFAULT), ("bf16", DEFAULT), *(("int8", method) for method in METHODS), ("fp8", DEFAULT))
TARGETS = ("sm86", "sm89")
REPEATS = 4
RIVALRY = ((DEFAULT, "MinMax"), ("entropy", "Entropy"))
"""Methods, and what onnxruntime calls them, that are timed in turns."""
TURNS = 7
NOISE = 70.0
HEADER = ("network", "precision", "FP32 kept", "Q/DQ", "SNR dB", "top-1 %", "s", "MB", *TARGETS)
CODE = (
    "trtconv/graph",
    "trtconv/calibration",
    "trtconv/stages/calibrate.py",
    "trtconv/stages/lower.py",
    "trtconv/adapters/onnxruntime.py",
    "trtconv/engines/build/builder.py",
    "scripts/zoo_rivals.py",
)


@dataclass(frozen=True)
class Row:
    """One network in one precision.

    Attributes:
        network: its name.
        label: precision and method, or whose work it is.
        kept: nodes without the precision asked for; None where others decided.
        pairs: Q/DQ pairs of activations (of everything, for others).
        snr: of the worst output against FP32, in dB, computed strictly; None where no operator runs it on the CPU.
        overflows: half-precision tensors that leave their range.
        top1: per cent of the held-out samples; None without labels.
        drop: points below FP32.
        seconds: of calibration and lowering, or of the whole of the other's quantization; on trained networks the
            least of some repetitions in the same process, so that imports and other work of the machine count little.
        peak: memory of the larger of both processes, MB.
        verdicts: per target, ``ok`` or why not.
        code: digest of the code that made it.
    """

    network: str
    label: str
    kept: int | None
    pairs: int
    snr: float | None
    overflows: int
    top1: float | None
    drop: float | None
    seconds: float
    peak: float
    verdicts: dict[str, str]
    code: str = field(default_factory=lambda: code())

    def cells(self) -> list[str]:
        """As the table shows it."""
        snr = "build only" if self.snr is None else f"{self.snr:.1f}" + (" overflows" if self.overflows else "")
        top1 = "-" if self.top1 is None else f"{self.top1:.2f} ({0.0 - (self.drop or 0.0):+.2f})"
        kept = "-" if self.kept is None else str(self.kept)
        return [
            self.network,
            self.label + ("" if self.code == code() else " *"),
            kept,
            str(self.pairs),
            snr,
            top1,
            f"{self.seconds:.1f}",
            f"{self.peak:.0f}",
            *(self.verdicts[target] for target in TARGETS),
        ]


@cache
def code() -> str:
    """Digest of the code that rows come from."""
    roots = [HERE.parent / name for name in CODE]
    files = sorted(file for root in roots for file in ([root] if root.is_file() else root.rglob("*.py")))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _aside(function: Callable[..., Any], *arguments: Any, times: int = 1) -> tuple[Any, float, float]:
    """(result, seconds, peak MB) of a call in a fresh process; of several, the least seconds of all but the first."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = [pool.submit(_timed, function, *arguments).result() for _ in range(times)]
    return found[-1][0], min(seconds for _, seconds, _ in found[1:] or found), found[-1][2]


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    started = time.perf_counter()
    result = function(*arguments)
    status = Path("/proc/self/status").read_text()
    return result, time.perf_counter() - started, int(status.partition("VmHWM:")[2].split()[0]) / 1000


def prepare(name: str, folder: Path) -> None:
    """The network's FP32 ONNX model; made once."""
    if not (folder / "heldout.npz").exists():
        _aside(_make, name, folder)
    if not (folder / "model.onnx").exists():
        _aside(_convert, folder)


def _make(name: str, folder: Path) -> None:
    ZOO[name].make(folder)


def _convert(folder: Path) -> None:
    from trtconv.core.events import ignore
    from trtconv.core.records import SourceSpec
    from trtconv.stages.convert import ConvertRequest, convert
    from trtconv.stages.freeze import FreezeRequest, freeze

    frozen = folder / "frozen.pb"
    freeze(FreezeRequest(SourceSpec(folder / "saved_model", "saved_model"), frozen), ignore)
    convert(ConvertRequest(SourceSpec(frozen, "frozen_pb"), folder / "model.onnx"), ignore)


def _calibrate(folder: Path, method: str) -> None:
    from trtconv.core.events import ignore
    from trtconv.core.records import FeedSpec
    from trtconv.stages.calibrate import CalibrateRequest, calibrate

    feed = FeedSpec(folder / "calibration.npz")
    request = CalibrateRequest(folder / "model.onnx", feed, folder / f"{method}.cache", method, zoo_rivals.BATCH)
    calibrate(request, ignore)


def _lower(folder: Path, precision: str, method: str, typed: Path) -> Any:
    from trtconv.core.events import ignore
    from trtconv.stages.lower import LowerRequest, lower

    return lower(LowerRequest(folder / "model.onnx", typed, precision, folder / f"{method}.cache"), ignore)


def _judge(folder: Path, typed: Path) -> dict[str, Any]:
    """The columns of a row that come from running the typed model on the held-out samples."""
    from trtconv.core.events import ignore
    from trtconv.core.records import FeedSpec
    from trtconv.stages.verify import VerifyRequest, verify

    feed = FeedSpec(folder / "heldout.npz", "labels" if "labels" in np.load(folder / "heldout.npz").files else "")
    verified = verify(VerifyRequest(folder / "model.onnx", "FP32", {"typed": typed}, feed, 16), ignore)
    verdict, reference = verified.verdicts[0], verified.reference_top1
    if verdict.skipped:  # an operator without a CPU kernel
        return {"snr": None, "overflows": 0, "top1": None, "drop": None}
    drop = None if reference is None or verdict.top1 is None else reference - verdict.top1
    worst = min(output.snr_db for output in verdict.outputs)
    return {"snr": worst, "overflows": len(verdict.overflows), "top1": verdict.top1, "drop": drop}


def verdicts(typed: Path, precision: str) -> dict[str, str]:
    """Whether TensorRT-RTX builds the typed model, per target; one build for all of them where that succeeds."""
    from trtconv.pipeline.capability_check import NEEDS

    need = NEEDS[precision].capability if precision in NEEDS else 0
    able = [target for target in TARGETS if int(target.removeprefix("sm")) >= need]
    found = dict.fromkeys(TARGETS, f"needs {need / 10}")
    together, *_ = _aside(_build, typed, precision, able)
    if together == "ok" or len(able) == 1:
        return {**found, **dict.fromkeys(able, together)}
    return {**found, **{target: _aside(_build, typed, precision, [target])[0] for target in able}}


def _build(typed: Path, precision: str, targets: Sequence[str]) -> str:
    from trtconv.core.errors import TrtconvError
    from trtconv.core.events import ignore
    from trtconv.stages.build import BuildRequest, build

    engine = typed.with_suffix(".engine")
    try:
        build(BuildRequest(typed, engine, precision, "rtx", targets=tuple(targets)), ignore)
    except TrtconvError as error:
        return f"{type(error).__name__}: {error.message.splitlines()[0][:90]}"
    engine.unlink()
    return "ok"


def row(name: str, folder: Path, precision: str, method: str, times: int = 1) -> Row:
    """One precision through the stages, each in a process of its own."""
    _, calibrating, peak = _aside(_calibrate, folder, method, times=times)
    label = f"{precision} {method}" if precision == "int8" else precision
    typed = folder / f"{label.replace(' ', '-')}.onnx"
    lowered, seconds, used = _aside(_lower, folder, precision, method, typed, times=times)
    judged, *_ = _aside(_judge, folder, typed)
    return Row(
        name,
        label,
        len(lowered.left_out),
        lowered.qdq_pairs,
        **judged,
        seconds=calibrating + seconds,
        peak=max(peak, used),
        verdicts=verdicts(typed, precision),
    )


def rival(name: str, folder: Path, whose: str, method: str, python: Path | None) -> Row:
    """Another quantizer on the same samples."""
    import onnx

    typed = folder / f"{whose}-{method}.onnx"
    arguments = (folder / "model.onnx", folder / "calibration.npz", typed, method)
    if python is None:
        _, seconds, peak = _aside(zoo_rivals.onnxruntime, *arguments, times=REPEATS)
    else:
        seconds, peak = zoo_rivals.modelopt(python, *arguments)
    pairs = sum(node.op_type == "QuantizeLinear" for node in onnx.load(typed).graph.node)
    judged, *_ = _aside(_judge, folder, typed)
    return Row(
        name, f"{whose} {method}", None, pairs, **judged, seconds=seconds, peak=peak, verdicts=verdicts(typed, "int8")
    )


def tasks(name: str, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Row]]]:
    """(label, what makes the row) of all rows asked for on one network."""
    for precision, method in PRECISIONS:
        label = f"{precision} {method}" if precision == "int8" else precision
        yield label, lambda p=precision, m=method: row(name, folder, p, m, REPEATS if ZOO[name].trained else 1)  # type: ignore[misc]
    if ZOO[name].trained and options.compare:
        for method in zoo_rivals.ONNXRUNTIME:
            yield f"onnxruntime {method}", lambda m=method: rival(name, folder, "onnxruntime", m, None)  # type: ignore[misc]
    if ZOO[name].trained and options.modelopt:
        for method in zoo_rivals.MODELOPT:
            yield f"modelopt {method}", lambda m=method: rival(name, folder, "modelopt", m, options.modelopt)  # type: ignore[misc]


def stored(folder: Path) -> dict[str, Row]:
    """Rows by label."""
    file = folder / "result.json"
    return {line["label"]: Row(**line) for line in json.loads(file.read_text())} if file.exists() else {}


def _store(folder: Path, rows: dict[str, Row]) -> None:
    fresh = folder / "result.json.new"
    fresh.write_text(json.dumps([asdict(one) for one in rows.values()], indent=1))
    fresh.replace(folder / "result.json")


def results(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """All rows of a network: stored ones of the same code, and the others made now and stored one by one."""
    folder = FOLDER / name
    known = stored(folder)
    if options.table:
        yield from known.values()
        return
    prepare(name, folder)
    for label, make in tasks(name, folder, options):
        if label not in known or known[label].code != code():
            known[label] = make()
            _store(folder, known)
        yield known[label]


def shown(rows: Sequence[Row]) -> Iterator[tuple[bool, str]]:
    """(whether it holds, what) for everything that the zoo is there to show, as far as there are rows for it."""
    own = [one for one in rows if one.kept is not None]
    bad = [
        f"{one.network} {one.label} ({target}: {text})"
        for one in own
        for target, text in one.verdicts.items()
        if text != "ok" and not text.startswith("needs")
    ]
    yield not bad, f"{len(own)} typed models build" + (f", but not {'; '.join(bad)}" if bad else "")
    for name in dict.fromkeys(one.network for one in own if one.top1 is not None):
        yield from _accuracy(name, [one for one in rows if one.network == name])


def sensitivity(folder: Path) -> float:
    """SNR of the FP32 model's worst output, in dB, when its input carries white noise NOISE dB below it.

    Rounding is such noise, so this is what the network itself makes of it: an untrained one that amplifies noise by
    35 dB cannot keep the 68 dB that half precision has in one that does not.
    """
    from trtconv.adapters import onnxruntime

    held = np.load(folder / "heldout.npz")
    feeds = {name: held[name][:8] for name in held.files if name != "labels"}
    random, session = np.random.default_rng(0), onnxruntime.session(folder / "model.onnx")
    noisy = {
        name: (x + random.normal(0, np.sqrt(np.mean(np.square(x))) * 10 ** (-NOISE / 20), x.shape)).astype(x.dtype)
        for name, x in feeds.items()
    }
    clean, found = session.run(feeds), session.run(noisy)
    return min(
        float(-10 * np.log10(np.mean(np.square(found[name] - y)) / np.mean(np.square(y)))) for name, y in clean.items()
    )


def _accuracy(name: str, rows: Sequence[Row]) -> Iterator[tuple[bool, str]]:
    own = [one for one in rows if one.kept is not None and one.label.startswith("int8")]
    drops = {one.label: one.drop or 0.0 for one in own}
    default = next((one for one in own if one.label == f"int8 {DEFAULT}"), None)
    if default is None:
        return
    yield min(drops.values()) <= 0.5, f"{name}: int8 loses {min(drops.values()):.2f} points at best; allowed 0.5"
    yield drops[default.label] <= 1, f"{name}: {default.label} loses {drops[default.label]:.2f} points; allowed 1.0"
    best = max(own, key=_decibels)
    for whose in ("onnxruntime", "modelopt"):
        theirs = [one for one in rows if one.kept is None and one.label.startswith(whose)]
        if not theirs:
            continue
        rival = max(theirs, key=_decibels)
        for mine, within in ((best, 0.5), (default, 1.5)):
            near = _decibels(mine) >= _decibels(rival) - within
            yield near, f"{name}: {mine.label} {mine.snr:.1f} dB, {rival.label} {rival.snr:.1f} dB; {within} allowed"
        if whose == "onnxruntime":  # runs in the same process
            shares, *_ = _aside(_turns, FOLDER / name)
        else:
            pairs = ((default, theirs[0]), (max(own, key=_seconds), max(theirs, key=_seconds)))
            shares = {f"{mine.label} against {other.label}": mine.seconds / other.seconds for mine, other in pairs}
        for what, share in shares.items():
            yield share < 1, f"{name}: {what}: {share:.2f} of its time"


def _seconds(one: Row) -> float:
    return one.seconds


def _turns(folder: Path) -> dict[str, float]:
    """Medians over turns of one right after the other: a machine that slows down slows both."""
    found: dict[str, list[float]] = {}
    typed = folder / "turn.onnx"
    for _ in range(1 + TURNS):
        for method, theirs in RIVALRY:
            ours = _timed(_calibrate, folder, method)[1] + _timed(_lower, folder, "int8", method, typed)[1]
            arguments = (folder / "model.onnx", folder / "calibration.npz", typed, theirs)
            with contextlib.redirect_stdout(io.StringIO()):  # it tells of each step
                other = _timed(zoo_rivals.onnxruntime, *arguments)[1]
            found.setdefault(f"int8 {method} against onnxruntime {theirs}", []).append(ours / other)
    typed.unlink()
    return {what: median(values[1:]) for what, values in found.items()}  # the first turn imports


def _decibels(one: Row) -> float:
    return -np.inf if one.snr is None else one.snr


def main() -> None:
    """Make what is missing, print as it comes, then what it shows."""
    options = _options()
    lines = [" | ".join(HEADER), " | ".join("---" for _ in HEADER)]
    print(f"{HEADER[0]:15} {HEADER[1]:24}" + "".join(f"{title:>15}" for title in HEADER[2:]))
    rows: list[Row] = []
    for name in options.networks or ZOO:
        for one in results(name, options):
            cells = one.cells()
            print(f"{cells[0]:15} {cells[1]:24}" + "".join(f"{cell:>15}" for cell in cells[2:]), flush=True)
            lines.append(" | ".join(cells))
            rows.append(one)
    if any(one.code != code() for one in rows):
        print("* made by other code than the present")
    if options.markdown:
        options.markdown.write_text("\n".join(f"| {line} |" for line in lines) + "\n")
    for name in options.networks or ZOO:
        print(f"{name}: noise {NOISE:.0f} dB below its input leaves {sensitivity(FOLDER / name):.1f} dB in FP32")
    said = list(shown(rows))
    print("", *(f"{'ok  ' if holds else 'MISS'} {what}" for holds, what in said), sep="\n")
    sys.exit(not all(holds for holds, _ in said))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(ZOO)} (default: all)")
    parser.add_argument("--compare", action="store_true", help="add onnxruntime.quantization on the trained networks")
    parser.add_argument(
        "--modelopt", type=Path, metavar="PYTHON", help="add nvidia-modelopt there: an interpreter that has it"
    )
    parser.add_argument("--table", action="store_true", help="only print what is stored")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    unknown = [name for name in options.networks if name not in ZOO]
    if unknown:
        parser.error(f"no network {unknown[0]!r}; there are {', '.join(ZOO)}")
    return options


if __name__ == "__main__":
    main()
