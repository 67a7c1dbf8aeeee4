"""From a job to the steps of its line. Pure: looks at no file but the source's first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv import sources
from trtconv.core import external
from trtconv.core.errors import UsageError
from trtconv.core.records import TYPED, FeedSpec, SourceSpec
from trtconv.graph.contrib import MICROSOFT
from trtconv.job.schema import Job
from trtconv.pipeline import capability_check, sections, user_code
from trtconv.pipeline.engine_steps import EngineSteps
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.matrix import cells
from trtconv.pipeline.steps import History, Node
from trtconv.sources.format import Format

if TYPE_CHECKING:  # a stage is loaded when one of its steps is about to run
    from trtconv.stages.calibrate import CalibrateRequest
    from trtconv.stages.convert import ConvertRequest
    from trtconv.stages.freeze import FreezeRequest
    from trtconv.stages.lower import LowerRequest
    from trtconv.stages.reference import ReferenceRequest


def line(job: Job, layout: Layout, *, allow_code: bool = False) -> list[Node]:
    """All steps of a job in an order that respects their needs.

    Raises:
        SourceError: the source is of no known kind.
        UsageError: the job asks for a combination that cannot be, or for what its targets cannot do.
        EnvironmentProblem: it asks for what the TensorRT installed here cannot do, or for an interpreter that is
            missing or lacks the source's framework.
    """
    found = sources.row(job.source.format) if job.source.format != "auto" else sources.detect(job.source.path)
    source = sections.source(job, found, allow_code=allow_code)
    all_cells = cells(job)
    capability_check.require(all_cells)
    model = job.source.path if found.is_onnx else None
    capability_check.require_int8_conv(job, model)
    capability_check.require_products(all_cells, model)
    capability_check.require_gates(job.gates, all_cells)
    capability_check.require_batches(all_cells, model)
    typed = any(cell.precision == TYPED for cell in all_cells)
    if typed and not found.is_onnx:
        raise UsageError(
            f"precision typed builds an ONNX file as it is, but {job.source.path} is {found.name}",
            hint="name a precision, such as fp16",
        )
    shared = _SharedSteps(job, layout, source, found, found.versions(source))
    composes = typed and shared.composes()
    steps = ([shared.compose()] if composes else []) if typed else shared.to_onnx()
    missing = "" if found.is_onnx else found.without_reference(source)
    reference = not found.is_onnx and not missing and job.verify is not None
    steps += [shared.reference()] if reference else []
    steps += [] if typed else [shared.lower(p) for p in dict.fromkeys(cell.precision for cell in all_cells)]
    for cell in all_cells:
        steps += EngineSteps(
            cell=cell,
            layout=layout,
            source=source,
            typed=typed,
            composed=composes,
            has_reference=reference,
            missing=missing,
        ).nodes()
    if job.bench is not None and job.bench.against:
        from trtconv.pipeline import framework_steps

        steps += framework_steps.nodes(all_cells, source, found, shared.versions)
    return _together(steps)


def _together(steps: list[Node]) -> list[Node]:
    """Each lower step goes right before the first step that needs it: people read a line per precision."""
    lowers = {node.name: node for node in steps if node.stage == "lower"}
    ordered: list[Node] = []
    for node in steps:
        if node.stage != "lower":
            ordered += [lowers.pop(need) for need in node.needs if need in lowers]
            ordered.append(node)
    return ordered


@dataclass(frozen=True)
class _SharedSteps:
    """The steps that all engines of a job share, and one lowering per precision.

    Attributes:
        job: the whole.
        layout: of its files.
        source: its model.
        format: of that.
        versions: of the interpreter that has the source's framework; empty: trtconv's own.
    """

    job: Job
    layout: Layout
    source: SourceSpec
    format: Format
    versions: Mapping[str, str]

    @property
    def told_by_build(self) -> bool:
        """Whether only the build can say what TensorRT takes, or what it refuses runs elsewhere."""
        return bool(self.job.plugins) or self.job.build.fallback != "none"

    def to_onnx(self) -> list[Node]:
        calibration = self.job.calibrate
        steps = [self.freeze()] if self.freezes else []
        steps.append(self.convert())
        return steps + ([self.calibrate()] if calibration and calibration.cache is None else [])

    @property
    def freezes(self) -> bool:
        return self.format.frozen_first

    @property
    def converts(self) -> Format:
        """What the model is when it becomes ONNX."""
        return sources.row(self.format.frozen_as) if self.freezes else self.format

    @property
    def files(self) -> dict[str, Path]:
        """The source's own file or folder, its weights, and what lies beside it."""
        weights = {} if self.source.weights is None else {"weights": self.source.weights}
        own = {"source": self.source.path} if self.source.path.exists() else {}
        return {**own, **weights, **sources.beside(self.source.path, self.format)}

    @property
    def named(self) -> dict[str, str]:
        """The function that makes the source, where that is no file of its own."""
        return {} if self.source.path.exists() else {"function": self.source.path.name}

    def freeze(self) -> Node:
        frozen, outputs, sample = self.layout.frozen, sections.outputs(self.job), self.job.convert.check

        def request(_: History) -> FreezeRequest:
            from trtconv.stages.freeze import FreezeRequest

            return FreezeRequest(
                source=self.source,
                frozen=frozen,
                inputs=sections.inputs(self.job),
                outputs=outputs,
                sample=sample,
                seconds=2 * self.job.convert.check_seconds,
            )

        return Node(
            "freeze",
            "freeze",
            request,
            tuple(frozen.with_name(frozen.name + ending) for ending in ("", *self.converts.companions)),
            inputs=self.files,
            packages=self.format.packages,
            options={
                **sections.options(self.job.source),
                "shapes": sections.shapes(self.job),
                "outputs": list(outputs),
                "sample": sample,
                "allow_code": self.source.allow_code,
            },
            versions=self.versions,
        )

    def convert(self) -> Node:
        section = self.job.convert
        source = self.source
        if self.freezes:  # it is cut and its constants are set already
            source = SourceSpec(
                self.layout.frozen,
                self.converts.name,
                channels_first=self.source.channels_first,
                python=self.source.python,
            )

        def request(_: History) -> ConvertRequest:
            from trtconv.stages.convert import ConvertRequest

            return ConvertRequest(
                source=source,
                model=self.layout.onnx,
                inputs=sections.inputs(self.job),
                outputs=sections.outputs(self.job),
                opset=section.opset,
                clean=section.clean,
                passes=tuple(section.skip),
                check=section.check,
                check_data=section.check_data,
                check_seconds=section.check_seconds,
                tolerance=section.tolerance,
                support=section.support and not self.told_by_build,
                origin=self.source.path,
                passing=self.layout.passing and "onnx" not in self.layout.fixed,
            )

        return Node(
            "convert",
            "convert",
            request,
            (self.layout.onnx,),
            needs=("freeze",) if self.freezes else (),
            packages=self.converts.packages,
            inputs={
                **({} if self.freezes else self.files),
                **({} if section.check_data is None else {"check_data": section.check_data}),
                **sections.operator_files(self.job),
            },
            options={
                **sections.options(section),
                **self.named,
                **sections.operator_options(self.job),
                "source": sections.options(self.job.source),
                "shapes": sections.shapes(self.job),
            },
            versions=self.versions,
        )

    def composes(self) -> bool:
        """Whether a typed model has operators that are not ONNX's and may be written with those that are."""
        path = self.source.path
        file = next(path.glob("*.onnx"), path) if path.is_dir() else path
        return bool(self.job.operators) or MICROSOFT in external.domains(file)

    def compose(self) -> Node:
        """A typed model with ONNX's own operators in the place of others."""
        from trtconv.stages.compose import ComposeRequest

        typed = self.layout.typed(TYPED)
        request = ComposeRequest(self.source.path, typed, self.source.operators)
        return Node(
            "compose",
            "compose",
            lambda _: request,
            (typed,),
            packages=self.format.packages,
            inputs={**self.files, **sections.operator_files(self.job)},
            options=sections.operator_options(self.job),
        )

    def calibrate(self) -> Node:
        section, cache = self.job.calibrate, self.layout.cache
        assert section is not None
        feed = FeedSpec(call=section.call, allow_code=self.source.allow_code)
        if section.data is not None:
            feed = sections.feed(section.data)

        def request(_: History) -> CalibrateRequest:
            from trtconv.stages.calibrate import CalibrateRequest

            return CalibrateRequest(
                model=self.layout.onnx,
                data=feed,
                cache=cache,
                method=section.method,
                batch=section.batch,
                seed=section.seed,
            )

        return Node(
            "calibrate",
            "calibrate",
            request,
            (cache, cache.with_name(cache.name + ".json")),
            needs=("convert",),
            inputs=user_code.files([section.call]) if section.data is None else sections.files(section.data),
            options=sections.options(section),
        )

    def reference(self) -> Node:
        section, output = self.job.verify, self.layout.reference
        assert section is not None
        wanted = sections.outputs(self.job)
        first = tuple(spec.name for spec in sections.inputs(self.job) if spec.layout == "nchw")

        def request(_: History) -> ReferenceRequest:
            from trtconv.stages.reference import ReferenceRequest

            return ReferenceRequest(
                source=self.source,
                data=sections.feed(section.data),
                output=output,
                outputs=wanted,
                batch=section.batch,
                first=first,
            )

        return Node(
            "reference",
            "reference",
            request,
            (output,),
            inputs={**self.files, **sections.files(section.data)},
            packages=self.format.packages,
            options={
                **sections.options(self.job.source),
                "data": sections.options(section.data),
                "outputs": list(wanted),
                **self.named,
                **({"shapes": sections.shapes(self.job)} if self.source.inputs else {}),
                "allow_code": self.source.allow_code,
            },
            versions=self.versions,
        )

    def lower(self, precision: str) -> Node:
        section, typed = self.job.lower, self.layout.typed(precision)
        given, cache = self._cache(precision)

        def request(history: History) -> LowerRequest:
            from trtconv.core.files import data_of
            from trtconv.stages.lower import LowerRequest

            alone = not data_of(self.layout.onnx).exists()
            return LowerRequest(
                model=self.layout.onnx,
                sha256=history.digests.get(self.layout.onnx, "") if alone else "",
                typed=typed,
                precision=precision,
                cache=cache,
                base=section.base,
                keep=sections.keep(section.keep),
                exclude=sections.keep(section.exclude),
                io_types=section.io_types,
                coverage=self.job.calibrate.coverage if self.job.calibrate else 1.0,
            )

        return Node(
            f"lower[{precision}]",
            "lower",
            request,
            (typed,),
            precision,
            ("convert", "calibrate") if cache is not None and given is None else ("convert",),
            _cache_files(given),
            {
                **sections.options(section),
                "precision": precision,
                "coverage": self.job.calibrate.coverage if self.job.calibrate else 1.0,
            },
        )

    def _cache(self, precision: str) -> tuple[Path | None, Path | None]:
        """(the cache that the user gave, the cache to use) for a precision."""
        calibration = self.job.calibrate
        if calibration is None or precision in ("fp32", "tf32"):
            return None, None
        return calibration.cache, calibration.cache or self.layout.cache


def _cache_files(given: Path | None) -> dict[str, Path]:
    """A cache that the user gave, and the facts beside it, which lower reads too."""
    if given is None:
        return {}
    facts = given.with_name(given.name + ".json")
    return {"cache": given, **({"facts": facts} if facts.exists() else {})}


_WITH = {"bench": ("framework",)}
"""Stages that belong to another one."""


def upto(steps: list[Node], stage: str) -> list[Node]:
    """The steps of one stage and everything they need.

    Raises:
        UsageError: the job has no such step.
    """
    by_name = {node.name: node for node in steps}
    wanted: set[str] = set()
    queue = [node.name for node in steps if node.stage in (stage, *_WITH.get(stage, ()))]
    if not queue:
        raise UsageError(f"this job has no {stage} step", hint=_how_to_get(stage))
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += by_name[name].needs
    return [node for node in steps if node.name in wanted]


def _how_to_get(stage: str) -> str:
    if stage in ("calibrate", "verify", "infer", "bench"):
        return f"add a {stage}: section to the job file"
    return "its source needs none; see trtconv check JOB for the steps it has"
