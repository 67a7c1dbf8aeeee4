"""Files that a model is made of besides the one that names it: what a run has to look at to see that it changed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from trtconv.core import wire

_EXTERNAL = (7, 5, 13)
"""ModelProto.graph, GraphProto.initializer, TensorProto.external_data."""


def beside(path: Path, name: str) -> dict[str, Path]:
    """Files beside a model's own, by what their names end in; a folder holds all of its model.

    Args:
        path: of the model.
        name: its format, a row of FORMATS.
    """
    if path.is_dir():
        return {}
    if name == "checkpoint":
        start = path.name.rpartition(".")[0]
        found = [path.with_name(f"{start}.meta"), *sorted(path.parent.glob(f"{start}.data-*"))]
    elif name == "frozen_pb":
        found = [path.with_name(path.name + ending) for ending in (".json", ".check.npz")]
    elif name == "onnx":
        found = [path.parent / location for location in dict.fromkeys(_locations(path))]
    else:
        found = []
    return {file.name: file for file in found if file.is_file()}


def _locations(path: Path) -> Iterator[str]:
    """Where an ONNX model keeps its large tensors; nothing for a file that is none."""
    with path.open("rb") as handle:
        data = memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        for entry in _inside(data, _EXTERNAL, 0, len(data)):
            key, value = wire.entries(data, entry)
            if key == "location" and value is not None:
                yield wire.text(data, value)
    except wire.Damaged:  # told by whoever reads it
        return


def _inside(data: memoryview, numbers: tuple[int, ...], start: int, end: int) -> Iterator[wire.Field]:
    """Fields at the end of a path of field numbers."""
    for field in wire.fields(data, start, end):
        if field.number == numbers[0] and len(numbers) == 1:
            yield field
        elif field.number == numbers[0]:
            yield from _inside(data, numbers[1:], field.start, field.end)
