"""A frozen graph becomes the ONNX model that is wanted."""

from __future__ import annotations

from dataclasses import replace

from trtconv.adapters import tf2onnx
from trtconv.core.events import Emit, Message
from trtconv.core.records import InputSpec, Precision
from trtconv.graph import check, clean, layout, reshape
from trtconv.sources.records import Converted, Wanted
from trtconv.sources.tensorflow import frozen_graph, frozen_pb, graph_edits, graphdef, to_onnx
from trtconv.sources.tensorflow.framework import GraphNetwork
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph
from trtconv.sources.tensorflow.input_uses import input_uses

_RANDOM = (
    "node {!r} draws random numbers: dropout that is still on? source.constants: {{keep_prob: 1.0}} switches it off"
)

_DEFAULTS = (
    "placeholder {!r} keeps its default value: another one goes in source.constants, and source.register_input of a "
    "frozen graph makes it an input"
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
    for name in graphdef.take_defaults(frozen.graph):
        emit(Message(_DEFAULTS.format(name), "warning"))
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
        precision=_precision(frozen),
        uses=input_uses(frozen),
        nodes={node.name: node.op for node in frozen.graph.node},
        nodes_of="TensorFlow",
    )


_HALF = 19
"""TensorFlow's DT_HALF."""
_ROUGH = {
    "FakeQuant": Precision(0.05, "the source rounds to the steps of its quantization, halves in another way"),
    "ResizeBicubic": Precision(2e-3, "the source takes the weights of ResizeBicubic from a table of 1024"),
}


def _precision(frozen: FrozenGraph) -> Precision:
    """How exactly TensorFlow computes a graph."""
    nodes = [
        node
        for part in (frozen.graph, *frozen.graph.library.function)
        for node in getattr(part, "node", None) or part.node_def
    ]
    found = [
        Precision(5e-3, "the source computes in float16", half=True)
        for node in nodes
        if any(value.type == _HALF for value in node.attr.values())
    ][:1]
    found += [row for op, row in _ROUGH.items() if any(node.op.startswith(op) for node in nodes)]
    worst = max(found, key=lambda row: row.tolerance, default=Precision())
    return replace(worst, half=any(row.half for row in found))


def _shapes(frozen: FrozenGraph, first: frozenset[str]) -> tuple[InputSpec, ...]:
    """Shapes of the model's inputs, in the model's layout."""
    shapes = {endpoint.name: endpoint.shape or () for endpoint in frozen.inputs}
    for name in first & shapes.keys():
        shapes[name] = tuple(shapes[name][axis] for axis in layout.to_first(len(shapes[name])))
    return tuple(InputSpec(name, shape) for name, shape in shapes.items())
