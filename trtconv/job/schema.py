"""Job file, version 1. Closed (unknown keys are errors) and frozen; every field says what it is for."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from trtconv.job import gate_bounds
from trtconv.job.fields import (
    Batches,
    Budget,
    DataPath,
    FunctionFile,
    InputPath,
    Labels,
    ModelPath,
    Names,
    OutputPath,
    Percentiles,
    Postprocess,
    Precision,
    Precisions,
    Preprocess,
    Program,
    Rivals,
    Seconds,
    SourceFormat,
)
from trtconv.job.schema_build import Build
from trtconv.job.schema_export import Export
from trtconv.job.schema_inputs import Input, Profile
from trtconv.job.schema_lower import Lower
from trtconv.job.schema_plugins import Plugin
from trtconv.job.section import Section, key, rule


class Data(Section):
    """Where samples come from."""

    path: DataPath = key(description=".npz (one array per input), .npy, a folder or a glob of .npy files")
    labels: Labels = key("", description="key of the labels in the .npz, or a .npy file with one per sample")
    samples: int | None = key(None, gt=0, description="how many samples to use at most (default: all)")
    preprocess: Preprocess = key([], description="rows of preprocessing, applied in order")
    batch_axis: dict[str, Annotated[int, key(ge=0)]] = key(
        {},
        description="inputs whose samples lie along another axis than the first, as those of recurrent states do; "
        "for infer outputs too",
    )


class Source(Section):
    """The trained model."""

    path: ModelPath = key(description="file or folder of the model, or the start of a checkpoint's file names")
    format: SourceFormat = key("auto", description="what it is; auto looks at the file itself")
    weights: InputPath | None = key(
        None, description="file of the weights, where the model's own has none: Caffe, network scripts, PyTorch"
    )
    python: Program | None = key(
        None, description="interpreter, or virtual environment, that has the framework (default: trtconv's own)"
    )
    implicit_batch: bool | Literal["auto"] = key(
        "auto", description="whether shapes in a script for TensorRT's network API leave the batch out"
    )
    arguments: list[str] = key([], description="command line of such a script")
    api_version: str = key(
        "",
        description="what tensorrt.__version__ says in such a script (default: 8.6.1); from 10 on no batch is implicit",
    )
    signature: str = key("", description="SavedModel signature (default: serving_default, or the only one)")
    tags: Names = key([], description="SavedModel tags (default: serve, or the only tag set)")
    register_input: dict[str, list[Annotated[int, key(gt=0)]]] = key(
        {}, description="nodes of a graph that become its inputs, with their shapes without batch, as in the UFF parser"
    )
    register_output: Names = key([], description="nodes of a graph that become its outputs; names without :0")
    input_order: Literal["nchw", "nhwc", "nc"] = key(
        "nchw", description="how the shapes in register_input are written; with nchw, outputs are NCHW too"
    )
    constants: dict[str, bool | int | float] = key(
        {}, description="placeholders of a graph that get a fixed value, such as keep_prob: 1.0"
    )


class Convert(Section):
    """How the ONNX model is made."""

    opset: int = key(17, ge=13, le=18, description="ONNX opset")
    outputs: Names = key([], description="outputs to keep, by name (default: all)")
    clean: bool = key(True, description="fold constants and drop what computes nothing")
    skip: list[
        Literal["identities", "constants", "batch_norm", "transposes", "reshapes", "pads", "unused", "duplicates"]
    ] = key([], description="cleaning passes to leave out")
    check: bool = key(True, description="run source and result on the same inputs and compare all outputs")
    check_data: InputPath | None = key(
        None,
        description=".npz with inputs to compare on (default: random ones), or in.NAME and out.NAME of a run elsewhere",
    )
    check_seconds: float = key(60, gt=0, description="how long source and result may take for that, each")
    tolerance: float = key(1e-4, gt=0, description="difference allowed, over the largest value of the output")
    support: bool = key(True, description="ask the installed TensorRT which nodes it takes")


class Calibrate(Section):
    """How activation ranges are measured, for int8 and fp8."""

    data: Data | None = key(None, description="samples from the training set, never from the test set")
    call: str = key("", description="function module:name that returns samples, instead of data; with --allow-code")
    cache: InputPath | None = key(None, description="a calibration cache to use instead of measuring")
    method: Literal["minmax", "entropy", "percentile", "mse"] = key("minmax", description="choice of thresholds")
    batch: int = key(10, gt=0, description="samples per run")
    seed: int = key(0, ge=0, description="order of samples when fewer are used than there are")
    coverage: float = key(
        1.0,
        gt=0,
        le=1,
        description="share of the tensors needed that a cache must cover; what reads the others is not quantized",
    )

    @rule
    def _one_origin(self) -> None:
        if sum([self.data is not None, self.cache is not None, bool(self.call)]) != 1:
            raise ValueError(
                "expected one of data (samples to measure on), call (a function that returns them) and cache "
                "(ranges measured before)"
            )


class Verify(Section):
    """What the models are compared on, and what may differ."""

    data: Data = key(description="samples, with labels where accuracy is wanted")
    batch: int = key(32, gt=0, description="samples per run; fewer where the profile of the engine takes fewer")
    tolerance: dict[str, Annotated[float, key(gt=0)]] = key(
        {},
        description="largest relative difference allowed, per precision "
        "(default: fp32 1e-4, its engine 2e-3; tf32 1e-2, fp16 1e-2, bf16 5e-2; int8 and fp8: none)",
    )
    min_snr_db: float | None = key(
        None,
        description="least signal-to-noise ratio of every output, in dB (default, where neither this, min_cosine, a "
        "tolerance nor max_accuracy_drop is given: fp32, tf32, fp16 30, bf16 20, int8 and fp8 10)",
    )
    min_cosine: float | None = key(
        None, le=1, description="least cosine of every output (default, likewise: 0.999, bf16 0.99, int8 and fp8 0.95)"
    )
    max_accuracy_drop: float | None = key(None, ge=0, description="points of top-1 that may be lost")
    shapes: bool = key(
        True, description="whether to compare at min, opt, max and an odd shape of each profile too, on resized samples"
    )

    @rule
    def _tolerances_have_precisions(self) -> None:
        known = get_args(Precision)
        unknown = [name for name in self.tolerance if name not in known]
        if unknown:
            raise ValueError(f"tolerance: {unknown[0]!r} is no precision; there are {', '.join(known)}")

    @rule
    def _accuracy_needs_labels(self) -> None:
        if self.max_accuracy_drop is not None and not self.data.labels:
            raise ValueError("max_accuracy_drop: accuracy needs labels: data: {labels: ...}")


class Running(Section):
    """What infer and bench share: how an engine runs."""

    backend: Literal["auto", "tensorrt", "rtx", "onnxruntime"] = key(
        "auto", description="auto: the engine where a GPU can run it, else ONNX Runtime; others never fall back"
    )
    device_api: Literal["auto", "cuda", "pycuda"] = key("auto", description="door to the GPU")
    weight_streaming_budget: Budget | None = key(
        None,
        description="weights that stay on the GPU, of an engine with build.weight_streaming: a size, a share of them "
        "(50%), all, or auto for what the GPU has room for (default: all)",
    )
    lean_runtime: InputPath | None = key(
        None, description="library that runs an engine with version_compatibility: external_runtime; with --allow-code"
    )

    @rule
    def _engines_alone(self) -> None:
        for name in ("weight_streaming_budget", "lean_runtime"):
            if getattr(self, name) is not None and self.backend == "onnxruntime":
                raise ValueError(f"{name} is for engines, and backend: onnxruntime runs ONNX")


class Infer(Running):
    """Samples through the engine."""

    data: Data = key(description="samples")
    format: Literal["npz", "npy", "json", "jsonl", "csv"] = key("npz", description="form of the results file")
    batch: int | None = key(None, gt=0, description="samples per run (default: the profile's opt)")
    postprocess: Postprocess = key([], description="rows of postprocessing, applied in order")
    contexts: int | None = key(
        None, gt=0, description="execution contexts that work at the same time (default: 6; without a GPU 2 threads)"
    )
    strict: bool = key(False, description="a bad file or sample ends the run, instead of being left out")


class Bench(Running):
    """Measurements."""

    batch: Batches = key([1], description="batch sizes, one measurement each")
    semantics: Literal["trtexec10", "trtexec11", "app", "pipelined"] = key(
        "trtexec11", description="what the numbers mean"
    )
    warmup: Seconds = key(0.2, description="time before queries count")
    duration: Seconds = key(3.0, description="time that counts, at least")
    iterations: int = key(10, gt=0, description="queries that count, at least")
    streams: int = key(1, gt=0, description="execution contexts")
    percentiles: Percentiles = key([50, 90, 95, 99], description="of the latency")
    data: Data | None = key(None, description="samples to measure with (default: random values)")
    transfers: bool | None = key(None, description="copy inputs and outputs with every query (default: semantics)")
    spin: bool | None = key(None, description="the host spins while it waits (default: semantics)")
    cuda_graph: bool | None = key(None, description="replay queries from a CUDA graph (default: semantics)")
    depth: int | None = key(None, gt=0, description="queries in flight on each context (default: semantics)")
    repeats: int = key(1, gt=0, description="times that each batch is measured; the median is told")
    rate: float | None = key(
        None, gt=0, description="queries per second at random times, for app (default: back to back)"
    )
    layers: bool = key(False, description="measure every layer too, in a run of its own")
    tune: bool = key(False, description="search contexts, depth and graph for the most throughput, and measure that")
    max_latency: Seconds | None = key(None, description="99th percentile that tuning may not exceed")
    against: Rivals = key(
        [],
        description="what to compare with: onnxruntime, pytorch:module:function; of a source of PyTorch, the source "
        "itself: pytorch, pytorch-compiled",
    )
    against_device: Literal["gpu", "cpu"] = key("gpu", description="where PyTorch runs the source itself")

    @rule
    def _arrivals(self) -> None:
        if self.rate is not None and self.semantics != "app":
            raise ValueError("rate: random times of arrival belong to semantics: app")


class MatrixCell(Section):
    """One combination of a matrix, or a rule that matches some."""

    precision: Precision | None = key(None, description="of the typed ONNX")
    batch: int | None = key(None, gt=0, description="the engine's one batch size")
    profile: str | None = key(None, description="name of a profile of the matrix")
    target: str | None = key(None, description="compute capability")


class Matrix(Section):
    """Many engines from one job: every combination of the axes that are given."""

    precision: Precisions | None = key(None, description="axis (default: the job's precision)")
    batch: Batches | None = key(None, description="axis: an engine for exactly this batch, measured at it")
    profile: dict[str, Profile] = key({}, description="axis: named ranges, for every dynamic input")
    target: Names = key([], description="axis: compute capabilities, such as sm86")
    include: list[MatrixCell] = key([], description="combinations to add")
    exclude: list[MatrixCell] = key([], description="combinations to leave out; a key that is missing matches all")

    @rule
    def _named_profiles(self) -> None:
        unknown = [c.profile for c in (*self.include, *self.exclude) if c.profile and c.profile not in self.profile]
        if unknown:
            raise ValueError(f"no profile is named {unknown[0]!r}; there are {', '.join(self.profile) or 'none'}")


Measure = Literal[
    "latency_p50",
    "latency_p99",
    "throughput",
    "energy",
    "engine_size",
    "build_time",
    "peak_memory",
    "accuracy_drop",
    "wider_share",
]
_OF_BENCH = ("latency_p50", "latency_p99", "throughput", "energy")


class Gate(Section):
    """A bound on one measure. Missing it fails the run after everything else is done."""

    measure: Measure = key(
        description="what is bounded; latencies in ms, throughput in samples/s, energy in J per sample, times in s; "
        "wider_share: arithmetic, 0 to 1, that an engine loaded here does in wider types than its typed ONNX (a bound "
        "of 0 holds without a gate)"
    )
    max: float | str | None = key(None, description="largest value allowed, such as 2.5, 10MiB, 300ms or 20mJ")
    min: float | str | None = key(None, description="smallest value allowed")
    baseline: InputPath | None = key(None, description="file of trtconv bench --save-baseline to compare with")
    tolerance: float = key(0.1, gt=0, lt=1, description="share by which a measure may be worse than the baseline")
    engine: str = key("", description="precision or label of the one engine meant (default: every engine)")
    batch: int | None = key(None, gt=0, description="the one batch size meant (default: every one)")

    @rule
    def _one_bound(self) -> None:
        if sum(bound is not None for bound in (self.max, self.min, self.baseline)) != 1:
            raise ValueError("expected one of max, min and baseline")
        if self.baseline is not None and self.measure not in _OF_BENCH:
            raise ValueError(f"a baseline holds latencies, throughput and energy, not {self.measure}; use max")
        if self.measure == "wider_share" and self.max is None:
            raise ValueError("expected max for wider_share: the share that may run wider")
        gate_bounds.bound(self.measure, self.max if self.max is not None else self.min)


class Job(Section):
    """A trtconv job."""

    version: Literal[1] = key(description="of this format")
    name: str = key("", pattern=r"^[\w.-]*$", description="prefix of all files made (default: the job file's name)")
    output: OutputPath | None = key(None, description="folder of all files made (default: build/<name>)")
    source: Source
    operators: dict[str, FunctionFile] = key(
        {},
        description="DOMAIN::NAME of operators in an ONNX model that ONNX lacks, and the file with an ONNX function or "
        "model of what each computes; keep leaves its nodes as they are (docs/custom_layers.md)",
    )
    plugins: list[Plugin] = key([], description="of TensorRT, for operators that it lacks; they run with --allow-code")
    inputs: dict[str, Input] = key({}, description="per input name; what is not said is kept from the source")
    convert: Convert = Convert()
    precision: Precisions = key(["fp32"], description="one typed ONNX model and one engine each")
    matrix: Matrix | None = None
    calibrate: Calibrate | None = None
    lower: Lower = Lower()
    build: Build = Build()
    verify: Verify | None = None
    infer: Infer | None = None
    bench: Bench | None = None
    export: Export | None = None
    gates: list[Gate] = key([], description="bounds that the run must keep: exit 6 for accuracy, 7 for the others")

    @rule
    def _as_many_profiles(self) -> None:
        counts = {
            name: len(ranges)
            for name, spec in self.inputs.items()
            for ranges in (spec.profile, spec.values)
            if ranges and ranges[1:]
        }
        if len(set(counts.values())) > 1:
            raise ValueError(f"inputs: as many profiles are expected of each input with several, got {counts}")

    @rule
    def _gates_have_measures(self) -> None:
        needs = {**dict.fromkeys(_OF_BENCH, self.bench), "accuracy_drop": self.verify}
        missing = [gate.measure for gate in self.gates if gate.measure in needs and needs[gate.measure] is None]
        if missing:
            section = "verify" if missing[0] == "accuracy_drop" else "bench"
            raise ValueError(f"gates: {missing[0]} needs a {section} section")
        judged = any(gate.measure == "accuracy_drop" for gate in self.gates)
        if judged and self.verify is not None and not self.verify.data.labels:
            raise ValueError("gates: accuracy_drop needs labels: verify: {data: {labels: ...}}")

    @rule
    def _one_file_of_parts(self) -> None:
        if self.build.epcontext is not None and (self.matrix is not None or len(self.precision) > 1):
            raise ValueError("build.epcontext names one file, and the job makes several engines")

    @rule
    def _engines_can_what_is_asked(self) -> None:
        for name, section in (("infer", self.infer), ("bench", self.bench)):
            if section is not None and self.build.strip_weights:
                raise ValueError(f"{name}: an engine of build.strip_weights runs only after trtconv refit")
            if section is not None and section.weight_streaming_budget and not self.build.weight_streaming:
                raise ValueError(
                    f"{name}.weight_streaming_budget needs an engine that can stream: build: {{weight_streaming: true}}"
                )
            if section is not None and section.lean_runtime and self.build.version_compatibility != "external_runtime":
                raise ValueError(
                    f"{name}.lean_runtime is for engines of build: {{version_compatibility: external_runtime}}"
                )

    @rule
    def _precisions(self) -> None:
        in_matrix = [*(self.matrix.precision or []), *(c.precision for c in self.matrix.include)] if self.matrix else []
        used = [*in_matrix, *(() if self.matrix and self.matrix.precision else self.precision)]
        wanting = [p for p in used if p in ("int8", "fp8")]
        if wanting and self.calibrate is None:
            raise ValueError(f"precision: {wanting[0]} needs a calibrate section: calibrate: {{data: {{path: FILE}}}}")
        wide = [p for p in (*self.precision, *in_matrix) if p in ("fp32", "tf32", "bf16", "fp8")]
        if wide and self.build.dla is not None:
            raise ValueError(f"precision: {wide[0]} leaves nothing to build.dla, which computes fp16 and int8")
        if len(set(self.precision)) != len(self.precision):
            raise ValueError("precision: one is named twice")
        if "typed" in in_matrix or ("typed" in self.precision and (len(self.precision) > 1 or in_matrix)):
            raise ValueError("precision: typed builds the file as it is and goes alone")
