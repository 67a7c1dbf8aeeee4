"""A SavedModel, Keras model or checkpoint becomes a frozen GraphDef with named inputs and outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from trtconv.core import files
from trtconv.core.events import Emit, Message, Running
from trtconv.core.records import Dim
from trtconv.data import conversion_check
from trtconv.sources.freeze_records import FreezeRequest, FreezeResult
from trtconv.sources.tensorflow import endpoints, formats, frozen_graph, graphdef
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph
from trtconv.sources.tensorflow.input_uses import input_uses

_ROWS = {row.name: row for row in (formats.SAVED_MODEL, formats.KERAS, formats.CHECKPOINT, formats.FROZEN_PB)}


def freeze(request: FreezeRequest, emit: Emit) -> FreezeResult:
    """Load the model, turn its variables into constants, and write the graph with its description.

    Args:
        request: whose source names its format.
        emit: hears what is done.

    Raises:
        SourceError: damaged or foreign files, unknown signature or output, a model that keeps state.
        UsageError: shapes that do not fit the inputs.
        MissingPackage: TensorFlow is not installed.
    """
    source = request.source
    emit(Message("importing TensorFlow"))
    model: Any = _ROWS[source.format].open_model(replace(source, outputs=request.outputs, shapes=_shapes(request)))
    emit(Message(f"freezing with {model.framework()}"))
    whole = model.freeze()
    outputs = endpoints.choose_outputs(whole.graph, whole.outputs, request.outputs, source.path)
    inputs = graphdef.with_shapes(whole.graph, whole.inputs, request.inputs)
    graph = graphdef.prune(whole.graph, inputs, outputs)
    weights = {node.name: whole.weights[node.name] for node in graph.node if node.name in whole.weights}
    frozen_graph.write(
        replace(whole, graph=graph, inputs=inputs, outputs=outputs, format=source.format, weights=weights),
        request.frozen,
    )
    infos = tuple(endpoint.info for endpoint in inputs)
    frozen = replace(whole, graph=graph, inputs=inputs, outputs=outputs)
    files.write_npz(frozen_graph.sample(request.frozen), _observed(model, frozen, request, emit))
    emit(Message(f"frozen: {len(graph.node)} nodes"))
    return FreezeResult(request.frozen, source.format, infos, tuple(e.info for e in outputs), len(graph.node))


def _shapes(request: FreezeRequest) -> tuple[tuple[str, tuple[Dim, ...]], ...]:
    """Those asked for, in the layout of the source."""
    return tuple((spec.name, graphdef.own_shape(spec) or ()) for spec in request.inputs if spec.shape is not None)


def _observed(model: Any, frozen: FrozenGraph, request: FreezeRequest, emit: Emit) -> dict[str, Any]:
    """Random inputs and what the model makes of them; nothing when it has other outputs."""
    if not request.sample:
        return {"refused": np.array(request.unsampled, "U")} if request.unsampled else {}
    names = [endpoint.name for endpoint in frozen.outputs]
    if not set(names) <= {info.name for info in model.outputs}:
        return {}

    def run(given: Any) -> dict[str, Any]:
        made = model.run(given)
        return {name: made[name] for name in names}

    emit(Running("the model on random inputs", request.seconds))
    inputs = tuple(endpoint.info for endpoint in frozen.inputs)
    found = conversion_check.observe(run, inputs, input_uses(frozen), request.seconds / 2)
    emit(Running("", 0))
    if found.refused:
        emit(Message(f"the model does not run on random inputs: {found.refused}", "warning"))
    return conversion_check.to_arrays(found)
