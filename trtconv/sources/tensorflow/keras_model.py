"""Keras files: .keras (a zip) and .h5, of Keras 3 and of Keras 2."""

from __future__ import annotations

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources.tensorflow import framework, keras_file
from trtconv.sources.tensorflow.framework import Network


def open_model(spec: SourceSpec) -> Network:
    """The model in inference mode.

    Raises:
        SourceError: not a Keras file, damaged, or in need of code that is not there or not allowed.
    """
    if not spec.path.exists():
        raise SourceError(f"{spec.path}: no such file", hint="check source.path")
    zipped = not spec.path.is_dir() and bool(keras_file.keras_generation(spec.path))
    if not zipped and (spec.path.is_dir() or not magic.head(spec.path).startswith(keras_file.HDF5)):
        raise SourceError(
            f"{spec.path}: not a Keras model; it looks like {magic.describe(spec.path)}",
            hint="give a .keras file or an .h5 file of a whole model",
        )
    generation, config = keras_file.read(spec.path)
    if not spec.allow_code:
        keras_file.refuse_code(spec.path, config)
    return framework.open_keras(spec.path, generation, allow_code=spec.allow_code, shapes=dict(spec.shapes))
