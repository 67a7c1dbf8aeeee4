"""Is a conversion right: its source and its result on the same inputs, in several draws."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.errors import AccuracyGateError, SourceError, TrtconvError
from trtconv.core.input_use import Use
from trtconv.core.records import Comparison, Precision, TensorInfo
from trtconv.data import draws
from trtconv.data.compare import OutputMeter
from trtconv.data.runtimes import NotRun, Run, in_reference, open_model

SECONDS = 60.0
"""How long one side may take for all draws."""
_BYTES = 256 << 20
"""How much inputs and outputs of all draws may take."""
_HALF = 2.0**-10
_SINGLE = 2.0**-23


@dataclass(frozen=True)
class Observation:
    """What a source makes of some inputs.

    Attributes:
        kind: a row of ``draws.KINDS``, or ``given``.
        inputs: by name, in the source's layout.
        outputs: by name.
    """

    kind: str
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]


@dataclass
class Observed:
    """What a source makes of all draws.

    Attributes:
        rows: one per draw that it ran on.
        left_out: what it was not run on, and why; one phrase each.
        refused: why it ran on none; empty when it did.
    """

    rows: list[Observation] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refused: str = ""


def observe(
    run: Run,
    inputs: Sequence[TensorInfo],
    uses: Mapping[str, Use],
    seconds: float = SECONDS,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Observed:
    """Run a source on every draw; one that it refuses is narrowed, then left out."""
    found, start = Observed(), time.monotonic()
    for kind in draws.KINDS:
        if not _goes_on(found, kind, start, seconds):
            break
        why = ""
        for narrowed in draws.NARROWED:
            given = draws.draw(inputs, kind, uses, narrowed, ranges)
            try:
                made = run(given)
            except Exception as error:  # noqa: BLE001 - whatever a source does not like about random inputs
                why = why or " ".join(str(error).split())[:300] or type(error).__name__
                continue
            found.rows.append(Observation(kind, given, dict(made)))
            break
        else:
            found.left_out.append(f"{kind} inputs, which the source does not take ({why})")
            if kind == "ordinary":
                found.refused = why
    found.refused = "" if found.rows else found.refused
    return without_texts(found)


def observe_given(run: Run, given: Mapping[str, np.ndarray]) -> Observed:
    """Run a source on samples that somebody chose."""
    try:
        return without_texts(Observed([Observation("given", given, dict(run(given)))]))
    except Exception as error:  # noqa: BLE001 - samples of another model, of wrong shapes
        return Observed(refused=" ".join(str(error).split())[:300] or type(error).__name__)


def laid_out(observed: Observed, first: Collection[str]) -> Observed:
    """The same with inputs that were drawn channels first in the source's layout."""
    for position, row in enumerate(observed.rows):
        inputs = {name: to_last(array) if name in first else array for name, array in row.inputs.items()}
        observed.rows[position] = replace(row, inputs=inputs)
    return observed


def _goes_on(found: Observed, kind: str, start: float, seconds: float) -> bool:
    """Whether there is time and room for another draw."""
    taken = sum(a.nbytes for row in found.rows for side in (row.inputs, row.outputs) for a in side.values())
    rest = ", ".join(draws.KINDS[draws.KINDS.index(kind) :])
    if found.rows and (time.monotonic() - start) * (1 + 1 / len(found.rows)) > seconds:
        found.left_out.append(f"{rest} inputs, because the source takes too long for more (limit {seconds:g} s)")
    elif found.rows and taken * (1 + 1 / len(found.rows)) > _BYTES:
        found.left_out.append(f"{rest} inputs, because its outputs are too large to keep more of them")
    else:
        return True
    return False


def without_texts(observed: Observed) -> Observed:
    """The same without outputs that hold texts, which TensorRT cannot give; they are told."""
    for position, row in enumerate(observed.rows):
        numbers = {name: array for name, array in row.outputs.items() if array.dtype.kind not in "OSU"}
        told = [f"output {name!r}, which holds texts" for name in row.outputs.keys() - numbers.keys()]
        observed.left_out += [text for text in sorted(told) if text not in observed.left_out]
        observed.rows[position] = replace(row, outputs=numbers)
    return observed


