"""A typed ONNX model becomes a TensorRT plan (.engine) and its facts (.engine.json)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import BuildError
from trtconv.core.events import Emit, Message, Progress
from trtconv.core.records import Dim, PluginSpec, ShapeRange, TensorInfo

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded
    from trtconv.engines.run.proof import Operator

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
    from trtconv.core import files
    from trtconv.engines.build import builder, isolated, profiles
    from trtconv.engines.plan import plugin_files, sidecar
    from trtconv.engines.run import proof
    from trtconv.graph import check, model_io, types

    started = time.monotonic()
    model = model_io.load(request.model, weights=False)  # TensorRT reads the file itself
    beside = model_io.data_files(request.model)
    inputs, outputs = model_io.interface(model)
    _refuse_passed_on(request.model, inputs, outputs)
    _refuse_mistaken(request.model, check.mistaken(model))
    shapes = profiles.complete(inputs, request.profiles)
    profiles.check_values(inputs, request.values)
    loaded = tensorrt.choose(request.backend)
    operators = proof.operators(model, types.infer(model), {n: r.optimum for p in shapes[:1] for n, r in p.items()})
    _refuse_early(loaded, request, operators)
    for text in _doubts(loaded, request, model):
        emit(Message(text, "warning"))
    emit(Progress(f"{loaded.title}: parsing", 0, None))
    timing_cache = request.timing_cache or request.engine.with_name(request.engine.name + ".timing")
    options = builder.Options(
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
    )
    plan = isolated.build(loaded, request.model, options, emit, beside)
    warnings = (*_changed_types((*inputs, *outputs), plan.dtypes), *plan.warnings)
    for text in warnings:
        emit(Message(text, "warning"))
    inputs, outputs = _as_built(inputs, plan.dtypes), _as_built(outputs, plan.dtypes)
    facts = sidecar.path_of(request.engine)
    facts.unlink(missing_ok=True)  # those of an older engine must not describe this one, whatever happens next
    files.write_bytes(request.engine, plan.data)
    emit(Progress("asking the engine for its types", 0, None))
    result = BuildResult(
        engine=request.engine,
        sidecar=facts,
        flavor=loaded.flavor.name,
        version=loaded.version,
        size=len(plan.data),
        layers=plan.layers,
        inputs=inputs,
        outputs=outputs,
        warnings=warnings,
        proof=proof.of_engine(request.engine, operators),
    )
    of_plugins = [
        plugin_files.facts(request.engine, o) | dict(p) for o, p in zip(options.plugins, plan.plugins, strict=True)
    ]
    _describe(request, loaded, shapes, result, operators, time.monotonic() - started, of_plugins)
    return result


def _refuse_passed_on(model: Path, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> None:
    """An engine's tensors have one name each: TensorRT would rename the input and say nothing."""
    both = [info.name for info in outputs if info.name in {one.name for one in inputs}]
    if both:
        rest = [info.name for info in outputs if info.name not in both]
        raise BuildError(
            f"{model}: its input {both[0]!r} is an output too; an engine has one tensor of a name",
            hint=f"leave that output out: convert: {{outputs: [{', '.join(rest)}]}}",
        )


def allowed_plugins(request: BuildRequest) -> tuple[PluginSpec, ...]:
    """The plugins with their files, by the user's leave; what loads the engine later has that leave too."""
    from trtconv.core import permission
    from trtconv.engines.build import plugins

    if request.allow_code:
        permission.grant()
    for spec in request.plugins:
        permission.require(f"the plugin {spec.python or spec.path}")
    return tuple(plugins.located(spec) for spec in request.plugins)


def _refuse_mistaken(model: Path, mistaken: Mapping[str, str]) -> None:
    for node, why in mistaken.items():
        raise BuildError(
            f"{model}: node {node!r}: {why}, and compute something else",
            hint="say what it computes: operators: {DOMAIN::NAME: FILE} (--operator), see docs/custom_layers.md",
        )


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


def _doubts(loaded: Loaded, request: BuildRequest, model: Any) -> list[str]:
    """What builds but may not run everywhere."""
    from trtconv.engines.run import proof

    narrow = proof.holds(model, "float8e4m3fn", "int4")
    if loaded.can.targets and not request.targets and narrow:
        return [
            f"{loaded.title} marks this engine as fit for compute capability 8.0, but its 8- or 4-bit types need "
            "8.9; name the GPUs that you want in build.targets"
        ]
    return []


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
    shapes: Sequence[Mapping[str, ShapeRange]],
    result: BuildResult,
    operators: Sequence[Operator],
    seconds: float,
    plugins: Sequence[Mapping[str, Any]],
) -> None:
    from trtconv import __version__
    from trtconv.adapters import cuda_driver
    from trtconv.core import digests
    from trtconv.engines.plan import header, sidecar
    from trtconv.engines.run import proof

    gpus = cuda_driver.gpus()
    ranges = sidecar.profile_facts(tuple(shapes))
    first = ranges[0] if ranges else {}
    values = sidecar.profile_facts(request.values)
    deciding = values[0] if values else {}
    sidecar.write(
        request.engine,
        {
            "trtconv": __version__,
            "engine": {"file": request.engine.name, "size": result.size, "sha256": digests.of_file(request.engine)},
            "model": {
                "file": os.path.relpath(request.model, request.engine.parent),
                "sha256": digests.of_file(request.model),
            },
            "flavor": result.flavor,
            "version": result.version,
            "targets": header.read(request.engine).targets,
            "gpu": None if loaded.can.targets or not gpus else {"name": gpus[0].name, "capability": gpus[0].capability},
            "precision": {
                "name": request.precision,
                "tf32": request.precision == "tf32",
                "weighted": proof.weighted_types(operators),
                "proof": asdict(result.proof),
            },
            "workspace": request.workspace,
            "hardware": request.hardware,
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
            "provenance": dict(request.provenance),
            "seconds": round(seconds, 3),
        },
    )


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    shape: list[Dim] = list(tensor.shape)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape}
