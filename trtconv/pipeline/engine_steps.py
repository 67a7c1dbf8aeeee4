"""The steps of one engine: build, and what the job asks of it then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv import sources
from trtconv.core.lazy import LaterMapping
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.job.schema import Verify
from trtconv.pipeline import model_inputs, sections, user_code
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.matrix import Cell
from trtconv.pipeline.steps import History, Node

if TYPE_CHECKING:  # a stage is loaded when one of its steps is about to run
    from trtconv.stages.bench.records import BenchRequest
    from trtconv.stages.build.records import BuildRequest
    from trtconv.stages.infer import InferRequest
    from trtconv.stages.verify.records import Bound, VerifyRequest

_FP32_LABEL, _TYPED_LABEL, _ENGINE_LABEL = "FP32 ONNX", "typed ONNX", "engine"


@dataclass(frozen=True)
class EngineSteps:
    """What to do for one cell.

    Attributes:
        cell: the engine.
        layout: of the job's files.
        source: of the model.
        typed: whether the source is typed ONNX, to be built as it is.
        composed: whether a step before replaces operators of that.
        has_reference: whether a step runs the source's own framework.
        missing: why none can, where that is so.
    """

    cell: Cell
    layout: Layout
    source: SourceSpec
    typed: bool
    has_reference: bool
    composed: bool = False
    missing: str = ""

    def nodes(self) -> list[Node]:
        """All steps of this engine, in order."""
        job = self.cell.job
        wanted = [self.build()]
        wanted += [self.verify()] if job.verify else []
        wanted += [self.infer()] if job.infer else []
        return wanted + ([self.bench()] if job.bench else [])

    @property
    def model(self) -> Path:
        """The typed ONNX."""
        return self.source.path if self.typed and not self.composed else self.layout.typed(self.cell.precision)

    @property
    def engine(self) -> Path:
        """The plan, or the folder of parts."""
        section = self.cell.job.build
        return self.layout.parts(self.cell.label) if section.fallback != "none" else self.layout.engine(self.cell.label)

    def node(self, stage: str, **parts: Any) -> Node:
        """A step of this engine; after the build, unless it says otherwise."""
        label, targets = self.cell.label, self.cell.job.build.targets
        target = targets[0] if len(targets) == 1 else ""
        needs = (f"build[{label}]",) if stage != "build" else ()
        return Node(
            f"{stage}[{label}]", stage, precision=label, target=target, **{"needs": needs, "outputs": (), **parts}
        )

    def build(self) -> Node:
        """Typed ONNX to the plan."""
        section, engine, cell = self.cell.job.build, self.engine, self.cell

        def request(history: History) -> BuildRequest:
            from trtconv.stages.build.records import BuildRequest

            interface = self.interface(history)
            return BuildRequest(
                model=self.model,
                engine=engine,
                precision=cell.precision,
                backend=section.backend,
                profiles=sections.ranges(cell.profiles(interface), interface),
                workspace=section.workspace,
                targets=tuple(section.targets),
                provenance={"job": sections.plain(cell.job), "digests": self.chain(history)},
                timing_cache=section.timing_cache,
                level=section.optimization_level,
                hardware=section.hardware_compatibility,
                verbosity=section.layer_details,
                features=sections.features(section),
                values=sections.values(cell.job),
                fallback=section.fallback,
                min_subgraph_size=section.min_subgraph_size,
                plugins=sections.plugins(cell.job),
                allow_code=self.source.allow_code,
                cuts=tuple(section.partition.cuts),
                bounds=sections.bounds(section.partition),
                epcontext=section.epcontext,
            )

        inputs = {name: sections.plain(spec) for name, spec in cell.job.inputs.items()}
        profiles = {name: spec["profile"] for name, spec in inputs.items()}
        return self.node(
            "build",
            request=request,
            outputs=(engine, *((section.epcontext,) if section.epcontext else ())),
            facts=(engine.with_name(engine.name + ".json"),) if section.fallback == "none" else (),
            needs=self.needed,
            inputs={**(self.files if self.typed and not self.composed else {}), **sections.plugin_files(cell.job)},
            options={
                **sections.options(section),
                "precision": cell.precision,
                "profiles": profiles if cell.profile is None else sections.plain(cell.profile),
                "values": {name: spec["values"] for name, spec in inputs.items() if spec["values"]},
                **({"plugins": [sections.options(one) for one in cell.job.plugins]} if cell.job.plugins else {}),
            },
        )

    @property
    def needed(self) -> tuple[str, ...]:
        """Steps that make the typed ONNX."""
        if self.typed:
            return ("compose",) if self.composed else ()
        return (f"lower[{self.cell.precision}]", "convert")

    @property
    def files(self) -> dict[str, Path]:
        """The typed ONNX model that the source is, and what lies beside it."""
        return {"model": self.source.path, **sources.beside(self.source.path, sources.of(self.source))}

    def chain(self, history: History) -> Mapping[str, str]:
        """SHA-256 of every link between the source and the engine; looked up once they are known."""
        if isinstance(history.digests, LaterMapping):
            return LaterMapping(lambda: self.chain(History(history.results, dict(history.digests))))
        calibration = self.cell.job.calibrate
        given = calibration.cache if calibration else None
        files = {
            "source": sources.file_of(self.source.path, sources.of(self.source)),
            "frozen": self.layout.frozen,
            "onnx": self.layout.onnx,
            "cache": given or self.layout.cache,
            "typed": self.model,
        }
        return {what: history.digests[path] for what, path in files.items() if path in history.digests}

    def interface(self, history: History) -> tuple[TensorInfo, ...]:
        """The model's inputs."""
        if "convert" in history.results:
            inputs: tuple[TensorInfo, ...] = history.results["convert"].inputs
            return inputs
        return model_inputs.of(self.source.path)  # an ad-hoc build of a typed file: nothing has read it yet

    def _reference_label(self, history: History) -> str:
        if self.has_reference:
            return str(history.results["reference"].framework)
        return f"{_FP32_LABEL}, not the source: {self.missing}" if self.missing else _FP32_LABEL

    def verify(self) -> Node:
        """The engine's forms against the source."""
        section, precision = self.cell.job.verify, self.cell.precision
        assert section is not None
        base = self.model if self.typed else self.layout.onnx
        limits = {
            _FP32_LABEL: _bound(section, "fp32"),
            _TYPED_LABEL: _bound(section, precision),
            _ENGINE_LABEL: _bound(section, precision, engine=True),
        }
        candidates = {_TYPED_LABEL: self.model, _ENGINE_LABEL: self.engine}

        def request(history: History) -> VerifyRequest:
            from trtconv.stages.verify.records import VerifyRequest

            return VerifyRequest(
                reference=self.layout.reference if self.has_reference else base,
                reference_label=self._reference_label(history),
                candidates={_FP32_LABEL: base, **candidates} if self.has_reference else candidates,
                data=sections.feed(section.data),
                batch=section.batch,
                bounds=limits,
                max_accuracy_drop=section.max_accuracy_drop,
                corners=section.shapes,
            )

        return self.node(
            "verify",
            request=request,
            needs=(f"build[{self.cell.label}]", *self.needed, *(("reference",) if self.has_reference else ())),
            inputs=sections.files(section.data),
            options={**sections.options(section), "limits": {label: str(bound) for label, bound in limits.items()}},
        )

    def infer(self) -> Node:
        """Samples through the engine."""
        section = self.cell.job.infer
        assert section is not None
        output = self.layout.results(self.cell.label, section.format)

        def request(_: History) -> InferRequest:
            from trtconv.stages.infer import InferRequest

            return InferRequest(
                model=self.engine,
                data=sections.feed(section.data),
                output=output,
                fallback=self.model,
                backend=section.backend,
                batch=section.batch,
                postprocess=tuple(section.postprocess),
                device_api=section.device_api,
                contexts=section.contexts,
                strict=section.strict,
                allow_code=self.source.allow_code,
                loading=sections.loading(section),
            )

        named = [
            options["labels"]
            for row in section.postprocess
            for options in row.values()
            if isinstance(options, dict) and options.get("labels")
        ]
        labels = {f"labels {number}": Path(file) for number, file in enumerate(named, 1)}
        called = [row["call"].get("function", "") for row in section.postprocess if isinstance(row.get("call"), dict)]
        return self.node(
            "infer",
            request=request,
            outputs=(output,),
            inputs={
                **sections.files(section.data),
                **labels,
                **user_code.files(called),
                **sections.lean_runtime(section),
            },
            options={**sections.options(section), "allow_code": self.source.allow_code},
        )

    def bench(self) -> Node:
        """Measurements of the engine."""
        section = self.cell.job.bench
        assert section is not None

        def request(_: History) -> BenchRequest:
            return sections.bench(section, self.engine, self.model, allow_code=self.source.allow_code)

        inputs = {} if section.data is None else sections.files(section.data)
        inputs |= user_code.files(name.partition(":")[2] for name in section.against) | sections.lean_runtime(section)
        return self.node("bench", request=request, inputs=inputs, options=sections.options(section))


def _bound(section: Verify, precision: str, *, engine: bool = False) -> Bound:
    """What the job says replaces the defaults; a gate on accuracy replaces the floors."""
    from trtconv.stages.verify import bounds
    from trtconv.stages.verify.records import Bound

    if precision in section.tolerance:
        return Bound(section.tolerance[precision], section.min_snr_db, section.min_cosine)
    usual = bounds.default(precision, engine=engine)
    own = (section.min_snr_db, section.min_cosine, section.max_accuracy_drop)
    if any(value is not None for value in own):
        return Bound(usual.max_rel, section.min_snr_db, section.min_cosine)
    return usual
