"""What ``check`` can know of a job's samples: whether they suit rows and inputs, and what becomes of a first one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.errors import UsageError
from trtconv.core.records import TensorInfo
from trtconv.job.schema import Data, Job
from trtconv.pipeline import sections

if TYPE_CHECKING:
    from trtconv.data.sample_trace import Traced


def samples_of(job: Job) -> Iterator[tuple[str, Data]]:
    """Where the samples of each section come from."""
    parts = {"calibrate": job.calibrate, "verify": job.verify, "infer": job.infer, "bench": job.bench}
    for name, section in parts.items():
        if section is not None and section.data is not None:
            yield name, section.data


def require(
    job: Job, inputs: Sequence[TensorInfo], stages: Collection[str], outputs: Collection[str] = ()
) -> list[str]:
    """Refuse samples that the model does not take, or labels that are not theirs; what would be left out.

    Args:
        job: any.
        inputs: of its ONNX model.
        stages: whose samples are meant.
        outputs: of the model, by name: infer takes the axes of theirs, too.

    Raises:
        UsageError: naming the section.
    """
    left_out: list[str] = []
    for name, data in samples_of(job):
        if name not in stages:
            continue
        from trtconv.data import sample_trace  # NumPy is not loaded for other jobs

        try:
            strict = name != "infer" or job.infer is None or job.infer.strict
            least = max(job.bench.batch) if name == "bench" and job.bench is not None else 1
            spec = sections.feed(data)
            if name != "calibrate" and (values := sections.values(job)):
                from trtconv.engines.build import profiles

                spec = replace(spec, values={**profiles.optimum(values), **spec.values})
            if name == "infer":
                axes = {key: axis for key, axis in spec.batch_axes.items() if key not in outputs}
                spec = replace(spec, batch_axes=axes)
            left_out += sample_trace.fits(spec, inputs, strict=strict, least=least)
        except UsageError as error:
            raise UsageError(f"{name}.data: {error.message}", hint=error.hint) from None
    return [f"would be left out: {problem}" for problem in left_out]


def traces(job: Job) -> list[tuple[str, Path, list[Traced]]]:
    """Per section with preprocessing, its first sample and that after each row; equal ones once.

    Raises:
        UsageError: it does not suit a row; naming the section.
    """
    found: dict[str, tuple[str, Path, list[Traced]]] = {}
    for name, data in samples_of(job):
        if not data.preprocess:
            continue
        from trtconv.data.sample_trace import trace

        try:
            path, rows = trace(sections.feed(data))
        except UsageError as error:
            raise UsageError(f"{name}.data: {error.message}", hint=error.hint) from None
        found.setdefault(repr((path, rows)), (name, path, rows))
    return list(found.values())
