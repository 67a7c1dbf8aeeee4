"""caffemodel files: the arrays of each layer, found without reading them.

Field numbers are those of caffe.proto: NetParameter layers 2 (of the first two formats) and layer 100; the layer's name
and blobs at 1 and 7, in the second format at 4 and 6, in the first inside the message 1 at 1 and 50. Of NVIDIA's fork
come raw_data_type 10 and raw_data 12, which hold half precision.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import magic, protobuf_wire
from trtconv.core.errors import SourceError
from trtconv.sources.caffe.formats import is_caffemodel

_DATA, _SHAPE, _DOUBLE, _RAW_TYPE, _RAW = 5, 7, 8, 10, 12
_LEGACY = (1, 2, 3, 4)
_RAW_TYPES = ("<f8", "<f4", "<f2", "<i4", "<u4")
_BYTES = 2


@dataclass(frozen=True)
class Blob:
    """One array of a layer.

    Attributes:
        shape: as the file says; the oldest files say four sizes of every array.
        _view: the file.
        _pieces: where contents lie.
        _dtype: their type.
    """

    shape: tuple[int, ...]
    _view: memoryview
    _pieces: tuple[tuple[int, int], ...]
    _dtype: str

    @property
    def size(self) -> int:
        """Number of elements that the file holds."""
        return sum(end - start for start, end in self._pieces) // np.dtype(self._dtype).itemsize

    def array(self) -> Any:
        """The elements in a row, float32; a view of the file where that can be."""
        parts = [np.frombuffer(self._view[start:end], self._dtype) for start, end in self._pieces]
        whole = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self._dtype), *parts])
        return whole.astype(np.float32, copy=False)


class Weights:
    """An open caffemodel.

    Args:
        path: the file.

    Raises:
        SourceError: missing, empty, truncated or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise SourceError(f"{path}: no such file", hint="weights names the .caffemodel of this network")
        if not path.stat().st_size:
            raise SourceError(f"{path}: an empty file", hint="fetch the .caffemodel again")
        with path.open("rb") as handle:
            self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        try:
            self.layers: Mapping[str, tuple[Blob, ...]] = dict(_layers(self._view))
        except (protobuf_wire.Damaged, IndexError) as error:
            raise _foreign(path, str(error)) from None
        if not self.layers:
            raise _foreign(path, "it has no layers")

    def release(self) -> None:
        """Let go of the pages that were read: they come back from the file when they are needed."""
        self._map.madvise(mmap.MADV_DONTNEED)


def _foreign(path: Path, reason: str) -> SourceError:
    start = magic.head(path)
    if is_caffemodel(start):
        return SourceError(
            f"{path}: begins like a caffemodel but is truncated or damaged ({reason})", hint="fetch it again"
        )
    hint = "weights names the .caffemodel that was trained with this prototxt"
    if start.startswith(b"\x89HDF"):
        hint = "Caffe writes a .caffemodel with snapshot_format: BINARYPROTO in its solver"
    return SourceError(f"{path}: not a caffemodel; it looks like {magic.describe(path)}", hint=hint)


def _layers(view: memoryview) -> Iterator[tuple[str, tuple[Blob, ...]]]:
    for part in protobuf_wire.fields(view):
        if part.number == 100 and _is_bytes(view, part):
            yield _layer(view, part, 1, 7)
        elif part.number == 2 and _is_bytes(view, part):
            inner = next((one for one in protobuf_wire.fields(view, part.start, part.end) if one.number == 1), None)
            is_v0 = inner is not None and _is_bytes(view, inner)
            yield _layer(view, inner, 1, 50) if inner is not None and is_v0 else _layer(view, part, 4, 6)


def _layer(view: memoryview, message: protobuf_wire.Field, name: int, blobs: int) -> tuple[str, tuple[Blob, ...]]:
    label, found = "", []
    for part in protobuf_wire.fields(view, message.start, message.end):
        if part.number == name:
            label = protobuf_wire.text(view, part)
        elif part.number == blobs:
            found.append(_blob(view, part))
    return label, tuple(found)


def _is_bytes(view: memoryview, part: protobuf_wire.Field) -> bool:
    return view[part.begin] & 7 == _BYTES


def _blob(view: memoryview, message: protobuf_wire.Field) -> Blob:
    pieces: dict[int, list[tuple[int, int]]] = {}
    legacy, raw, shape = dict.fromkeys(_LEGACY, 0), 1, None
    for part in protobuf_wire.fields(view, message.start, message.end):
        if part.number in (_DATA, _DOUBLE, _RAW):
            pieces.setdefault(part.number, []).append((part.start, part.end))
        elif part.number == _SHAPE:
            shape = tuple(_dims(view, part))
        elif part.number == _RAW_TYPE:
            raw = part.value
        elif part.number in legacy:
            legacy[part.number] = part.value
    number = next(iter(pieces), _DATA)
    dtype = {_DATA: "<f4", _DOUBLE: "<f8"}.get(number) or (_RAW_TYPES[raw] if raw < len(_RAW_TYPES) else "<f4")
    dims = tuple(legacy.values()) if shape is None else shape
    return Blob(dims, view, tuple(pieces.get(number, ())), dtype)


def _dims(view: memoryview, message: protobuf_wire.Field) -> Iterator[int]:
    """BlobShape: dim 1, packed or not."""
    for part in protobuf_wire.fields(view, message.start, message.end):
        if part.number != 1:
            continue
        if not _is_bytes(view, part):
            yield protobuf_wire.signed(part.value)
            continue
        position = part.start
        while position < part.end:
            value, position = protobuf_wire.varint(view, position, part.end)
            yield protobuf_wire.signed(value)
