"""Runs a model in parts: engines on the GPU and the rest on ONNX Runtime, or everything on ONNX Runtime."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit
from trtconv.engines.build import profiles
from trtconv.engines.plan import dtypes, manifest
from trtconv.engines.plan.manifest import Manifest
from trtconv.engines.run import input_checks
from trtconv.engines.run.host_buffers import Shapes
from trtconv.engines.run.input_checks import Fill
from trtconv.engines.run.runner import CPU, EngineRunner, OnnxRunner, open_engine, open_onnx


@dataclass(frozen=True)
class _Part:
    """One part ready to run: what it takes and gives, and what runs it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runner: EngineRunner | OnnxRunner


class PartsRunner:
    """A model in parts, one query at a time; see ``runner.Runner``. Tensors between parts pass through the host.

    Attributes:
        basis: what its numbers rest on: ``engine``, ``strict`` or ``ONNX Runtime``.
    """

    def __init__(self, found: Manifest, parts: Sequence[_Part]) -> None:
        self._manifest, self._parts = found, parts
        self.inputs, self.outputs = found.inputs, found.outputs
        self.profiles, self.values = found.ranges("profiles"), found.ranges("values")
        kinds = [part.runner.basis for part in parts]
        self.basis = next((kind for kind in ("engine", "strict") if kind in kinds), "ONNX Runtime")

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
        engines = [part.runner for part in self._parts if isinstance(part.runner, EngineRunner)]
        strict = ", strict," if any(part.runner.basis == "strict" for part in self._parts) else ""
        cpu = f"ONNX Runtime {onnxruntime.version()}{strict} on CPU"
        if not engines:
            return f"{cpu}, {len(self._parts)} parts"
        rest = len(self._parts) - len(engines)
        others = f" and {rest} by {cpu}, tensors through the host" if rest else ", tensors through the host"
        return f"{engines[0].describe()}: {len(engines)} of {len(self._parts)} parts{others}"

    def memory(self) -> int | None:
        """See ``runner.Runner.memory``: that of all engines."""
        engines = [part.runner for part in self._parts if isinstance(part.runner, EngineRunner)]
        return sum(runner.memory() for runner in engines) if engines else None

    def current(self) -> AbstractContextManager[None]:
        """Every part makes its own GPU current when it runs."""
        return contextlib.nullcontext()

    def fork(self) -> PartsRunner:
        """See ``runner.Runner.fork``."""
        return PartsRunner(self._manifest, [_Part(p.inputs, p.outputs, p.runner.fork()) for p in self._parts])

    def close(self) -> None:
        """Free the runners of all parts."""
        for part in self._parts:
            part.runner.close()

    def _run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = dict(feeds)
        for part in self._parts:
            with part.runner.current():
                made = part.runner.run({name: tensors[name] for name in part.inputs})
            tensors.update(made)
        return {info.name: tensors[info.name] for info in self.outputs}


def open_parts(
    folder: Path, backend: str, device_api: str, emit: Emit, *, exact: bool = True
) -> tuple[PartsRunner, str]:
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
    if backend == CPU:
        return PartsRunner(found, [_onnx(found, part, exact) for part in found.parts]), ""
    opened: list[_Part] = []
    try:
        for part in found.parts:
            if part["kind"] == "engine":
                engine = open_engine(folder / part["engine"], backend, device_api, emit)
                opened.append(_Part(_names(part["inputs"]), _names(part["outputs"]), engine))
            else:
                opened.append(_onnx(found, part, exact))
        return PartsRunner(found, opened), ""
    except EnvironmentProblem as problem:
        for one in opened:
            one.runner.close()
        if backend != "auto":
            raise
        return PartsRunner(found, [_onnx(found, part, exact) for part in found.parts]), problem.message


def _onnx(found: Manifest, part: Mapping[str, object], exact: bool) -> _Part:
    runner = open_onnx(found.folder / str(part["onnx"]), exact=exact)
    return _Part(_names(part["inputs"]), _names(part["outputs"]), runner)


def _names(facts: object) -> tuple[str, ...]:
    return tuple(info.name for info in manifest.tensors(facts))
