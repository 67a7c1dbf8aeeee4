"""Keras files: .keras (a zip) and .h5, of Keras 3 and of Keras 2."""

from __future__ import annotations

from trtconv.adapters import tensorflow
from trtconv.adapters.tensorflow import Network
from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources import HDF5, keras_generation


def open_model(spec: SourceSpec) -> Network:
    """The model in inference mode.

    Raises:
        SourceError: not a Keras file, damaged, or in need of code that is not there or not allowed.
    """
    if not spec.path.exists():
        raise SourceError(f"{spec.path}: no such file", hint="check source.path")
    generation = "" if spec.path.is_dir() else keras_generation(spec.path)
    if spec.path.is_dir() or not (generation or magic.head(spec.path).startswith(HDF5)):
        raise SourceError(f"{spec.path}: not a Keras model; it looks like {magic.describe(spec.path)}",
                          hint="give a .keras file or an .h5 file of a whole model")  # fmt: skip
    return tensorflow.open_keras(spec.path, generation, allow_code=spec.allow_code)
