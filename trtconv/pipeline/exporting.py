"""What a job exports, from the job and from what its steps found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.errors import UsageError
from trtconv.core.records import TYPED
from trtconv.job.schema import Job
from trtconv.job.schema_export import Triton
from trtconv.pipeline import sections
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.matrix import Cell, cells
from trtconv.pipeline.run import Step

if TYPE_CHECKING:
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
        name=asked.name or job.name,
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
    """Names of the networks that a job exports, for those who only want to know."""
    assert job.export is not None
    start = job.export.triton.name or job.name
    return list(dict.fromkeys("_".join(filter(None, [start, _label(cell)])) for cell in cells(job)))


def _models(job: Job, layout: Layout, steps: Sequence[Step], asked: Triton) -> list[Served]:
    """One model for all targets of a precision, batch and profile."""
    from trtconv.stages.export import Served

    found: dict[str, Served] = {}
    for cell in cells(job):
        label, target, tuned = _label(cell), _target(cell), _tuned(cell, steps)
        known = found.get(label)
        if known is not None and (target in known.engines or "" in (target, *known.engines)):
            raise UsageError(
                f"two engines would be the model {label!r} of Triton", hint="give each a target, or a job of its own"
            )
        typed = job.source.path if cell.precision == TYPED else layout.typed(cell.precision)
        made = Served(
            label=label,
            engines={**(known.engines if known else {}), target: _engine(cell, layout)},
            typed=typed,
            instances=asked.instances or tuned[0],
            graphs=tuned[1] if asked.cuda_graphs is None else asked.cuda_graphs,
        )
        found[label] = made if known is None else replace(made, instances=min(known.instances, made.instances))
    return list(found.values())


def _target(cell: Cell) -> str:
    """The one GPU that an axis of the matrix builds this engine for."""
    targets = cell.job.build.targets
    return targets[0] if cell.label.endswith(f"-{''.join(targets[:1])}") and len(targets) == 1 else ""


def _label(cell: Cell) -> str:
    target = _target(cell)
    return (cell.label.removesuffix(f"-{target}") if target else cell.label).replace("-", "_")


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
