"""TensorFlow's files read without TensorFlow: nodes, signatures and sizes of GraphDefs and SavedModels.

Field numbers are those of graph.proto, node_def.proto, attr_value.proto, tensor.proto, function.proto and
meta_graph.proto in tensorflow/core. Files are mapped, not read: a weight costs nothing until someone wants it.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trtconv.core import magic
from trtconv.core import protobuf_wire as wire
from trtconv.core.errors import SourceError
from trtconv.core.names import did_you_mean
from trtconv.core.protobuf_wire import Damaged, Field
from trtconv.core.records import TensorInfo
from trtconv.core.weights import HELD_ABOVE, Weight
from trtconv.sources.tensorflow.frozen_graph import public_dims

# DataType numbers of tensorflow/core/framework/types.proto, by ONNX name.
_DTYPES = {
    1: "float",
    2: "double",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
}
_UNFED = "unused_control_flow_input"
_NO_OUTPUTS = {
    "Const",
    "NoOp",
    "Assert",
    "Placeholder",
    "PlaceholderWithDefault",
    "VarHandleOp",
    "Variable",
    "VariableV2",
    "Print",
    "PrintV2",
    "SaveV2",
    "RestoreV2",
    "RestoreSlice",
    "ShardedFilename",
    "MergeV2Checkpoints",
    "InitializeTableV2",
    "LookupTableImportV2",
}
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "AutoReloadVariable"}
"""Operators of graphs that are not frozen."""
_TRAINING = ("Assign", "Apply", "ResourceApply", "SparseApply", "ScatterUpdate", "Save", "QueueClose", "QueueEnqueue")


@dataclass(frozen=True)
class Node:
    """One node of a graph.

    Attributes:
        name: of the node.
        op: its operator.
        inputs: nodes and tensors that it reads, as written: ``x``, ``x:1``, ``^x``.
        dtype: of its ``dtype`` or ``T`` attribute, as in ONNX; empty without one.
        shape: of its ``shape`` attribute, -1 for unknown sizes; None when it is unknown.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    dtype: str = ""
    shape: tuple[int, ...] | None = None

    @property
    def sources(self) -> list[str]:
        """Names of the nodes that it reads."""
        return [node_of(name) for name in self.inputs]


@dataclass(frozen=True)
class Graph:
    """A GraphDef.

    Attributes:
        nodes: of the graph itself.
        ops: how often each operator occurs, functions included.
    """

    nodes: tuple[Node, ...]
    ops: Counter[str]


@dataclass(frozen=True)
class Signature:
    """What a SavedModel offers under one name: inputs and outputs, by their keys."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class MetaGraph:
    """One part of a SavedModel."""

    graph: Graph
    tags: tuple[str, ...] = ()
    signatures: dict[str, Signature] = field(default_factory=dict)
    version: str = ""


def node_of(name: str) -> str:
    """``x`` of ``x``, ``x:1`` and ``^x``."""
    return name.removeprefix("^").partition(":")[0]


def dtype_name(number: int) -> str:
    """ONNX name of a TensorFlow DataType; ``undefined`` for types that there are no tensors of."""
    return _DTYPES.get(number, "undefined")


def dtype_number(name: str) -> int:
    """The DataType of an ONNX name."""
    return next(number for number, known in _DTYPES.items() if known == name)


def mapped(path: Path) -> memoryview:
    """A file's bytes, mapped."""
    with path.open("rb") as handle:
        return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))


def _mapped_part(path: Path, start: int, size: int) -> memoryview:
    """A part of a file by a mapping of its own: it counts as the process's memory only while someone holds it."""
    begin = start - start % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as handle:
        part = mmap.mmap(handle.fileno(), start - begin + size, offset=begin, access=mmap.ACCESS_READ)
    return memoryview(part)[start - begin :]


def read_graph(path: Path) -> Graph:
    """The graph of a ``.pb``.

    Raises:
        SourceError: truncated or damaged.
    """
    if (what := magic.describe(path)) == "a GraphDef in text form":
        raise SourceError(f"{path}: {what}, which only trtconv convert reads", hint=f"trtconv convert {path} -o FILE")
    try:
        data = mapped(path)
        return _graph(data, 0, len(data))
    except ValueError as error:
        raise SourceError(
            f"{path}: begins like a GraphDef but is truncated or damaged ({error})", hint="copy it again"
        ) from None


