"""lower: an FP32 ONNX model becomes a typed one; the result means the same on every TensorRT."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core import files
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.names import did_you_mean
from trtconv.core.records import PRECISIONS, KeepRules

if TYPE_CHECKING:
    from trtconv.calibration.cache import Cache, Facts
    from trtconv.graph import types
    from trtconv.graph.lowering import Lowering


@dataclass(frozen=True)
class LowerRequest:
    """What to lower.

    Attributes:
        model: FP32 ONNX.
        typed: typed ONNX to write.
        precision: fp32, tf32, fp16, bf16, int8 or fp8.
        cache: calibration cache; needed for int8 and fp8, used for half precision when its sidecar has magnitudes.
        base: precision of what int8 or fp8 leaves alone: fp16 or fp32.
        keep: nodes to leave in FP32, whatever the precision.
        exclude: nodes to leave out of int8 or fp8 (they get ``base``).
        io_types: ``keep`` leaves inputs and outputs FP32, ``convert`` gives them the half type.
        coverage: share of the tensors that int8 or fp8 needs which the cache must cover, 0..1; operators that read
            another one are left out.
        sha256: of the model's file; empty: read it, where it is needed.
    """

    model: Path
    typed: Path
    precision: str
    cache: Path | None = None
    base: str = "fp16"
    keep: KeepRules = field(default_factory=KeepRules)
    exclude: KeepRules = field(default_factory=KeepRules)
    io_types: str = "keep"
    coverage: float = 1.0
    sha256: str = ""


@dataclass(frozen=True)
class LowerResult:
    """What the typed model holds.

    Attributes:
        typed: the file written.
        precision: as asked.
        weighted: number of weighted ops (Conv, Gemm, MatMul, LSTM, ...) per type they compute in:
            ``{"int8": 3, "float16": 1}``.
        qdq_pairs: activation Q/DQ pairs.
        casts: Cast nodes that the lowering added.
        left_out: (node name, reason) for each node that did not get the precision asked for.
        sha256: of the file; empty where its large tensors lie in another one.
    """

    typed: Path
    precision: str
    weighted: dict[str, int] = field(default_factory=dict)
    qdq_pairs: int = 0
    casts: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    sha256: str = ""

    @property
    def digests(self) -> Mapping[Path, str]:
        """SHA-256 of files that need not be read again to know it."""
        return {self.typed: self.sha256} if self.sha256 else {}


def lower(request: LowerRequest, emit: Emit) -> LowerResult:
    """Write the typed model.

    fp32 and tf32 are the same file again (TF32 is a choice of the builder). The bytes written depend on the request and
    the contents of the model and the cache alone.

    Raises:
        UsageError: an unknown precision; int8 or fp8 without a cache, or with one for another model.
        SourceError: the model cannot be read.
        ConversionError: the model is not FP32, or cannot be expressed in the precision.
    """
    from trtconv.graph import weights_aside

    _check(request)
    with weights_aside.allowed():
        return _lowered(request, emit)


def _lowered(request: LowerRequest, emit: Emit) -> LowerResult:
    from trtconv.graph import editing, fp32_only, model_io, placement, types

    model = model_io.load(request.model, aside=True)
    fp32_only.require(model, str(request.model))
    absent = _require_known(request, model, emit)
    if request.precision in ("fp32", "tf32"):
        weighted = placement.weighted_types(model, types.infer(model))
        return LowerResult(request.typed, request.precision, weighted, sha256=_copy(request, model))
    editing.normalize(model)
    known = {node.name for _, node in editing.walk(model.graph)}
    done = _apply(request, model, absent, emit)
    weighted = placement.weighted_types(model, _verified(model))
    sha256 = model_io.save(model, request.typed)
    left_out = tuple((name, reason) for name, reason in done.left_out if name in known)
    pairs = len(done.plan.tensors) if done.plan else 0
    result = LowerResult(
        typed=request.typed,
        precision=request.precision,
        weighted=weighted,
        qdq_pairs=pairs,
        casts=done.casts,
        left_out=left_out,
        sha256=sha256,
    )
    emit(Message(_summary(result)))
    return result


def _apply(request: LowerRequest, model: Any, absent: Collection[str], emit: Emit) -> Lowering:
    from trtconv.graph import lowering

    cache, facts = _cache(request)
    used = cache is not None and request.precision in lowering.QUANTIZED
    amax = _usable(request, model, cache) if cache is not None and used else {}
    measured = facts.amax if facts is not None else cache.amax if cache is not None else None

    recipe = lowering.Recipe(request.precision, request.base, request.keep, request.exclude, request.io_types)
    done = lowering.apply(model, recipe, amax, measured)
    for section, rules in done.idle.items():
        if listed := ", ".join(repr(rule) for rule in rules if rule not in absent):
            emit(Message(f"lower.{section}: {listed} names no node that {request.precision} would change", "warning"))
    if done.plan is not None and not done.plan.weighted:
        emit(Message(f"{request.precision}: no operator of the model can be quantized", "warning"))
    return done


def _check(request: LowerRequest) -> None:
    choices = (
        ("precision", request.precision, PRECISIONS),
        ("base", request.base, ("fp16", "fp32")),
        ("io_types", request.io_types, ("keep", "convert")),
    )
    for what, value, valid in choices:
        if value not in valid:
            raise UsageError(
                f"{what}: expected one of {', '.join(valid)}, got {value!r}", hint=did_you_mean(value, valid)
            )
    if request.precision in ("int8", "fp8") and request.cache is None:
        raise UsageError(
            f"{request.precision} needs a calibration cache",
            hint="make one with trtconv calibrate, or give one that TensorRT wrote",
        )


def _require_known(request: LowerRequest, model: Any, emit: Emit) -> Collection[str]:
    """Rules must name something, also where the precision asks for none; operators that the model does not have."""
    from trtconv.graph import editing, node_rules

    sections = {"lower.keep": request.keep, "lower.exclude": request.exclude}
    if not any(rules.names or rules.ops for rules in sections.values()):
        return ()
    named = editing.skeleton(model)
    editing.name_nodes(named, editing.Names.of(named))  # as they will be called
    absent = node_rules.require_known(named, sections)
    for text in absent.values():
        emit(Message(text, "warning"))
    return absent.keys()


def _copy(request: LowerRequest, model: Any) -> str:
    """The same bytes; a model with external data is written anew, since its data file is found by its folder."""
    from trtconv.core import external
    from trtconv.graph import model_io

    if external.locations(request.model):
        return model_io.save(model, request.typed)
    return files.copy(request.model, request.typed)


def _cache(request: LowerRequest) -> tuple[Cache | None, Facts | None]:
    """The cache and its facts; the facts must be about this model."""
    from trtconv.calibration import cache
    from trtconv.core import digests

    if request.cache is None:
        return None, None
    read, facts = cache.read(request.cache), cache.read_facts(request.cache)
    if facts is not None and facts.model != (request.sha256 or digests.of_file(request.model)):
        raise UsageError(
            f"{request.cache}: the cache was calibrated for another model than {request.model}",
            hint="calibrate this model: trtconv calibrate MODEL --data FILE -o CACHE",
        )
    return read, facts


def _usable(request: LowerRequest, model: Any, cache: Cache) -> Mapping[str, float]:
    """The cache's ranges; NaN for tensors that it may lack, so that what reads them is left out.

    Raises:
        UsageError: it covers less than the request demands.
    """
    from trtconv.graph import placement
    from trtconv.graph.coverage import coverage

    plan = placement.plan(model, request.precision, request.exclude, request.keep, cache.amax)
    found = coverage(model, plan, cache.amax)
    if found.share < request.coverage:
        hint = (
            f"calibrate this model, or accept a share of {found.share:.2f} with calibrate.coverage"
            if found.share
            else "the cache seems to be for another model; calibrate this one"
        )
        raise UsageError(
            f"{request.cache}: too little for {request.precision} of {request.model}: it "
            f"{found.describe()}; the share demanded is {request.coverage:g}",
            hint=hint,
        )
    return {**cache.amax, **dict.fromkeys(found.missing, float("nan"))}


def _verified(model: Any) -> types.Scope:
    """Types of the result's tensors; it must pass ONNX's full checker and our own type check, whatever made it."""
    import onnx

    from trtconv.graph import editing, types

    scope = types.check(model)
    light = editing.skeleton(model)
    onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    for value in light.graph.output:
        value.type.tensor_type.shape.SetInParent()  # ONNX's checker demands a shape that its format may leave out
    onnx.checker.check_model(light)
    return scope


def _summary(result: LowerResult) -> str:
    parts = [f"{count} in {kind}" for kind, count in sorted(result.weighted.items())]
    return (
        f"{result.precision}: weighted operators: {', '.join(parts) or 'none'}; {result.qdq_pairs} Q/DQ pairs, "
        f"{result.casts} casts, {len(result.left_out)} nodes left out"
    )
