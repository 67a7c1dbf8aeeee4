"""A model that TensorRT parses where its file lies: large weights are handed over by their addresses, none is copied.

``parse_from_file`` reads the file and copies each weight out of it; of half a gigabyte that takes as long as a third of
the build, and its size in memory once more.
"""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtconv.core import protobuf_wire
from trtconv.core.protobuf_wire import Field

if TYPE_CHECKING:
    from trtconv.adapters.tensorrt import Loaded
    from trtconv.adapters.tensorrt_api import TrtILogger, TrtOnnxParser
    from trtconv.adapters.tensorrt_network_api import TrtINetworkDefinition

_WEIGHTS = (7, 5, 9)
"""Fields of ModelProto, GraphProto and TensorProto: graph, initializer, raw_data (onnx.proto)."""

_NAME = 8
_LARGE = 4096  # bytes; smaller ones may be shapes, and cost nothing


@dataclass(frozen=True)
class MappedModel:
    """A model's file in memory.

    Attributes:
        data: the whole file; it must outlive whoever was given an address in it.
        outline: the model without its large weights.
        weights: name, address and number of bytes of each of these; empty where there are none, or their names do not
            tell them apart, and the whole file has to be parsed.
    """

    data: mmap.mmap
    outline: bytes
    weights: tuple[tuple[str, int, int], ...]

    def give_back(self) -> None:
        """Free the memory that holds what was read; whoever reads on finds it in the file again."""
        self.data.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Parsed:
    """A model that TensorRT's parser has seen.

    Attributes:
        parser: it, with its errors.
        done: whether it took the model.
        mapped: what the network refers to and must outlive; None: nothing.
    """

    parser: TrtOnnxParser
    done: bool
    mapped: MappedModel | None = None


def parse(loaded: Loaded, network: TrtINetworkDefinition, logger: TrtILogger, path: Path) -> Parsed:
    """Parse a model's file into a network, its weights by their addresses where the flavour takes them so."""
    parser, mapped = loaded.api.OnnxParser(network, logger), of(path)
    if mapped is None:
        return Parsed(parser, parser.parse_from_file(str(path)))
    if loaded.can.by_address and mapped.weights:
        known = parser.load_model_proto(mapped.outline, str(path))
        if known and all(parser.load_initializer(*weight) for weight in mapped.weights):
            return Parsed(parser, parser.parse_model_proto(), mapped)
        parser = loaded.api.OnnxParser(network, logger)
    return Parsed(parser, parser.parse(mapped.data, str(path)), mapped)


def of(path: Path) -> MappedModel | None:
    """Map a model; None where it is empty or no protocol buffer: TensorRT says what it thinks of that."""
    try:
        with path.open("rb") as handle:
            # Nobody writes to it: ctypes tells the address of nothing that cannot be written to.
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        return _of(data)
    except ValueError:
        return None


def _of(data: mmap.mmap) -> MappedModel:
    view, found = memoryview(data), list[list[Field]]()
    outline = b"".join(protobuf_wire.without(view, _WEIGHTS, _LARGE, found.append))
    start = ctypes.addressof(ctypes.c_char.from_buffer(data))
    weights = {_name(view, tensor): (start + raw.start, raw.end - raw.start) for _, tensor, raw in found}
    apart = len(weights) == len(found) and "" not in weights  # else the parser takes them out of the file itself
    return MappedModel(data, outline, tuple((name, *place) for name, place in weights.items()) if apart else ())


def _name(view: memoryview, tensor: Field) -> str:
    parts = protobuf_wire.fields(view, tensor.start, tensor.end)
    return "".join(protobuf_wire.text(view, part) for part in parts if part.number == _NAME)
