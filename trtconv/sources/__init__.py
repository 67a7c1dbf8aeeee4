"""Source formats: one file each; which one a path holds is read from the path itself, without its framework."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trtconv.core import magic
from trtconv.core.errors import SourceError, UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import did_you_mean
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.tensorflow.keras_file import HDF5, keras_generation

if TYPE_CHECKING:  # planning a job imports this module, and need not wait for NumPy
    import numpy as np

FORMATS: Mapping[str, str] = {
    "saved_model": "trtconv.sources.tensorflow.saved_model:open_model",
    "keras": "trtconv.sources.tensorflow.keras_model:open_model",
    "checkpoint": "trtconv.sources.tensorflow.checkpoint:open_model",
    "frozen_pb": "trtconv.sources.tensorflow.frozen_pb:open_model",
    "tflite": "trtconv.sources.tflite.model:open_model",
    "onnx": "trtconv.sources.onnx.model:open_model",
}
"""Row: ``open_model(spec: SourceSpec) -> Model``."""


CUTTABLE = ("frozen_pb", "checkpoint")
"""Formats that are graphs of named nodes, which can be cut anywhere."""


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

    def freeze(self) -> Any:
        """The same function as a ``trtconv.adapters.frozen.FrozenGraph``."""

    def framework(self) -> str:
        """What runs it, with its version."""


def open_model(spec: SourceSpec) -> Model:
    """Open a model with its framework.

    Raises:
        SourceError: damaged, foreign, or of a format that cannot be converted.
        MissingPackage: its framework is not installed.
    """
    name = spec.format if spec.format != "auto" else detect(spec.path)
    require_fitting(spec, name)
    model: Model = resolve(FORMATS[name])(spec)
    return model


def require_fitting(spec: SourceSpec, name: str) -> None:
    """Fail on what is said of a source and means nothing for its format.

    Raises:
        UsageError: cuts or constants without nodes, signature or tags of what is no SavedModel.
    """
    if spec.cuts and name not in CUTTABLE:
        raise UsageError(
            f"{spec.path}: register_input is for frozen graphs and checkpoints, this is {name}",
            hint="freeze it first: trtconv freeze",
        )
    if spec.constants and name not in (*CUTTABLE, "saved_model"):
        raise UsageError(
            f"{spec.path}: constants are for frozen graphs, checkpoints and SavedModels, this is {name}",
            hint="leave them out",
        )
    if (spec.signature or spec.tags) and name != "saved_model":
        raise UsageError(f"{spec.path}: signature and tags are for SavedModels, this is {name}", hint="leave them out")


def detect(path: Path) -> str:
    """The format of a model, by looking at the files.

    Returns:
        A row of FORMATS.

    Raises:
        SourceError: nothing there, or nothing that is a model; the message says what it seems to be.
    """
    if not path.exists():
        return _absent(path)
    return _folder(path) if path.is_dir() else _file(path)


def _absent(path: Path) -> str:
    """A TF1 checkpoint is named by the common start of its files' names; other absent paths are errors."""
    if path.with_name(path.name + ".index").exists():
        return "checkpoint"
    there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise SourceError(f"{path}: no such file or folder", hint=did_you_mean(path.name, there) or "check source.path")


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists():
        return "saved_model"
    if any(path.glob("*.onnx")):
        return "onnx"
    if (path / "checkpoint").exists() or any(path.glob("*.meta")):
        return "checkpoint"
    names = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
    raise SourceError(
        f"{path}: no model in this folder; it holds {names}",
        hint="a SavedModel has a saved_model.pb; name a file, or the folder that holds it",
    )


def _file(path: Path) -> str:
    start = magic.head(path)
    if start.startswith(HDF5) or (start.startswith(b"PK\x03\x04") and keras_generation(path)):
        return "keras"
    if start[4:8] == b"TFL3":
        return "tflite"
    if path.suffix in (".meta", ".index"):
        return "checkpoint"
    if magic.is_onnx(start):
        return "onnx"
    if magic.is_graph_def(start) or magic.is_graph_text(start):
        return "frozen_pb"
    raise _not_a_model(path, start)


def _not_a_model(path: Path, start: bytes) -> SourceError:
    if magic.is_saved_model(start):
        return SourceError(f"{path}: part of a SavedModel", hint=f"give the folder: {path.parent}")
    return SourceError(
        f"{path}: not a model that trtconv knows; it looks like {magic.describe(path)}",
        hint="give a SavedModel folder, a .keras file, a frozen .pb or an .onnx file",
    )
