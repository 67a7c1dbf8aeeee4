"""SavedModel folders of TensorFlow 1, TensorFlow 2 and Keras."""

from __future__ import annotations

from pathlib import Path

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.records import SourceSpec
from trtconv.sources.records import Model
from trtconv.sources.tensorflow import formats, framework
from trtconv.sources.tensorflow.constant_inputs import FixedInputs


def open_model(spec: SourceSpec) -> Model:
    """The signature that the spec chooses, without the inputs that it gives a value.

    Raises:
        SourceError: damaged or incomplete folder, unknown signature or tags.
        UsageError: values for what is no input.
    """
    _look(spec.path)
    model: Model = framework.open_saved_model(spec.path, spec.signature, spec.tags)
    return FixedInputs(model, spec) if spec.constants else model


def _look(path: Path) -> None:
    """Find damage that TensorFlow would report in its own words, before loading it."""
    graph = path / "saved_model.pb"
    if not graph.exists() and (path / "saved_model.pbtxt").exists():
        return
    if not path.is_dir() or not graph.exists():
        raise SourceError(f"{path}: not a SavedModel folder: no saved_model.pb in it", hint="check source.path")
    if not formats.is_saved_model(magic.head(graph)):
        raise SourceError(
            f"{graph}: not a SavedModel; it looks like {magic.describe(graph)}", hint="copy the whole folder again"
        )
    variables = path / "variables"
    if variables.is_dir() and not (variables / "variables.index").exists():
        raise SourceError(f"{variables}: variables.index is missing", hint="copy the whole folder again")
    if (variables / "variables.index").exists() and not any(variables.glob("variables.data-*")):
        raise SourceError(f"{variables}: the files variables.data-* are missing", hint="copy the whole folder again")
