"""A typed ONNX model becomes a TensorRT plan (.engine) and its facts (.engine.json)."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import BuildError
from trtconv.core.events import Emit, Message, Progress, ignore
from trtconv.core.records import Dim, PluginSpec, ShapeRange, TensorInfo

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded
    from trtconv.core import child
    from trtconv.engines.build.builder import Plan
    from trtconv.engines.run.proof import Operator
    from trtconv.stages.build.outline import Outline

from trtconv.stages.build.records import BuildRequest, BuildResult


def build_engine(request: BuildRequest, emit: Emit) -> BuildResult:
    """Build a plan and write its facts beside it.

    Raises:
        SourceError: the model is missing, truncated or foreign.
        UsageError: profiles or targets that do not fit the model; the hint holds the YAML to write.
        BuildError: TensorRT refuses the model.
        EnvironmentProblem: TensorRT, or the GPU that it needs, is not there.
    """
    from trtconv.adapters import tensorrt
    from trtconv.stages.build import outline

    started = time.monotonic()
    seen = outline.look(request, emit)
    loaded = tensorrt.choose(request.backend)
    _refuse_early(loaded, request, seen.operators)
    with _new_engine(request) as file:
        plan = _plan(request, loaded, file, seen.shapes, seen.beside, emit)
    return _finished(request, loaded, seen, plan, emit, started)


def build_aside(request: BuildRequest, emit: Emit) -> child.Outcome:
    """The same for a process that shall stay small and quick: what needs the onnx package has a process of its own.

    That one reads the model while TensorRT builds, and has ended when TensorRT needs most of its memory. What it
    refuses ends the build. Raises what ``build_engine`` does.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trtconv.adapters import tensorrt
    from trtconv.core import child, external, onnx_outline
    from trtconv.engines.build import profiles

    started = time.monotonic()
    building: list[child.Talk] = []
    looked = replace(request, provenance={})  # which may not be known yet

    def look() -> child.Outcome:
        try:
            with tempfile.TemporaryDirectory(prefix="trtconv-") as folder:
                outcome = child.call("trtconv.stages.build.outline:look", looked, ignore, Path(folder) / "log")
            _refuse_early(loaded, request, outcome.value.operators)
        except BaseException as error:
            for talk in building:
                talk.give_up(error)
            raise
        return outcome

    loaded = tensorrt.choose(request.backend)
    with ThreadPoolExecutor(1) as side, _new_engine(request) as file:
        looking = side.submit(look)
        inputs = onnx_outline.inputs(request.model)
        if inputs is None:  # many nodes, or damaged
            inputs = looking.result().value.inputs
        try:
            shapes = profiles.complete(inputs, request.profiles)
            profiles.check_values(inputs, request.values)
            plan = _plan(request, loaded, file, shapes, external.locations(request.model), emit, building)
        finally:
            seen = looking.result()  # what it refuses says more than TensorRT
    result = _finished(request, loaded, seen.value, plan, emit, started)
    return child.Outcome(result, max(plan.memory, seen.peak_memory))


@contextlib.contextmanager
def _new_engine(request: BuildRequest) -> Iterator[Path]:
    """A file that becomes the engine; its facts are written once it is there."""
    from trtconv.core import files
    from trtconv.engines.plan import sidecar

    with files.atomic_path(request.engine) as file:
        yield file
        sidecar.path_of(request.engine).unlink(missing_ok=True)  # those of an older engine must not describe this one


def _plan(
    request: BuildRequest,
    loaded: Loaded,
    file: Path,
    shapes: Sequence[Mapping[str, ShapeRange]],
    beside: Sequence[str],
    emit: Emit,
    building: list[child.Talk] | None = None,
) -> Plan:
    from trtconv.engines.build import choices, isolated

    emit(Progress(f"{loaded.title}: parsing", 0, None))
    timing_cache = request.timing_cache or request.engine.with_name(request.engine.name + ".timing")
    options = choices.Options(
        shapes,
        request.workspace,
        request.targets,
        request.precision == "tf32",
        timing_cache,
        request.level,
        request.hardware,
        request.verbosity,
        request.values,
        allowed_plugins(request),
        request.features,
    )
    return isolated.build(loaded, request.model, file, options, emit, beside, building)


def _finished(
    request: BuildRequest, loaded: Loaded, seen: Outline, plan: Plan, emit: Emit, started: float
) -> BuildResult:
    """Write the facts of a plan that is in its place."""
    from trtconv.engines.plan import plugin_files, sidecar
    from trtconv.engines.run import proof

    doubts = _doubts(loaded, request, seen.narrow)
    warnings = (*_changed_types((*seen.inputs, *seen.outputs), plan.dtypes), *plan.warnings)
    for text in (*doubts, *warnings):
        emit(Message(text, "warning"))
    emit(Progress("asking the engine for its types", 0, None))
    result = BuildResult(
        engine=request.engine,
        sidecar=sidecar.path_of(request.engine),
        flavor=loaded.flavor.name,
        version=loaded.version,
        size=plan.size,
        layers=plan.layers,
        inputs=_as_built(seen.inputs, plan.dtypes),
        outputs=_as_built(seen.outputs, plan.dtypes),
        warnings=warnings,
        proof=proof.of_engine(request.engine, seen.operators),
        sha256=plan.sha256,
    )
    of_plugins = [
        plugin_files.facts(request.engine, spec) | dict(told)
        for spec, told in zip(allowed_plugins(request), plan.plugins, strict=True)
    ]
    _describe(request, loaded, seen, result, time.monotonic() - started, of_plugins)
    return result