def split(path: Path, above: int = HELD_ABOVE) -> tuple[bytes, dict[str, Weight]]:
    """A ``.pb`` without the contents of its large constants, and those, which stay in the mapped file.

    Raises:
        SourceError: truncated or damaged.
    """
    weights: dict[str, Weight] = {}
    try:
        data = mapped(path)

        def keep(trail: list[Field]) -> None:
            node, *_, content = trail
            size = content.end - content.start
            weights[_node(data, node).name] = Weight(size, lambda: _mapped_part(path, content.start, size))

        # GraphDef.node, NodeDef.attr, its value, AttrValue.tensor, TensorProto.tensor_content
        return b"".join(wire.without(data, (1, 5, 2, 8, 4), above, keep)), weights
    except ValueError as error:
        raise SourceError(
            f"{path}: begins like a GraphDef but is truncated or damaged ({error})", hint="copy it again"
        ) from None


def read_saved_model(folder: Path) -> list[MetaGraph]:
    """The parts of a SavedModel.

    Raises:
        SourceError: truncated or damaged.
    """
    path = folder / "saved_model.pb"
    try:
        data = mapped(path)
        return [_meta_graph(data, part) for part in wire.fields(data) if part.number == 2]
    except ValueError as error:
        raise SourceError(
            f"{folder}: its saved_model.pb cannot be read, it may be truncated ({error})",
            hint="copy the whole folder again",
        ) from None


def info(node: Node) -> TensorInfo:
    """A node's first output, as far as the node says it."""
    return TensorInfo(node.name, node.dtype, public_dims(node.name, node.shape or ()))


def placeholders(nodes: Iterable[Node]) -> list[Node]:
    """What is fed."""
    return [
        n
        for n in nodes
        if n.op == "Placeholder" and not n.name.startswith(_UNFED) and n.dtype not in ("resource", "variant")
    ]


def sinks(nodes: Sequence[Node]) -> list[Node]:
    """Candidates for outputs: what no node reads, what depends on an input, and is no part of training or logging."""
    consumed = {name for node in nodes for name in node.sources}
    ends = [
        n
        for n in nodes
        if n.name not in consumed
        and n.op not in _NO_OUTPUTS
        and not n.op.startswith(_TRAINING)
        and not n.op.endswith("Summary")
    ]
    by_name = {node.name: node for node in nodes}
    return [node for node in ends if _depends_on_input(node, by_name)]


def _depends_on_input(end: Node, by_name: Mapping[str, Node]) -> bool:
    return any(map(_is_fed, _ancestors([end.name], by_name, ())))


def _is_fed(node: Node) -> bool:
    """Whether data may come in here: not variables, nor the file name that a Saver of checkpoints begins with."""
    if node.op == "PlaceholderWithDefault":
        return node.dtype not in ("resource", "variant", "string")
    return node.op == "Placeholder" and node.dtype not in ("resource", "variant")


def needed_placeholders(nodes: Iterable[Node], outputs: Iterable[str], stops: Collection[str]) -> list[Node]:
    """Placeholders that outputs need; nothing behind the nodes in ``stops`` counts."""
    by_name = {node.name: node for node in nodes}
    return placeholders(sorted(_ancestors(outputs, by_name, stops), key=list(by_name.values()).index))


def _ancestors(ends: Iterable[str], by_name: Mapping[str, Node], stops: Collection[str]) -> list[Node]:
    seen: dict[str, Node] = {}
    queue = list(ends)
    while queue:
        node = by_name.get(queue.pop())
        if node is not None and node.name not in seen:
            seen[node.name] = node
            queue += [] if node.name in stops else [node_of(i) for i in node.inputs if not i.startswith("^")]
    return list(seen.values())


