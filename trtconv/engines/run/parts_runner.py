"""Runs a model in parts: engines on the GPU and the rest on ONNX Runtime, or everything on ONNX Runtime."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit
from trtconv.engines.build import profiles
from trtconv.engines.plan import dtypes, manifest, plugin_files
from trtconv.engines.plan.manifest import Manifest
from trtconv.engines.run import engine, input_checks
from trtconv.engines.run.engine import Engine
from trtconv.engines.run.host_buffers import Shapes
from trtconv.engines.run.input_checks import Fill
from trtconv.engines.run.parts_engine import PartsEngine, Step
from trtconv.engines.run.runner import CPU, EngineRunner, OnnxRunner, Runner, open_onnx


@dataclass(frozen=True)
class _Part:
    """One part ready to run: what it takes and gives, and what runs it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runner: OnnxRunner


class PartsRunner:
    """A model in parts on ONNX Runtime alone, engines by their typed ONNX; see ``runner.Runner``.

    Attributes:
        basis: what its numbers rest on: ``strict`` or ``ONNX Runtime``.
        told: gets a part's name and the seconds of its run, every time.
    """

    def __init__(self, found: Manifest, parts: Sequence[_Part]) -> None:
        self._manifest, self._parts = found, parts
        self.inputs, self.outputs = found.inputs, found.outputs
        self.profiles, self.values = found.ranges("profiles"), found.ranges("values")
        self.basis = "strict" if any(part.runner.basis == "strict" for part in parts) else "ONNX Runtime"
        self.told: Callable[[str, float], None] = lambda part, seconds: None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``runner.Runner.run``."""
        return self._run(input_checks.fitting(feeds, self.inputs, self.profiles, self.values))

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``runner.Runner.run_filled``."""
        profiles.choose(self.profiles, shapes)
        feeds = {info.name: np.empty(shapes[info.name], dtypes.numpy_type(info.dtype)) for info in self.inputs}
        fill(feeds)
        profiles.choose(self.profiles, shapes, self.values, input_checks.held(feeds, self.values))
        return self._run(feeds)

    def describe(self) -> str:
        """See ``runner.Runner.describe``."""
        strict = ", strict," if self.basis == "strict" else ""
        return f"ONNX Runtime {onnxruntime.version()}{strict} on CPU, {len(self._parts)} parts"

    def memory(self) -> None:
        """It has none on a GPU."""

    def current(self) -> AbstractContextManager[None]:
        """Nothing to prepare."""
        return contextlib.nullcontext()

    def fork(self) -> PartsRunner:
        """The same sessions: ONNX Runtime's run in several threads."""
        return PartsRunner(self._manifest, self._parts)

    def close(self) -> None:
        """Nothing to free."""

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = dict(feeds)
        for part in self._parts:
            began = time.perf_counter()
            tensors |= part.runner.run({name: tensors[name] for name in part.inputs})
            self.told(part.name, time.perf_counter() - began)
        return {info.name: tensors[info.name] for info in self.outputs}


def open_parts(folder: Path, backend: str, device_api: str, emit: Emit, *, exact: bool = True) -> tuple[Runner, str]:
    """A model in parts, and why its engines do not run; empty where they do, or were not asked for.

    Args:
        folder: a ``.parts``.
        backend: as for ``opening.open_runner``.
        device_api: likewise.
        emit: gets warnings.
        exact: whether typed ONNX is computed strictly.

    Raises:
        SourceError: damaged.
        EnvironmentProblem: an engine cannot run here, and the backend is not ``auto``.
    """
    found = manifest.read(folder)
    no_engine = all(part["kind"] != "engine" for part in found.parts)
    if backend == CPU or (no_engine and backend == "auto"):
        return _on_cpu(found, exact), ""
    if no_engine:
        raise EnvironmentProblem(
            f"{folder}: TensorRT refused all of it, and {backend} was demanded", hint="leave --backend out"
        )
    try:
        return EngineRunner(_on_gpu(found, backend, device_api, emit, exact)), ""
    except EnvironmentProblem as problem:
        if backend != "auto":
            raise
        engines = [found.folder / part["engine"] for part in found.parts if part["kind"] == "engine"]
        with plugin_files.nobody_else(problem, *engines):
            return _on_cpu(found, exact), problem.message


def _on_cpu(found: Manifest, exact: bool) -> PartsRunner:
    opened = [open_onnx(found.folder / part["onnx"], found.profiles_of(part), exact=exact) for part in found.parts]
    return PartsRunner(found, [_Part(*_facts(part), runner) for part, runner in zip(found.parts, opened, strict=True)])


def _on_gpu(found: Manifest, backend: str, device_api: str, emit: Emit, exact: bool) -> PartsEngine:
    """All engines on one GPU. What was loaded is freed when one of them cannot be."""
    with contextlib.ExitStack() as stack:
        steps: list[Step] = []
        first: Engine | None = None
        for part in found.parts:
            if part["kind"] == "engine":
                device = None if first is None else first.device
                loaded = engine.load(found.folder / part["engine"], backend, device_api, emit, device)
                if first is None:
                    first = loaded
                    stack.callback(loaded.device.close)
                stack.callback(loaded.close)
                steps.append(Step(*_facts(part), loaded))
            else:
                steps.append(Step(*_facts(part), open_onnx(found.folder / part["onnx"], exact=exact)))
        whole = PartsEngine(found, steps)
        stack.pop_all()
        return whole


def _facts(part: Mapping[str, object]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    name = Path(str(part["engine"] or part["onnx"])).stem
    return name, _names(part["inputs"]), _names(part["outputs"])


def _names(facts: object) -> tuple[str, ...]:
    return tuple(info.name for info in manifest.tensors(facts))
