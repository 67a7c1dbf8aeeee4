"""TensorFlow Lite files, run by TensorFlow's interpreter: they need no freezing."""

from __future__ import annotations

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources.tflite import formats
from trtconv.sources.tflite.interpreter import LiteNetwork


def open_model(spec: SourceSpec) -> LiteNetwork:
    """The model, ready to run.

    Raises:
        SourceError: foreign, truncated, or with operators that the interpreter lacks.
    """
    if not spec.path.is_file():
        raise SourceError(f"{spec.path}: no such file", hint="check source.path")
    if not formats.begins(magic.head(spec.path)):
        raise SourceError(
            f"{spec.path}: not a TensorFlow Lite model; it looks like {magic.describe(spec.path)}",
            hint="give a .tflite file",
        )
    return LiteNetwork(spec.path)
