"""freeze: a SavedModel, Keras model or checkpoint becomes a frozen GraphDef with named inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    """

    source: SourceSpec
    frozen: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()


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
    from dataclasses import replace

    from trtconv import sources
    from trtconv.adapters import frozen as frozen_files
    from trtconv.adapters import graphdef

    name = request.source.format if request.source.format != "auto" else sources.detect(request.source.path)
    emit(Message("importing TensorFlow"))
    model = sources.open_model(replace(request.source, format=name))
    emit(Message(f"freezing with {model.framework()}"))
    whole = model.freeze()
    outputs = graphdef.choose_outputs(whole.graph, whole.outputs, request.outputs, request.source.path)
    inputs = graphdef.with_shapes(whole.graph, whole.inputs, request.inputs)
    graph = graphdef.prune(whole.graph, inputs, outputs)
    frozen_files.write(replace(whole, graph=graph, inputs=inputs, outputs=outputs, format=name), request.frozen)
    emit(Message(f"frozen: {len(graph.node)} nodes"))
    return FreezeResult(request.frozen, name, tuple(e.info for e in inputs), tuple(e.info for e in outputs),
                        len(graph.node))  # fmt: skip
