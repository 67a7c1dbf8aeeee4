"""What the steps that are about to run would refuse, found before the first of them: by ``check`` and by ``run`` alike.

As far as the files are there: of an ONNX source the inputs and outputs are known, of other sources only what the job,
this machine and the files beside them say.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from trtconv import sources
from trtconv.core import errors
from trtconv.core.errors import EnvironmentProblem, SourceError, UsageError
from trtconv.core.records import PLAIN, TensorInfo
from trtconv.job.schema import Job
from trtconv.pipeline import model_inputs, sections
from trtconv.pipeline.matrix import cells

_COMMON = frozenset({"sm75", "sm80", "sm86", "sm89", "sm120"})
"""Targets that every TensorRT-RTX has: its package is not loaded for them."""

_LARGEST = 1 << 22  # values of outputs that postprocessing is tried on


def require(job: Job, stages: Collection[str], *, here: bool = True) -> list[str]:
    """Refuse what some stages would refuse.

    Args:
        job: any.
        stages: that are about to run.
        here: whether all of them run on this machine.

    Returns:
        Samples that would be left out.

    Raises:
        TrtconvError: what the stage would raise.
    """
    if here:
        _machine(job, stages)
    _files(job, stages)
    if not stages or not _is_onnx(job) or job.source.register_input:
        return []
    if not _asks_of_model(job, stages):
        return _samples(job, model_inputs.of(job.source.path), stages)
    with errors.about(job.source.path):
        inputs, outputs = _interface(job)
    if "build" in stages:
        _profiles(job, inputs)
    if "infer" in stages:
        _postprocessing(job, outputs)
    names = [info.name for info in outputs]
    return _samples(job, inputs, stages, names) if not job.convert.outputs else []


def _samples(
    job: Job, inputs: Sequence[TensorInfo], stages: Collection[str], outputs: Collection[str] = ()
) -> list[str]:
    from trtconv.pipeline import sample_check

    return sample_check.require(job, inputs, stages, outputs)


def _asks_of_model(job: Job, stages: Collection[str]) -> bool:
    """Whether more than the inputs as they are is asked of the model: the onnx package is loaded for that only."""
    infer = job.infer if "infer" in stages else None
    results = infer is not None and (infer.postprocess or infer.format == "npy" or infer.data.batch_axis)
    return bool(stages and (job.inputs or sections.outputs(job) or results))


def _is_onnx(job: Job) -> bool:
    """Whether the source is an ONNX model as it is.

    Raises:
        SourceError: it is one and named something else, or the other way round.
    """
    source = job.source
    if source.format not in ("auto", "onnx") and not source.path.is_file():
        return False
    try:
        found = sources.detect(source.path)
    except SourceError:
        if source.format in ("auto", "onnx"):
            raise
        return False  # its own wing may know more
    if source.format != "auto" and found.is_onnx != (source.format == "onnx"):
        raise SourceError(
            f"{source.path}: not {source.format}; it looks like {found.title}", hint="leave source.format out"
        )
    return found.is_onnx


def _machine(job: Job, stages: Collection[str]) -> None:
    """Builders and GPUs that this machine lacks, and choices that its builder does not have."""
    build = job.build
    asked = build.backend != "auto" or not _COMMON.issuperset(build.targets) or _chosen(build)
    if "build" in stages and asked:
        from trtconv.adapters import tensorrt
        from trtconv.engines.build import choices

        choices.require(
            tensorrt.choose(build.backend),
            build.targets,
            build.optimization_level,
            build.hardware_compatibility,
            sections.features(build),
        )
    _gpus(job, stages)


def _gpus(job: Job, stages: Collection[str]) -> None:
    bench, parts = job.bench, job.build.fallback != "none"
    backends = {
        stage: section.backend
        for stage, section in (("infer", job.infer), ("bench", bench))
        if section is not None and stage in stages
    }
    tunes = bench is not None and "bench" in stages and (bench.tune or _of_energy(job))
    if not tunes and not {"tensorrt", "rtx"}.intersection(backends.values()):
        return
    from trtconv.adapters import cuda_driver, tensorrt

    for stage, backend in backends.items():
        if backend in tensorrt.FLAVORS and not parts and not cuda_driver.gpus():
            raise EnvironmentProblem(
                f"{stage}.backend: {backend} cannot run here: {cuda_driver.problem()}",
                hint=f"run it on a machine with a GPU, or write {stage}: {{backend: auto}}",
            )
    if bench is None or not tunes or cuda_driver.gpus():
        return
    for wanted, what in ((bench.tune, "bench.tune"), (_of_energy(job), "the gate on energy")):
        if wanted:
            raise EnvironmentProblem(f"{what} needs a GPU, and {cuda_driver.problem()}", hint="leave it out here")


def _chosen(build: Any) -> bool:
    other = build.optimization_level is not None or build.hardware_compatibility != "none"
    return other or sections.features(build) != PLAIN


def _of_energy(job: Job) -> bool:
    return any(gate.measure == "energy" for gate in job.gates)


def _files(job: Job, stages: Collection[str]) -> None:
    """Caches and baselines that are none."""
    if "lower" in stages and job.calibrate is not None and job.calibrate.cache is not None:
        from trtconv.calibration import cache

        cache.read(job.calibrate.cache)
    if "bench" in stages:
        for gate in job.gates:
            if gate.baseline is not None:
                from trtconv.pipeline import baseline

                baseline.read(gate.baseline)


def _interface(job: Job) -> tuple[list[TensorInfo], tuple[TensorInfo, ...]]:
    """Inputs and outputs of the ONNX model that the job makes of its source.

    Raises:
        UsageError: inputs that the model does not have, or not in this form.
        SourceError: likewise of outputs.
    """
    from trtconv.graph import layout, model_io, reshape

    model = model_io.load(job.source.path, weights=False)
    before, asked = model_io.interface(model)[0], sections.inputs(job)
    layout.inputs_first(model, [spec.name for spec in asked if spec.layout == "nchw"])
    reshape.set_shapes(model, asked)
    reshape.keep_outputs(model, sections.outputs(job))
    inputs, outputs = model_io.interface(model)
    same = [info.shape[1:] for info in inputs] == [info.shape[1:] for info in before]
    return list(inputs), outputs if same else tuple(map(_unsized, outputs))


def _unsized(info: TensorInfo) -> TensorInfo:
    """An output whose sizes follow from shapes of inputs that are others now."""
    return replace(info, shape=tuple(f"{info.name}_{axis}" for axis in range(len(info.shape))))


def _profiles(job: Job, inputs: Sequence[TensorInfo]) -> None:
    """Profiles and values that are not the inputs'."""
    from trtconv.engines.build import profiles

    interface = tuple(inputs)
    for cell in cells(job):
        if ranges := sections.ranges(cell.profiles(interface), interface):
            profiles.complete(interface, ranges)
        profiles.check_values(interface, sections.values(cell.job))


def _postprocessing(job: Job, outputs: Sequence[TensorInfo]) -> None:
    """Rows tried on outputs of zeros, up to the first function of the user's."""
    import numpy as np

    from trtconv.data import postprocess

    assert job.infer is not None
    rows = job.infer.postprocess
    own = next((number for number, row in enumerate(rows) if "call" in row), len(rows))
    chain = postprocess.prepare(rows[:own], [info.name for info in outputs])
    shapes = {info.name: _sized(info) for info in outputs}
    if any(shape is None or math.prod(shape) > _LARGEST for shape in shapes.values()):
        return
    made = chain({name: np.zeros(shape, np.float32) for name, shape in shapes.items() if shape is not None})
    if job.infer.format == "npy" and own == len(rows) and len(made) > 1:
        raise UsageError(f".npy holds one array, and there are {', '.join(made)}", hint="write an .npz file")


def _sized(info: TensorInfo) -> tuple[int, ...] | None:
    """A shape of an output for two samples; None where another dimension is open."""
    first, *rest = info.shape or ("",)
    sizes = [dim for dim in rest if isinstance(dim, int) and dim > 0]
    if not info.shape or len(sizes) < len(rest):
        return None
    return (first if isinstance(first, int) and first > 0 else 2, *sizes)
