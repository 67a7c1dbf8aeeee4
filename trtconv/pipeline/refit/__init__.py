"""refit: other weights for an engine, after proof that the network is the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core import digests, files
from trtconv.core.errors import BuildError, EnvironmentProblem, SourceError, UsageError
from trtconv.core.events import Emit, Message
from trtconv.core.writable import require_result
from trtconv.pipeline.refit.records import RefitRequest, RefitResult

if TYPE_CHECKING:
    from trtconv.engines.plan.header import Header
    from trtconv.engines.plan.sidecar import Sidecar
    from trtconv.pipeline.refit.network import Same

__all__ = ["RefitRequest", "RefitResult", "refit"]


def refit(request: RefitRequest, emit: Emit) -> RefitResult:
    """Write an engine with a model's weights beside the one that there is.

    TensorRT's refitter does it where the engine was built for it and this machine can; else the engine is built again,
    as it was built, and compared with the old one.

    Raises:
        UsageError: nothing says what network the engine computes, or the new engine would take its place.
        SourceError: the model is another network: the message says what differs.
        BuildError: the engine that was built again is not the same but for its weights.
        EnvironmentProblem: neither can be done here.
    """
    from trtconv.engines.plan import header
    from trtconv.pipeline.refit import network

    head, known = header.read(request.engine), known_of(request.engine)
    for read in (request.engine, request.model):
        require_result(request.output, read)
    same = network.require(known, request.model)
    result = _refitted(request, known, same, head, emit)
    if request.samples is not None:
        _write_samples(result.engine, request.samples)
    return result


def is_same(pair: tuple[Path, Path], _emit: Emit) -> bool:
    """Whether a model is the network of an engine as it is; a file that is no ONNX is not.

    Raises:
        UsageError: the engine's facts do not say.
    """
    from trtconv.pipeline.refit import network

    engine, model = pair
    try:
        network.require(known_of(engine), model)
    except SourceError:
        return False
    return True


def known_of(engine: Path) -> Sidecar:
    """The facts of an engine.

    Raises:
        UsageError: there are none.
    """
    from trtconv.engines.plan import sidecar

    known = sidecar.read(engine)
    if known is None:
        raise UsageError(
            f"{sidecar.path_of(engine)} is not there: nothing says what {engine.name} was built from",
            hint="build the engine again with trtconv build",
        )
    return known


def _refitted(request: RefitRequest, known: Sidecar, same: Same, head: Header, emit: Emit) -> RefitResult:
    """By the refitter, else by a new build."""
    from trtconv.adapters import cuda_driver
    from trtconv.pipeline.refit import rebuild

    features = known.features
    why = ""
    if not (features.refit or features.stripped):
        why = "the engine was built without build.refit"
    elif not features.refit and same.other_weights:
        why = "the engine takes back the weights that it was built with only, and these are others"
    elif not cuda_driver.gpus():
        why = f"TensorRT refits on a GPU only, and {cuda_driver.problem()}"
    else:
        try:
            return _by_refitter(request, known, same, head, emit)
        except (BuildError, EnvironmentProblem) as problem:
            why = problem.message
    emit(Message(f"built again, since {why}"))
    return rebuild.rebuild(request, known, same, head, why, emit)


def _by_refitter(request: RefitRequest, known: Sidecar, same: Same, head: Header, emit: Emit) -> RefitResult:
    from trtconv.core import unfinished
    from trtconv.engines.plan import sidecar

    with unfinished.scratch() as folder:
        task = (request.engine, request.model, sorted(same.changed_names), folder / "plan")
        names, runner = _aside(task, emit, folder / "log")
        facts = sidecar.path_of(request.output)
        facts.unlink(missing_ok=True)
        files.copy(folder / "plan", request.output)
    size = request.output.stat().st_size
    features = {**known.facts["features"], "stripped": False}
    sidecar.write(request.output, _facts(known, request, same, "refitted", size) | {"features": features})
    return RefitResult(
        engine=request.output,
        sidecar=facts,
        how="refitted",
        why="",
        proof=(*same.proof, f"TensorRT replaced {len(names)} weights and wants no other"),
        weights=same.weights,
        changed=same.changed,
        size=size,
        size_before=head.size,
        runner=runner,
    )


_Task = tuple[Path, Path, list[str], Path]


def _aside(task: _Task, emit: Emit, log: Path) -> tuple[tuple[str, ...], str]:
    """In a process of its own: what crashes in the refitter costs the attempt only."""
    from trtconv.core import child

    try:
        answer: tuple[tuple[str, ...], str] = child.call(f"{__name__}:replace", task, emit, log).value
    except child.ChildCrash as crash:
        raise BuildError(f"TensorRT does not survive refitting: {crash.message.splitlines()[0]}") from crash
    return answer


def replace(task: _Task, emit: Emit) -> tuple[tuple[str, ...], str]:
    """The child's side."""
    from trtconv.engines.run import refitting

    engine, model, changed, plan = task
    made = refitting.refit(engine, model, changed, emit)
    plan.write_bytes(made.data)
    return made.weights, made.runner


def _facts(known: Sidecar, request: RefitRequest, same: Same, how: str, size: int) -> dict[str, Any]:
    """The sidecar of the new engine."""
    digest = digests.of_file(request.model)
    old: Mapping[str, Any] = {name: value for name, value in known.facts.items() if name != "schema"}
    origin = {"engine": request.engine.name, "sha256": known.facts["engine"].get("sha256", ""), "how": how}
    provenance = old.get("provenance", {})
    chain = {"digests": {**provenance.get("digests", {}), "typed": digest}, "refit": origin}
    return {
        **old,
        "engine": {"file": request.output.name, "size": size, "sha256": digests.of_file(request.output)},
        "model": {"file": os.path.relpath(request.model, request.output.parent), "sha256": digest},
        "network": same.network,
        "weights": same.weights_digest,
        "provenance": {**provenance, **chain},
    }


def _write_samples(engine: Path, path: Path) -> None:
    """Random inputs of the optimum's shapes; none for inputs that decide shapes, whose values are no samples."""
    from trtconv.core.records import TensorInfo
    from trtconv.engines.measure import synthetic
    from trtconv.engines.plan import sidecar

    known = sidecar.read(engine)
    if known is None or known.values:
        return
    inputs = [TensorInfo(one["name"], one["dtype"], tuple(one["shape"])) for one in known.facts["inputs"]]
    optimum = {name: span.optimum for first in known.profiles[:1] for name, span in first.items()}
    shapes = {one.name: optimum.get(one.name) or tuple(map(int, one.shape)) for one in inputs}
    files.write_npz(path, synthetic.feeds(inputs, shapes, {}))
