"""Where a GraphDef begins and ends: what is named, what can be told from the graph, and which choices are open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trtconv.core.errors import SourceError
from trtconv.core.names import did_you_mean
from trtconv.core.records import SourceSpec
from trtconv.sources.tensorflow import graph_edits, graph_reader, graphdef
from trtconv.sources.tensorflow.frozen_graph import Endpoint, public_dims
from trtconv.sources.tensorflow.graph_reader import Node


def discover(graph: Any, path: Path, *, several: bool = True) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Inputs (placeholders) and outputs (what no node consumes) of a graph that nobody described.

    Args:
        graph: a GraphDef.
        path: for messages.
        several: whether more than one candidate can be right; in a graph that was trained, some are losses.

    Raises:
        SourceError: nothing to be found, or a choice to make; the message lists the candidates.
    """
    nodes = graphdef.rows(graph)
    inputs, outputs = graph_reader.placeholders(nodes), graph_reader.sinks(nodes)
    listed = ", ".join(f"{node.name} ({node.op})" for node in outputs)
    if not inputs or not outputs:
        raise SourceError(
            f"{path}: the graph has no {'outputs' if inputs else 'inputs'} that can be told from it",
            hint="name them: source.register_input, convert.outputs (--output-name)",
        )
    if len(outputs) > 1 and not several:
        raise SourceError(
            f"{path}: which of its nodes are outputs is open; candidates are {listed}",
            hint="choose with convert.outputs (--output-name)",
        )
    return tuple(map(endpoint, inputs)), tuple(inner(node.name) for node in outputs)


def interface(
    graph: Any, spec: SourceSpec, *, several: bool = True
) -> tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]:
    """Inputs and outputs of a graph that nobody described: what the spec names, else what can be told from it.

    Args:
        graph: a GraphDef.
        spec: cuts, outputs and constants count.
        several: see ``discover``.

    Raises:
        SourceError: unknown nodes, a choice to make, or an output that needs more than the inputs named.
    """
    nodes = graphdef.rows(graph)
    for name in spec.outputs:
        graph_reader.require_node(name, nodes, f"{spec.path}: output")
    fixed = {name for name, _ in spec.constants}
    outputs = tuple(map(inner, spec.outputs)) or discover(graph, spec.path, several=several)[1]
    cuts = graph_edits.cut(type(graph).FromString(graph.SerializeToString()), spec.cuts, spec.path)
    needed = graph_reader.needed_placeholders(
        nodes, [e.node for e in outputs], {graph_reader.node_of(c.node) for c in spec.cuts}
    )
    fed = [node for node in needed if node.name not in fixed]
    if not spec.cuts:
        return tuple(map(endpoint, fed)), outputs
    open_ends = [node.name for node in fed if node.name not in {e.node for e in cuts}]
    if open_ends:
        raise SourceError(
            f"{spec.path}: the outputs also need {', '.join(open_ends)}",
            hint="name them in register_input too, or give them a value in source.constants",
        )
    return cuts, outputs


def endpoint(node: Node) -> Endpoint:
    """A placeholder as an input of the model."""
    dims = None if node.shape is None else public_dims(node.name, node.shape)
    return Endpoint(node.name, f"{node.name}:0", node.dtype, dims)


def inner(name: str) -> Endpoint:
    """A node's output (the first, if the name does not say which) as an output of the model."""
    return Endpoint(name, name if ":" in name else f"{name}:0")


def choose_outputs(graph: Any, known: Iterable[Endpoint], names: Iterable[str], path: Path) -> tuple[Endpoint, ...]:
    """The outputs asked for: known ones by their public names, any other node by its own; all known when none are.

    Raises:
        SourceError: no such output or node.
    """
    table = {endpoint.name: endpoint for endpoint in known}
    nodes = {node.name for node in graph.node}
    for name in names:
        if name not in table and graph_reader.node_of(name) not in nodes:
            hint = did_you_mean(name, [*table, *nodes]) or "choose one of the outputs, or any node of the graph"
            raise SourceError(f"{path}: no output or node {name!r}; its outputs are {', '.join(table)}", hint=hint)
    return tuple(table.get(name) or inner(name) for name in names) or tuple(table.values())
