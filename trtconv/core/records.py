"""Plain values that travel between stages. Frozen, picklable, without behaviour that needs a heavy package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Dim = int | str
"""A dimension: a size, or the name of a dynamic one such as ``"batch"``."""

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
"""What ``lower`` can make. ``typed`` (below) means: the ONNX file is typed already, build it as it is."""

TYPED = "typed"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes:
        name: the ONNX name.
        dtype: ONNX element type in lower case: ``float``, ``float16``, ``int8``, ``int64``, ...
        shape: dimensions; a string names a dynamic one.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]


@dataclass(frozen=True)
class CutInput:
    """A node of a graph that becomes an input, whatever it was before.

    Attributes:
        node: its name; ``:n`` chooses another of its outputs than the first.
        shape: full shape in the graph's own layout; None keeps what the graph says.
        name: of the input; empty: the node's.
        dtype: ONNX name; empty: what the graph says.
    """

    node: str
    shape: tuple[Dim, ...] | None = None
    name: str = ""
    dtype: str = ""


@dataclass(frozen=True)
class SourceSpec:
    """Where a model comes from.

    Attributes:
        path: file or folder.
        format: ``auto`` or a row of ``trtconv.sources.FORMATS``.
        signature: SavedModel signature; empty: the only one, or ``serving_default``.
        tags: SavedModel tags; empty: the only tag set, or ``serve``.
        allow_code: whether code inside the model (Lambda layers) may run.
        constants: placeholders of a graph that become constants, with their values, such as ``keep_prob``.
        cuts: nodes of a graph that become its inputs; empty: its placeholders.
        outputs: nodes of a graph that become its outputs; empty: those that no other node reads.
        channels_first: four-dimensional inputs of ``cuts`` and all four-dimensional outputs are NCHW outside and NHWC
            in the graph, as the UFF parser had it.
        weights: file of the weights, where ``path`` has none.
        python: interpreter that has the framework; None: trtconv's own.
        shapes: of inputs, for what is traced at given shapes; empty: as the model says.
        implicit_batch: whether the shapes of a network script leave the batch out; None: the script decides.
        arguments: the command line of a network script.
        api_version: of TensorRT, as a network script is told; empty: one between the oldest and the newest.
        inputs: what the job says of the inputs, for sources that do not say it themselves.
        operators: ``DOMAIN::NAME`` of operators that ONNX does not have, and the file that says what each computes;
            None: its nodes stay as they are.
    """

    path: Path
    format: str = "auto"
    signature: str = ""
    tags: tuple[str, ...] = ()
    allow_code: bool = False
    constants: tuple[tuple[str, float | int | bool], ...] = ()
    cuts: tuple[CutInput, ...] = ()
    outputs: tuple[str, ...] = ()
    channels_first: bool = False
    weights: Path | None = None
    python: Path | None = None
    shapes: tuple[tuple[str, tuple[Dim, ...]], ...] = ()
    implicit_batch: bool | None = None
    arguments: tuple[str, ...] = ()
    api_version: str = ""
    inputs: tuple[InputSpec, ...] = ()
    operators: tuple[tuple[str, Path | None], ...] = ()


@dataclass(frozen=True)
class InputSpec:
    """What the job says of one input.

    Attributes:
        name: the input's name in the source (without ``:0``).
        shape: the full shape with batch; None keeps the source's. A string names a dynamic dimension, -1 is dynamic.
        layout: ``keep``, or ``nchw`` to take the input in NCHW although the source has NHWC.
        dtype: NumPy's name of its type, for sources that do not say it; empty: float32, or what the source says.
    """

    name: str
    shape: tuple[Dim, ...] | None = None
    layout: str = "keep"
    dtype: str = ""


@dataclass(frozen=True)
class ShapeRange:
    """An optimization profile's entry for one input: full shapes for min, opt and max."""

    minimum: tuple[int, ...]
    optimum: tuple[int, ...]
    maximum: tuple[int, ...]


@dataclass(frozen=True)
class Dla:
    """A deep-learning accelerator: which one, and whether the GPU computes what it cannot."""

    core: int = 0
    gpu_fallback: bool = True


@dataclass(frozen=True)
class Features:
    """What an engine is built to do, besides running where it was built with the weights that it was built with.

    Attributes:
        streaming: its weights may stay in host memory, and come to the GPU when they are needed.
        refit: its weights can be replaced.
        stripped: it holds no weights: refitting puts them in.
        lean: ``none``, or how later versions of TensorRT run it: ``embedded_runtime``, ``external_runtime``.
        dla: what computes the layers that it can; None: the GPU computes all of them.
    """

    streaming: bool = False
    refit: bool = False
    stripped: bool = False
    lean: str = "none"
    dla: Dla | None = None


PLAIN = Features()


@dataclass(frozen=True)
class Loading:
    """How an engine is loaded.

    Attributes:
        budget: weights that stay on the GPU, in the form of ``core.units.parse_budget``; empty: all of them.
        lean_runtime: library that runs an engine for other versions of TensorRT; None: the TensorRT that is installed.
    """

    budget: str = ""
    lean_runtime: Path | None = None


AS_USUAL = Loading()


