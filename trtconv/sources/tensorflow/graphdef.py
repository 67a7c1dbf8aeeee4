"""TensorFlow GraphDefs: reading, what goes in and out, pruning, shapes. TensorFlow is needed only to parse."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from trtconv.core import magic
from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.core.names import choice
from trtconv.core.records import Dim, InputSpec
from trtconv.core.weights import Weight
from trtconv.sources.tensorflow import formats, graph_reader
from trtconv.sources.tensorflow.frozen_graph import Endpoint, public_dims
from trtconv.sources.tensorflow.graph_reader import Node, dtype_name

_TABLES = {"HashTable", "HashTableV2", "LookupTableFindV2", "LookupTableFind", "MutableHashTableV2"}


def parse(path: Path) -> tuple[Any, dict[str, Weight]]:
    """Read a frozen graph, ``.pb`` or text; the contents of large constants stay in the file.

    Raises:
        SourceError: foreign or truncated.
    """
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.framework import graph_pb2

    graph = graph_pb2.GraphDef()
    if not path.exists():
        raise SourceError(f"{path}: no such file", hint="check source.path")
    start = magic.head(path)
    try:
        if formats.is_graph_def(start):
            light, weights = graph_reader.split(path)
            graph.ParseFromString(light)
        elif formats.is_graph_text(start):
            weights = {}
            text_format.Parse(path.read_text(), graph)
        else:
            raise _not_a_graph(path)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError):
        raise _not_a_graph(path) from None
    if not graph.node or not all(node.op for node in graph.node):
        raise _not_a_graph(path)
    return graph, weights


def _not_a_graph(path: Path) -> SourceError:
    what = magic.describe(path)
    if "GraphDef" in what:
        return SourceError(f"{path}: begins like a GraphDef but is truncated or damaged", hint="copy it again")
    return SourceError(f"{path}: not a frozen graph; it looks like {what}", hint="give the path of a frozen .pb")


def rows(graph: Any) -> list[Node]:
    """The graph's nodes as ``graph_pb`` has them."""
    old = is_old(graph)
    return [Node(n.name, n.op, tuple(n.input), _dtype(n), sizes(n, old=old)) for n in graph.node]


def is_old(graph: Any) -> bool:
    """Whether a graph is of the first releases of TensorFlow, which knew no way to say that a shape is unknown."""
    return int(graph.versions.producer) == 0


def _dtype(node: Any) -> str:
    attribute = "dtype" if "dtype" in node.attr else "T"
    return dtype_name(node.attr[attribute].type) if attribute in node.attr else ""


def sizes(node: Any, *, old: bool) -> tuple[int, ...] | None:
    """A placeholder's shape; an old graph stores an empty one where it means an unknown one."""
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    unknown = shape is None or shape.unknown_rank or (old and not shape.dim)
    return None if shape is None or unknown else tuple(dim.size for dim in shape.dim)


def refuse_state(graph: Any, inputs: Iterable[str], needed: Collection[str] | None = None) -> None:
    """Fail on graphs that keep state.

    Args:
        graph: frozen, or not yet.
        inputs: names of its inputs' nodes.
        needed: names of the nodes that outputs depend on: what changes another variable, such as the seed of an
            augmentation that is off, is no state of the model. None: any may be.

    Raises:
        SourceError: variables that are not frozen or that the graph changes; lookup tables.
    """
    fed, idle = set(inputs), set() if needed is None else _idle_changes(graph, needed)
    for node in _all_nodes(graph):
        if node.op.startswith("Assign") and node.name not in idle:
            raise SourceError(
                f"node {node.name!r} ({node.op}) changes a variable: the model keeps state between calls",
                hint="export a signature that only computes",
            )
        if node.op in graph_reader.VARIABLES:
            raise SourceError(
                f"node {node.name!r} ({node.op}) reads a variable: the graph is not frozen",
                hint="give the SavedModel or the checkpoint it came from",
            )
        resource = node.op == "Placeholder" and node.attr["dtype"].type in (20, 21) and node.name not in fed
        if node.op in _TABLES or resource:
            raise SourceError(
                f"node {node.name!r} ({node.op}) needs a lookup table, which TensorRT lacks",
                hint="export the part of the model after the lookup",
            )


def _idle_changes(graph: Any, needed: Collection[str]) -> set[str]:
    """Nodes that change variables of which nothing is read; inside functions, any may be."""
    if any(node.op.startswith("Assign") for part in graph.library.function for node in part.node_def):
        return set()
    nodes = {node.name: node for node in graph.node}

    def variable(name: str) -> str:
        while name in nodes and nodes[name].op == "Identity":
            name = graph_reader.node_of(nodes[name].input[0])
        return name

    changes = [node for node in graph.node if node.op.startswith("Assign")]
    read = {variable(name) for name in needed}
    return {node.name for node in changes if not {node.name, variable(graph_reader.node_of(node.input[0]))} & read}