def allowed_plugins(request: BuildRequest) -> tuple[PluginSpec, ...]:
    """The plugins with their files, by the user's leave; what loads the engine later has that leave too."""
    if not request.plugins:
        return ()
    from trtconv.core import permission
    from trtconv.engines.build import plugins

    if request.allow_code:
        permission.grant()
    for spec in request.plugins:
        permission.require(f"the plugin {spec.python or spec.path}")
    return tuple(plugins.located(spec) for spec in request.plugins)


def _refuse_early(loaded: Loaded, request: BuildRequest, operators: Sequence[Operator]) -> None:
    """What is known to fail, with a better reason than the compiler's."""
    quantized = sum(one.op.startswith("Conv") and one.kind == "int8" for one in operators)
    if quantized and not loaded.at_least(loaded.can.int8_conv_since):
        since = ".".join(map(str, loaded.can.int8_conv_since))
        raise BuildError(
            f"{loaded.title} cannot build the {quantized} INT8 convolutions of {request.model}; "
            f"{loaded.flavor.title} can from {since} on",
            hint="upgrade it, or leave convolutions out of int8: lower: {exclude: {ops: [Conv]}}",
        )


def _doubts(loaded: Loaded, request: BuildRequest, narrow: bool) -> list[str]:
    """What builds but may not run everywhere, or was never seen to build."""
    from trtconv.adapters import tensorrt

    untested = tensorrt.untested(loaded.flavor, loaded.version, running=False)
    doubts = [untested] if untested else []
    if loaded.can.targets and not request.targets and narrow:
        doubts.append(
            f"{loaded.title} marks this engine as fit for compute capability 8.0, but its 8- or 4-bit types need "
            "8.9; name the GPUs that you want in build.targets"
        )
    return doubts


def _changed_types(tensors: Sequence[TensorInfo], built: Mapping[str, str]) -> list[str]:
    """TensorRT says nothing when it takes DOUBLE inputs and outputs as FLOAT."""
    return [
        f"{t.name!r} is {t.dtype} in the ONNX model and {built[t.name]} in the engine"
        for t in tensors
        if built.get(t.name, t.dtype) != t.dtype
    ]


def _as_built(tensors: Sequence[TensorInfo], built: Mapping[str, str]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(t.name, built.get(t.name, t.dtype), t.shape) for t in tensors)


def _describe(
    request: BuildRequest,
    loaded: Loaded,
    seen: Outline,
    result: BuildResult,
    seconds: float,
    plugins: Sequence[Mapping[str, Any]],
) -> None:
    from trtconv import __version__
    from trtconv.adapters import cuda_driver
    from trtconv.engines.plan import header, sidecar
    from trtconv.engines.run import proof

    gpus = cuda_driver.gpus()
    ranges = sidecar.profile_facts(tuple(seen.shapes))
    first = ranges[0] if ranges else {}
    values = sidecar.profile_facts(request.values)
    deciding = values[0] if values else {}
    sidecar.write(
        request.engine,
        {
            "trtconv": __version__,
            "engine": {"file": request.engine.name, "size": result.size, "sha256": result.sha256},
            "model": {"file": os.path.relpath(request.model, request.engine.parent), "sha256": _digest(request)},
            "flavor": result.flavor,
            "version": result.version,
            "targets": header.read(request.engine).targets,
            "gpu": None if loaded.can.targets or not gpus else {"name": gpus[0].name, "capability": gpus[0].capability},
            "precision": {
                "name": request.precision,
                "tf32": request.precision == "tf32",
                "weighted": proof.weighted_types(seen.operators),
                "proof": asdict(result.proof),
            },
            "workspace": request.workspace,
            "hardware": request.hardware,
            "features": asdict(request.features),
            "network": dict(seen.network),
            "weights": seen.weights,
            "profiles": ranges,
            "values": values,
            "inputs": [
                _tensor(t)
                | {"profile": first.get(t.name)}
                | ({"values": deciding[t.name]} if t.name in deciding else {})
                for t in result.inputs
            ],
            "outputs": [_tensor(t) for t in result.outputs],
            "layers": result.layers,
            "warnings": result.warnings,
            "plugins": plugins,
            "provenance": {**request.provenance, **_digests(request)},
            "seconds": round(seconds, 3),
        },
    )


def _digests(request: BuildRequest) -> dict[str, Any]:
    """The chain of digests as it is known by now."""
    return {"digests": dict(request.provenance["digests"])} if "digests" in request.provenance else {}


def _digest(request: BuildRequest) -> str:
    """SHA-256 of the model's file; who asked knows it already, unless large tensors in another file count there too."""
    from trtconv.core import digests, files

    known = request.provenance.get("digests", {}).get("typed")
    return known if known and not files.data_of(request.model).exists() else digests.of_file(request.model)


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    shape: list[Dim] = list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}
