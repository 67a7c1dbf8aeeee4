"""Sources: one wing per framework, one row per format; which one a path holds is read from the path itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core import magic
from trtconv.core.errors import SourceError, UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import choice, path_meant
from trtconv.core.records import SourceSpec
from trtconv.sources.format import Format

if TYPE_CHECKING:
    from trtconv.sources.records import Model

FORMATS: Mapping[str, str] = {
    "saved_model": "trtconv.sources.tensorflow.formats:SAVED_MODEL",
    "keras": "trtconv.sources.tensorflow.formats:KERAS",
    "tflite": "trtconv.sources.tflite.formats:TFLITE",
    "onnx": "trtconv.sources.onnx.formats:ONNX",
    "checkpoint": "trtconv.sources.tensorflow.formats:CHECKPOINT",
    "frozen_pb": "trtconv.sources.tensorflow.formats:FROZEN_PB",
    "caffe": "trtconv.sources.caffe.formats:CAFFE",
    "paddle": "trtconv.sources.paddle.formats:PADDLE",
    "network": "trtconv.sources.network.formats:NETWORK",
    "torch_export": "trtconv.sources.pytorch.formats:TORCH_EXPORT",
    "torchscript": "trtconv.sources.pytorch.formats:TORCHSCRIPT",
    "torch_pickle": "trtconv.sources.pytorch.formats:TORCH_PICKLE",
    "torch_module": "trtconv.sources.pytorch.formats:TORCH_MODULE",
}
"""Rows by name, the most certain first; each row is a ``Format`` in a module that imports nothing heavy."""

RIVALS = ("pytorch", "pytorch-compiled")
"""Names in ``bench.against`` of ways to run the source itself; a row says which of them are its own."""

PLUGINS = "trtconv.sources"
"""Entry points of this group are rows of other distributions; they are looked at where no row of ours fits."""


def rows() -> Iterator[Format]:
    """All formats, those of other distributions last."""
    for target in FORMATS.values():
        yield resolve(target)
    from importlib import metadata  # slow to load, and seldom needed

    for point in metadata.entry_points(group=PLUGINS):
        yield point.load()


def row(name: str) -> Format:
    """A format by its name.

    Raises:
        UsageError: there is none.
    """
    if name in FORMATS:
        known: Format = resolve(FORMATS[name])
        return known
    offered = {one.name: one for one in rows()}
    if name not in offered:
        raise UsageError(f"there is no source format {name!r}", hint=choice(name, offered))
    return offered[name]


def of(spec: SourceSpec) -> Format:
    """The format of a source: the one that was named, or what its files say.

    Raises:
        SourceError: nothing there, or nothing that is a model.
    """
    return row(spec.format) if spec.format != "auto" else detect(spec.path)


def open_model(spec: SourceSpec) -> Model:
    """Open a model with its framework.

    Raises:
        SourceError: damaged, foreign, or of a format that cannot be converted.
        MissingPackage: its framework is not installed.
    """
    found = of(spec)
    require_fitting(spec, found)
    return found.open_model(spec)


_KEYS = {
    "cuts": "register_input is",
    "constants": "constants are",
    "signature": "signature and tags are",
    "tags": "signature and tags are",
    "weights": "weights are",
    "python": "an interpreter of its framework is",
    "implicit_batch": "implicit_batch is",
    "arguments": "arguments are",
    "api_version": "api_version is",
    "operators": "operators are",
}


_NOTHING = SourceSpec(Path())


def require_fitting(spec: SourceSpec, found: Format) -> None:
    """Fail on what is said of a source and means nothing for its format.

    Raises:
        UsageError: cuts or constants without nodes, weights for what has its own, signature or tags of what is no
            SavedModel.
    """
    for field, said in _KEYS.items():
        if getattr(spec, field) != getattr(_NOTHING, field) and field not in found.takes:
            *others, last = [one.plural for one in rows() if field in one.takes][::-1] or ["other sources"]
            fitting = " and ".join(filter(None, (", ".join(others), last)))
            hint = "freeze it first: trtconv freeze" if field == "cuts" and found.freezes else "leave it out"
            raise UsageError(f"{spec.path}: {said} for {fitting}, this is {found.name}", hint=hint)


def beside(path: Path, found: Format) -> dict[str, Path]:
    """Files besides a model's own, by path from its folder: what a run has to look at to see that it changed."""
    files = [] if path.is_dir() else found.beside(path)
    return {os.path.relpath(file, path.parent): file for file in files if file.is_file()}


def file_of(path: Path, found: Format) -> Path:
    """The file or folder that stands for a source: its own, or that of the code which makes it."""
    return path if path.exists() else next(iter(found.beside(path)), path)


def detect(path: Path) -> Format:
    """The format of a model, by looking at the files.

    Raises:
        SourceError: nothing there, or nothing that is a model; the message says what it seems to be.
    """
    start = magic.head(path) if path.is_file() else b""
    for one in rows():
        if one.recognises(path, start):
            return one
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder", hint=path_meant(path) or "check source.path")
    if path.is_dir():
        names = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
        raise SourceError(
            f"{path}: no model in this folder; it holds {names}",
            hint="a SavedModel has a saved_model.pb; name a file, or the folder that holds it",
        )
    raise SourceError(
        f"{path}: not a model that trtconv knows; it looks like {magic.describe(path)}",
        hint=f"give {', '.join(one.title for one in rows())}",
    )


def seems(start: bytes) -> str:
    """What the first bytes of a file are, if they are those of a model, such as ``an ONNX model``; else empty."""
    return next(filter(None, (one.looks(start) for one in rows())), "")
