"""Frozen GraphDefs: those that trtconv made, described by a .json beside them, and those of others."""

from __future__ import annotations

from trtconv.adapters import frozen as frozen_files
from trtconv.adapters import graph_edit, graph_ends, graphdef, tensorflow
from trtconv.adapters.frozen import FrozenGraph
from trtconv.adapters.tensorflow import GraphNetwork
from trtconv.core.records import SourceSpec


def open_model(spec: SourceSpec) -> GraphNetwork:
    """The graph, ready to run."""
    return GraphNetwork(read(spec))


def read(spec: SourceSpec) -> FrozenGraph:
    """The graph with its inputs and outputs, cut where the spec says, and nothing that they do not need.

    Raises:
        SourceError: foreign or truncated file, a graph with variables, unknown nodes, a choice to make.
        UsageError: constants for nodes that are not placeholders.
    """
    tensorflow.load()
    graph, weights = graphdef.parse(spec.path)
    described = None if spec.cuts else frozen_files.endpoints(spec.path)
    if described is None:
        inputs, outputs = graph_ends.interface(graph, spec)
    else:
        inputs = described[0]
        outputs = graph_ends.choose_outputs(graph, described[1], spec.outputs, spec.path)
    graph_edit.fix_constants(graph, spec.constants, spec.path)
    if spec.cuts:
        graph_edit.cut(graph, spec.cuts, spec.path)
    graph_edit.drop_idle_dropout(graph)
    graph = graphdef.prune(graph, inputs, outputs)
    graphdef.refuse_state(graph, {endpoint.node for endpoint in inputs})
    return FrozenGraph(graph, inputs, outputs, weights=weights)
