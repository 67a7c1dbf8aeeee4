"""The only door to ONNX Runtime: runs ONNX models on the CPU."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import magic
from trtconv.core.errors import EnvironmentProblem, NoKernel, SourceError, UsageError
from trtconv.core.names import unicode_path
from trtconv.core.records import Dim, TensorInfo

_ERRORS_ONLY = 3
_UNFAITHFUL = ["WeightBiasQuantization"]
"""Optimizers that change results: this one makes the biases of quantized convolutions integers, and where scales are
float16 the quotient on the way there is infinity for biases of a usual size."""
_SETS = 2  # of output buffers, used in turn
_CODE = re.compile(r".*\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NO_KERNEL = re.compile(r"implementation for (\w+)\(\d+\) node with name '(.*?)'")


class Session:
    """A model ready to run.

    Attributes:
        inputs: name, dtype and shape of each input.
        outputs: likewise of each output.
    """

    def __init__(self, native: Any, label: str) -> None:
        self._native = native
        self._label = label
        _require_tensors((*native.get_inputs(), *native.get_outputs()), label)
        self.inputs: tuple[TensorInfo, ...] = _infos(native.get_inputs())
        self.outputs: tuple[TensorInfo, ...] = _infos(native.get_outputs())
        self._names = [info.name for info in self.outputs]
        self._buffers: dict[tuple[Any, ...], list[dict[str, np.ndarray]]] = {}
        self._fixed_shapes = True

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch.

        Raises:
            UsageError: a feed is missing or does not fit the model.
        """
        try:
            return dict(zip(self._names, self._native.run(self._names, dict(feeds)), strict=True))
        except Exception as error:
            raise self._translated(error) from error

    def run_reusing(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Like ``run``, but the call after the next one for inputs of the same shapes overwrites the arrays.

        Large outputs then cost neither a copy nor fresh pages, and one batch can be read while the next one runs. A
        model whose outputs change shape with the values of its inputs falls back to ``run``.
        """
        key = tuple((name, array.shape) for name, array in feeds.items())
        if key not in self._buffers:  # one shape at a time: the last batch is smaller, and then it is over
            self._buffers = {key: []}
        sets = self._buffers[key]
        if len(sets) < _SETS or not self._fixed_shapes:
            outputs = self.run(feeds)
            if all(isinstance(a, np.ndarray) and a.dtype.kind in "fiub" and a.size for a in outputs.values()):
                outputs = {name: a.copy() for name, a in outputs.items()}  # the runtime's own keep all its memory alive
                sets.append(outputs)
            return outputs
        sets.append(sets.pop(0))
        try:
            self._run_into(sets[-1], feeds)
        except RuntimeError:  # what its binding raises for an output of another shape than before
            self._fixed_shapes = False
            return self.run(feeds)
        return sets[-1]

    def _run_into(self, buffers: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> None:
        binding = self._native.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name, array in buffers.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._native.run_with_iobinding(binding)

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, ValueError) or type(error).__name__ == "InvalidArgument":
            return UsageError(
                f"{self._label}: ONNX Runtime refuses these inputs: {_reason(error)}",
                hint=f"it takes {', '.join(_text(i) for i in self.inputs)}",
            )
        if _from_runtime(error):
            return SourceError(
                f"{self._label}: ONNX Runtime fails while running it: {_reason(error)}",
                hint="trtconv convert checks and cleans a model; try its result",
            )
        return error


class ReferenceModel:
    """A source's own network, as a reference: the source is ONNX, or was recorded as ONNX.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.
    """

    def __init__(self, session: Session, of: str = "") -> None:
        self._session = session
        self._of = of
        self.inputs = session.inputs
        self.outputs = session.outputs

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        return self._session.run(feeds)

    def framework(self) -> str:
        """ONNX Runtime and its version; what it runs, where that is not the source itself."""
        runtime = f"ONNX Runtime {version()}"
        return f"{self._of} on {runtime}" if self._of else runtime


def session(
    model: Path | str | bytes,
    *,
    threads: int | None = None,
    optimize: bool = True,
    sparing: bool = False,
    folder: Path | None = None,
) -> Session:
    """Open a model on the CPU.

    ONNX Runtime's optimizer moves Transpose between the two halves of a float8 Q/DQ pair, where it has no kernel for
    it, and then refuses its own graph: such a model is opened again as it is.

    Args:
        model: a file, or a serialized model (without external data).
        threads: for one operator; None: one per core.
        optimize: whether ONNX Runtime may fuse and fold; off, every node computes what it says.
        sparing: whether its threads leave the processor to others between runs instead of spinning, and memory is
            taken as it is needed instead of planned ahead, which takes more.
        folder: where tensors lie that a serialized model keeps outside itself.

    Raises:
        SourceError: ONNX Runtime cannot load the model.
        NoKernel: it has no CPU kernel for an operator in its type, such as Conv in bfloat16.
        EnvironmentProblem: ONNX Runtime is not installed.
    """
    runtime = _runtime()
    if isinstance(model, Path) and not unicode_path(model):
        raise UsageError(f"{model}: ONNX Runtime opens no file whose path is not UTF-8", hint="rename it, or move it")
    label = "the model" if isinstance(model, bytes) else str(model)
    try:
        native = _native(runtime, model, threads, optimize, sparing, folder)
    except Exception as error:
        if not _from_runtime(error):
            raise
        if not optimize or "float8" not in str(error):
            raise _unloadable(model, label, error) from error
        return session(model, threads=threads, optimize=False, sparing=sparing, folder=folder)
    try:
        return Session(native, label)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{label}: the name {error.object!r} in it is not UTF-8", hint="export the model again with names in UTF-8"
        ) from None


def _native(
    runtime: Any, model: Path | str | bytes, threads: int | None, optimize: bool, sparing: bool, folder: Path | None
) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    if not optimize:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if sparing:
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    source = model if isinstance(model, bytes) else str(model)
    return runtime.InferenceSession(
        source, options, providers=["CPUExecutionProvider"], disabled_optimizers=_UNFAITHFUL
    )


def version() -> str:
    """ONNX Runtime's version, such as ``1.31.1``."""
    return str(_runtime().__version__)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        raise EnvironmentProblem(
            "running an ONNX model needs the Python package 'onnxruntime', which is not installed",
            hint="pip install onnxruntime",
        ) from None
    except ImportError as error:
        raise EnvironmentProblem(
            f"ONNX Runtime is installed but does not load: {error}",
            hint="reinstall it: pip install --force-reinstall onnxruntime",
        ) from error
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    return onnxruntime


def _unloadable(model: Path | str | bytes, label: str, error: Exception) -> SourceError | EnvironmentProblem:
    missing = _NO_KERNEL.search(str(error))
    if missing is not None and type(error).__name__ == "NotImplemented":
        return NoKernel(
            f"build only on a CPU: ONNX Runtime has no kernel for {missing[1]} in the type that {label} "
            f"uses (node {missing[2]!r})",
            hint="run it where a GPU can run the engine",
        )
    if not isinstance(model, bytes):
        path = Path(model)
        if not path.exists():
            return SourceError(f"{label}: no such file", hint="check the path")
        what = magic.describe(path)
        if what != "an ONNX model":
            return SourceError(f"{label}: not an ONNX model; it looks like {what}", hint="give an ONNX file")
    reason, hint = _reason(error), "trtconv convert checks and cleans a model; try its result"
    if _UNKNOWN in reason:  # a plugin of TensorRT's computes it, and nothing else here
        hint = "a GPU that loads the engine has its plugin; or say what the operator computes (docs/custom_layers.md)"
    return SourceError(f"{label}: ONNX Runtime cannot load it: {reason}", hint=hint)


_UNKNOWN = "is not a registered function/op"


def _from_runtime(error: Exception) -> bool:
    return type(error).__module__.startswith("onnxruntime")


def _reason(error: Exception) -> str:
    """The message in one line without the ``[ONNXRuntimeError] : 1 : FAIL :`` in front."""
    return _CODE.sub("", " ".join(str(error).split()))


def _require_tensors(arguments: Iterable[Any], label: str) -> None:
    other = next((a for a in arguments if not a.type.startswith("tensor(")), None)
    if other is not None:
        raise SourceError(
            f"{label}: {other.name!r} is of type {other.type}; a model takes and gives tensors here",
            hint="export the model without it (scikit-learn: zipmap=False), or leave it out: convert: {outputs: [...]}",
        )


def _infos(arguments: Iterable[Any]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(a.name, _dtype(a.type), _dims(a.name, a.shape)) for a in arguments)


def _dtype(text: str) -> str:
    """``"float16"`` from ``"tensor(float16)"``."""
    return text.removeprefix("tensor(").removesuffix(")")


def _dims(name: str, shape: Iterable[Any]) -> tuple[Dim, ...]:
    return tuple(d if isinstance(d, (int, str)) else f"{name}_dim{axis}" for axis, d in enumerate(shape))


def _text(info: TensorInfo) -> str:
    return f"{info.name}: {info.dtype} {list(info.shape)}"
