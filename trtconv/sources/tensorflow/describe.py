"""What TensorFlow's files hold, read without TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trtconv.core.records import TensorInfo
from trtconv.sources.records import Description, Tensors
from trtconv.sources.tensorflow import graph_reader, keras_file


def frozen(path: Path) -> Description:
    """A GraphDef; what no node reads is a candidate for an output."""
    graph = graph_reader.read_graph(path)
    inputs = [graph_reader.info(node) for node in graph_reader.placeholders(graph.nodes)]
    outputs = [graph_reader.info(node) for node in graph_reader.sinks(graph.nodes)]
    state = [node.name for node in graph.nodes if node.op in graph_reader.VARIABLES]
    title = "TensorFlow graph, not frozen" if state else "frozen TensorFlow graph"
    tensors = [Tensors(inputs, outputs, outputs_are="candidate")]
    return Description(title, graph.ops, {"variables": state}, tensors)


def saved_model(path: Path) -> Description:
    """A SavedModel: its parts, and the inputs and outputs of every signature."""
    parts = graph_reader.read_saved_model(path)
    tensors: list[Tensors] = []
    facts_of_parts = []
    for part in parts:
        signatures = {name: s for name, s in part.signatures.items() if not name.startswith("__saved_model")}
        named = {name: {"inputs": _plain(s.inputs), "outputs": _plain(s.outputs)} for name, s in signatures.items()}
        nodes = dict(part.graph.ops.most_common())
        facts_of_parts.append({"tags": part.tags, "tensorflow": part.version, "nodes": nodes, "signatures": named})
        tags = f"(tags {', '.join(part.tags) or 'none'})"
        tensors += [
            Tensors(s.inputs, s.outputs, name, f"signature {name} {tags}") for name, s in signatures.items()
        ] or [Tensors((), (), caption=f"no signature {tags}")]
    versions = ", ".join(sorted({part.version for part in parts if part.version})) or "an unknown version"
    ops = sum((part.graph.ops for part in parts), Counter())
    return Description(f"SavedModel of TensorFlow {versions}", ops, {"parts": facts_of_parts}, tensors)


def keras(path: Path) -> Description:
    """A Keras file: its layers and inputs."""
    generation, config = keras_file.read(path)
    kinds = Counter(kind for kind, _ in keras_file.layers(config))
    tensors = [Tensors(keras_file.inputs(config), ())] if keras_file.inputs(config) else []
    return Description(f"model of Keras {generation}", kinds, {"keras": generation}, tensors, counted="layers")


def _plain(tensors: Sequence[TensorInfo]) -> list[dict[str, Any]]:
    return [vars(tensor) for tensor in tensors]
