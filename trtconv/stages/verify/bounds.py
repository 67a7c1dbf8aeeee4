"""What a comparison must keep: tolerances and floors per precision where nobody gives any, and what always fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.records import Comparison
from trtconv.stages.verify.records import Bound, Verdict, VerifyRequest

if TYPE_CHECKING:
    from trtconv.engines.plan.manifest import Manifest

TOLERANCE: Mapping[str, float] = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}
"""Largest relative difference, where a job says none. INT8 and FP8 lose more on some networks than on others."""

ENGINE_TOLERANCE: Mapping[str, float] = {**TOLERANCE, "fp32": 2e-3}
"""The same for engines, whose FP32 is TF32 on many GPUs."""


FLOORS: Mapping[str, Bound] = {
    **dict.fromkeys(("fp32", "tf32", "fp16"), Bound(None, 30.0, 0.999)),
    "bf16": Bound(None, 20.0, 0.99),
    **dict.fromkeys(("int8", "fp8"), Bound(None, 10.0, 0.95)),
}
"""Far below what networks reach that work (`make precision-zoo`), and above what is left of an output that is lost."""


def default(precision: str, *, engine: bool) -> Bound:
    """What holds where nobody says otherwise.

    Args:
        precision: a precision of jobs; an unknown one has that of the coarsest.
        engine: whether an engine computes it.
    """
    floor = FLOORS.get(precision, FLOORS["int8"])
    tolerance = (ENGINE_TOLERANCE if engine else TOLERANCE).get(precision)
    return Bound(tolerance, floor.min_snr_db, floor.min_cosine)


def of_model(path: Path) -> Bound:
    """The defaults for a model file: of the precision that its types tell, or that its sidecar names.

    Raises:
        SourceError: it cannot be read.
    """
    from trtconv.engines.plan import manifest, sidecar
    from trtconv.graph import model_io, strict

    if manifest.is_parts(path):
        return _of_parts(manifest.read(path, whole=False))
    if path.suffix.lower() == ".onnx":
        return default(strict.precision(model_io.load(path, weights=False)), engine=False)
    facts = sidecar.read(path)
    named = facts.facts.get("precision", {}).get("name", "") if facts else ""
    if facts and facts.model and named not in FLOORS:
        named = strict.precision(model_io.load(facts.model, weights=False))
    return default(named, engine=True)


def _of_parts(found: Manifest) -> Bound:
    """By the precision that the parts were built in; typed files tell it themselves."""
    from trtconv.graph import model_io, strict

    named = str(found.facts["precision"])
    if named not in FLOORS:
        models = [model_io.load(found.folder / part["onnx"], weights=False) for part in found.parts]
        told = {strict.precision(model) for model in models}
        named = next((kind for kind in ("fp8", "int8", "bf16", "fp16") if kind in told), "fp32")
    return default(named, engine=True)


def missed(request: VerifyRequest, verdict: Verdict, bound: Bound, reference_top1: float | None) -> Iterator[str]:
    """One sentence per bound that a candidate's outputs miss."""
    for output in verdict.outputs:
        if what := of_output(output, bound, request.reference_label):
            yield f"{verdict.label}: output {output.output!r} {what}"
    for corner in (one for one in verdict.corners if one.fault):
        yield f"{verdict.label}: at the {corner.place} of profile {corner.profile}: {corner.fault}"
    drop = 0.0 if reference_top1 is None or verdict.top1 is None else round(reference_top1 - verdict.top1, 9)
    if request.max_accuracy_drop is not None and drop > request.max_accuracy_drop:
        yield (
            f"{verdict.label}: top-1 is {verdict.top1:.2f} %, {drop:.2f} points below {request.reference_label}; "
            f"allowed {request.max_accuracy_drop:g}"
        )


def of_output(output: Comparison, bound: Bound, reference: str) -> str:
    """What is wrong with one output; empty when nothing is."""
    if not output.finite:
        return "holds NaN or infinity"
    if output.trouble:
        return f"cannot be judged: {output.trouble}"
    if bound.max_rel is not None and not output.max_rel <= bound.max_rel:
        return f"differs from {reference} by {output.max_rel:.3g} of its largest value; allowed {bound.max_rel:g}"
    if bound.min_snr_db is not None and not output.snr_db >= bound.min_snr_db:
        return f"is {output.snr_db:.1f} dB above its noise against {reference}; at least {bound.min_snr_db:g} is needed"
    if bound.min_cosine is not None and not output.cosine >= bound.min_cosine:
        return f"has a cosine of {output.cosine:.4f} with {reference}; at least {bound.min_cosine:g} is needed"
    return ""


def explained(verdict: Verdict, sentences: Sequence[str]) -> list[str]:
    """Sentences about missed bounds, the first of them with where the range of a type is left."""
    if not sentences or not verdict.overflows:
        return list(sentences)
    from trtconv.stages.verify.tensors import describe

    where = f"; half precision overflows at {describe(verdict.overflows)}"
    return [sentences[0] + where, *sentences[1:]]
