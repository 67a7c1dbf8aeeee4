"""freeze: a SavedModel, Keras model or checkpoint becomes a frozen GraphDef with named inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core import errors
from trtconv.core.events import Emit, Message
from trtconv.core.records import InputSpec, SourceSpec, TensorInfo


@dataclass(frozen=True)
class FreezeRequest:
    """What to freeze.

    Attributes:
        source: the model.
        frozen: the .pb to write; ``<frozen>.json`` beside it maps public input and output names to graph tensors.
        inputs: overrides of shapes; empty keeps the source's.
        outputs: outputs to keep, by name; empty keeps all.
        sample: whether to run the model on a few random inputs, for convert to compare with; the file
            ``<frozen>.check.npz`` is written either way, and empty when the model was not run.
    """

    source: SourceSpec
    frozen: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    sample: bool = True


@dataclass(frozen=True)
class FreezeResult:
    """What was frozen: the graph's inputs and outputs and its number of nodes."""

    frozen: Path
    format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: int


def freeze(request: FreezeRequest, emit: Emit) -> FreezeResult:
    """Load the model, turn its variables into constants, and write the graph with its description.

    Raises:
        SourceError: damaged or foreign files, unknown signature or output, a model that keeps state.
        UsageError: shapes that do not fit the inputs.
        MissingPackage: TensorFlow is not installed.
    """
    with errors.about(request.source.path):
        return _frozen(request, emit)


def _frozen(request: FreezeRequest, emit: Emit) -> FreezeResult:
    from dataclasses import replace

    from trtconv import sources
    from trtconv.core import files
    from trtconv.sources.tensorflow import endpoints, graphdef
    from trtconv.sources.tensorflow import frozen_graph as frozen_files

    name = request.source.format if request.source.format != "auto" else sources.detect(request.source.path)
    emit(Message("importing TensorFlow"))
    model = sources.open_model(replace(request.source, format=name, outputs=request.outputs))
    emit(Message(f"freezing with {model.framework()}"))
    whole = model.freeze()
    outputs = endpoints.choose_outputs(whole.graph, whole.outputs, request.outputs, request.source.path)
    inputs = graphdef.with_shapes(whole.graph, whole.inputs, request.inputs)
    graph = graphdef.prune(whole.graph, inputs, outputs)
    weights = {node.name: whole.weights[node.name] for node in graph.node if node.name in whole.weights}
    frozen_files.write(
        replace(whole, graph=graph, inputs=inputs, outputs=outputs, format=name, weights=weights), request.frozen
    )
    infos = tuple(e.info for e in inputs)
    observed = _observed(model, infos, tuple(e.name for e in outputs), emit) if request.sample else {}
    files.write_npz(frozen_files.sample(request.frozen), observed)
    emit(Message(f"frozen: {len(graph.node)} nodes"))
    return FreezeResult(
        request.frozen, name, tuple(e.info for e in inputs), tuple(e.info for e in outputs), len(graph.node)
    )


def _observed(model: Any, inputs: tuple[TensorInfo, ...], outputs: tuple[str, ...], emit: Emit) -> dict[str, Any]:
    """Random inputs and what the model makes of them; nothing when it does not run, or has other outputs."""
    from trtconv.data import conversion_check

    given = conversion_check.feeds(inputs)
    try:
        made = model.run(given)
    except Exception as error:  # noqa: BLE001 - random inputs, and shapes asked for that the source may not take
        emit(Message(f"the model does not run on random inputs: {' '.join(str(error).split())[:300]}", "warning"))
        return {}
    if not made.keys() >= set(outputs):
        return {}
    return {f"in.{name}": array for name, array in given.items()} | {f"out.{name}": made[name] for name in outputs}
