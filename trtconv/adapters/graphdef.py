"""TensorFlow GraphDefs: reading, what goes in and out, pruning, shapes. TensorFlow is needed only to parse."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trtconv.adapters.frozen import Endpoint, public_dims
from trtconv.core import magic
from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import Dim, InputSpec

# DataType numbers of tensorflow/core/framework/types.proto, by ONNX name.
_DTYPES = {1: "float", 2: "double", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64",
           9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 19: "float16", 22: "uint32", 23: "uint64"}  # fmt: skip

_SINKS_THAT_ARE_NO_OUTPUTS = {"Const", "NoOp", "Assert", "Placeholder", "PlaceholderWithDefault", "VarHandleOp",
                              "Print", "PrintV2", "SaveV2", "RestoreV2", "ScalarSummary", "HistogramSummary",
                              "MergeSummary", "ImageSummary"}  # fmt: skip
_VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp", "AutoReloadVariable"}
_TABLES = {"HashTable", "HashTableV2", "LookupTableFindV2", "LookupTableFind", "MutableHashTableV2"}


def dtype_name(number: int) -> str:
    """ONNX name of a TensorFlow DataType; ``undefined`` for types that ONNX lacks."""
    return _DTYPES.get(number, "undefined")


def parse(path: Path) -> Any:
    """Read a .pb.

    Raises:
        SourceError: foreign or truncated.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file", hint="check source.path") from None
    except DecodeError:
        raise _not_a_graph(path) from None
    if not graph.node or not all(node.op for node in graph.node):
        raise _not_a_graph(path)
    return graph


def _not_a_graph(path: Path) -> SourceError:
    what = magic.describe(path)
    if what == "a TensorFlow GraphDef":
        return SourceError(f"{path}: begins like a GraphDef but is truncated or damaged", hint="copy it again")
    return SourceError(f"{path}: not a frozen graph; it looks like {what}", hint="give the path of a frozen .pb")


def discover(graph: Any, path: Path) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Inputs (placeholders) and outputs (what no node consumes) of a graph that nobody described.

    Raises:
        SourceError: nothing to be found.
    """
    consumed = {_node_of(name) for node in graph.node for name in node.input}
    inputs = [n for n in graph.node if n.op == "Placeholder" and not n.name.startswith("unused_control_flow_input")]
    outputs = [n for n in graph.node if n.name not in consumed and n.op not in _SINKS_THAT_ARE_NO_OUTPUTS]
    if not inputs or not outputs:
        raise SourceError(f"{path}: the graph has no {'outputs' if inputs else 'inputs'} that can be told from it",
                          hint="name its outputs with convert.outputs (--output)")  # fmt: skip
    return tuple(map(_placeholder, inputs)), tuple(inner(node.name) for node in outputs)


def inner(name: str) -> Endpoint:
    """A node's first output as an output of the model."""
    return Endpoint(name, f"{name}:0")


def choose_outputs(graph: Any, known: Iterable[Endpoint], names: Iterable[str], path: Path) -> tuple[Endpoint, ...]:
    """The outputs asked for: known ones by their public names, any other node by its own; all known when none are.

    Raises:
        SourceError: no such output or node.
    """
    table = {endpoint.name: endpoint for endpoint in known}
    nodes = {node.name for node in graph.node}
    for name in names:
        if name not in table and name not in nodes:
            hint = did_you_mean(name, [*table, *nodes]) or "choose one of the outputs, or any node of the graph"
            raise SourceError(f"{path}: no output or node {name!r}; its outputs are {', '.join(table)}", hint=hint)
    return tuple(table.get(name) or inner(name) for name in names) or tuple(table.values())


def refuse_state(graph: Any, inputs: Iterable[str]) -> None:
    """Fail on graphs that keep state.

    Raises:
        SourceError: variables that are not frozen or that the graph changes; lookup tables.
    """
    fed = set(inputs)
    for node in _all_nodes(graph):
        if node.op.startswith("Assign"):
            raise SourceError(f"node {node.name!r} ({node.op}) changes a variable: the model keeps state between calls",
                              hint="export a signature that only computes")  # fmt: skip
        if node.op in _VARIABLES:
            raise SourceError(f"node {node.name!r} ({node.op}) reads a variable: the graph is not frozen",
                              hint="give the SavedModel or the checkpoint it came from")  # fmt: skip
        resource = node.op == "Placeholder" and node.attr["dtype"].type in (20, 21) and node.name not in fed
        if node.op in _TABLES or resource:
            raise SourceError(f"node {node.name!r} ({node.op}) needs a lookup table, which TensorRT lacks",
                              hint="export the part of the model after the lookup")  # fmt: skip


