"""Sections of a job as the stages' values, and as the plain options of a key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.errors import UsageError
from trtconv.core.external import locations
from trtconv.core.records import (
    CutInput,
    Dla,
    Features,
    FeedSpec,
    InputSpec,
    KeepRules,
    Loading,
    PluginSpec,
    ShapeRange,
    SourceSpec,
    TensorInfo,
)
from trtconv.job.fields import KEEP
from trtconv.job.schema import Bench, Data, Infer, Job, Source
from trtconv.job.schema_build import Build
from trtconv.job.schema_inputs import Profile
from trtconv.job.schema_lower import Keep
from trtconv.job.schema_partition import Partition
from trtconv.job.section import Section
from trtconv.pipeline import user_code
from trtconv.sources import RIVALS, require_fitting
from trtconv.sources.format import Format

if TYPE_CHECKING:
    from trtconv.stages.bench.records import BenchRequest


def inputs(job: Job) -> tuple[InputSpec, ...]:
    """Shapes and layouts that the job asks for."""
    asked = {
        name: InputSpec(name, None if one.shape is None else tuple(one.shape), one.layout, one.dtype or "")
        for name, one in job.inputs.items()
    }
    for node in registered_first(job.source):
        asked[node] = replace(asked.get(node, InputSpec(node)), layout="nchw")
    return tuple(asked.values())


def registered_first(source: Source) -> list[str]:
    """Inputs that the UFF parser's rules make channels first: those with three dimensions besides the batch."""
    if source.input_order != "nchw":
        return []
    return [node.partition(":")[0] for node, dims in source.register_input.items() if dims and len(dims) == 3]


def source(job: Job, found: Format, *, allow_code: bool) -> SourceSpec:
    """The trained model, cut where the job says.

    Raises:
        UsageError: outputs named twice, or what means nothing for this kind of source.
    """
    section = job.source
    if section.register_output and job.convert.outputs:
        raise UsageError("source.register_output and convert.outputs both name outputs", hint="keep one of them")
    first = registered_first(section)

    def cut(node: str, dims: list[int] | None) -> CutInput:
        if dims is None:
            return CutInput(node)
        return CutInput(node, ("batch", *(dims[1:] + dims[:1] if node.partition(":")[0] in first else dims)))

    spec = SourceSpec(
        path=section.path,
        format=found.name,
        signature=section.signature,
        tags=tuple(section.tags),
        allow_code=allow_code,
        constants=tuple(section.constants.items()),
        cuts=tuple(cut(node, dims) for node, dims in section.register_input.items()),
        outputs=outputs(job),
        channels_first=bool(section.register_input or section.register_output) and section.input_order == "nchw",
        weights=section.weights,
        python=section.python,
        implicit_batch=None if section.implicit_batch == "auto" else bool(section.implicit_batch),
        arguments=tuple(section.arguments),
        api_version=section.api_version,
        inputs=inputs(job) if "inputs" in found.takes else (),
        operators=operators(job),
    )
    if "inputs" not in found.takes and (typed := [one.name for one in inputs(job) if one.dtype]):
        raise UsageError(
            f"inputs.{typed[0]}.dtype is for sources that do not say the types of their inputs, {found.name} says them",
            hint="leave it out",
        )
    require_fitting(spec, found)
    return spec


def operators(job: Job) -> tuple[tuple[str, Path | None], ...]:
    """Operators with the files that say what they compute, or None for those that stay."""
    return tuple((name, None if file == KEEP else Path(file)) for name, file in job.operators.items())


def operator_files(job: Job) -> dict[str, Path]:
    """Those files, and what lies beside them, by what they are called in a key."""
    found = {f"operator {name}": file for name, file in operators(job) if file is not None}
    outside = {f"{label} {name}": file.parent / name for label, file in found.items() for name in locations(file)}
    return {**found, **outside}


def operator_options(job: Job) -> dict[str, Any]:
    """What of the operators is no file; nothing in a job without them."""
    kept = sorted(name for name, file in operators(job) if file is None)
    return {"kept_operators": kept} if kept else {}


def plugins(job: Job) -> tuple[PluginSpec, ...]:
    """Plugins of TensorRT."""
    return tuple(PluginSpec(one.path, one.python, one.embed) for one in job.plugins)


def plugin_files(job: Job) -> dict[str, Path]:
    """Their libraries and modules, by what they are called in a key."""
    libraries = {f"plugin {one.path.name}": one.path for one in job.plugins if one.path is not None}
    return {**libraries, **user_code.files(one.python for one in job.plugins if one.python)}


def outputs(job: Job) -> tuple[str, ...]:
    """Outputs that the job names, in either way."""
    return tuple(job.convert.outputs or job.source.register_output)


def shapes(job: Job) -> dict[str, Any]:
    """Shapes and layouts as plain values."""
    return {s.name: [s.shape, s.layout, *([s.dtype] if s.dtype else [])] for s in inputs(job)}