def to_arrays(observed: Observed) -> dict[str, np.ndarray]:
    """For an .npz: ``KIND.in.NAME``, ``KIND.out.NAME``; what was left out as texts under ``left_out``."""
    sides = (
        (row.kind, side, table) for row in observed.rows for side, table in (("in", row.inputs), ("out", row.outputs))
    )
    arrays = {f"{kind}.{side}.{name}": array for kind, side, table in sides for name, array in table.items()}
    return {**arrays, "left_out": np.array(observed.left_out, "U"), "refused": np.array(observed.refused, "U")}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Observed:
    """The other way round; ``in.NAME`` and ``out.NAME`` alone are of samples that somebody chose."""
    tables: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for key, array in arrays.items():
        kind, _, rest = (f"given.{key}" if key.startswith(("in.", "out.")) else key).partition(".")
        side, _, name = rest.partition(".")
        if side in ("in", "out"):
            tables.setdefault(kind, {"in": {}, "out": {}})[side][name] = array
    rows = [Observation(kind, table["in"], table["out"]) for kind, table in tables.items()]
    return Observed(rows, [str(text) for text in arrays.get("left_out", ())], str(arrays.get("refused", "")))


def to_first(array: np.ndarray) -> np.ndarray:
    """Channels last to channels first."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def to_last(array: np.ndarray) -> np.ndarray:
    """Channels first to channels last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


@dataclass
class Verdict:
    """How a result compares with its source.

    Attributes:
        worst: per output, the comparison of the draw in which it is furthest away.
        draws: how many were compared.
        wrong: what is further away than allowed; one phrase each.
        notes: what was not judged, or judged in another way; one phrase each.
        unchecked: why nothing was compared; empty when something was.
    """

    worst: dict[str, Comparison] = field(default_factory=dict)
    draws: int = 0
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unchecked: str = ""

    def require(self) -> None:
        """Fail when an output is further away than allowed.

        Raises:
            AccuracyGateError: naming every such output.
        """
        if self.wrong:
            raise AccuracyGateError(
                f"the ONNX model does not compute what its source computes: {'; '.join(self.wrong)}",
                hint="end the model earlier (convert.outputs) to find the layer; convert.tolerance allows more, "
                "convert.check_data (--check-data) compares on samples of your own, check: false does not look",
            )


