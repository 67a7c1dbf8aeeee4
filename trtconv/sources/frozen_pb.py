"""Frozen GraphDefs: those that trtconv made, described by a .json beside them, and those of others."""

from __future__ import annotations

from collections.abc import Iterable

from trtconv.adapters import frozen as frozen_files
from trtconv.adapters import graphdef, tensorflow
from trtconv.adapters.frozen import FrozenGraph
from trtconv.adapters.tensorflow import GraphNetwork
from trtconv.core.records import SourceSpec


def open_model(spec: SourceSpec) -> GraphNetwork:
    """The graph, ready to run."""
    return GraphNetwork(read(spec))


def read(spec: SourceSpec, outputs: Iterable[str] = ()) -> FrozenGraph:
    """The graph with its inputs and outputs, and nothing that they do not need.

    Args:
        spec: its path.
        outputs: public names, or names of any nodes; empty: all outputs.

    Raises:
        SourceError: foreign or truncated file, a graph with variables, unknown outputs.
    """
    tensorflow.load()
    graph = graphdef.parse(spec.path)
    inputs, known = frozen_files.endpoints(spec.path) or graphdef.discover(graph, spec.path)
    chosen = graphdef.choose_outputs(graph, known, tuple(outputs), spec.path)
    graph = graphdef.prune(graph, inputs, chosen)
    graphdef.refuse_state(graph, {endpoint.node for endpoint in inputs})
    return FrozenGraph(graph, inputs, chosen)
