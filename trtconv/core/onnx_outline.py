"""Inputs and operators of an ONNX model, read without the onnx package and without its weights, which is quick."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

from trtconv.core.protobuf_wire import Field, fields, signed
from trtconv.core.records import Dim, TensorInfo

_DTYPES = (
    "undefined",
    "float",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "double",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "uint4",
    "int4",
    "float4e2m1",
    "float8e8m0",
    "uint2",
    "int2",
    "float6e2m3",
    "float6e3m2",
)
"""TensorProto.DataType of onnx.proto3, by number."""

# Numbers of fields in onnx.proto3.
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
_NODES, _INITIALIZERS, _INPUTS = 1, 5, 11
_OPERATOR, _FUNCTIONS = 4, 25

_INSIDE: Mapping[str, Mapping[int, str]] = {
    "model": {_GRAPH: "graph", _OPSETS: "opset"},
    "opset": {},
    "graph": {_NODES: "node", _INITIALIZERS: "tensor", _INPUTS: "value", 12: "value", 13: "value"},
    "node": {5: "attribute"},
    "function": {7: "node"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {},
    "value": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {2: "shape"},
    "shape": {1: "dim"},
    "dim": {},
}
"""Message -> the fields of it that are messages themselves, as far as a graph goes."""

_HOLD_NODES = ("graph", "function", "node", "attribute")

_NAMES: Mapping[str, frozenset[int]] = {
    "node": frozenset({1, 2, 3, 4}),
    "tensor": frozenset({8}),
    "value": frozenset({1}),
    "dim": frozenset({2}),
}
"""Message -> its names, which have to be UTF-8."""

_MOST = 2 << 20
"""Bytes of nodes beyond which the onnx package, once it is loaded, has read them sooner."""


def inputs(path: Path) -> tuple[TensorInfo, ...] | None:
    """Inputs, initializers left out, of a model of which every message and name is whole.

    None for all others, and for those with very many nodes: the onnx package knows them, or what is wrong with them.
    """
    try:
        return _of_model(_mapped(path))
    except (OSError, ValueError, IndexError):
        return None


def operators(path: Path) -> frozenset[str] | None:
    """Types of a model's nodes, those of subgraphs and functions too; None where only the onnx package can tell."""
    try:
        data = _mapped(path)
        return frozenset(name for part in fields(data) for name in _operators(data, part, "model"))
    except (OSError, ValueError):
        return None


def _operators(data: memoryview, part: Field, message: str) -> Iterator[str]:
    if message == "node" and part.number == _OPERATOR:
        yield _text(data, part)
    inner = "function" if message == "model" and part.number == _FUNCTIONS else _INSIDE[message].get(part.number)
    if inner in _HOLD_NODES:
        for each in fields(data, part.start, part.end):
            yield from _operators(data, each, inner)


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as handle:
        return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))


def _of_model(data: memoryview) -> tuple[TensorInfo, ...] | None:
    model = list(fields(data))
    graphs = [part for part in model if part.number == _GRAPH]
    versions = [part.value for part in model if part.number == _IR_VERSION]
    opsets = any(part.number == _OPSETS for part in model)
    if len(graphs) != 1 or not opsets or not any(versions[-1:]):
        return None
    parts = list(fields(data, graphs[0].start, graphs[0].end))
    if sum(part.end - part.start for part in parts if part.number == _NODES) > _MOST:
        return None
    for part in model:
        _require_whole(data, part, "model")
    constants = {_text(data, name) for tensor in _all(parts, _INITIALIZERS) for name in _inside(data, tensor, 8)}
    found = (_info(data, value) for value in _all(parts, _INPUTS))
    return tuple(info for info in found if info.name not in constants)


def _require_whole(data: memoryview, part: Field, message: str) -> None:
    """Fail on a field of a message that holds what cannot be read.

    Raises:
        Damaged: a message in it is none.
        UnicodeDecodeError: a name is not UTF-8.
    """
    if part.number in _NAMES.get(message, ()):
        _text(data, part)
    elif (inner := _INSIDE[message].get(part.number)) is not None:
        for each in fields(data, part.start, part.end):
            _require_whole(data, each, inner)


def _info(data: memoryview, value: Field) -> TensorInfo:
    name = "".join(_text(data, each) for each in _inside(data, value, 1))
    dtype, shape = 0, []
    for type_ in _inside(data, value, 2):
        for tensor in _inside(data, type_, 1):
            dtype = next((each.value for each in _inside(data, tensor, 1)), 0)
            shape = [dim for dims in _inside(data, tensor, 2) for dim in _inside(data, dims, 1)]
    return TensorInfo(name, _DTYPES[dtype], tuple(_dim(data, dim, f"{name}_dim{n}") for n, dim in enumerate(shape)))


def _dim(data: memoryview, dim: Field, unnamed: str) -> Dim:
    """A size, or a name; where there is neither, the one given."""
    found: Dim = unnamed
    for part in fields(data, dim.start, dim.end):
        if part.number == 1:
            found = signed(part.value)
        elif part.number == 2:
            found = _text(data, part) or unnamed
    return found


def _all(parts: list[Field], number: int) -> Iterator[Field]:
    return (part for part in parts if part.number == number)


def _inside(data: memoryview, part: Field, number: int) -> Iterator[Field]:
    return (each for each in fields(data, part.start, part.end) if each.number == number)


def _text(data: memoryview, part: Field) -> str:
    return bytes(data[part.start : part.end]).decode()
