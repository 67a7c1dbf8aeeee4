"""From a job to the steps of its line. Pure: looks at no file but the source's first bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trtconv import sources
from trtconv.core.errors import UsageError
from trtconv.core.records import TYPED, FeedSpec, InputSpec, KeepRules, ShapeRange, SourceSpec, TensorInfo
from trtconv.job.schema import Data, Input, Job, Keep, Section
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.nodes import History, Node

READY = ("onnx", "frozen_pb")
"""Source formats that need no freezing."""

TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}
"""Largest relative difference from the reference, where the job says nothing. INT8 and FP8 are judged by accuracy."""

_FP32_LABEL, _TYPED_LABEL, _ENGINE_LABEL = "FP32 ONNX", "typed ONNX", "engine"


def line(job: Job, layout: Layout, *, allow_code: bool = False) -> list[Node]:
    """All steps of a job in an order that respects their needs.

    Raises:
        SourceError: the source is of no known kind.
        UsageError: the job asks for a combination that cannot be.
    """
    return _Line(job, layout, allow_code).nodes()


class _Line:
    def __init__(self, job: Job, layout: Layout, allow_code: bool) -> None:
        self.job = job
        self.layout = layout
        found = job.source.format if job.source.format != "auto" else sources.detect(job.source.path)
        self.source = SourceSpec(job.source.path, found, job.source.signature, tuple(job.source.tags), allow_code)
        self.inputs = tuple(_input_spec(name, spec) for name, spec in job.inputs.items())
        self.typed = TYPED in job.precision
        if self.typed and found != "onnx":
            raise UsageError(
                f"precision typed builds an ONNX file as it is, but {job.source.path} is {found}",
                hint="name a precision, such as fp16",
            )

    def nodes(self) -> list[Node]:
        job = self.job
        steps: list[Node] = []
        if not self.typed:
            steps += [self.freeze()] if self.frozen else []
            steps.append(self.convert())
            steps += [self.calibrate()] if job.calibrate and job.calibrate.data else []
        steps += [self.reference()] if job.verify and self.has_reference else []
        for precision in job.precision:
            steps += [] if self.typed else [self.lower(precision)]
            steps.append(self.build(precision))
            steps += [self.verify(precision)] if job.verify else []
            steps += [self.infer(precision)] if job.infer else []
            steps += [self.bench(precision)] if job.bench else []
        return steps

    @property
    def frozen(self) -> bool:
        return self.source.format not in READY

    @property
    def has_reference(self) -> bool:
        return self.source.format != "onnx"

    def freeze(self) -> Node:
        from trtconv.stages.freeze import FreezeRequest

        frozen, outputs = self.layout.frozen, tuple(self.job.convert.outputs)
        return Node(
            "freeze",
            "freeze",
            lambda _: FreezeRequest(self.source, frozen, self.inputs, outputs),
            (frozen, frozen.with_name(frozen.name + ".json")),
            inputs={"source": self.source.path},
            options={
                **_options(self.job.source),
                "shapes": _shapes(self.job),
                "outputs": list(outputs),
                "allow_code": self.source.allow_code,
            },
        )

    def convert(self) -> Node:
        from trtconv.stages.convert import ConvertRequest

        section = self.job.convert
        source = SourceSpec(self.layout.frozen, "frozen_pb") if self.frozen else self.source

        def request(_: History) -> ConvertRequest:
            return ConvertRequest(
                source, self.layout.onnx, self.inputs, tuple(section.outputs), section.opset, section.clean
            )

        return Node(
            "convert",
            "convert",
            request,
            (self.layout.onnx,),
            needs=("freeze",) if self.frozen else (),
            inputs={} if self.frozen else {"source": self.source.path},
            options={**_options(section), "shapes": _shapes(self.job)},
        )

    def calibrate(self) -> Node:
        from trtconv.stages.calibrate import CalibrateRequest

        section, cache = self.job.calibrate, self.layout.cache
        assert section is not None
        assert section.data is not None
        data = _feed(section.data)

        def request(_: History) -> CalibrateRequest:
            return CalibrateRequest(self.layout.onnx, data, cache, section.method, section.batch, section.seed)

        return Node(
            "calibrate",
            "calibrate",
            request,
            (cache, cache.with_name(cache.name + ".json")),
            needs=("convert",),
            inputs=_files(section.data),
            options=_options(section),
        )

    def lower(self, precision: str) -> Node:
        from trtconv.stages.lower import LowerRequest

        section, typed, calibration = self.job.lower, self.layout.typed(precision), self.job.calibrate
        measured = calibration is not None and precision not in ("fp32", "tf32")
        given = calibration.cache if calibration is not None and measured else None
        cache = given or (self.layout.cache if measured else None)
        keep, exclude = _keep(section.keep), _keep(section.exclude)

        def request(_: History) -> LowerRequest:
            return LowerRequest(
                self.layout.onnx, typed, precision, cache, section.base, keep, exclude, section.io_types
            )

        return Node(
            f"lower[{precision}]",
            "lower",
            request,
            (typed,),
            precision,
            ("convert", "calibrate") if measured and given is None else ("convert",),
            {"cache": given} if given else {},
            {**_options(section), "precision": precision},
        )

    def model(self, precision: str) -> Path:
        return self.source.path if self.typed else self.layout.typed(precision)

    def after_model(self, precision: str) -> dict[str, Any]:
        """Needs or inputs of a step that reads the typed model."""
        return {"inputs": {"model": self.source.path}} if self.typed else {"needs": (f"lower[{precision}]", "convert")}

    def build(self, precision: str) -> Node:
        from trtconv.stages.build import BuildRequest

        section, engine = self.job.build, self.layout.engine(precision)

        def request(history: History) -> BuildRequest:
            profiles = _profiles(self.job.inputs, lambda: self.interface(history))
            return BuildRequest(
                self.model(precision),
                engine,
                precision,
                section.backend,
                profiles,
                section.workspace,
                tuple(section.targets),
                {"job": _plain(self.job), "digests": self.chain(precision, history)},
            )

        return Node(
            f"build[{precision}]",
            "build",
            request,
            (engine,),
            precision,
            options={
                **_options(section),
                "precision": precision,
                "profiles": {n: _plain(i.profile) for n, i in self.job.inputs.items()},
            },
            facts=(engine.with_name(engine.name + ".json"),),
            **self.after_model(precision),
        )

    def chain(self, precision: str, history: History) -> dict[str, str]:
        """SHA-256 of every link between the source and the engine."""
        files = {
            "source": self.source.path,
            "frozen": self.layout.frozen,
            "onnx": self.layout.onnx,
            "cache": self.layout.cache,
            "typed": self.model(precision),
        }
        given = self.job.calibrate.cache if self.job.calibrate else None
        files |= {} if given is None else {"cache": given}
        return {what: history.digests[path] for what, path in files.items() if path in history.digests}

    def interface(self, history: History) -> tuple[TensorInfo, ...]:
        if "convert" in history.results:
            inputs: tuple[TensorInfo, ...] = history.results["convert"].inputs
            return inputs
        from trtconv.graph import model_io  # an ad-hoc build of a typed file: nothing has read it yet

        return model_io.interface(model_io.load(self.source.path))[0]

    def reference(self) -> Node:
        from trtconv.stages.reference import ReferenceRequest

        section, output = self.job.verify, self.layout.reference
        assert section is not None
        data, wanted = _feed(section.data), tuple(self.job.convert.outputs)
        return Node(
            "reference",
            "reference",
            lambda _: ReferenceRequest(self.source, data, output, wanted, section.batch),
            (output,),
            inputs={"source": self.source.path, **_files(section.data)},
            options={**_options(self.job.source), "data": _options(section.data), "outputs": list(wanted)},
        )

    def verify(self, precision: str) -> Node:
        from trtconv.stages.verify import VerifyRequest

        section = self.job.verify
        assert section is not None
        base = self.model(precision) if self.typed else self.layout.onnx
        tolerance = section.tolerance.get(precision, TOLERANCE.get(precision))
        limits = {_FP32_LABEL: section.tolerance.get("fp32", TOLERANCE["fp32"])}
        limits |= {} if tolerance is None else {_TYPED_LABEL: tolerance, _ENGINE_LABEL: tolerance}
        candidates = {_TYPED_LABEL: self.model(precision), _ENGINE_LABEL: self.layout.engine(precision)}

        def request(history: History) -> VerifyRequest:
            from_source = "reference" in history.results
            return VerifyRequest(
                self.layout.reference if from_source else base,
                history.results["reference"].framework if from_source else _FP32_LABEL,
                {_FP32_LABEL: base, **candidates} if from_source else candidates,
                _feed(section.data),
                section.batch,
                limits,
                section.max_accuracy_drop,
            )

        needs = (
            f"build[{precision}]",
            *(() if self.typed else (f"lower[{precision}]", "convert")),
            *(("reference",) if self.has_reference else ()),
        )
        return Node(
            f"verify[{precision}]",
            "verify",
            request,
            (),
            precision,
            needs,
            _files(section.data),
            {**_options(section), "limits": limits},
        )

    def infer(self, precision: str) -> Node:
        from trtconv.stages.infer import InferRequest

        section = self.job.infer
        assert section is not None
        output = self.layout.results(precision, section.format)

        def request(_: History) -> InferRequest:
            return InferRequest(
                self.layout.engine(precision),
                _feed(section.data),
                output,
                self.model(precision),
                section.backend,
                section.batch,
                tuple(section.postprocess),
                section.device_api,
            )

        return Node(
            f"infer[{precision}]",
            "infer",
            request,
            (output,),
            precision,
            (f"build[{precision}]",),
            _files(section.data),
            _options(section),
        )

    def bench(self, precision: str) -> Node:
        from trtconv.stages.bench import BenchRequest

        section = self.job.bench
        assert section is not None

        def request(_: History) -> BenchRequest:
            return BenchRequest(
                self.layout.engine(precision),
                self.model(precision),
                section.backend,
                tuple(section.batch),
                section.semantics,
                section.warmup,
                section.duration,
                section.iterations,
                streams=section.streams,
                device_api=section.device_api,
            )

        return Node(
            f"bench[{precision}]", "bench", request, (), precision, (f"build[{precision}]",), options=_options(section)
        )


def upto(steps: list[Node], stage: str) -> list[Node]:
    """The steps of one stage and everything they need.

    Raises:
        UsageError: the job has no such step.
    """
    by_name = {node.name: node for node in steps}
    wanted: set[str] = set()
    queue = [node.name for node in steps if node.stage == stage]
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


def _input_spec(name: str, spec: Input) -> InputSpec:
    return InputSpec(name, None if spec.shape is None else tuple(spec.shape))


def _shapes(job: Job) -> dict[str, Any]:
    return {name: spec.shape for name, spec in job.inputs.items()}


def _options(section: Section) -> dict[str, Any]:
    """A section without its paths: files enter a key by their contents, wherever they lie."""
    return {name: value for name, value in _plain(section).items() if name not in ("path", "cache", "data")} | (
        {"data": _options(data)} if (data := getattr(section, "data", None)) is not None else {}
    )


def _plain(section: Section | None) -> dict[str, Any]:
    return {} if section is None else section.model_dump(mode="json")


def _feed(data: Data) -> FeedSpec:
    return FeedSpec(data.path, data.labels, data.samples, tuple(data.preprocess))


def _files(data: Data) -> dict[str, Path]:
    return {"data": data.path, **({"labels": Path(data.labels)} if data.labels.endswith(".npy") else {})}


def _keep(section: Keep) -> KeepRules:
    return KeepRules(tuple(section.ops), tuple(section.names))


def _profiles(
    inputs: Mapping[str, Input], interface: Callable[[], tuple[TensorInfo, ...]]
) -> tuple[Mapping[str, ShapeRange], ...]:
    """The job's profile with full shapes; a single number stands for every dynamic dimension."""
    ranges = {}
    for name, spec in inputs.items():
        if spec.profile is None:
            continue
        bounds = spec.profile.min, spec.profile.opt, spec.profile.max
        if len(bounds[0]) == 1:
            shape = next((t.shape for t in interface() if t.name == name), None)
            if shape is not None:  # an unknown name is the build stage's to report, with the names there are
                bounds = tuple([d if isinstance(d, int) and d > 0 else b[0] for d in shape] for b in bounds)  # type: ignore[assignment]
        ranges[name] = ShapeRange(*(tuple(b) for b in bounds))
    return (ranges,) if ranges else ()