def require_node(name: str, nodes: Iterable[Node], what: str) -> None:
    """Fail when a graph has no such node.

    Raises:
        SourceError: with the nearest name.
    """
    names = [node.name for node in nodes]
    if node_of(name) not in names:
        hint = did_you_mean(name, names) or "trtconv inspect lists inputs, outputs and operators"
        raise SourceError(f"{what}: no node {name!r} in the graph", hint=hint)


def _meta_graph(data: memoryview, part: Field) -> MetaGraph:
    graph, tags, version = Graph((), Counter()), [], ""
    signatures = {}
    for item in wire.fields(data, part.start, part.end):
        if item.number == 1:
            for info in wire.fields(data, item.start, item.end):
                if info.number == 4:
                    tags.append(wire.text(data, info))
                elif info.number == 5:
                    version = wire.text(data, info)
        elif item.number == 2:
            graph = _graph(data, item.start, item.end)
        elif item.number == 5:
            name, value = wire.entries(data, item)
            if value is not None:
                signatures[name] = _signature(data, value)
    return MetaGraph(graph, tuple(tags), signatures, version)


def _signature(data: memoryview, part: Field) -> Signature:
    sides: dict[int, list[TensorInfo]] = {1: [], 2: []}
    for item in wire.fields(data, part.start, part.end):
        if item.number in sides:
            name, value = wire.entries(data, item)
            if value is not None:
                sides[item.number].append(_tensor_info(data, name, value))
    return Signature(*(tuple(sorted(side, key=lambda info: info.name)) for side in (sides[1], sides[2])))


def _tensor_info(data: memoryview, name: str, part: Field) -> TensorInfo:
    dtype, shape = 0, None
    for item in wire.fields(data, part.start, part.end):
        if item.number == 2:
            dtype = item.value
        elif item.number == 3:
            shape = _shape(data, item)
    return TensorInfo(name, dtype_name(dtype), public_dims(name, shape or ()))


def _graph(data: memoryview, start: int, end: int) -> Graph:
    nodes: list[Node] = []
    ops: Counter[str] = Counter()
    for item in wire.fields(data, start, end):
        if item.number == 1:
            nodes.append(_node(data, item))
        elif item.number == 2:
            ops.update(_function_ops(data, item))
    if not all(node.op for node in nodes):
        raise Damaged("a node without an operator")
    ops.update(node.op for node in nodes)
    return Graph(tuple(nodes), ops)


def _function_ops(data: memoryview, library: Field) -> Iterator[str]:
    for function in wire.fields(data, library.start, library.end):
        if function.number != 1:
            continue
        for item in wire.fields(data, function.start, function.end):
            if item.number == 3:
                yield from (wire.text(data, f) for f in wire.fields(data, item.start, item.end) if f.number == 2)


def _node(data: memoryview, part: Field) -> Node:
    name = op = dtype = ""
    shape = None
    inputs = []
    for item in wire.fields(data, part.start, part.end):
        if item.number == 1:
            name = wire.text(data, item)
        elif item.number == 2:
            op = wire.text(data, item)
        elif item.number == 3:
            inputs.append(wire.text(data, item))
        elif item.number == 5:
            attribute, value = wire.entries(data, item)
            if value is not None and attribute in ("dtype", "T"):
                dtype = _type(data, value)
            elif value is not None and attribute == "shape":
                shape = next(
                    (_shape(data, f) for f in wire.fields(data, value.start, value.end) if f.number == 7), None
                )
    return Node(name=name, op=op, inputs=tuple(inputs), dtype=dtype, shape=shape)


def _type(data: memoryview, value: Field) -> str:
    return next((dtype_name(f.value) for f in wire.fields(data, value.start, value.end) if f.number == 6), "")


def _shape(data: memoryview, part: Field) -> tuple[int, ...] | None:
    """Sizes; None for an unknown rank. Graphs of the first TensorFlow releases store an empty shape for that too."""
    sizes = []
    for item in wire.fields(data, part.start, part.end):
        if item.number == 2:
            sizes.append(
                next((wire.signed(f.value) for f in wire.fields(data, item.start, item.end) if f.number == 1), 0)
            )
        elif item.number == 3 and item.value:
            return None
    return tuple(sizes) or None
