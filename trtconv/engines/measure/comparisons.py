"""What an engine is compared with: other ways to run the same model on the same inputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from trtconv.adapters import torch
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo
from trtconv.engines.build.profiles import Profile
from trtconv.engines.run.host_buffers import Shapes
from trtconv.engines.run.input_checks import Fill
from trtconv.engines.run.runner import Runner, open_onnx

KINDS = ("onnxruntime", "pytorch:MODULE:FUNCTION")


class FunctionRunner:
    """A function of arrays with the interface of a runner."""

    profiles: tuple[Profile, ...] = ()
    values: tuple[Profile, ...] = ()

    def __init__(
        self,
        function: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]],
        title: str,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
    ) -> None:
        self._function, self._title = function, title
        self.inputs, self.outputs = inputs, outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See ``Runner.run``."""
        return self._function(feeds)

    def run_filled(self, shapes: Shapes, fill: Fill) -> dict[str, np.ndarray]:
        """See ``Runner.run_filled``; inputs are float32."""
        feeds = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        fill(feeds)
        return self._function(feeds)

    def describe(self) -> str:
        """See ``Runner.describe``."""
        return self._title

    def memory(self) -> None:
        """Another library's memory is not known."""

    def current(self) -> AbstractContextManager[None]:
        """Nothing to prepare."""
        return contextlib.nullcontext()

    def fork(self) -> FunctionRunner:
        """The same function."""
        return self

    def close(self) -> None:
        """Nothing to free."""


def open_rival(name: str, like: Runner, onnx: Path | None, *, allow_code: bool) -> Runner:
    """A rival by name.

    Args:
        name: one of KINDS.
        like: the runner to compare with: it has the inputs.
        onnx: the model's ONNX file, for ``onnxruntime``.
        allow_code: whether functions of the user's may be called.

    Raises:
        UsageError: an unknown kind, a function that is not allowed or not there, no ONNX file.
    """
    kind, _, target = name.partition(":")
    if kind == "onnxruntime" and not target:
        if onnx is None:
            raise UsageError(
                "--against onnxruntime needs the ONNX model of the engine, and there is none beside it",
                hint="name it: --fallback model.onnx",
            )
        return open_onnx(onnx, like.profiles, like.values, exact=False)
    if kind != "pytorch" or target.count(":") != 1:
        raise UsageError(f"--against {name}: expected one of {', '.join(KINDS)}", hint=did_you_mean(kind, KINDS))
    if not allow_code:
        raise UsageError(
            f"--against {name}: {target} is code, which runs only by your leave",
            hint="add --allow-code if you trust it",
        )
    function, device = torch.function(target, [info.name for info in like.inputs])
    return FunctionRunner(function, f"PyTorch {torch.version()} on {device}", like.inputs, like.outputs)
