"""A model as one callable object: what ``from trtconv import Engine`` gives."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from trtconv.core import permission
from trtconv.core.errors import UsageError
from trtconv.core.records import Loading
from trtconv.core.units import parse_budget
from trtconv.engines.run import runner_threads, weight_streaming
from trtconv.engines.run.opening import open_runner
from trtconv.engines.run.runner import Runner

Feeds = Mapping[str, np.ndarray]


class Engine:
    """A model that is ready to run; several threads may call it.

        with Engine("model.engine") as engine:
            y = engine(x)

    Args:
        model: an .engine, .onnx or .parts.
        contexts: calls that may run at the same time, each with an execution context of its own; more wait.
        backend: ``auto`` (the engine on a GPU, else its typed ONNX on ONNX Runtime), ``tensorrt``, ``rtx`` or
            ``onnxruntime``; anything but auto never falls back.
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        preprocess: what makes the model's inputs of a call's argument; None: the argument is the inputs.
        postprocess: what makes a call's result of the outputs by name; None: the only output itself, or all by name.
        allow_code: whether plugins and lean runtimes that the engine needs may be loaded, in this process from now on.
        weight_streaming_budget: weights that stay on the GPU, of an engine that was built to stream them: a number of
            bytes, ``"512MiB"``, ``"50%"``, ``"all"`` or ``"auto"``; None: all of them.
        lean_runtime: library that runs an engine for other versions of TensorRT.

    Attributes:
        inputs: name, ONNX type and shape.
        outputs: likewise.
        runner: what runs it, such as ``TensorRT-RTX 1.5.0.114 on NVIDIA H200``.
        fell_back: why that is not the engine that was asked for; empty when it is.

    Raises:
        SourceError: not a model, or damaged.
        UsageError: a budget for weights that the engine does not stream, or has not so many of.
        EnvironmentProblem: the engine cannot run here, and nothing may take its place.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        contexts: int = 2,
        backend: str = "auto",
        device_api: str = "auto",
        preprocess: Callable[[Any], Any] | None = None,
        postprocess: Callable[[dict[str, np.ndarray]], Any] | None = None,
        allow_code: bool = False,
        weight_streaming_budget: int | str | None = None,
        lean_runtime: str | Path | None = None,
    ) -> None:
        if contexts < 1:
            raise UsageError(f"contexts is {contexts}, expected at least 1", hint="leave it out")
        self._preprocess, self._postprocess = preprocess, postprocess
        if allow_code:
            permission.grant()
        loading = Loading(_budget(weight_streaming_budget), None if lean_runtime is None else Path(lean_runtime))
        self._first, self.fell_back = open_runner(Path(model), backend, device_api=device_api, loading=loading)
        self._forks = runner_threads.forks(self._first, contexts)
        runners = self._forks.__enter__()
        self._free: queue.SimpleQueue[Runner | None] = queue.SimpleQueue()
        for runner in runners:
            self._free.put(runner)
        self._count = len(runners)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.inputs, self.outputs = self._first.inputs, self._first.outputs
        self.runner = self._first.describe()

    def __call__(self, x: Any) -> Any:
        """Run one batch.

        Args:
            x: an array for a model with one input, or arrays by name; shapes with the batch.

        Raises:
            UsageError: an unknown or missing input, a wrong type, a shape outside the profiles.
        """
        feeds = self._feeds(x if self._preprocess is None else self._preprocess(x))
        runner = self._take()
        try:
            with runner.current():
                outputs = runner.run(feeds)
        finally:
            self._free.put(runner)
        if self._postprocess is not None:
            return self._postprocess(outputs)
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def submit(self, x: Any) -> Future[Any]:
        """The same in the background: a future of what the call would return."""
        with self._lock:
            if self._pool is None and not self._closed:
                self._pool = ThreadPoolExecutor(self._count, "trtconv-engine")
            if self._closed or self._pool is None:
                raise _closed()
            return self._pool.submit(self, x)

    @property
    def weight_streaming_budget(self) -> int | None:
        """Bytes of weights that stay on the GPU; None of an engine that streams none."""
        return weight_streaming.facts(self._first).get("budget")

    @weight_streaming_budget.setter
    def weight_streaming_budget(self, wanted: int | str) -> None:
        """TensorRT changes it only while there are no execution contexts, and these are made with the engine."""
        raise UsageError(
            f"the budget for weights cannot become {wanted}: the engine's execution contexts exist already",
            hint="close it and open it again: Engine(model, weight_streaming_budget=...)",
        )

    def close(self) -> None:
        """Wait for the calls under way and free everything; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
        for _ in range(self._count):  # each comes back when its call is done
            self._free.get()
        with self._first.current():
            self._forks.__exit__(None, None, None)
        self._first.close()
        self._free.put(None)  # for those who still wait

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Runner:
        runner = self._free.get()
        if runner is None:
            self._free.put(None)
            raise _closed()
        return runner

    def _feeds(self, x: Any) -> Feeds:
        if isinstance(x, Mapping):
            return {name: np.asarray(array) for name, array in x.items()}
        if len(self.inputs) != 1:
            names = ", ".join(info.name for info in self.inputs)
            raise UsageError(f"the model has the inputs {names}, and one array was given", hint="give a dict of arrays")
        return {self.inputs[0].name: np.asarray(x)}


def _budget(wanted: int | str | None) -> str:
    try:
        return "" if wanted is None else parse_budget(wanted)
    except ValueError as error:
        raise UsageError(f"weight_streaming_budget: {error}", hint="leave it out to keep all weights there") from None


def _closed() -> UsageError:
    return UsageError("the engine is closed", hint="call it inside the with block, or before close()")
