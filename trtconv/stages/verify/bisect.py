"""The smallest set of nodes to keep in a higher precision so that a typed model passes its gates: delta debugging.

TensorRT 11 has no layer constraints: to keep a node is to lower the model again with casts and Q/DQ elsewhere, and that
is what every trial does. Source of the search: A. Zeller and R. Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", IEEE TSE 28(2), 2002 (ddmin), turned around: the set that *cures* is made minimal.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trtconv.adapters import onnxruntime
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.records import FeedSpec, KeepRules
from trtconv.data.compare import OutputMeter, classes, require_classes
from trtconv.data.feeds import open_feed
from trtconv.graph import editing, lowering, model_io, strict, types
from trtconv.stages.verify.tensors import overflows_of


@dataclass(frozen=True)
class BisectRequest:
    """What to search.

    Attributes:
        model: FP32 ONNX.
        data: samples, with labels where accuracy is gated; few are enough, each trial runs them all.
        precision: fp16, bf16, int8 or fp8.
        cache: calibration cache, as for ``lower``.
        base: as for ``lower``.
        keep: the rules that hold already.
        exclude: likewise.
        batch: samples per run.
        max_rel: gate on the largest relative difference; None: no gate.
        max_accuracy_drop: gate on top-1, in points; None: no gate.
        min_snr_db: gate on every output's signal-to-noise ratio; None: no gate.
    """

    model: Path
    data: FeedSpec
    precision: str
    cache: Path | None = None
    base: str = "fp16"
    keep: KeepRules = field(default_factory=KeepRules)
    exclude: KeepRules = field(default_factory=KeepRules)
    batch: int = 32
    max_rel: float | None = None
    max_accuracy_drop: float | None = None
    min_snr_db: float | None = None


@dataclass(frozen=True)
class BisectResult:
    """What was found.

    Attributes:
        precision: as asked.
        section: ``keep`` (nodes that must stay FP32) or ``exclude`` (nodes that must not be quantized); empty when the
            model passes as it is.
        nodes: the nodes, in graph order; leaving out any one of them misses a gate.
        trials: lowerings tried.
        before: the first gate missed without them.
        yaml: what to add to the job.
    """

    precision: str
    section: str
    nodes: tuple[str, ...]
    trials: int
    before: str
    yaml: str


def bisect(request: BisectRequest, emit: Emit) -> BisectResult:
    """Find the nodes.

    Raises:
        UsageError: no gate, a precision without anything to bisect, or gates that FP32 itself misses.
        NoKernel: the runtime cannot run one of the model's operators.
    """
    trial = _Trial(request, emit)
    before = trial.why_not("", ())
    if not before:
        return BisectResult(request.precision, "", (), trial.count, "", "")
    before = trial.overflow() or before
    section, nodes = _search(trial, emit)
    return BisectResult(request.precision, section, tuple(nodes), trial.count, before, as_yaml(section, nodes))


def _search(trial: _Trial, emit: Emit) -> tuple[str, list[str]]:
    """Leaving operators out of the quantization is cheaper than FP32: try that first."""
    for section, nodes in (("exclude", trial.quantized), ("keep", trial.halved)):
        if nodes and not trial.why_not(section, nodes):
            emit(Message(f"bisecting {len(nodes)} nodes (lower.{section})"))
            return section, minimal(nodes, functools.partial(trial.cures, section))
    raise UsageError(
        f"{trial.why_not('keep', trial.everything)}, even with every node in FP32",
        hint="loosen the gate, or check the data",
    )


def minimal(items: Sequence[str], cures: Callable[[Sequence[str]], bool]) -> list[str]:
    """A subset that still cures and from which no single item can be left out; in the order given.

    Args:
        items: a set that cures.
        cures: whether a subset does.
    """
    current, parts = list(items), 2
    while len(current) > 1:
        size = -(-len(current) // parts)
        pieces = [current[start : start + size] for start in range(0, len(current), size)]
        rests = [[item for item in current if item not in piece] for piece in pieces]
        found = next((piece for piece in pieces if cures(piece)), None)
        rest = next((rest for rest in rests if cures(rest)), None) if found is None and len(pieces) > 2 else None
        if found is not None:
            current, parts = found, 2
        elif rest is not None:
            current, parts = rest, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(current))
    return current


def as_yaml(section: str, nodes: Sequence[str]) -> str:
    """The lines to add to a job file."""
    quoted = ["'" + f"^{re.escape(name)}$".replace("'", "''") + "'" for name in nodes]
    return "\n".join(["lower:", f"  {section}:", "    names:", *(f"      - {text}" for text in quoted)])


class _Trial:
    """Lowers the model with further rules, runs it, and says which gate it misses."""

    def __init__(self, request: BisectRequest, emit: Emit) -> None:
        if request.precision in lowering.PLAIN:
            raise UsageError(
                f"{request.precision} keeps every node in FP32: there is nothing to bisect",
                hint="bisect fp16, bf16, int8 or fp8",
            )
        if request.max_rel is None and request.max_accuracy_drop is None and request.min_snr_db is None:
            raise UsageError(
                "bisect needs a gate to bring the model over", hint="give --max-rel, --max-accuracy-drop or --min-snr"
            )
        self.request = request
        self.emit = emit
        self.count = 0
        self.model = model_io.load(request.model)
        editing.normalize(self.model)
        self.amax, self.ranges = _ranges(request)
        self.feed = feed = open_feed(request.data, model_io.interface(self.model)[0])
        self.batches = list(feed.batches(request.batch))
        self.rows = list(feed.groups(request.batch))
        self.truth = feed.labels()
        self.wanted = self._outputs(self.model)
        self._known: dict[tuple[str, tuple[str, ...]], str] = {}
        self.everything = [node.name for node in self.model.graph.node]
        self.quantized, self.halved = self._candidates()

    def _candidates(self) -> tuple[list[str], list[str]]:
        """Nodes that the lowering quantizes, and nodes that it brings to the 16-bit type."""
        model, done = self._lowered("", ())
        scope = types.infer(model)
        halves = {name for name, kind in scope.items() if types.name_of(kind) in ("float16", "bfloat16")}
        own = set(self.everything)
        halved = [node.name for node in model.graph.node if node.name in own and halves.intersection(node.output)]
        return [weighted.node for weighted in done.plan.weighted] if done.plan else [], halved

    def _lowered(self, section: str, nodes: Sequence[str]) -> tuple[Any, lowering.Lowering]:
        request = self.request
        extra = tuple(f"^{re.escape(name)}$" for name in nodes)
        rules = {"keep": request.keep, "exclude": request.exclude}
        if section:
            rules[section] = replace(rules[section], names=(*rules[section].names, *extra))
        model = self._copied()
        recipe = lowering.Recipe(request.precision, request.base, rules["keep"], rules["exclude"])
        return model, lowering.apply(model, recipe, self.amax, self.ranges)

    def cures(self, section: str, nodes: Sequence[str]) -> bool:
        """Whether all gates are met with these nodes in a section of the rules."""
        return not self.why_not(section, nodes)

    def why_not(self, section: str, nodes: Sequence[str]) -> str:
        """The first gate missed; empty when all are met."""
        key = section, tuple(nodes)
        if key not in self._known:
            self.count += 1
            model, _ = self._lowered(section, nodes)
            self._known[key] = self._judge(model)
            outcome = self._known[key] or "passes"
            self.emit(Message(f"trial {self.count}: {len(nodes)} nodes in {section or 'no rule'}: {outcome}"))
        return self._known[key]

    def overflow(self) -> str:
        """Where the model, without further rules, leaves the range of its type."""
        model, _ = self._lowered("", ())
        found = overflows_of(model, self.request.data, self.request.batch, self._copied())
        return f"{found[0].tensor!r} overflows" if found else ""

    def _copied(self) -> Any:
        model = type(self.model)()
        model.CopyFrom(self.model)
        return model

    def _judge(self, model: Any) -> str:
        session = strict.session(model)
        outputs = self._run(session)
        return self._difference(outputs) or self._drop(outputs)

    def _outputs(self, model: Any) -> list[Mapping[str, Any]]:
        return self._run(onnxruntime.session(model.SerializeToString()))

    def _run(self, session: Any) -> list[Mapping[str, Any]]:
        each = zip(self.batches, self.rows, strict=True)
        return [self.feed.of_samples(session.run(feeds), rows) for feeds, rows in each]

    def _difference(self, outputs: Sequence[Mapping[str, Any]]) -> str:
        request = self.request
        for name in self.wanted[0]:
            meter = OutputMeter(name)
            for expected, got in zip(self.wanted, outputs, strict=True):
                meter.add(expected[name], got[name])
            figures = meter.comparison()
            if not figures.finite:
                return f"output {name!r} holds NaN or infinity"
            if figures.trouble:
                return f"output {name!r} cannot be judged: {figures.trouble}"
            if request.max_rel is not None and figures.max_rel > request.max_rel:
                return f"output {name!r} differs by {figures.max_rel:.3g} of its largest value"
            if request.min_snr_db is not None and figures.snr_db < request.min_snr_db:
                return f"output {name!r} has {figures.snr_db:.1f} dB"
        return ""

    def _drop(self, outputs: Sequence[Mapping[str, Any]]) -> str:
        limit = self.request.max_accuracy_drop
        if limit is None:
            return ""
        drop = self._top1(self.wanted) - self._top1(outputs)
        return f"top-1 drops by {drop:.2f} points" if round(drop, 9) > limit else ""

    def _top1(self, outputs: Sequence[Mapping[str, Any]]) -> float:
        if self.truth is None:
            raise UsageError("a gate on accuracy needs labels", hint="give --labels")
        right = sum(_right(batch, self.truth[rows]) for batch, rows in zip(outputs, self.rows, strict=True))
        return 100.0 * right / len(self.truth)


def _right(outputs: Mapping[str, Any], truth: Any) -> int:
    for scores in outputs.values():
        predicted = classes(scores, len(truth))
        if predicted is not None:
            require_classes(truth, scores.shape[-1])
            return int((predicted == truth).sum())
    raise UsageError("no output has one row of classes per sample", hint="gate with --max-rel instead")


def _ranges(request: BisectRequest) -> tuple[Mapping[str, float], Mapping[str, float] | None]:
    """Ranges for quantization and for the 16-bit type, as ``lower`` takes them."""
    from trtconv.calibration import cache

    if request.cache is None:
        if request.precision in lowering.QUANTIZED:
            raise UsageError(f"bisecting {request.precision} needs the calibration cache", hint="give --cache FILE")
        return {}, None
    read, facts = cache.read(request.cache), cache.read_facts(request.cache)
    return read.amax, facts.amax if facts is not None else read.amax
