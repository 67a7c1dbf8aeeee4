"""reference: the source framework's own outputs on the verification data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core.records import FeedSpec, SourceSpec


@dataclass(frozen=True)
class ReferenceRequest:
    """What to run.

    Attributes:
        source: the model as the user gave it (SavedModel, Keras, ...), not the frozen graph.
        data: samples; in the source's own layout.
        output: .npz to write: one array per output, first axis samples, named as the ONNX outputs are.
        outputs: outputs wanted, by name; empty: all.
        batch: samples per call.
    """

    source: SourceSpec
    data: FeedSpec
    output: Path
    outputs: tuple[str, ...] = ()
    batch: int = 32


@dataclass(frozen=True)
class ReferenceResult:
    """The file written, how many samples it covers, and the framework with its version."""

    output: Path
    samples: int
    framework: str
