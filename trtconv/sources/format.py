"""What a source format answers, so that nothing outside its wing asks which format it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core.events import Emit
from trtconv.core.lazy import resolve
from trtconv.core.records import SourceSpec

if TYPE_CHECKING:  # planning a job imports this module, and asks nothing of a wing
    from trtconv.sources.freeze_records import FreezeRequest, FreezeResult
    from trtconv.sources.records import Converted, Model, Wanted


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
        times: class of ``records.Timed``, which is made of (SourceSpec, device, Emit); empty: nobody times it.
        rivals: names that ``bench.against`` has for the ways in which that runs the source.
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
    times: str = ""
    rivals: tuple[str, ...] = ()
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
            from trtconv.sources.records import Converted

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
            from trtconv.sources.freeze_records import FreezeResult

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
