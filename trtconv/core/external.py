"""Where an ONNX model keeps tensors outside itself, read without the onnx package and without the weights."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from trtconv.core import protobuf_wire

# Numbers of fields in onnx.proto3.
_GRAPH_OF_MODEL = 7
_NODES, _INITIALIZERS = 1, 5
_ATTRIBUTES = 5
_TENSOR, _BODY, _BODIES = 5, 6, 11
_EXTERNAL_DATA = 13


def locations(path: Path) -> list[str]:
    """Files with a model's tensors, relative to its folder, each once; none for a file that is no model."""
    try:
        with path.open("rb") as handle:
            data = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
        graphs = (field for field in protobuf_wire.fields(data) if field.number == _GRAPH_OF_MODEL)
        return list(dict.fromkeys(name for graph in graphs for name in _of_graph(data, graph)))
    except ValueError:  # damaged, or empty, which cannot be mapped: told by whoever reads it
        return []


def _of_graph(data: memoryview, graph: protobuf_wire.Field) -> Iterator[str]:
    for field in protobuf_wire.fields(data, graph.start, graph.end):
        if field.number == _INITIALIZERS:
            yield from _of_tensor(data, field)
        elif field.number == _NODES:
            for attribute in protobuf_wire.fields(data, field.start, field.end):
                if attribute.number == _ATTRIBUTES:
                    yield from _of_attribute(data, attribute)


def _of_attribute(data: memoryview, attribute: protobuf_wire.Field) -> Iterator[str]:
    for field in protobuf_wire.fields(data, attribute.start, attribute.end):
        if field.number == _TENSOR:
            yield from _of_tensor(data, field)
        elif field.number in (_BODY, _BODIES):
            yield from _of_graph(data, field)


def _of_tensor(data: memoryview, tensor: protobuf_wire.Field) -> Iterator[str]:
    for field in protobuf_wire.fields(data, tensor.start, tensor.end):
        if field.number == _EXTERNAL_DATA:
            key, value = protobuf_wire.entries(data, field)
            if key == "location" and value is not None:
                yield protobuf_wire.text(data, value)


_OPSETS_OF_MODEL, _DOMAIN = 8, 1


def domains(path: Path) -> set[str]:
    """Domains of operators that a model imports; none for a file that is no model."""
    try:
        with path.open("rb") as handle:
            data = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
        imports = [field for field in protobuf_wire.fields(data) if field.number == _OPSETS_OF_MODEL]
        names = [part for each in imports for part in protobuf_wire.fields(data, each.start, each.end)]
        return {protobuf_wire.text(data, part) for part in names if part.number == _DOMAIN}
    except (OSError, ValueError):  # told by whoever reads it
        return set()
