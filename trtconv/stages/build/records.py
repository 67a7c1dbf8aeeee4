"""What a build is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core.records import PLAIN, Features, PluginSpec, Proof, ShapeRange, TensorInfo


@dataclass(frozen=True)
class BuildRequest:
    """What to build.

    Attributes:
        model: typed ONNX.
        engine: the plan to write; ``<engine>.json`` is its sidecar.
        precision: what the typed model was lowered to; for the sidecar, and for TF32: only tf32 allows it, with every
            other precision FP32 arithmetic is FP32.
        backend: ``auto`` (TensorRT when installed with a GPU, else TensorRT-RTX), ``tensorrt`` or ``rtx``.
        profiles: optimization profiles, one mapping input name -> range each; inputs with a dynamic dimension that no
            profile names are an error that prints the YAML to add. Empty: a default profile when only the first
            dimension is dynamic (1, 8, 32).
        workspace: limit in bytes; None: TensorRT's default.
        targets: compute capabilities to build for on RTX (``sm86``); empty: RTX's default set.
        provenance: digests and the resolved job, copied into the sidecar.
        timing_cache: file of kernel times kept from build to build; None: ``<engine>.timing``.
        level: see ``engines.build.choices.Options``.
        hardware: likewise.
        verbosity: likewise.
        features: likewise.
        values: ranges of the values of inputs that decide shapes (see ``profiles.check_values``), as profiles are.
        fallback: what runs the nodes that TensorRT refuses: ``none`` (they are an error) or ``onnxruntime``, and then
            ``engine`` is a folder of parts, see ``engines.plan.manifest``.
        plugins: of TensorRT, to load before parsing.
        allow_code: whether they may run.
        min_subgraph_size: nodes that an engine among parts has at least.
        cuts: tensors at which an engine among parts ends and another one begins.
        epcontext: file to write the parts to as one ONNX model with EPContext nodes; None: not written.
        bounds: ranges of the shapes of tensors whose size depends on data, for engines among parts that read them.
    """

    model: Path
    engine: Path
    precision: str = "typed"
    backend: str = "auto"
    profiles: tuple[Mapping[str, ShapeRange], ...] = ()
    workspace: int | None = None
    targets: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    timing_cache: Path | None = None
    level: int | None = None
    hardware: str = "none"
    verbosity: str = "detailed"
    features: Features = PLAIN
    values: tuple[Mapping[str, ShapeRange], ...] = ()
    fallback: str = "none"
    min_subgraph_size: int = 3
    plugins: tuple[PluginSpec, ...] = ()
    allow_code: bool = False
    cuts: tuple[str, ...] = ()
    epcontext: Path | None = None
    bounds: Mapping[str, ShapeRange] = field(default_factory=dict)


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
        proof: in which types the weighted operators compute, and who says so; the caller fails on what runs wider than
            it allows.
        sha256: of the plan; empty where it was not computed.
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
    proof: Proof = field(default_factory=lambda: Proof("typed ONNX"))
    sha256: str = ""

    @property
    def digests(self) -> Mapping[Path, str]:
        """SHA-256 of files that need not be read again to know it."""
        return {self.engine: self.sha256} if self.sha256 else {}