def prune(graph: Any, inputs: Iterable[Endpoint], outputs: Iterable[Endpoint]) -> Any:
    """The part of the graph that the outputs need, without control dependencies; defaulted placeholders are resolved.

    In a loop of TensorFlow 1, control dependencies say that a constant belongs to the loop: those on nodes that are
    needed stay.

    Placeholders of inputs stay even when no output needs them: they are part of the model's interface.
    """
    by_name = {node.name: node for node in graph.node}
    queue = [endpoint.node for endpoint in (*outputs, *inputs)]
    needed: set[str] = set()
    while queue:
        name = queue.pop()
        if name not in needed and name in by_name:
            needed.add(name)
            queue += [graph_reader.node_of(i) for i in by_name[name].input if not i.startswith("^")]
    result = type(graph)(versions=graph.versions)
    result.node.extend(node for node in graph.node if node.name in needed)
    result.library.function.extend(_called(result.node, graph.library.function))
    loops = any(node.op == "Enter" for node in result.node)
    for node in result.node:
        kept = [name for name in node.input if not name.startswith("^") or (loops and name[1:] in needed)]
        del node.input[:]
        node.input.extend(kept)
        if node.op == "PlaceholderWithDefault":
            _become_identity(node)
    return result


def _called(nodes: Iterable[Any], functions: Iterable[Any]) -> list[Any]:
    """The functions that nodes call, directly or through others, in the order of the library."""
    table = {function.signature.name: function for function in functions}
    found: dict[str, Any] = {}
    queue = list(nodes)
    while queue:
        node = queue.pop()
        values = [value for attribute in node.attr.values() for value in (attribute, *attribute.list.func)]
        names = {node.op, *(getattr(value, "func", value).name for value in values)}
        for name in names & table.keys() - found.keys():
            found[name] = table[name]
            queue += table[name].node_def
    return [function for name, function in table.items() if name in found]


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
        raise UsageError(
            f"inputs: the model has no input {name!r}; it has {', '.join(there)}", hint=choice(name, there)
        )
    nodes = {node.name: node for node in graph.node}
    changed = [_shaped(nodes[e.node], e, own_shape(asked.get(e.name))) for e in endpoints]
    if any(asked.values()):
        for node in graph.node:
            node.attr.pop("_output_shapes", None)  # what was inferred for the old shapes
    return tuple(changed)


def own_shape(spec: InputSpec | None) -> tuple[Dim, ...] | None:
    """The shape asked for in the graph's layout: channels last where the model is to have them first."""
    if spec is None or spec.shape is None or spec.layout != "nchw" or len(spec.shape) < 3:
        return None if spec is None else spec.shape
    return (spec.shape[0], *spec.shape[2:], spec.shape[1])


def _shaped(node: Any, endpoint: Endpoint, shape: tuple[Dim, ...] | None) -> Endpoint:
    if shape is None:
        if endpoint.shape is None:
            name, value = endpoint.name, "false" if endpoint.dtype == "bool" else "1.0"
            raise ConversionError(
                f"input {name!r} has no shape in the graph",
                hint=f"say it: --input {name}:batch,... (inputs: {{{name}: {{shape: [batch, ...]}}}}), or "
                f"--input {name}: for a single value; or give a placeholder its value: --constant {name}={value} "
                f"(source.constants: {{{name}: {value}}})",
            )
        return endpoint
    if endpoint.shape is not None and len(shape) != len(endpoint.shape):
        raise UsageError(
            f"inputs.{endpoint.name}.shape: {list(shape)} has {len(shape)} dimensions, the model's input "
            f"{list(endpoint.shape)} has {len(endpoint.shape)}",
            hint="give the full shape, batch included",
        )
    sizes = [dim if isinstance(dim, int) and dim >= 0 else None for dim in shape]
    named = zip(shape, public_dims(endpoint.name, sizes), strict=True)
    dims = tuple(dim if isinstance(dim, str) else default for dim, default in named)
    del node.attr["shape"].shape.dim[:]
    node.attr["shape"].shape.unknown_rank = False
    for size in sizes:
        node.attr["shape"].shape.dim.add(size=-1 if size is None else size)
    return Endpoint(endpoint.name, endpoint.tensor, dtype_name(node.attr["dtype"].type), dims)


def _become_identity(node: Any) -> None:
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    node.attr.clear()
    node.attr["T"].type = dtype
    node.attr[_DEFAULT].b = True


_DEFAULT = "_trtconv_default"
"""Marks what was a placeholder that keeps its default."""


def take_defaults(graph: Any) -> list[str]:
    """Names of the placeholders that keep their defaults; the marks are taken off."""
    names = [node.name for node in graph.node if _DEFAULT in node.attr]
    for node in graph.node:
        node.attr.pop(_DEFAULT, None)
    return names


def _all_nodes(graph: Any) -> Iterable[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
