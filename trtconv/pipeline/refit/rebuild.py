"""An engine built again with other weights, as it was built, and held to what it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trtconv.core.errors import BuildError
from trtconv.core.records import PluginSpec
from trtconv.pipeline.refit.records import RefitRequest, RefitResult

if TYPE_CHECKING:
    from trtconv.core.events import Emit
    from trtconv.engines.plan.header import Header
    from trtconv.engines.plan.sidecar import Sidecar
    from trtconv.pipeline.refit.network import Same
    from trtconv.stages.build import BuildRequest


def rebuild(request: RefitRequest, known: Sidecar, same: Same, head: Header, why: str, emit: Emit) -> RefitResult:
    """Build with the choices that the sidecar tells of, and compare.

    Raises:
        BuildError: TensorRT refuses the model, or makes another engine of it.
        EnvironmentProblem: it cannot build here.
    """
    from trtconv.adapters.tensorrt import FLAVORS
    from trtconv.engines.plan import header, sidecar
    from trtconv.stages.build import build

    made = build(_request(request, known, head), emit)
    fresh = sidecar.read(request.output)
    assert fresh is not None
    if wrong := list(_differences(known.facts, fresh.facts)):
        for file in (request.output, made.sidecar):
            file.unlink(missing_ok=True)
        raise BuildError(
            "\n".join([f"{request.engine} built again is another engine:", *wrong]),
            hint="build it under another name: trtconv build",
        )
    bytes_told = _bytes(request.engine, request.output, head, header.read(request.output))
    return RefitResult(
        engine=request.output,
        sidecar=made.sidecar,
        how="rebuilt",
        why=why,
        proof=(*same.proof, f"the same {made.layers} layers, profiles, inputs and outputs", *bytes_told),
        weights=same.weights,
        changed=same.changed,
        size=made.size,
        size_before=head.size,
        runner=f"{FLAVORS[head.flavor].title} {made.version}",
    )


def _request(request: RefitRequest, known: Sidecar, head: Header) -> BuildRequest:
    """As the engine was built, with its weights inside."""
    from trtconv.stages.build import BuildRequest

    facts = known.facts
    provenance = facts.get("provenance", {})
    job = provenance.get("job", {})
    section = job.get("build", {})
    origin = {"engine": request.engine.name, "sha256": facts["engine"].get("sha256", ""), "how": "rebuilt"}
    chain = {name: value for name, value in provenance.get("digests", {}).items() if name != "typed"}
    return BuildRequest(
        model=request.model,
        engine=request.output,
        precision=facts["precision"]["name"],
        backend=head.flavor,
        profiles=known.profiles,
        workspace=facts.get("workspace"),
        targets=tuple(section.get("targets", ())),
        provenance={**provenance, "digests": chain, "refit": origin},
        level=section.get("optimization_level"),
        hardware=facts.get("hardware", "none"),
        verbosity=section.get("layer_details", "detailed"),
        features=dataclasses.replace(known.features, stripped=False),
        values=known.values,
        plugins=tuple(map(_plugin, job.get("plugins", ()))),
        allow_code=request.allow_code,
    )


def _plugin(facts: Mapping[str, Any]) -> PluginSpec:
    return PluginSpec(facts["path"] and Path(facts["path"]), facts["python"], facts["embed"])


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What of an engine's facts should not follow from its weights."""
    for what in ("layers", "profiles", "values", "inputs", "outputs", "hardware", "workspace"):
        if old.get(what) != new.get(what):
            yield f"{what}: {new.get(what)}, not {old.get(what)}"


def _bytes(old: Path, new: Path, before: Header, after: Header) -> Iterator[str]:
    """How much of two plans is the same: those of TensorRT-RTX hold their weights behind everything else."""
    if before.version != after.version:
        yield f"built by {after.version}, the old one by {before.version}"
    elif before.weights is None or before.weights != after.weights or before.size != after.size:
        yield f"{after.size} bytes, the old one has {before.size}"
    else:
        size = (before.size - before.weights) // 8 * 8  # the weights begin at the next multiple, or shortly before it
        first, second = (np.fromfile(plan, np.uint8, size) for plan in (old, new))
        others = int(np.count_nonzero(first != second))
        yield (
            f"{size} bytes before the weights are the same"
            if not others
            else (f"{others} of {size} bytes before the weights differ")
        )
