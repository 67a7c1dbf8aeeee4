"""What refitting is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RefitRequest:
    """Which engine gets which weights.

    Attributes:
        engine: as it is; it stays untouched.
        model: typed ONNX: the network that the engine was built from, with other weights.
        output: the engine to write, with its ``.json``.
        allow_code: whether plugins that it was built with may run.
        samples: .npz to write random inputs to, for a comparison; None: none.
    """

    engine: Path
    model: Path
    output: Path
    allow_code: bool = False
    samples: Path | None = None


@dataclass(frozen=True)
class RefitResult:
    """What became of it.

    Attributes:
        engine: the new one.
        sidecar: its facts.
        how: ``refitted`` (by TensorRT's refitter) or ``rebuilt``.
        why: the reason for building again; empty where it was refitted.
        proof: what was shown to be the same, in sentences.
        weights: of the network.
        changed: of those, how many have other values; None where the old ones are not known.
        size: bytes of the new engine.
        size_before: bytes of the old one.
        runner: what refitted or built it.
    """

    engine: Path
    sidecar: Path
    how: str
    why: str
    proof: tuple[str, ...]
    weights: int
    changed: int | None
    size: int
    size_before: int
    runner: str
