"""What would fall back in the engines of a job, as far as the models that there are tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv import sources
from trtconv.core.errors import TrtconvError
from trtconv.core.records import TYPED
from trtconv.job.schema import Job
from trtconv.pipeline import sections
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.matrix import Cell, cells
from trtconv.pipeline.plan import Forecast as Step

if TYPE_CHECKING:
    from trtconv.stages.build.forecast import Forecast


@dataclass(frozen=True)
class Outlook:
    """One engine of a job.

    Attributes:
        label: of the engine.
        model: that was looked at; None: there is none yet.
        typed: whether that is the very model that would be built.
        found: what would fall back; None where that cannot be said.
        why_not: why.
    """

    label: str
    model: Path | None
    typed: bool
    found: Forecast | None = None
    why_not: str = ""


def outlook(job: Job, layout: Layout, rows: Sequence[Step], *, allow_code: bool = False) -> list[Outlook]:
    """Every engine that may become parts; none of a job without fallback.

    Args:
        job: any.
        layout: of its files.
        rows: what would run.
        allow_code: whether plugins may be loaded, to ask what TensorRT takes with them.
    """
    fresh = {row.name for row in rows if not row.will_run}
    return [
        _one(cell, layout, fresh, allow_code=allow_code) for cell in cells(job) if cell.job.build.fallback != "none"
    ]


def _one(cell: Cell, layout: Layout, fresh: set[str], *, allow_code: bool) -> Outlook:
    models = dict(_models(cell, layout, fresh))
    if not models:
        why = "there is no ONNX model yet: trtconv convert makes it, and then check can say"
        return Outlook(cell.label, None, typed=False, why_not=why)
    model, typed = next(iter(models.items()))
    try:
        return Outlook(cell.label, model, typed, _forecast(cell, model, allow_code=allow_code))
    except TrtconvError as problem:
        return Outlook(cell.label, model, typed, why_not=problem.message)


def _models(cell: Cell, layout: Layout, fresh: set[str]) -> Iterator[tuple[Path, bool]]:
    """Models that tell, and whether each is the one that would be built; the best one first."""
    typed = layout.typed(cell.precision)
    if typed.is_file() and not fresh.isdisjoint((f"lower[{cell.precision}]", "compose")):
        yield typed, True
    if layout.onnx.is_file() and "convert" in fresh:
        yield layout.onnx, False
    source = cell.job.source
    if source.format in ("auto", "onnx") and sources.detect(source.path).is_onnx and source.path.is_file():
        yield source.path, cell.precision == TYPED


def _forecast(cell: Cell, model: Path, *, allow_code: bool) -> Forecast:
    from trtconv.graph import model_io
    from trtconv.stages.build.forecast import forecast
    from trtconv.stages.build.records import BuildRequest

    section, interface = cell.job.build, model_io.interface(model_io.load(model, weights=False))[0]
    return forecast(
        BuildRequest(
            model=model,
            engine=model.with_suffix(".parts"),
            precision=cell.precision,
            backend=section.backend,
            profiles=sections.ranges(cell.profiles(interface), interface),
            values=sections.values(cell.job),
            fallback=section.fallback,
            min_subgraph_size=section.min_subgraph_size,
            cuts=tuple(section.partition.cuts),
            bounds=sections.bounds(section.partition),
            plugins=sections.plugins(cell.job),
            allow_code=allow_code,
        )
    )
