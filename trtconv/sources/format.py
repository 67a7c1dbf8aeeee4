"""What a source format answers, so that nothing outside its wing asks which format it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trtconv.core.events import Emit
from trtconv.core.input_use import Use
from trtconv.core.lazy import resolve
from trtconv.core.records import InputSpec, Precision, SourceSpec, TensorInfo

if TYPE_CHECKING:  # planning a job imports this module, and need not wait for NumPy
    import numpy as np


class Model(Protocol):
    """A trained model in its own framework.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise; named as in the ONNX model that it converts to.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""

    def framework(self) -> str:
        """What runs it, with its version."""


@dataclass(frozen=True)
class Tensors:
    """Inputs and outputs that belong together.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
        signature: by which name they are chosen; empty: the only ones.
        caption: above them in a text.
        outputs_are: what to call an output, such as ``candidate`` where nothing says which are meant.
    """

    inputs: Sequence[TensorInfo]
    outputs: Sequence[TensorInfo]
    signature: str = ""
    caption: str = ""
    outputs_are: str = "output"


@dataclass(frozen=True)
class Description:
    """What a model holds, read without its framework.

    Attributes:
        title: such as ``ONNX, IR 8, opset ai.onnx 17``.
        counts: operators, or layers, by kind.
        facts: JSON-like values that only this format has.
        tensors: inputs and outputs; empty where they cannot be told.
        counted: what ``counts`` counts.
    """

    title: str
    counts: Counter[str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    tensors: Sequence[Tensors] = ()
    counted: str = "nodes"


@dataclass(frozen=True)
class Wanted:
    """The ONNX model that is asked for.

    Attributes:
        source: the model.
        inputs: shapes and layouts; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        opset: of the standard operators.
        scratch: a folder with room for the weights.
    """

    source: SourceSpec
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    opset: int
    scratch: Path

    @property
    def first(self) -> frozenset[str]:
        """Inputs that the model takes channels first although the source does not."""
        return frozenset(spec.name for spec in self.inputs if spec.layout == "nchw")


def _no_trace() -> None:
    """Nothing is held."""


@dataclass
class Converted:
    """What a source became, and what its check needs.

    Attributes:
        model: the ONNX model as converted, every node named and every operator of ONNX or of a plugin.
        source: opens the source as something that runs; it may be asked several times.
        done: lets go of what that took, before the result is run.
        sample: .npz with what ``conversion_check.observe`` found, where the source has run already.
        first: inputs that the model takes channels first.
        unchecked: why the two cannot be compared.
        precision: how exactly the source computes.
        uses: what its inputs are used for, by name; None: as the model says.
        nodes: operators of the source's nodes, by name.
        nodes_of: whose nodes those are, such as ``TensorFlow``.
        left_out: operators of the source that the model ends before, with their number.
        composed: a sentence per operator that was written with ONNX's own.
    """

    model: Any
    source: Callable[[], Model]
    sample: Path | None = None
    first: frozenset[str] = frozenset()
    unchecked: str = ""
    precision: Precision = field(default_factory=Precision)
    uses: Mapping[str, Use] | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    nodes_of: str = ""
    left_out: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()
    done: Callable[[], None] = _no_trace


@dataclass(frozen=True)
class Asks:
    """What a source asks for beyond its model.

    Attributes:
        job: keys of a job, but for the source's own.
        remarks: what has no key, in sentences.
        cache: a calibration cache that comes with it, as text, for ``calibrate.cache``; empty: none.
    """

    job: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    cache: str = ""


@dataclass(frozen=True)
class FreezeRequest:
    """What to freeze.

    Attributes:
        source: the model.
        frozen: the .pb to write; ``<frozen>.json`` beside it maps public input and output names to graph tensors.
        inputs: overrides of shapes; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        sample: whether to run the model on a few random inputs, for convert to compare with; the file
            ``<frozen>.check.npz`` is written either way, and empty when the model was not run.
        unsampled: why not, where it was tried.
        seconds: how long that may take, until the process is ended; half of it, until no further draw is begun.
    """

    source: SourceSpec
    frozen: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    sample: bool = True
    unsampled: str = ""
    seconds: float = 120.0

    def without_running(self, why: str) -> FreezeRequest:
        """The same, without running the model: that ended the process."""
        return replace(self, sample=False, unsampled=why)


@dataclass(frozen=True)
class FreezeResult:
    """What was frozen: the graph's inputs and outputs and its number of nodes."""

    frozen: Path
    format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: int


def _nothing(_: Path) -> list[Path]:
    return []


def _nowhere(_: Path) -> Path | None:
    return None


def _runs(_: SourceSpec) -> str:
    return ""


def _unknown(_: bytes) -> str:
    return ""


@dataclass(frozen=True)
class Format:
    """A row of ``sources.FORMATS``. Functions that need a framework or NumPy are named, ``module:function``.

    Attributes:
        name: in job files, such as ``saved_model``.
        title: in sentences, such as ``a TensorFlow SavedModel``.
        plural: likewise, ``SavedModels``.
        recognises: whether a path is of this format, told from the path and its first bytes; these are empty for a
            folder and for a path that is not there. Raises SourceError for a part of a model that stands for the whole.
        finds_weights: (path) -> the file that seems to hold its weights, for ``SourceSpec.weights``.
        beside: files besides the one that names a model which belong to it; a folder holds all of its model.
        looks: what bytes seem to be that begin like a file of this format, such as ``an ONNX model``; empty: not so.
        takes: fields of ``SourceSpec`` that mean something for this format, of those that most do not have.
        describe: (path) -> Description; empty: nothing can be told without the framework.
        opens: (SourceSpec) -> Model, which runs as the reference.
        to_onnx: (Wanted, Emit) -> Converted; empty: it is frozen first.
        asks: (SourceSpec, Emit) -> Asks, where a source says how it is to be built.
        freezes: (FreezeRequest, Emit) -> FreezeResult, where freezing means something.
        frozen_as: the format that freezing makes.
        companions: endings of the files that are written beside a file of this format.
        advice: lines of comment for a first job file.
        packages: distributions whose versions change what the model becomes.
        without_reference: why nobody can run a source as the reference here; ``verify`` then compares with the FP32
            ONNX model, and says so.
        needs: ``module:NAME`` of the ``interpreter.Needs`` of its framework, for formats that take ``python``.
        own_code_elsewhere: whether all that the row names can run in the interpreter that a source names, by way of
            ``guest_wing``; else the wing's functions heed ``SourceSpec.python`` themselves.
        is_onnx: whether it is what others are converted to: it may be built as it is, and is its own reference.
    """

    name: str
    title: str
    plural: str
    recognises: Callable[[Path, bytes], bool]
    opens: str
    describe: str = ""
    to_onnx: str = ""
    asks: str = ""
    freezes: str = ""
    frozen_as: str = ""
    finds_weights: Callable[[Path], Path | None] = _nowhere
    beside: Callable[[Path], list[Path]] = _nothing
    looks: Callable[[bytes], str] = _unknown
    takes: frozenset[str] = frozenset()
    companions: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    without_reference: Callable[[SourceSpec], str] = _runs
    needs: str = ""
    own_code_elsewhere: bool = False
    is_onnx: bool = False

    @property
    def frozen_first(self) -> bool:
        """Whether it does not convert as it is."""
        return not self.to_onnx

    def open_model(self, spec: SourceSpec) -> Model:
        """The model with its framework."""
        if self._elsewhere(spec):
            from trtconv.adapters import guest_model

            return guest_model.open_model(spec, resolve(self.needs))
        model: Model = resolve(self.opens)(spec)
        return model

    def convert(self, wanted: Wanted, emit: Emit) -> Converted:
        """The ONNX model that is wanted, of a format that needs no freezing."""
        if self._elsewhere(wanted.source):
            from typing import get_type_hints

            from trtconv.adapters import guest_model
            from trtconv.core.plain import restored
            from trtconv.graph import model_io

            told = guest_model.to_onnx(self.to_onnx, wanted, resolve(self.needs), emit)
            own = {"model": model_io.load(told.pop("model")), "source": told.pop("source"), "done": told.pop("done")}
            kinds = get_type_hints(Converted)
            return Converted(**own, **{name: restored(kinds[name], value) for name, value in told.items()})
        made: Converted = resolve(self.to_onnx)(wanted, emit)
        return made

    def freeze(self, request: FreezeRequest, emit: Emit) -> FreezeResult:
        """The frozen graph, of a format for which that means something."""
        if self._elsewhere(request.source):
            from trtconv.adapters import guest_model

            told: FreezeResult = guest_model.freeze(self.freezes, request, FreezeResult, resolve(self.needs), emit)
            return told
        result: FreezeResult = resolve(self.freezes)(request, emit)
        return result

    def versions(self, spec: SourceSpec) -> dict[str, str]:
        """Of the interpreter that a source names and of ``packages`` there; empty: trtconv's own runs it.

        Raises:
            EnvironmentProblem: it is missing, or lacks a package.
        """
        if spec.python is None:
            return {}
        from trtconv.core import interpreter

        return interpreter.find(spec.python, resolve(self.needs)).versions(self.packages)

    def _elsewhere(self, spec: SourceSpec) -> bool:
        return self.own_code_elsewhere and spec.python is not None
