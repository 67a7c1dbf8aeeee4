"""A model in parts on a GPU as if it were one engine: what its engines and the rest between them take and give."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from trtconv.core.records import TensorInfo
from trtconv.engines.plan.manifest import Manifest
from trtconv.engines.run.engine import Engine


class Rest(Protocol):
    """What runs a part on the CPU; several threads may use it."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of one run."""

    def describe(self) -> str:
        """What runs it."""

    def close(self) -> None:
        """Free it."""


@dataclass(frozen=True)
class Step:
    """One part ready to run.

    Attributes:
        name: of its file.
        inputs: tensors that it takes.
        outputs: tensors that it gives.
        runner: its engine, or what runs its ONNX on the CPU.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runner: Engine | Rest


class PartsEngine:
    """Engines of one GPU, and ONNX Runtime for the rest between them; used as an ``Engine`` is.

    Attributes:
        path: of the folder.
        steps: in the order in which they run.
        engines: those of the steps.
        device: the GPU of all engines; ``close`` leaves it open, as an engine's does.
        loaded: the TensorRT that runs them.
        one_at_a_time: one lock for all engines, see ``Engine``.
        inputs: of the whole model.
        outputs: likewise.
        profiles: likewise.
        values: likewise.
        on_host: inputs of the whole that TensorRT wants in host memory.
        memory_loaded: bytes of GPU memory that loading took.
        tensors: everything that a part takes or gives, by name.
    """

    def __init__(self, found: Manifest, steps: Sequence[Step]) -> None:
        self.path, self.steps = found.folder, tuple(steps)
        self.engines = [step.runner for step in steps if isinstance(step.runner, Engine)]
        self.device, self.loaded = self.engines[0].device, self.engines[0].loaded
        self.one_at_a_time = threading.RLock()
        for engine in self.engines:
            engine.one_at_a_time = self.one_at_a_time
        self.inputs, self.outputs = found.inputs, found.outputs
        self.profiles, self.values = found.ranges("profiles"), found.ranges("values")
        given = {info.name for info in self.inputs}
        self.on_host = frozenset(name for engine in self.engines for name in engine.on_host if name in given)
        self.memory_loaded = self.memory_used()
        self.tensors = {info.name: info for step in self.steps for info in (*step.runner.inputs, *step.runner.outputs)}

    @property
    def rests(self) -> int:
        """Parts that run on the CPU."""
        return len(self.steps) - len(self.engines)

    @cached_property
    def obstacle(self) -> str:
        """Why the host takes part in every run; empty where the GPU does all of it."""
        if self.rests:
            return "ONNX Runtime runs some parts on the CPU"
        made = {name for step in self.steps for name in step.outputs}
        if any(not made.isdisjoint(engine.on_host) for engine in self.engines):
            return "values that decide shapes pass between the parts"
        return ""

    @property
    def title(self) -> str:
        """What runs it: the GPU and its TensorRT, and what runs the rest."""
        whole = f"{self.engines[0].title}: {len(self.engines)} of {len(self.steps)} parts"
        rest = next((step.runner for step in self.steps if not isinstance(step.runner, Engine)), None)
        return whole if rest is None else f"{whole} and {self.rests} by {rest.describe()}"

    @property
    def context_memory(self) -> int:
        """Bytes of GPU memory that contexts of all engines take beside their inputs and outputs."""
        return sum(engine.context_memory for engine in self.engines)

    def memory_used(self) -> int:
        """Bytes of GPU memory that went away since before the first engine was loaded."""
        return self.engines[0].memory_used()

    def close(self) -> None:
        """Free all engines."""
        for step in self.steps:
            step.runner.close()
