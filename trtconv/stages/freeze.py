"""freeze: a SavedModel, Keras model or checkpoint becomes a frozen GraphDef with named inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
