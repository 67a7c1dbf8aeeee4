"""A SavedModel, Keras model or checkpoint becomes a frozen GraphDef with named inputs and outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trtconv.core import files
from trtconv.core.events import Emit, Message
from trtconv.core.records import TensorInfo
from trtconv.data import conversion_check
from trtconv.sources.format import FreezeRequest, FreezeResult
from trtconv.sources.tensorflow import endpoints, formats, frozen_graph, graphdef

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
    model: Any = _ROWS[source.format].open_model(replace(source, outputs=request.outputs))
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
    observed = _observed(model, infos, tuple(e.name for e in outputs), emit) if request.sample else {}
    files.write_npz(frozen_graph.sample(request.frozen), observed)
    emit(Message(f"frozen: {len(graph.node)} nodes"))
    return FreezeResult(
        frozen=request.frozen,
        format=source.format,
        inputs=infos,
        outputs=tuple(e.info for e in outputs),
        nodes=len(graph.node),
    )


def _observed(model: Any, inputs: tuple[TensorInfo, ...], outputs: tuple[str, ...], emit: Emit) -> dict[str, Any]:
    """Random inputs and what the model makes of them; nothing when it does not run, or has other outputs."""
    given = conversion_check.feeds(inputs)
    try:
        made = model.run(given)
    except Exception as error:  # noqa: BLE001 - random inputs, and shapes asked for that the source may not take
        emit(Message(f"the model does not run on random inputs: {' '.join(str(error).split())[:300]}", "warning"))
        return {}
    if not made.keys() >= set(outputs):
        return {}
    return {f"in.{name}": array for name, array in given.items()} | {f"out.{name}": made[name] for name in outputs}