class Comparing:
    """The comparison of a model with observations of its source.

    Args:
        model: ONNX file.
        first: inputs that the model takes channels first and the source channels last.
        outputs_first: whether four-dimensional outputs are laid out likewise.
        tolerance: allowed for floating-point outputs, over their largest value.
        precision: of the source.
    """

    def __init__(
        self, model: Path, *, first: Collection[str], outputs_first: bool, tolerance: float, precision: Precision
    ) -> None:
        self._model, self._first, self._outputs_first = model, first, outputs_first
        self._precision = precision
        self._tolerance = max(tolerance, precision.tolerance)
        self._native: Any = None
        self._usual: dict[str, float] = {}  # largest value of each output on ordinary inputs
        self._endless: set[str] = set()  # outputs that were nowhere finite on some inputs

    def compare(self, observed: Observed, seconds: float = SECONDS) -> Verdict:
        """Run the model on all inputs of the observations."""
        verdict, start = Verdict(notes=[f"not compared on {text}" for text in observed.left_out]), time.monotonic()
        for row in observed.rows:
            if verdict.draws and (time.monotonic() - start) * (1 + 1 / verdict.draws) > seconds:
                verdict.notes.append(f"not compared on {row.kind} inputs and after: it takes too long ({seconds:g} s)")
                break
            try:
                got = self._run(row.inputs)
            except (TrtconvError, NotRun) as error:
                why = f"{str(error).removeprefix(f'{self._model}: ')}"
                verdict.notes.append(f"not compared on {row.kind} inputs: {why}")
                continue
            verdict.draws += 1
            for name, reference in row.outputs.items():
                self._judge(verdict, row, name, reference, got)
        verdict.notes += [
            f"not compared: output {name!r}, which the source makes NaN or infinite on all of these inputs"
            for name in sorted(self._endless - self._usual.keys() - verdict.worst.keys())
            if not any(name in said for said in verdict.wrong)
        ]
        if not verdict.worst:
            verdict.unchecked = "; ".join(verdict.notes) or "the source has no inputs to compare on"
        return verdict

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = {name: to_first(array) if name in self._first else array for name, array in inputs.items()}
        if self._native is None:
            self._native = open_model(self._model)
        try:
            got: dict[str, np.ndarray] = self._native(given)
        except TrtconvError as error:
            got = in_reference(self._model, given, error)
        return {name: to_last(a) if self._outputs_first and a.ndim == 4 else a for name, a in got.items()}

    def _judge(self, verdict: Verdict, row: Observation, name: str, wanted: Any, got: Mapping[str, Any]) -> None:
        wanted, array = self._real(name, wanted), self._real(name, got[name])
        endless = wanted.dtype.kind == "f" and wanted.size > 0 and not np.isfinite(wanted).any()
        if row.kind == "ordinary" and wanted.dtype.kind == "f" and not endless:
            self._usual[name] = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0))
        if array.shape != wanted.shape and row.kind == "tiny":  # of what is not zero, for example
            verdict.notes.append(f"output {name!r} has another shape on denormal numbers: not judged")
            return
        if array.shape != wanted.shape:
            shapes = f"{list(array.shape)}, in the source framework {list(wanted.shape)}"
            raise AccuracyGateError(f"output {name!r} has shape {shapes}", hint="check: false keeps the model")
        meter = OutputMeter(name)
        meter.add(wanted, array)
        found = meter.comparison()
        said = self._fault(name, wanted, array, found)
        excuse = (self._excuse(row, name, wanted, array) or self._by_definition(row, name, wanted)) if said else ""
        if excuse:
            verdict.notes.append(f"output {name!r} on {row.kind} inputs {excuse}")
            return
        if endless and not said:  # the same to the bit, and no sign that it is right
            self._endless.add(name)
            return
        further = name not in verdict.worst or _distance(found) > _distance(verdict.worst[name])
        if further and (said or row.kind != "tiny"):  # a relative difference of denormal numbers says nothing
            verdict.worst[name] = found
        if said:
            verdict.wrong.append(f"{said} on {row.kind} inputs")

    def _real(self, name: str, array: np.ndarray) -> np.ndarray:
        """Numbers that an output of integers stands for; others within what the source can say."""
        if name in self._precision.limits:
            return np.asarray(np.clip(array, *self._precision.limits[name]))
        if name not in self._precision.steps:
            return array
        scale, zero = self._precision.steps[name]
        return (array.astype(np.float32) - np.float32(zero)) * np.float32(scale)

    def _fault(self, name: str, wanted: np.ndarray, got: np.ndarray, found: Comparison) -> str:
        """What is wrong with an output; empty when nothing is."""
        if wanted.dtype.kind in "iub":
            wrong = np.flatnonzero(wanted != got)
            first = f", {got.flat[wrong[0]]} instead of {wanted.flat[wrong[0]]}" if wrong.size else ""
            return f"{name!r} differs in {wrong.size} of {wanted.size} values{first}" if wrong.size else ""
        if not found.finite:
            return f"{name!r} holds NaN or infinity"
        lost = (
            np.isinf(wanted)
            & ~np.isnan(got)
            & (np.sign(got) * np.abs(np.clip(got, -1e30, 1e30)) != np.sign(wanted) * 1e30)
        )
        if np.any(lost):
            return f"{name!r} has {got[lost].flat[0]:.3g} instead of {wanted[lost].flat[0]}"
        scale = self._precision.steps.get(name, (0.0, 0.0))[0]
        smallest = float(np.finfo(wanted.dtype).smallest_normal) if wanted.dtype.kind == "f" else 0.0
        if found.max_rel <= self._tolerance or found.max_abs <= max(smallest, self._quantum(name, scale)):
            return ""
        steps = f", {found.max_abs / scale:.0f} steps" if scale else ""
        return f"{name!r} by {found.max_rel:.2g} of its largest value ({self._tolerance:g} allowed{steps})"

    def _by_definition(self, row: Observation, name: str, wanted: np.ndarray) -> str:
        """Whether a small model is right as ONNX's own reference computes it, and ONNX Runtime is what is not."""
        given = {key: to_first(array) if key in self._first else array for key, array in row.inputs.items()}
        try:
            made = in_reference(self._model, given, SourceError(""))[name]
        except (NotRun, KeyError):
            return ""
        array = self._real(name, to_last(made) if self._outputs_first and made.ndim == 4 else made)
        right = self._agrees(name, wanted, array)
        return "is right as ONNX's reference computes it, and not as ONNX Runtime does" if right else ""

    def _agrees(self, name: str, wanted: np.ndarray, got: np.ndarray) -> bool:
        if got.shape != wanted.shape:
            return False
        meter = OutputMeter(name)
        meter.add(wanted, got)
        return not self._fault(name, wanted, got, meter.comparison())

    def _cut_off(self, row: Observation, name: str, wanted: np.ndarray, got: np.ndarray) -> str:
        """Whether all that differs is what the source cuts off; empty when it is not.

        That is an infinity, a number too large for an integer, or the upper half of a long integer.
        """
        if row.kind in ("ordinary", "given") or got.shape != wanted.shape:
            return ""
        if wanted.dtype.kind in "iuf":
            ends = np.finfo(wanted.dtype) if wanted.dtype.kind == "f" else np.iinfo(wanted.dtype)
            cut = ((wanted == ends.min) | (wanted == ends.max)) & (~np.isfinite(got) | (wanted.dtype.kind != "f"))
            if cut.any() and self._agrees(name, wanted, np.where(cut, wanted, got)):
                return "is right but for numbers that the source cuts off at the ends of their type"
        long = {key: array for key, array in row.inputs.items() if array.dtype == np.int64}
        if row.kind == "wide" and long:
            short = {key: array.astype(np.int32).astype(np.int64) for key, array in long.items()}
            if self._agrees(name, wanted, self._real(name, self._run({**row.inputs, **short})[name])):
                return "is right but for integers of more than 32 bits, of which the source takes the lower ones"
        return ""

    def _quantum(self, name: str, scale: float) -> float:
        """What a quantized source may be off however small its output is: its steps are as large for small outputs."""
        usual = self._precision.tolerance * self._usual.get(name, 0.0) if self._precision.saturates else 0.0
        return max(usual, 2.01 * scale)

    def _excuse(self, row: Observation, name: str, wanted: np.ndarray, got: np.ndarray) -> str:
        """Why a difference says nothing about the conversion; empty when it does.

        TensorFlow's threads take denormal numbers for zeros. And an output that moves as far when its inputs move by
        their last bit, like the sine of a large number or the larger of two equal sums, is not settled by them.
        """
        floats = any(array.dtype.kind == "f" for array in row.inputs.values())
        if self._precision.cuts_off and (cut := self._cut_off(row, name, wanted, got)):
            return cut
        if self._precision.saturates and row.kind not in ("ordinary", "given"):
            return "differs, as these are beyond what the source's quantization was made for: not judged"
        if self._precision.chooses and row.kind not in ("ordinary", "given"):
            return "differs, as results are chosen among scores that these make equal or endless: not judged"
        if row.kind == "tiny" and floats:
            flushed = (self._run(draws.flushed(row.inputs, signs=signs))[name] for signs in (True, False))
            if any(self._agrees(name, wanted, self._real(name, again)) for again in flushed):
                return "is right but for denormal numbers, which the source takes for zeros"
            return "differs on denormal numbers, which the source may take for zeros: not judged"
        if (row.kind == "ordinary" and wanted.dtype.kind == "f") or not floats:
            return ""
        moved = [
            self._real(name, self._run(given)[name])
            for given in draws.nudged(row.inputs, _HALF if self._precision.half else _SINGLE)
        ]
        if any(array.shape != got.shape for array in moved):
            return "has a shape that the last bit of the inputs decides: not judged"
        if wanted.dtype.kind in "iub":
            settled = np.count_nonzero(np.any([array != got for array in moved], axis=0))
            return (
                "is decided by the last bit of the inputs: not judged"
                if 4 * settled >= np.count_nonzero(wanted != got)
                else ""
            )
        usable = np.isfinite(got) & np.isfinite(wanted) & np.all([np.isfinite(array) for array in moved], axis=0)
        places = np.isnan(wanted) | (np.isinf(wanted) == np.isinf(got))
        if not usable.any() or not places.all() or not np.isfinite(got[np.isfinite(wanted)]).all():
            return ""
        noise = max(np.abs(array[usable].astype(np.float64) - got[usable]).max() for array in moved)
        far = np.abs(wanted[usable].astype(np.float64) - got[usable]).max()
        return "moves as far when its inputs move by their last bit: not judged" if far <= 8 * noise else ""


def _distance(found: Comparison) -> float:
    return found.max_rel if found.finite and found.max_rel == found.max_rel else float("inf")
