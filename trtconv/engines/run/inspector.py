"""What TensorRT's inspector tells of an engine's layers: which operators are in them, and in which types."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core import child, unfinished
from trtconv.core.child import ChildCrash
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit, ignore
from trtconv.engines.plan import preflight

_TYPES = (
    ("fp8", "float8e4m3fn"),
    ("int8", "int8"),
    ("int4", "int4"),
    ("fp4", "float4e2m1"),
    ("bfloat16", "bfloat16"),
    ("bf16", "bfloat16"),
    ("half", "float16"),
    ("fp16", "float16"),
    ("float", "float"),
    ("fp32", "float"),
)
"""Words of the inspector, the ones that hold others first, and ONNX's names. TensorRT-RTX 1.5 writes ``Half`` into
``Datatype``; TensorRT writes ``Row major linear FP16 format`` into ``Format/Datatype``."""

_OF_TYPE = ("Datatype", "DataType", "Format/Datatype", "Type")
_ONNX = re.compile(r"\[ONNX Layer: ([^\x1f]*)\]")  # what TensorRT made of it may follow, such as __gemm_from_conv1x1
_JOINED = re.compile(r" \+ | \|\| ")


@dataclass(frozen=True)
class Layer:
    """A layer of an engine.

    Attributes:
        name: as TensorRT calls it.
        kind: of layer, such as ``gemm``; empty where only names are told.
        nodes: ONNX nodes that it computes, or a part of them.
        inputs: ONNX names of the types of what it reads; empty where it is not told.
        constants: type and number of elements of each constant in it.
    """

    name: str
    kind: str = ""
    nodes: frozenset[str] = frozenset()
    inputs: tuple[str, ...] = ()
    constants: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Told:
    """An inspector's answer.

    Attributes:
        by: ``inspector of TensorRT-RTX 1.5.0.114 on NVIDIA H200``; empty without an answer.
        text: the JSON.
        why: there is no answer.
    """

    by: str = ""
    text: str = ""
    why: str = ""


def ask(engine: Path) -> Told:
    """Load an engine in a process of its own, whose crash costs nothing but the answer.

    Raises:
        SourceError: not an engine.
    """
    if reasons := preflight.preflight(engine):  # most machines end here, without a process
        return Told(why="; ".join(reasons))
    try:
        return _aside(engine)
    except ChildCrash as crash:
        return Told(why=f"loading it here failed: {crash.message.splitlines()[0]}")
    except EnvironmentProblem as problem:
        return Told(why=problem.message)


def _aside(engine: Path) -> Told:
    with unfinished.scratch() as folder:
        told: Told = child.call(f"{__name__}:tell", engine, ignore, folder / "log").value
    return told


def tell(engine: Path, emit: Emit) -> Told:
    """The child's side."""
    from trtconv.engines.run import engine as engines

    loaded = engines.load(engine, emit=emit)
    try:
        by = f"inspector of {loaded.loaded.title} on {loaded.device.gpu.name}"
        return Told(by, loaded.layer_information())
    finally:
        device = loaded.device
        loaded.close()
        device.close()


def layers(text: str) -> tuple[Layer, ...]:
    """An inspector's JSON; none where it holds no layers."""
    try:
        rows = json.loads(text)["Layers"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(_layer(row) for row in rows)


def _layer(row: Any) -> Layer:
    if not isinstance(row, Mapping):  # names only
        return Layer(str(row), nodes=_nodes(str(row), ""))
    name = str(row.get("Name", ""))
    inputs = tuple(kind for part in row.get("Inputs", ()) if (kind := _type(part)))
    return Layer(
        name=name,
        kind=str(row.get("LayerType", "")),
        nodes=_nodes(name, str(row.get("Metadata", ""))),
        inputs=inputs,
        constants=tuple(_constants(row)),
    )


def _nodes(name: str, metadata: str) -> frozenset[str]:
    """The metadata name ONNX nodes; without them, the layer's name joins those of its nodes."""
    return frozenset(_ONNX.findall(metadata)) or frozenset(_JOINED.split(name))


def _constants(row: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for part in row.get("Constants", ()):
        yield _type(part), math.prod(part.get("Dimensions", ()))
    if isinstance(weights := row.get("Weights"), Mapping):
        yield _type(weights), int(weights.get("Count", 0))


def _type(part: Mapping[str, Any]) -> str:
    words = " ".join(str(part[key]) for key in _OF_TYPE if key in part).lower()
    return next((name for word, name in _TYPES if word in words), "")
