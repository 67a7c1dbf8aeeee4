"""A frozen graph becomes the ONNX model that is wanted."""

from __future__ import annotations

from dataclasses import replace

from trtconv.adapters import tf2onnx
from trtconv.core.events import Emit, Message
from trtconv.core.records import InputSpec
from trtconv.graph import check, clean, layout, reshape
from trtconv.sources.format import Converted, Wanted
from trtconv.sources.tensorflow import frozen_graph, frozen_pb, graph_edits, graphdef, to_onnx
from trtconv.sources.tensorflow.framework import GraphNetwork
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph

_RANDOM = (
    "node {!r} draws random numbers: dropout that is still on? source.constants: {{keep_prob: 1.0}} switches it off"
)


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """Convert a frozen graph with the shapes, layouts and outputs that are wanted.

    Raises:
        SourceError: foreign or truncated file, a graph with variables, unknown nodes, a choice to make.
        ConversionError: an operator that has no form in ONNX; it names the node.
        MissingPackage: TensorFlow or tf2onnx is not installed.
    """
    emit(Message("importing TensorFlow"))
    source = wanted.source
    frozen = frozen_pb.read(replace(source, outputs=wanted.outputs))
    frozen = replace(frozen, inputs=graphdef.with_shapes(frozen.graph, frozen.inputs, wanted.inputs))
    for endpoint in frozen.inputs:
        if endpoint.name in wanted.first:
            layout.require_channels(endpoint.name, len(endpoint.shape or ()))
    emit(Message(f"converting {len(frozen.graph.node)} TensorFlow nodes with tf2onnx {tf2onnx.version()}"))
    model = to_onnx.to_onnx(frozen, wanted.opset, wanted.scratch, wanted.first)
    check.require_onnx(model)
    clean.prepare(model)
    reshape.set_shapes(model, _shapes(frozen, wanted.first))
    if source.channels_first:
        check.infer_shapes(model)
        layout.outputs_first(model)
    reshape.remember_names(model, {e.name: e.tensor for e in (*frozen.inputs, *frozen.outputs)})
    random = graph_edits.random_nodes(frozen.graph)
    if random:
        emit(Message(_RANDOM.format(random[0]), "warning"))
    return Converted(
        model=model,
        source=lambda: GraphNetwork(frozen),
        sample=None if source.cuts or source.constants else frozen_graph.sample(source.path),
        first=wanted.first,
        unchecked="it draws random numbers" if random else "",
        nodes={node.name: node.op for node in frozen.graph.node},
        nodes_of="TensorFlow",
    )


def _shapes(frozen: FrozenGraph, first: frozenset[str]) -> tuple[InputSpec, ...]:
    """Shapes of the model's inputs, in the model's layout."""
    shapes = {endpoint.name: endpoint.shape or () for endpoint in frozen.inputs}
    for name in first & shapes.keys():
        shapes[name] = tuple(shapes[name][axis] for axis in layout.to_first(len(shapes[name])))
    return tuple(InputSpec(name, shape) for name, shape in shapes.items())
