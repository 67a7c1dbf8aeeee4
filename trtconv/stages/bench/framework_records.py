"""What is asked of a source's own framework beside its engines, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trtconv.core.records import Comparison, ShapeRange, SourceSpec, TensorInfo
from trtconv.stages.bench.records import BenchRequest, Measurement


@dataclass(frozen=True)
class FrameworkRequest:
    """The source's own framework beside the engines of one precision.

    Attributes:
        source: the model as the user gave it.
        precision: of the engines.
        names: ways to run it, of ``Format.rivals``.
        inputs: of the converted model.
        profiles: batch size -> the profile that its engine has; empty where no other dimension is dynamic.
        first: inputs that the engine takes with channels first, and the source last.
        device: ``gpu`` or ``cpu``.
        bench: how engines are measured: batches, semantics and rules, limits, data.
    """

    source: SourceSpec
    precision: str
    names: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    profiles: Mapping[int, tuple[Mapping[str, ShapeRange], ...]]
    first: tuple[str, ...]
    device: str
    bench: BenchRequest


@dataclass(frozen=True)
class FrameworkRun:
    """One way to run the source, at one batch size.

    Attributes:
        name: one of ``bench.against``.
        batch: samples per run.
        runner: what ran it where, such as ``PyTorch 2.11.0 on NVIDIA H100``.
        problem: why it was not measured; empty when it was.
        measurement: as of an engine.
        memory: most bytes of GPU memory that the framework took; None without a GPU.
        conditions: how it was measured: ``clock``, ``transfers``, ``tf32``, ``mode``.
        outputs: how far its outputs are from the source's on the CPU in FP32, on the inputs of the measurement.
        agreement: per cent of these inputs whose largest output is the same; None where no output has classes.
        seconds: that it took to get ready, compilation included.
        notes: what a reader of the times must know.
    """

    name: str
    batch: int
    runner: str
    problem: str = ""
    measurement: Measurement | None = None
    memory: int | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[Comparison, ...] = ()
    agreement: float | None = None
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FrameworkResult:
    """All ways at all batch sizes.

    Attributes:
        precision: as asked.
        runs: by way, then by batch size; those that could not be measured too.
    """

    precision: str
    runs: tuple[FrameworkRun, ...]