def options(section: Section) -> dict[str, Any]:
    """A section without its paths: files enter a key by their contents, wherever they lie.

    Of samples the kind of file stays: the same bytes mean something else under another suffix.
    """
    kind = {"kind": section.path.suffix.lower()} if isinstance(section, Data) else {}
    return {**_without_paths(dict(section.items())), **kind}


def _without_paths(value: Any) -> Any:
    if isinstance(value, Section):
        return options(value)
    if isinstance(value, Mapping):
        return {key: _without_paths(part) for key, part in value.items() if not _is_path(key, part)}
    if isinstance(value, list):
        return [_without_paths(part) for part in value]
    return value


def _is_path(key: str, value: Any) -> bool:
    """Labels are a key of the samples, or the path of a file."""
    return isinstance(value, Path) or (key == "labels" and isinstance(value, str) and Path(value).is_absolute())


def plain(section: Section | None) -> dict[str, Any]:
    """A section as JSON-like values; empty for one that is not there."""
    return {} if section is None else section.plain()


def feed(data: Data) -> FeedSpec:
    """Samples."""
    spec = FeedSpec(data.path, data.labels, data.samples, tuple(data.preprocess))
    return replace(spec, batch_axes=dict(data.batch_axis))


def bench(section: Bench, model: Path, fallback: Path | None, *, allow_code: bool) -> BenchRequest:
    """What to measure, of one model; ways to run the source itself are another step's."""
    from trtconv.stages.bench.records import BenchRequest

    return BenchRequest(
        model=model,
        fallback=fallback,
        backend=section.backend,
        batches=tuple(section.batch),
        semantics=section.semantics,
        warmup=section.warmup,
        duration=section.duration,
        iterations=section.iterations,
        percentiles=tuple(section.percentiles),
        streams=section.streams,
        data=None if section.data is None else feed(section.data),
        device_api=section.device_api,
        rules={
            "transfers": section.transfers,
            "spin": section.spin,
            "graph": section.cuda_graph,
            "depth": section.depth,
        },
        repeats=section.repeats,
        rate=section.rate,
        layers=section.layers,
        tune=section.tune,
        max_latency=section.max_latency,
        against=tuple(name for name in section.against if name not in RIVALS),
        allow_code=allow_code,
        loading=loading(section),
    )


def files(data: Data) -> dict[str, Path]:
    """The files that samples come from."""
    return {"data": data.path, **({"labels": Path(data.labels)} if data.labels.endswith(".npy") else {})}


def features(section: Build) -> Features:
    """What an engine shall be able to do."""
    return Features(
        streaming=section.weight_streaming,
        refit=section.refit,
        stripped=section.strip_weights,
        lean=section.version_compatibility,
        dla=None if section.dla is None else Dla(section.dla.core, section.dla.gpu_fallback),
    )


def loading(section: Infer | Bench) -> Loading:
    """How an engine is loaded."""
    return Loading(section.weight_streaming_budget or "", section.lean_runtime)


def lean_runtime(section: Infer | Bench) -> dict[str, Path]:
    """The library that runs an engine for other versions of TensorRT."""
    return {} if section.lean_runtime is None else {"lean runtime": section.lean_runtime}


def keep(section: Keep) -> KeepRules:
    """Nodes to leave alone."""
    return KeepRules(tuple(section.ops), tuple(section.names), section.limit)


def ranges(
    wanted: Mapping[str, list[Profile]], interface: tuple[TensorInfo, ...]
) -> tuple[Mapping[str, ShapeRange], ...]:
    """Profiles with full shapes; a single number stands for every dynamic dimension.

    An input with one profile has it in all of them. A name that the model does not have stays: the build stage reports
    it with the names there are.
    """
    known = {tensor.name: tensor.shape for tensor in interface}
    count = max(map(len, wanted.values()), default=0)
    full = {name: [_range(each, known.get(name, ())) for each in profiles] for name, profiles in wanted.items()}
    return tuple({name: each[number % len(each)] for name, each in full.items()} for number in range(count))


def bounds(section: Partition) -> Mapping[str, ShapeRange]:
    """Ranges of the shapes of tensors whose size depends on data."""
    return {
        name: ShapeRange(tuple(span.min), tuple(span.opt), tuple(span.max)) for name, span in section.bounds.items()
    }


def values(job: Job) -> tuple[Mapping[str, ShapeRange], ...]:
    """Ranges of the values of inputs that decide shapes; an input with one range has it in all profiles."""
    wanted = {name: spec.values for name, spec in job.inputs.items() if spec.values}
    count = max(map(len, wanted.values()), default=0)
    chosen = ({name: each[number % len(each)] for name, each in wanted.items()} for number in range(count))
    return tuple({n: ShapeRange(tuple(v.min), tuple(v.opt), tuple(v.max)) for n, v in each.items()} for each in chosen)


def _range(profile: Profile, shape: tuple[int | str, ...]) -> ShapeRange:
    def full(bound: list[int]) -> tuple[int, ...]:
        if len(bound) > 1 or not shape:
            return tuple(bound)
        return tuple(dim if isinstance(dim, int) and dim > 0 else bound[0] for dim in shape)

    return ShapeRange(full(profile.min), full(profile.opt), full(profile.max))
