"""A model in parts: the folder ``<name>.parts`` with engines, ONNX files for the rest, and ``manifest.json``.

``provenance.json`` beside it tells where all of it came from; it alone differs where two jobs make the same parts.

Schema 1 of the manifest: ``parts`` in the order in which they run, each with ``kind`` (``engine`` or ``onnx``),
``onnx`` and ``engine`` (file names), ``sha256`` per file, ``nodes``, ``copied``, ``inputs`` and ``outputs`` (name,
dtype, shape, profiles); ``inputs``, ``outputs``, ``profiles`` and ``values`` of the whole, as in the sidecar of an
engine; ``fell_back``: node, op, by, why; ``share``: of nodes and multiplications inside engines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core import digests, files
from trtconv.core.errors import SourceError
from trtconv.core.records import ShapeRange, TensorInfo
from trtconv.engines.plan import sidecar

Profile = Mapping[str, ShapeRange]

SCHEMA = 1
SUFFIX = ".parts"
NAME = "manifest.json"
PROVENANCE = "provenance.json"


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        folder: that it lies in.
        facts: the whole document.
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Of the whole model."""
        return tensors(self.facts["inputs"])

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """Of the whole model."""
        return tensors(self.facts["outputs"])

    @property
    def parts(self) -> tuple[Mapping[str, Any], ...]:
        """In the order in which they run."""
        return tuple(self.facts["parts"])

    def ranges(self, key: str) -> tuple[Profile, ...]:
        """The ``profiles`` or ``values`` of the whole model."""
        return tuple({name: _range(span) for name, span in each.items()} for each in self.facts[key])

    def profiles_of(self, part: Mapping[str, Any]) -> tuple[Profile, ...]:
        """Those of an engine; none of a part that takes any shape."""
        varying = {one["name"]: one["profiles"] for one in part["inputs"] if one["profiles"]}
        if part["kind"] != "engine" or not varying:
            return ()
        return tuple(
            {name: _range(spans[number]) for name, spans in varying.items()} for number in range(_count(varying))
        )


def _range(span: Mapping[str, Any]) -> ShapeRange:
    low, opt, high = (tuple(span[bound]) for bound in ("min", "opt", "max"))
    return ShapeRange(low, opt, high)


def _count(varying: Mapping[str, Any]) -> int:
    return min(map(len, varying.values()))


def tensors(facts: Any) -> tuple[TensorInfo, ...]:
    """Tensors as a manifest holds them."""
    return tuple(TensorInfo(each["name"], each["dtype"], tuple(each["shape"])) for each in facts)


def is_parts(path: Path) -> bool:
    """Whether a path stands for a model in parts, be it there or not."""
    return path.suffix.lower() == SUFFIX


def ranges_of(path: Path) -> tuple[tuple[Profile, ...], tuple[Profile, ...]]:
    """Profiles, and ranges of values that decide shapes, of an engine or of a model in parts; none where nobody says.

    Raises:
        SourceError: a damaged sidecar or manifest.
    """
    if is_parts(path):
        found = read(path, whole=False)
        return found.ranges("profiles"), found.ranges("values")
    facts = sidecar.read(path)
    return (facts.profiles, facts.values) if facts else ((), ())


def model_of(path: Path) -> Path | None:
    """The typed ONNX that an engine or a model in parts was built from; None where nobody says, or it is gone.

    Raises:
        SourceError: a damaged sidecar.
    """
    if not is_parts(path):
        facts = sidecar.read(path)
        return None if facts is None else facts.model
    try:
        name = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))["model"]["file"]
        found = path.parent / name
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.is_file() else None


def chain(path: Path) -> Mapping[str, Any] | None:
    """Digests of an engine or a model in parts and of what it came from, as in a sidecar; None where nobody says.

    Raises:
        SourceError: a damaged sidecar or manifest.
    """
    if not is_parts(path):
        known = sidecar.read(path)
        return None if known is None else known.facts
    found = read(path, whole=False)
    try:
        told = json.loads((path / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    return {
        "provenance": told,
        "engine": {"sha256": digests.of_file(path / NAME)},
        "model": {"sha256": found.facts["model"]["sha256"]},
    }


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest into a folder that nobody else sees yet; the schema number is added."""
    _write(folder / NAME, {"schema": SCHEMA, **facts})


def write_provenance(folder: Path, model: Path, provenance: Mapping[str, Any]) -> None:
    """Write where parts came from.

    Args:
        folder: that of the parts, or one that will be renamed to it and lies beside it.
        model: the typed ONNX.
        provenance: as in the sidecar of an engine.
    """
    _write(folder / PROVENANCE, {"model": {"file": os.path.relpath(model, folder.parent)}, **provenance})


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    files.write_json(path, facts)


def read(folder: Path, *, whole: bool = True) -> Manifest:
    """The manifest of a folder.

    Args:
        folder: a ``.parts``.
        whole: whether to check that every file is there and is what was written.

    Raises:
        SourceError: no manifest, a damaged one, one of a newer schema; a file that is missing or was changed.
    """
    again = f"build it again: trtconv build MODEL -o {folder.name} --on-refusal onnxruntime"
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder", hint="check the path")
    try:
        facts = json.loads((folder / NAME).read_text(encoding="utf-8"))
        schema = int(facts["schema"])
    except FileNotFoundError:
        raise SourceError(f"{folder}: no {NAME} in it", hint=again) from None
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"{folder / NAME}: not the manifest of a model in parts", hint=again) from None
    if schema > SCHEMA:
        raise SourceError(
            f"{folder / NAME}: written by a newer trtconv (schema {schema}, this one reads {SCHEMA})",
            hint="pip install --upgrade trtconv",
        )
    found = Manifest(folder, facts)
    for name, wanted in ((n, w) for part in found.parts for n, w in part["sha256"].items()) if whole else ():
        if not (folder / name).is_file():
            raise SourceError(f"{folder}: {name} is missing", hint=again)
        if digests.of_file(folder / name) != wanted:
            raise SourceError(f"{folder}: {name} is not the file that its manifest names", hint=again)
    return found
