"""The steps that measure the source's own framework: one for each precision, beside its engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trtconv import sources
from trtconv.core.errors import UsageError
from trtconv.core.records import SourceSpec
from trtconv.pipeline import sections
from trtconv.pipeline.matrix import Cell
from trtconv.pipeline.steps import History, Node
from trtconv.sources.format import Format

if TYPE_CHECKING:
    from trtconv.stages.bench.framework_records import FrameworkRequest


def nodes(cells: Sequence[Cell], source: SourceSpec, found: Format, versions: Mapping[str, str]) -> list[Node]:
    """One step per precision for what ``bench.against`` says of the source itself.

    Raises:
        UsageError: it names what the source is not of.
    """
    names = [name for name in cells[0].job.bench.against if name in sources.RIVALS] if cells[0].job.bench else []
    for name in names:
        if name not in found.rivals:
            raise UsageError(
                f"bench.against: {name} runs the source itself, and {source.path} is {found.title}",
                hint=f"leave it out, or compare with a function of yours: {name.partition('-')[0]}:module:function",
            )
    if not names:
        return []
    precisions = dict.fromkeys(cell.precision for cell in cells)
    return [
        _node([cell for cell in cells if cell.precision == one], names, source, found, versions) for one in precisions
    ]


def _node(
    cells: Sequence[Cell], names: Sequence[str], source: SourceSpec, found: Format, versions: Mapping[str, str]
) -> Node:
    job, precision = cells[0].job, cells[0].precision
    section = job.bench
    assert section is not None
    owners = {batch: cell for cell in reversed(cells) if cell.job.bench for batch in cell.job.bench.batch}
    sizes = sorted(owners)

    def request(history: History) -> FrameworkRequest:
        from trtconv.stages.bench.framework_records import FrameworkRequest

        interface = history.results["convert"].inputs
        return FrameworkRequest(
            source=source,
            precision=precision,
            names=tuple(names),
            inputs=interface,
            profiles={batch: sections.ranges(cell.profiles(interface), interface) for batch, cell in owners.items()},
            first=tuple(spec.name for spec in sections.inputs(job) if spec.layout == "nchw"),
            device=section.against_device,
            bench=sections.bench(section.replaced(batch=sizes), source.path, None, allow_code=source.allow_code),
        )

    own = {"source": source.path} if source.path.exists() else {}
    weights = {} if source.weights is None else {"weights": source.weights}
    data = {} if section.data is None else sections.files(section.data)
    return Node(
        f"framework[{precision}]",
        "framework",
        request,
        (),
        precision,
        needs=("convert",),
        packages=found.packages,
        inputs={**own, **weights, **sources.beside(source.path, found), **data},
        options={
            **sections.options(job.source),
            **({} if own else {"function": source.path.name}),
            "shapes": sections.shapes(job),
            "bench": sections.options(section),
            "batches": sizes,
            "names": list(names),
            "allow_code": source.allow_code,
        },
        versions=versions,
    )
