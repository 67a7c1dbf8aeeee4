"""ONNX files in and out, and what a model takes and gives."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper

from trtconv.core import external, files, magic, protobuf_wire
from trtconv.core.errors import SourceError
from trtconv.core.hashed_file import HashedFile
from trtconv.core.protobuf_wire import Field
from trtconv.core.records import Dim, TensorInfo
from trtconv.graph import editing, weights_aside
from trtconv.graph.weights_aside import Aside

EXTERNAL_ABOVE = int(1.8 * 10**9)
"""Bytes of tensors from which they move to a file of their own; protocol buffers end at 2 GiB."""

_ALIGNMENT = weights_aside.LARGE


def load(path: Path, *, weights: bool = True, outside: bool = True, aside: bool = False) -> onnx.ModelProto:
    """Read an ONNX model; a folder stands for the only ``.onnx`` file in it.

    Args:
        path: of the model.
        weights: whether to read large tensors; without them the model is an outline to look at.
        outside: whether to read those that lie in files of their own; without, the model refers to them.
        aside: whether large ones may stay in the model's file, see ``weights_aside``, where that is allowed.

    Raises:
        SourceError: missing, truncated or foreign file; external data that is not there.
    """
    path, left = file_of(path), list[tuple[int, Aside]]()
    whole = weights and not (aside and weights_aside.is_allowed())
    try:
        model = onnx.load(path, load_external_data=False) if whole else _outline(path, left)
    except (DecodeError, ValueError):  # of the second kind: damaged, or empty, which cannot be mapped
        raise _not_onnx(path) from None
    if not model.ir_version or not model.opset_import:
        raise _not_onnx(path)
    _require_texts(model, path)
    if weights and outside:
        try:
            external_data_helper.load_external_data_for_model(model, str(path.parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise _no_data(path, str(error)) from None
    for position, contents in left if weights else ():
        weights_aside.put(model.graph.initializer[position], contents)
    return model


def _require_texts(model: onnx.ModelProto, path: Path) -> None:
    """Fail on a name that is not UTF-8: protobuf hands it out as bytes, and no program can print it."""
    for graph in editing.graphs(model.graph):
        values = (*graph.input, *graph.output, *graph.value_info)
        names = [value.name for value in values] + [tensor.name for tensor in graph.initializer]
        names += [dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim]
        names += [name for node in graph.node for name in (node.name, node.op_type, *node.input, *node.output)]
        wrong = next((name for name in names if isinstance(name, bytes)), None)
        if wrong is not None:
            raise SourceError(
                f"{path}: the name {wrong!r} in it is not UTF-8", hint="export the model again with names in UTF-8"
            )


def data_files(path: Path) -> list[str]:
    """Where a model keeps tensors outside itself, relative to its folder.

    Raises:
        SourceError: one of these files is not there.
    """
    named = external.locations(path)
    for name in named:
        if not (path.parent / name).is_file():
            raise _no_data(path, f"there is no file {name}")
    return named


def save(model: onnx.ModelProto, path: Path) -> str:
    """Write a model atomically; tensors go to ``<path>.data`` when they are more than EXTERNAL_ABOVE together.

    The data file appears before the model, so that a model file is always complete. The model is not changed.

    Returns:
        SHA-256 of the file; empty where there is a data file too.
    """
    data = files.data_of(path)
    if not _is_large(model):
        with files.atomic_path(path) as temporary, HashedFile(temporary) as out:
            out.write_all(_serialized(model))
        data.unlink(missing_ok=True)  # of a larger model that lay here
        return out.sha256
    with files.atomic_path(data) as temporary:
        _save_external(model, path, temporary, data.name)
    return ""


def _is_large(model: onnx.ModelProto) -> bool:
    return sum(map(editing.size, model.graph.initializer)) > EXTERNAL_ABOVE


def is_in(model: onnx.ModelProto, path: Path) -> bool:
    """Whether ``save`` would write exactly what a file holds, and all of it: the weights lie nowhere else.

    Weights that lie aside in that file, at the place where they would be written, are not looked at.
    """
    if not path.is_file() or _is_large(model) or external.locations(path):
        return False
    with path.open("rb") as handle:
        found, data = _mapped(handle.fileno())
    place = 0
    for part in _serialized(model):
        start, place = place, place + len(part)
        aside = weights_aside.at(part) if isinstance(part, memoryview) else None
        if not (aside is not None and (aside.file, aside.start) == (found, start)) and data[start:place] != part:
            return False
    return place == len(data)


def _serialized(model: onnx.ModelProto) -> Iterator[bytes | memoryview]:
    """What ``SerializeToString(deterministic=True)`` gives, a weight at a time: that holds them all three times."""
    weights = [_Weight.of(tensor) for tensor in model.graph.initializer]
    first, last = protobuf_wire.around(_without(model.graph, "initializer"), _INITIALIZER)
    before, after = protobuf_wire.around(_without(model, "graph"), _GRAPH)
    yield before
    if model.HasField("graph"):
        yield protobuf_wire.opening(_GRAPH, len(first) + sum(len(one.key) + one.size for one in weights) + len(last))
        yield first
        for one, tensor in zip(weights, model.graph.initializer, strict=True):
            yield from (one.key, one.first, weights_aside.content(tensor), one.last)
        yield last
    yield after


_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Fields of ModelProto, GraphProto and TensorProto (onnx.proto)."""


