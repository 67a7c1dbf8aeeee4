"""What a wing that freezes is asked, and what it answers; apart from the rest, because every later run reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        sample: whether to run the model on a few random inputs, for convert to compare with; the file
            ``<frozen>.check.npz`` is written either way, and empty when the model was not run.
        unsampled: why not, where it was tried.
        seconds: how long that may take, until the process is ended; half of it, until no further draw is begun.
    """

    source: SourceSpec
    frozen: Path
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[str, ...] = ()
    sample: bool = True
    unsampled: str = ""
    seconds: float = 120.0

    def without_running(self, why: str) -> FreezeRequest:
        """The same, without running the model: that ended the process."""
        return replace(self, sample=False, unsampled=why)


@dataclass(frozen=True)
class FreezeResult:
    """What was frozen: the graph's inputs and outputs and its number of nodes."""

    frozen: Path
    format: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: int
