"""How TensorFlow's formats are recognised, and what else the line asks of them."""

from __future__ import annotations

from pathlib import Path

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.sources.format import Format

_PACKAGES = ("tensorflow-cpu", "tensorflow", "tf-keras", "keras", "tf2onnx", "onnx")


def is_graph_def(start: bytes) -> bool:
    """Whether bytes begin like a GraphDef: a NodeDef (field 1) that begins with its name (1) and op (2)."""
    size, after = magic.varint(start, 1) if start[:1] == b"\x0a" else (0, 0)
    if size < 4 or start[after : after + 1] != b"\x0a":
        return False
    length, begin = magic.varint(start, after + 1)
    end = begin + length
    if start[end : end + 1] != b"\x12" or end > after + size:
        return False
    length, begin = magic.varint(start, end + 1)
    op = start[begin : begin + length]
    return op.isascii() and op.replace(b"_", b"a").replace(b">", b"a").isalnum()


def is_graph_text(start: bytes) -> bool:
    """Whether bytes begin like a GraphDef in text form."""
    return start.lstrip().startswith((b"node {", b"node{", b"versions {"))


def is_saved_model(start: bytes) -> bool:
    """Whether bytes begin like a SavedModel: schema version 1 (field 1), then a MetaGraphDef (2).

    That begins with one of its seven fields, which are messages or maps, in any order; TensorFlow writes its infos (1)
    first. The name of a producer, which an ONNX model of IR version 1 has there, begins with a letter.
    """
    if start[:3] != b"\x08\x01\x12":
        return False
    _, after = magic.varint(start, 3)
    return start[after : after + 1] in _PARTS


_PARTS = tuple(bytes([field << 3 | 2]) for field in range(1, 8))


def _saved_model(path: Path, start: bytes) -> bool:
    if is_saved_model(start):
        raise SourceError(f"{path}: part of a SavedModel", hint=f"give the folder: {path.parent}")
    return (path / "saved_model.pb").exists() or (path / "saved_model.pbtxt").exists()


def _keras(path: Path, start: bytes) -> bool:
    if start.startswith(b"PK\x03\x04"):
        from trtconv.sources.tensorflow.keras_file import keras_generation  # planning another source needs none of it

        return bool(keras_generation(path))
    return start.startswith(b"\x89HDF\r\n\x1a\n")


def _checkpoint(path: Path, _: bytes) -> bool:
    if path.is_dir():
        return (path / "checkpoint").exists() or any(path.glob("*.meta"))
    if not path.exists():  # it is named by the common start of its files' names
        return path.with_name(path.name + ".index").exists()
    return path.suffix in (".meta", ".index")


def _parts_of_checkpoint(path: Path) -> list[Path]:
    start = path.name.rpartition(".")[0]
    return [path.with_name(f"{start}.meta"), *sorted(path.parent.glob(f"{start}.data-*"))]


def _graph_looks(start: bytes) -> str:
    if is_graph_text(start):
        return "a GraphDef in text form"
    return "a TensorFlow GraphDef" if is_graph_def(start) else ""


_COMPANIONS = (".json", ".check.npz")
_FREEZE = "trtconv.sources.tensorflow.freeze:freeze"

SAVED_MODEL = Format(
    name="saved_model",
    title="a TensorFlow SavedModel",
    plural="SavedModels",
    recognises=_saved_model,
    looks=lambda start: "a SavedModel's protocol buffer" if is_saved_model(start) else "",
    describe="trtconv.sources.tensorflow.describe:saved_model",
    opens="trtconv.sources.tensorflow.saved_model:open_model",
    freezes=_FREEZE,
    frozen_as="frozen_pb",
    takes=frozenset({"constants", "signature", "tags", "python"}),
    packages=_PACKAGES,
    needs="trtconv.adapters.tensorflow:NEEDS",
    own_code_elsewhere=True,
)
KERAS = Format(
    name="keras",
    title="a Keras model",
    plural="Keras models",
    recognises=_keras,
    describe="trtconv.sources.tensorflow.describe:keras",
    opens="trtconv.sources.tensorflow.keras_model:open_model",
    takes=frozenset({"python"}),
    freezes=_FREEZE,
    frozen_as="frozen_pb",
    packages=_PACKAGES,
    needs="trtconv.adapters.tensorflow:NEEDS",
    own_code_elsewhere=True,
)
CHECKPOINT = Format(
    name="checkpoint",
    title="a TensorFlow checkpoint",
    plural="checkpoints",
    recognises=_checkpoint,
    beside=_parts_of_checkpoint,
    opens="trtconv.sources.tensorflow.checkpoint:open_model",
    freezes=_FREEZE,
    frozen_as="frozen_pb",
    takes=frozenset({"cuts", "constants", "python"}),
    packages=_PACKAGES,
    needs="trtconv.adapters.tensorflow:NEEDS",
    own_code_elsewhere=True,
)
FROZEN_PB = Format(
    name="frozen_pb",
    title="a TensorFlow graph",
    plural="frozen graphs",
    recognises=lambda _, start: is_graph_def(start) or is_graph_text(start),
    looks=_graph_looks,
    beside=lambda path: [path.with_name(path.name + ending) for ending in _COMPANIONS],
    describe="trtconv.sources.tensorflow.describe:frozen",
    opens="trtconv.sources.tensorflow.frozen_pb:open_model",
    to_onnx="trtconv.sources.tensorflow.convert:convert",
    freezes=_FREEZE,
    takes=frozenset({"cuts", "constants", "python"}),
    companions=_COMPANIONS,
    packages=_PACKAGES,
    needs="trtconv.adapters.tensorflow:NEEDS",
    own_code_elsewhere=True,
)
