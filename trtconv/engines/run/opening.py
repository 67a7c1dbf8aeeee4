"""What runs a model file: an engine, its stand-in, an ONNX file, or parts."""

from __future__ import annotations

from pathlib import Path

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message, ignore
from trtconv.core.records import AS_USUAL, Loading
from trtconv.engines.plan import header, manifest, plugin_files, sidecar
from trtconv.engines.run.parts_runner import open_parts
from trtconv.engines.run.runner import CPU, OnnxRunner, Runner, open_engine, open_onnx


def open_runner(
    model: Path,
    backend: str = "auto",
    fallback: Path | None = None,
    device_api: str = "auto",
    emit: Emit = ignore,
    *,
    exact: bool = True,
    loading: Loading = AS_USUAL,
) -> tuple[Runner, str]:
    """What runs a model, and why that is not the engine that was asked for.

    Args:
        model: .engine, .onnx or .parts.
        backend: ``auto`` (the engine on a GPU, else ONNX Runtime), ``tensorrt``, ``rtx`` (never fall back) or
            ``onnxruntime``.
        fallback: typed ONNX that stands for the engine; None: the one that its sidecar names.
        device_api: ``auto``, ``cuda`` or ``pycuda``.
        emit: gets warnings.
        exact: as for ``open_onnx``.
        loading: how the engine is loaded.

    Returns:
        The runner, and the reason for a fallback (empty without one).

    Raises:
        SourceError: a file that is neither, or damaged.
        EnvironmentProblem: the engine cannot run here and nothing may take its place.
        UsageError: an ONNX file with a backend that runs engines only; a way to load engines for what is none.
    """
    if loading != AS_USUAL and (model.suffix.lower() == ".onnx" or manifest.is_parts(model) or backend == CPU):
        raise UsageError(
            f"{model}: a budget for weights, or a lean runtime, is for a single engine on a GPU", hint="leave it out"
        )
    if model.suffix.lower() == ".onnx":
        if backend not in ("auto", CPU):
            raise UsageError(
                f"{model}: backend {backend} runs engines, and this is an ONNX model",
                hint=f"trtconv build {model} makes an engine of it",
            )
        return open_onnx(model, exact=exact), ""
    if manifest.is_parts(model):
        return open_parts(model, backend, device_api, emit, exact=exact)
    header.read(model)  # a damaged engine is an error, never a reason to run something else
    if backend == CPU:
        return _stand_in(model, fallback, "", exact), ""
    try:
        return open_engine(model, backend, device_api, emit, loading), ""
    except EnvironmentProblem as problem:
        if backend != "auto":
            raise
        with plugin_files.nobody_else(problem, model):
            runner = _stand_in(model, fallback, problem.message, exact)
        if loading.budget:
            emit(Message("the budget for weights has no effect: ONNX Runtime keeps them in host memory", "warning"))
        return runner, problem.message


def _stand_in(model: Path, fallback: Path | None, reason: str, exact: bool) -> OnnxRunner:
    facts = sidecar.read(model)
    typed = fallback or (facts.model if facts else None)
    if typed is None:
        raise EnvironmentProblem(
            f"{reason or f'{model} is an engine'}, and there is no ONNX model to run instead",
            hint="give the typed .onnx file that it was built from",
        )
    return open_onnx(typed, *((facts.profiles, facts.values) if facts else ()), exact=exact)