def prune(graph: Any, inputs: Iterable[Endpoint], outputs: Iterable[Endpoint]) -> Any:
    """The part of the graph that the outputs need, without control dependencies; defaulted placeholders are resolved.

    Placeholders of inputs stay even when no output needs them: they are part of the model's interface.
    """
    by_name = {node.name: node for node in graph.node}
    queue = [endpoint.node for endpoint in (*outputs, *inputs)]
    needed: set[str] = set()
    while queue:
        name = queue.pop()
        if name not in needed and name in by_name:
            needed.add(name)
            queue += [_node_of(i) for i in by_name[name].input if not i.startswith("^")]
    result = type(graph)(versions=graph.versions, library=graph.library)
    result.node.extend(node for node in graph.node if node.name in needed)
    for node in result.node:
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)
        if node.op == "PlaceholderWithDefault":
            _become_identity(node)
    return result


def with_shapes(graph: Any, inputs: Iterable[Endpoint], specs: Iterable[InputSpec]) -> tuple[Endpoint, ...]:
    """Write the shapes asked for into the graph's placeholders; return the inputs with them.

    Raises:
        UsageError: an unknown input, or another number of dimensions.
        ConversionError: an input whose shape neither the graph nor the job says.
    """
    asked = {spec.name: spec for spec in specs}
    endpoints = tuple(inputs)
    for name in asked.keys() - {endpoint.name for endpoint in endpoints}:
        there = [endpoint.name for endpoint in endpoints]
        raise UsageError(f"inputs: the model has no input {name!r}; it has {', '.join(there)}",
                         hint=did_you_mean(name, there))  # fmt: skip
    nodes = {node.name: node for node in graph.node}
    changed = [_shaped(nodes[e.node], e, asked[e.name].shape if e.name in asked else None) for e in endpoints]
    if any(asked.values()):
        for node in graph.node:
            node.attr.pop("_output_shapes", None)  # what was inferred for the old shapes
    return tuple(changed)


def _shaped(node: Any, endpoint: Endpoint, shape: tuple[Dim, ...] | None) -> Endpoint:
    if shape is None:
        if endpoint.shape is None:
            raise ConversionError(f"input {endpoint.name!r} has no shape in the graph",
                                  hint=f"say it: inputs: {{{endpoint.name}: {{shape: [batch, ...]}}}}")  # fmt: skip
        return endpoint
    if endpoint.shape is not None and len(shape) != len(endpoint.shape):
        raise UsageError(f"inputs.{endpoint.name}.shape: {list(shape)} has {len(shape)} dimensions, the model's input "
                         f"{list(endpoint.shape)} has {len(endpoint.shape)}",
                         hint="give the full shape, batch included")  # fmt: skip
    sizes = [dim if isinstance(dim, int) and dim >= 0 else None for dim in shape]
    named = zip(shape, public_dims(endpoint.name, sizes), strict=True)
    dims = tuple(dim if isinstance(dim, str) else default for dim, default in named)
    del node.attr["shape"].shape.dim[:]
    node.attr["shape"].shape.unknown_rank = False
    for size in sizes:
        node.attr["shape"].shape.dim.add(size=-1 if size is None else size)
    return Endpoint(endpoint.name, endpoint.tensor, dtype_name(node.attr["dtype"].type), dims)


def _placeholder(node: Any) -> Endpoint:
    """An input. Graphs of the first TensorFlow releases store an empty shape where they mean an unknown one."""
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    unknown = shape is None or shape.unknown_rank or not shape.dim
    dims = None if shape is None or unknown else public_dims(node.name, [dim.size for dim in shape.dim])
    return Endpoint(node.name, f"{node.name}:0", dtype_name(node.attr["dtype"].type), dims)


def _become_identity(node: Any) -> None:
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].type = dtype


def _all_nodes(graph: Any) -> Iterable[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _node_of(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]