@dataclass(frozen=True)
class FeedSpec:
    """Where samples come from.

    Attributes:
        path: .npz with one array per input (first axis: samples), .npy for a model with one input; a folder or a glob
            of such files.
        labels: for labelled data: the key of the labels in the .npz, or the path of a .npy (int, one per sample).
        samples: how many samples to use at most; None: all.
        preprocess: rows of preprocessing, applied in order (see ``data.preprocess``).
        names: path per input, instead of ``path``, when each input has a file of its own.
        call: function ``module:name`` that returns the samples, instead of files: one array, or arrays by input.
        allow_code: whether it may be called.
        values: of inputs that decide shapes, where the data do not give them: a number for every element.
        batch_axes: per input whose samples lie along another axis than the first, that axis.
    """

    path: Path | None = None
    labels: str = ""
    samples: int | None = None
    preprocess: tuple[Mapping[str, object], ...] = ()
    names: Mapping[str, Path] = field(default_factory=dict)
    call: str = ""
    allow_code: bool = False
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    batch_axes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class KeepRules:
    """Nodes that a lowering leaves in FP32 (FP16 under INT8 when only ``int8`` excludes them).

    Attributes:
        ops: ONNX operator types.
        names: regular expressions matched against node names (``re.search``).
        limit: magnitude above which a measured tensor keeps its node in FP32; None: half of the type's largest value.
    """

    ops: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    limit: float | None = None


@dataclass(frozen=True)
class PluginSpec:
    """A plugin of TensorRT.

    Attributes:
        path: its library; None: it is Python's.
        python: ``module:Class`` of its creator.
        embed: whether the engine is to hold the library.
        file: what holds it, the library or the module; None: not looked for yet.
    """

    path: Path | None = None
    python: str = ""
    embed: bool = False
    file: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """One output of a candidate against the reference, over all samples.

    Attributes:
        output: name of the output.
        max_abs: largest absolute difference.
        max_rel: largest absolute difference divided by the reference's largest magnitude.
        cosine: cosine similarity of the flattened outputs, 1.0 for equal.
        snr_db: 10 log10(signal power / error power); infinity for equal.
        finite: False when the candidate holds NaN or infinity where the reference does not.
        trouble: why the figures say nothing: the reference holds NaN, nothing to compare, or one value everywhere; or
            the candidate holds one value everywhere where the reference does not. Empty when there is none.
        note: what makes the figures worth less, such as a reference of one value that the candidate has as well.
    """

    output: str
    max_abs: float
    max_rel: float
    cosine: float
    snr_db: float
    finite: bool = True
    trouble: str = ""
    note: str = ""


@dataclass(frozen=True)
class Precision:
    """How exactly a source computes what its conversion computes in float32.

    Attributes:
        tolerance: difference over largest value that its own arithmetic makes.
        because: what in it does, such as ``it computes in float16``; empty for float32.
        half: whether it computes in float16.
        steps: scale and zero point of outputs that are integers standing for real numbers.
        ranges: what inputs can be, where the source says it.
        limits: what outputs can be, likewise.
        saturates: whether values beyond what it was made for are cut off inside the source.
        chooses: whether results are chosen by score, as a detector's are: where scores are close, rounding decides.
        cuts_off: whether what a type cannot hold comes out as its largest or smallest number, infinity included.
    """

    tolerance: float = 0.0
    because: str = ""
    half: bool = False
    steps: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    saturates: bool = False
    chooses: bool = False
    cuts_off: bool = False


@dataclass(frozen=True)
class Wider:
    """An operator that an engine computes in a wider type than its typed ONNX promises.

    Attributes:
        node: as TensorRT calls it.
        op: ONNX operator.
        promised: type that the typed ONNX says.
        found: type that the engine's layer has.
        share: of the network's arithmetic, 0 to 1.
        layer: name of that layer.
    """

    node: str
    op: str
    promised: str
    found: str
    share: float
    layer: str


@dataclass(frozen=True)
class Proof:
    """In which types the arithmetic of a network's weighted operators is done, and how that is known.

    Attributes:
        by: ``inspector of TensorRT 11.4.0 on NVIDIA L4``, or ``typed ONNX`` with the reason why no engine was asked.
        promised: type -> share of the arithmetic (0 to 1) by the typed ONNX; empty without weighted operators.
        found: the same by the engine's layers, ``unknown`` for those that tell no type; empty where it was not asked.
        wider: operators that run wider than promised, the largest share first.
    """

    by: str
    promised: dict[str, float] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)
    wider: tuple[Wider, ...] = ()

    @property
    def wider_share(self) -> float | None:
        """Share of the arithmetic that runs wider than promised; None where no engine was asked."""
        return sum(one.share for one in self.wider) if self.found else None


@dataclass(frozen=True)
class PartTime:
    """One part; times are medians in milliseconds.

    Attributes:
        name: of its file.
        on: ``GPU`` or ``CPU``.
        ms: of its computation.
        h2d_ms: copies to the GPU of what it is the first to read there; None without a GPU.
        d2h_ms: copies of what it made to the host; None without a GPU.
        h2d_bytes: of these copies, per run.
        d2h_bytes: likewise.
    """

    name: str
    on: str
    ms: float
    h2d_ms: float | None = None
    d2h_ms: float | None = None
    h2d_bytes: int = 0
    d2h_bytes: int = 0
