"""What a job exports, from the job and from what its steps found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core import writable
from trtconv.core.errors import UsageError
from trtconv.core.records import TYPED
from trtconv.job.schema import Job
from trtconv.job.schema_export import Triton
from trtconv.pipeline import sections
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.matrix import Cell, cells

if TYPE_CHECKING:
    from trtconv.pipeline.run import Step
    from trtconv.stages.export import ExportRequest, Served


FUNCTION = "trtconv.stages.export.triton:export"
"""What does it, of type (request, emit)."""


def request(job: Job, layout: Layout, steps: Sequence[Step], asked: Triton) -> ExportRequest:
    """The request for a job's Triton repository.

    Args:
        job: the whole.
        layout: of its files.
        steps: as they ended; measurements tell how many instances are best.
        asked: the section.

    Raises:
        UsageError: several engines would be one model.
    """
    from trtconv.stages.export import ExportRequest

    data = next((section.data for section in (job.infer, job.verify) if section is not None), None)
    feed = None if data is None else replace(sections.feed(data), labels="")
    return ExportRequest(
        repository=asked.repository,
        name=_start(job, asked),
        models=tuple(_models(job, layout, steps, asked)),
        runtime=asked.runtime,
        delay=asked.queue_delay,
        data=feed if asked.warmup else None,
        preprocess=() if data is None else tuple(data.preprocess),
        postprocess=() if job.infer is None else tuple(job.infer.postprocess),
        ensemble=asked.ensemble,
        link=asked.link,
    )


def models(job: Job) -> list[str]:
    """Names of the networks that a job exports.

    Raises:
        UsageError: several engines would be one model.
    """
    assert job.export is not None
    return ["_".join(filter(None, [_start(job, job.export.triton), label])) for label in _grouped(job)]


def require(job: Job) -> None:
    """Refuse before anything runs what could not be exported in the end.

    Raises:
        UsageError: several engines would be one model, or something else is where the repository shall be.
        EnvironmentProblem: nothing may be written there.
    """
    assert job.export is not None
    models(job)
    writable.require_folder(job.export.triton.repository, writable=True)


def _start(job: Job, asked: Triton) -> str:
    return asked.name or model_name(job.name)


def model_name(text: str) -> str:
    """A name that a model of Triton may have: of letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^\w-]+", "_", text)


def _grouped(job: Job) -> dict[str, dict[str, Cell]]:
    """The engines of each model, by the GPU that they are for; a model for each precision, batch and profile."""
    found: dict[str, dict[str, Cell]] = {}
    for cell in cells(job):
        target = _target(cell)
        label = model_name(cell.label.removesuffix(f"-{target}") if target else cell.label).replace("-", "_")
        known = found.setdefault(label, {})
        if target in known or (known and "" in (target, *known)):
            raise UsageError(
                f"two engines would be the model {label!r} of Triton", hint="give each a target, or a job of its own"
            )
        known[target] = cell
    return found


def _models(job: Job, layout: Layout, steps: Sequence[Step], asked: Triton) -> Iterator[Served]:
    from trtconv.stages.export import Served

    for label, engines in _grouped(job).items():
        first = next(iter(engines.values()))
        tuned = [_tuned(cell, steps) for cell in engines.values()]
        yield Served(
            label=label,
            engines={target: _engine(cell, layout) for target, cell in engines.items()},
            typed=job.source.path if first.precision == TYPED else layout.typed(first.precision),
            instances=asked.instances or min(contexts for contexts, _ in tuned),
            graphs=all(graphs for _, graphs in tuned) if asked.cuda_graphs is None else asked.cuda_graphs,
        )


def _target(cell: Cell) -> str:
    """The GPU that an axis of the matrix builds this engine for; empty: none does."""
    targets = cell.job.build.targets
    return targets[0] if len(targets) == 1 and cell.label.endswith(f"-{targets[0]}") else ""


def _engine(cell: Cell, layout: Layout) -> Path:
    return layout.parts(cell.label) if cell.job.build.fallback != "none" else layout.engine(cell.label)


def _tuned(cell: Cell, steps: Sequence[Step]) -> tuple[int, bool]:
    """Contexts, and whether graphs, that ``bench`` with ``tune`` found best for the largest batch."""
    for step in steps:
        measured = step.node.stage == "bench" and step.node.precision == cell.label and step.result is not None
        if measured and step.result.tuned:
            best = max(step.result.measurements, key=lambda one: one.throughput)
            return best.streams, best.cuda_graph
    return 1, False