class _Weight(NamedTuple):
    """An initializer without its contents.

    Attributes:
        key: what begins its field.
        first: what stands before its raw data.
        last: what stands behind.
        size: of all, but for the key.
    """

    key: bytes
    first: bytes
    last: bytes
    size: int

    @classmethod
    def of(cls, tensor: onnx.TensorProto) -> _Weight:
        told = () if weights_aside.of(tensor) is None else ("data_location", "external_data")
        first, last = protobuf_wire.around(_without(tensor, "raw_data", *told), _RAW_DATA)
        content = len(weights_aside.content(tensor))
        first += protobuf_wire.opening(_RAW_DATA, content) if tensor.HasField("raw_data") else b""
        size = len(first) + content + len(last)
        return cls(protobuf_wire.opening(_INITIALIZER, size), first, last, size)


def _without(message: Any, *left_out: str) -> bytes:
    """A message without some of its fields, serialized."""
    copy = type(message)()
    for field, value in message.ListFields():
        if field.name in left_out:
            continue
        if hasattr(value, "MergeFrom"):
            getattr(copy, field.name).MergeFrom(value)
        else:
            setattr(copy, field.name, value)
    return bytes(copy.SerializeToString(deterministic=True))


def _save_external(model: onnx.ModelProto, path: Path, temporary: Path, location: str) -> None:
    """Write the large initializers to ``temporary`` and the model, without them, to ``path``."""
    held: list[tuple[onnx.TensorProto, bytes | Aside]] = []
    try:
        with temporary.open("wb") as out:
            for tensor in model.graph.initializer:
                content = weights_aside.content(tensor)
                if len(content) < _ALIGNMENT:
                    continue
                out.seek(-(-out.tell() // _ALIGNMENT) * _ALIGNMENT)
                held.append((tensor, weights_aside.of(tensor) or bytes(content)))
                _refer(tensor, location, out.tell(), len(content))
                out.write(content)
        files.write_bytes(path, model.SerializeToString(deterministic=True))
    finally:
        for tensor, before in held:
            tensor.ClearField("data_location")
            del tensor.external_data[:]
            if isinstance(before, Aside):
                weights_aside.put(tensor, before)
            else:
                tensor.raw_data = before


def move(made: Path, path: Path) -> None:
    """Put a saved model, with its data file if it has one, where it belongs; the model file comes last."""
    data = files.data_of(made)
    large = data.exists()
    if large:
        data.replace(files.data_of(path))
    made.replace(path)
    if not large:
        files.data_of(path).unlink(missing_ok=True)  # of a larger model that lay here


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _outline(path: Path, left: list[tuple[int, Aside]]) -> onnx.ModelProto:
    """The model without the contents of large initializers; ``left`` gets the position of each, and where they lie."""
    with path.open("rb") as handle:
        file, view = _mapped(handle.fileno())
    dropped: list[list[Field]] = []
    content = b"".join(protobuf_wire.without(view, (_GRAPH, _INITIALIZER, _RAW_DATA), _ALIGNMENT, dropped.append))
    model = onnx.ModelProto.FromString(content)
    graphs = (part for part in protobuf_wire.fields(view) if part.number == _GRAPH)
    parts = (part for graph in graphs for part in protobuf_wire.fields(view, graph.start, graph.end))
    positions = {part.begin: n for n, part in enumerate(part for part in parts if part.number == _INITIALIZER)}
    left += [(positions[of.begin], Aside(view[raw.start : raw.end], file, raw.start)) for _, of, raw in dropped]
    return model


def _mapped(descriptor: int) -> tuple[tuple[int, int], memoryview]:
    """Device and inode of a file, and its bytes."""
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino), memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))


def interface(model: onnx.ModelProto) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The inputs (initializers left out) and outputs of a model."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = (value for value in model.graph.input if value.name not in constants)
    return infos(inputs), infos(model.graph.output)


def dtype_name(elem_type: int) -> str:
    """``"float16"`` from ``TensorProto.FLOAT16``."""
    name: str = onnx.TensorProto.DataType.Name(elem_type)
    return name.lower()


def infos(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorInfo, ...]:
    """Name, type and shape of each."""
    return tuple(TensorInfo(value.name, dtype_name(value.type.tensor_type.elem_type), _dims(value)) for value in values)


def _dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...]:
    """Dimensions; one without a size or a name gets ``<tensor>_dim<axis>``."""
    dims = value.type.tensor_type.shape.dim
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"{value.name}_dim{axis}"
        for axis, dim in enumerate(dims)
    )


def file_of(path: Path) -> Path:
    """The model file that a path stands for: itself, or the only ``.onnx`` file in a folder.

    Raises:
        SourceError: nothing there, or several.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file", hint="check the path; a job's paths start from its own folder")
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise SourceError(f"{path}: expected one .onnx file in this folder, found {names}", hint="name the file itself")
    return found[0]


def _not_onnx(path: Path) -> SourceError:
    what = magic.describe(path)
    if what == "an ONNX model":
        return SourceError(
            f"{path}: begins like an ONNX model but is truncated or damaged", hint="fetch or export it again"
        )
    return SourceError(f"{path}: not an ONNX model; it looks like {what}", hint="give the path of an ONNX file")


def _no_data(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path}: its external data cannot be read: {reason}",
        hint="keep the data file beside the model, under its own name",
    )
