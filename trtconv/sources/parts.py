"""Files that a model is made of besides the one that names it: what a run has to look at to see that it changed."""

from __future__ import annotations

import os
from pathlib import Path

from trtconv.core import external


def beside(path: Path, name: str) -> dict[str, Path]:
    """Files beside a model's own, by path from its folder; a folder holds all of its model.

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
        found = [path.parent / location for location in external.locations(path)]
    else:
        found = []
    return {os.path.relpath(file, path.parent): file for file in found if file.is_file()}
