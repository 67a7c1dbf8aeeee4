"""Frozen GraphDefs: those that trtconv made, described by a .json beside them, and those of others."""

from __future__ import annotations

from trtconv.adapters import tensorflow
from trtconv.core.records import SourceSpec
from trtconv.sources.tensorflow import endpoints, graph_edits, graphdef
from trtconv.sources.tensorflow import frozen_graph as frozen_files
from trtconv.sources.tensorflow.framework import GraphNetwork
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph


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
        inputs, outputs = endpoints.interface(graph, spec)
    else:
        inputs = described[0]
        outputs = endpoints.choose_outputs(graph, described[1], spec.outputs, spec.path)
    graph_edits.fix_constants(graph, spec.constants, spec.path)
    if spec.cuts:
        graph_edits.cut(graph, spec.cuts, spec.path)
    graph_edits.drop_idle_dropout(graph)
    graph = graphdef.prune(graph, inputs, outputs)
    graphdef.refuse_state(graph, {endpoint.node for endpoint in inputs})
    return FrozenGraph(graph, inputs, outputs, weights=weights)
