"""A frozen TensorFlow graph with public names, and its two files: the .pb and the .json beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core import files, protobuf_wire
from trtconv.core.errors import SourceError
from trtconv.core.names import did_you_mean
from trtconv.core.records import Dim, TensorInfo
from trtconv.core.weights import Weight


@dataclass(frozen=True)
class Endpoint:
    """An input or output.

    Attributes:
        name: the public name.
        tensor: the graph's tensor, such as ``image:0``.
        dtype: ONNX dtype; empty where the graph does not say.
        shape: dimensions; None where the graph does not say.
    """

    name: str
    tensor: str
    dtype: str = ""
    shape: tuple[Dim, ...] | None = None

    @property
    def node(self) -> str:
        """Name of the graph node that makes the tensor."""
        return self.tensor.partition(":")[0]

    @property
    def info(self) -> TensorInfo:
        """For the report: an unknown shape counts as a scalar's."""
        return TensorInfo(self.name, self.dtype, self.shape or ())


@dataclass(frozen=True)
class FrozenGraph:
    """A graph without variables.

    Attributes:
        graph: ``tensorflow.GraphDef``; large constants are there with type and shape, and without contents.
        inputs: in the order of the source.
        outputs: likewise.
        format: the row of FORMATS it was made from.
        signature: of the SavedModel; empty for others.
        weights: the contents of the large constants, by node.
    """

    graph: Any
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]
    format: str = "frozen_pb"
    signature: str = ""
    weights: Mapping[str, Weight] = field(default_factory=dict)


def sidecar(path: Path) -> Path:
    """``model.pb.json`` of ``model.pb``."""
    return path.with_name(path.name + ".json")


def write(frozen: FrozenGraph, path: Path) -> None:
    """Write the .pb and, last, its sidecar; each atomically. Large constants go into the file one at a time.

    trtconv reads a .pb of more than 2 GiB; other programs may not.
    """
    with files.atomic_path(path) as temporary, temporary.open("wb") as out:
        rest = type(frozen.graph)()
        rest.CopyFrom(frozen.graph)
        del rest.node[:]
        for node in frozen.graph.node:
            for part in _encoded(node, frozen.weights.get(node.name)):
                out.write(part)
        out.write(rest.SerializeToString(deterministic=True))
    files.write_json(
        sidecar(path),
        {
            "format": frozen.format,
            "signature": frozen.signature,
            "inputs": [_row(e) for e in frozen.inputs],
            "outputs": [_row(e) for e in frozen.outputs],
        },
    )


def _encoded(node: Any, weight: Weight | None) -> Iterator[bytes | memoryview]:
    """A node as field 1 of a GraphDef; its weight is put where TensorFlow's own writer would put it.

    NodeDef.attr (5) is a map with AttrValue (2), whose tensor (8) holds its contents in field 4.
    """
    if weight is None:
        yield from protobuf_wire.message(1, [node.SerializeToString(deterministic=True)])
        return
    tensor = node.attr["value"].tensor.SerializeToString(deterministic=True)
    others = type(node)()
    others.CopyFrom(node)
    del others.attr["value"]
    name = b"".join(protobuf_wire.message(1, [b"value"]))
    head = b""  # grows from the inside out: what stands before the weight, and the key of what holds it
    for number, before in (
        (4, tensor),
        (8, b""),
        (2, name),
        (5, others.SerializeToString(deterministic=True)),
        (1, b""),
    ):
        head = before + protobuf_wire.opening(number, len(head) + weight.nbytes) + head
    yield head
    yield weight.read()


def sample(path: Path) -> Path:
    """``model.pb.check.npz`` of ``model.pb``: random inputs and what the source made of them."""
    return path.with_name(path.name + ".check.npz")


def endpoints(path: Path) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]] | None:
    """Inputs and outputs that the sidecar of a .pb names; None without one.

    Raises:
        SourceError: a sidecar that cannot be read.
    """
    file = sidecar(path)
    if not file.exists():
        return None
    try:
        facts = json.loads(file.read_text())
        return tuple(map(_endpoint, facts["inputs"])), tuple(map(_endpoint, facts["outputs"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{file}: not a description of a frozen graph ({error!r})", hint="remove it, or freeze the model again"
        ) from None


def choose(available: Iterable[Endpoint], names: Iterable[str], what: str) -> tuple[Endpoint, ...]:
    """The endpoints asked for, in the order asked for; all when none are.

    Raises:
        SourceError: an unknown name; the message lists those there are.
    """
    table = {endpoint.name: endpoint for endpoint in available}
    for name in names:
        if name not in table:
            raise SourceError(
                f"no {what} {name!r}; there are {', '.join(table)}",
                hint=did_you_mean(name, table) or f"choose one of these {what}s",
            )
    return tuple(table[name] for name in names) or tuple(table.values())


def public_dims(name: str, sizes: Iterable[int | None]) -> tuple[Dim, ...]:
    """Dimensions with names for the dynamic ones: ``batch`` for the first, ``<name>_dim<axis>`` for others."""
    return tuple(
        size if size is not None and size >= 0 else "batch" if axis == 0 else f"{name}_dim{axis}"
        for axis, size in enumerate(sizes)
    )


def _row(endpoint: Endpoint) -> dict[str, Any]:
    return {"name": endpoint.name, "tensor": endpoint.tensor, "dtype": endpoint.dtype, "shape": endpoint.shape}


def _endpoint(row: dict[str, Any]) -> Endpoint:
    shape = None if row["shape"] is None else tuple(row["shape"])
    return Endpoint(row["name"], row["tensor"], row["dtype"], shape)


def apart(outputs: Iterable[str], inputs: Sequence[str]) -> list[str]:
    """Output names that differ from the inputs' and from each other."""
    taken = set(inputs)
    result = []
    for name in outputs:
        free = name if name not in taken else f"{name}_out"
        count = 2
        while free in taken:
            free, count = f"{name}_out{count}", count + 1
        taken.add(free)
        result.append(free)
    return result


def refuse_unfeedable(inputs: Iterable[Endpoint]) -> None:
    """Fail on inputs that TensorRT cannot have.

    Raises:
        SourceError: strings, or complex numbers.
    """
    for endpoint in inputs:
        if endpoint.dtype.startswith("complex"):
            raise SourceError(
                f"input {endpoint.name!r} is {endpoint.dtype}, which TensorRT cannot take",
                hint="export a signature that takes real and imaginary parts as float32",
            )
        if endpoint.dtype == "string":
            raise SourceError(
                f"input {endpoint.name!r} takes strings, which TensorRT cannot",
                hint="export the part of the model after its text processing",
            )
