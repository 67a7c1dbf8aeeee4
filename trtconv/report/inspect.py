"""What a file holds, read from its own bytes: no TensorFlow, no TensorRT, no GPU."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trtconv import sources
from trtconv.core import magic
from trtconv.core.records import Features, Proof, Wider
from trtconv.core.units import format_bytes
from trtconv.engines.plan import manifest
from trtconv.report import models
from trtconv.report.summary import proof_text
from trtconv.report.tables import table

_ENGINE_TAGS = (b"ftrt", b"vtrt")


def describe(path: Path) -> tuple[dict[str, Any], str]:
    """Facts as JSON-like values, and as text.

    Raises:
        SourceError: damaged, or nothing that trtconv knows.
    """
    if manifest.is_parts(path):
        return _parts(path)
    if path.is_file():
        start = magic.head(path)
        if start[:4] in _ENGINE_TAGS or path.suffix == ".engine":
            return _engine(path)
        if start.removeprefix(codecs.BOM_UTF8)[:4] == b"TRT-":
            return _cache(path)
    return models.describe(path, sources.detect(path))


def _engine(path: Path) -> tuple[dict[str, Any], str]:
    from trtconv.engines.plan import header, preflight, sidecar

    head = header.read(path)
    known = sidecar.read(path)
    reasons = preflight.preflight(path)
    facts = {"kind": "engine", **vars(head), "will_not_load_here": list(reasons), "facts": known and dict(known.facts)}
    title = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}[head.flavor]
    targets = f", for {', '.join(head.targets)}" if head.targets else ""
    lines = [f"{path}: {title} {head.version} engine, {format_bytes(head.size)}{targets}"]
    lines += [f"will not load here: {reason}" for reason in reasons] or ["loads here"]
    if known is None:
        return facts, "\n".join(
            [*lines, f"no {sidecar.path_of(path).name} beside it: inputs and outputs are not known"]
        )
    lines += [*_able(known.features), _engine_facts(known.facts)]
    return facts, "\n".join(lines)


def _able(features: Features) -> Iterator[str]:
    """What it was built to do."""
    if features.streaming:
        yield "its weights can be streamed from host memory: --weight-streaming-budget, in infer and bench"
    if features.stripped:
        yield "it holds no weights: trtconv refit puts them in"
    elif features.refit:
        yield "its weights can be replaced: trtconv refit"
    if features.lean != "none":
        inside = features.lean == "embedded_runtime"
        yield f"later versions run it with {'the lean runtime that it holds' if inside else '--lean-runtime FILE'}"
    if features.dla is not None:
        rest = "the GPU computes the rest" if features.dla.gpu_fallback else "all of it"
        yield f"for the deep-learning accelerator {features.dla.core}, {rest}"


def _engine_facts(facts: Any) -> str:
    rows = [
        [kind, t["name"], t["dtype"], _shape(t["shape"]), _bounds(t)]
        for kind, tensors in (("input", facts["inputs"]), ("output", facts["outputs"]))
        for t in tensors
    ]
    weighted = "; ".join(
        f"{op}: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}"
        for op, kinds in facts["precision"]["weighted"].items()
    )
    head = f"precision {facts['precision']['name']} ({weighted or 'no weighted operators'}), {facts['layers']} layers"
    if told := facts["precision"].get("proof"):  # engines of trtconv 0.1 and earlier have none
        head += f"\ncomputes {proof_text(Proof(**{**told, 'wider': tuple(Wider(**one) for one in told['wider'])}))}"
    for one in facts.get("plugins", ()):
        where = "inside" if one["embedded"] else f"beside it: {one['file']}"
        names = ", ".join(f"{made['name']} {made['version']}" for made in one["creators"])
        head += f"\nplugin {one.get('creator', names)} for {len(one['nodes'])} nodes, {where}"
    return f"{head}\n{table(['', 'name', 'type', 'shape', 'min / opt / max'], rows)}"


def _parts(path: Path) -> tuple[dict[str, Any], str]:
    """Parts in order: what each takes and gives, how much of the work it does, and why the rest is no engine."""
    found = manifest.read(path)
    facts = dict(found.facts)
    title = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}[facts["flavor"]]
    engines = sum(part["kind"] == "engine" for part in found.parts)
    rest = len(found.parts) - engines
    share = "" if facts["share"]["products"] is None else f"{100 * facts['share']['products']:.1f} % of the products, "
    head = (
        f"{path}: parts for {title} {facts['version']}: {engines}, for ONNX Runtime: {rest}; "
        f"{share}{100 * facts['share']['nodes']:.1f} % of the nodes in engines"
    )
    rows = [
        [part["engine"] or part["onnx"], str(len(part["nodes"])), _named(part["inputs"]), _named(part["outputs"])]
        for part in found.parts
    ]
    lines = [head, table(["part", "nodes", "takes", "gives"], rows, "lrll")]
    lines += [f"  {one['node']} ({one['op']}): {one['by']}: {one['why']}" for one in facts["fell_back"]]
    return {"kind": "parts", "facts": facts}, "\n".join(lines)


def _named(tensors: Any) -> str:
    return ", ".join(f"{one['name']}: {one['dtype']} {_shape(one['shape'])}" for one in tensors) or "-"


def _cache(path: Path) -> tuple[dict[str, Any], str]:
    from trtconv.calibration import cache

    read = cache.read(path)
    known = cache.read_facts(path)
    facts = {
        "kind": "cache",
        "version": read.version,
        "algorithm": read.algorithm,
        "amax": dict(read.amax),
        "facts": known and vars(known),
    }
    rows = [[name, f"{amax:.6g}", f"{amax / cache.LEVELS:.6g}"] for name, amax in read.amax.items()]
    head = f"{path}: calibration cache TRT-{read.version}-{read.algorithm}, {len(rows)} tensors"
    if known is not None:
        head += f"; {known.method} of {known.samples} samples"
    return facts, f"{head}\n{table(['tensor', 'range', 'scale'], rows, 'lrr')}"


def _shape(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _bounds(tensor: Any) -> str:
    values = f"values {_profile(tensor['values'])}" if tensor.get("values") else ""
    return ", ".join(filter(None, (_profile(tensor.get("profile")).strip("-"), values))) or "-"


def _profile(bounds: Any) -> str:
    return " / ".join(_shape(bounds[key]) for key in ("min", "opt", "max")) if bounds else "-"
