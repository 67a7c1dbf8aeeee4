"""build: a typed ONNX model becomes a TensorRT plan (.engine) and its facts (.engine.json)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.records import ShapeRange, TensorInfo


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model: typed ONNX.
        engine: the plan to write; ``<engine>.json`` is its sidecar.
        precision: what the typed model was lowered to; for the sidecar and the TF32 flag (fp32 clears it, tf32 sets it).
        backend: ``auto`` (TensorRT when installed with a GPU, else TensorRT-RTX), ``tensorrt`` or ``rtx``.
        profiles: optimization profiles, one mapping input name -> range each; inputs with a dynamic dimension that no
            profile names are an error that prints the YAML to add. Empty: a default profile when only the first
            dimension is dynamic (1, 8, 32).
        workspace: limit in bytes; None: TensorRT's default.
        targets: compute capabilities to build for on RTX (``sm86``); empty: RTX's default set.
        provenance: digests and the resolved job, copied into the sidecar.
    """

    model: Path
    engine: Path
    precision: str = "typed"
    backend: str = "auto"
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    workspace: int | None = None
    targets: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildResult:
    """What was built.

    Attributes:
        engine: the plan.
        sidecar: its ``.engine.json``.
        flavor: ``tensorrt`` or ``rtx``.
        version: of that library, such as ``1.7.1.116``.
        size: of the plan, in bytes.
        layers: layers of the network as parsed.
        inputs: of the engine.
        outputs: of the engine.
        warnings: the builder's warnings, without repetitions and known noise.
    """

    engine: Path
    sidecar: Path
    flavor: str
    version: str
    size: int
    layers: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    warnings: tuple[str, ...] = ()
