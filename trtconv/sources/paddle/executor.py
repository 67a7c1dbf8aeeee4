"""What only Paddle can do, for the interpreter that has it: run a program, and convert one of Paddle 3.

Standard library, NumPy and Paddle alone; trtconv calls it through ``core.interpreter``. Programs lie in files as Paddle
saves them today: X.pdmodel or X.json, and X.pdiparams beside it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_OPEN: dict[str, Any] = {}


def operators(_request: dict[str, Any], host: Any) -> dict[str, Any]:
    """What paddle2onnx converts, under its own names.

    Raises:
        Refused: it is of a version before 2, such as the one for older programs, which PYTHONPATH may bring in.
    """
    _quiet()
    host.load("paddle")
    package = host.load("paddle2onnx")
    extension = host.load("paddle2onnx.paddle2onnx_cpp2py_export")
    if not hasattr(extension, "get_all_supported_operators_pir"):
        raise host.refusal(
            "EnvironmentProblem",
            f"paddle2onnx in {Path(package.__file__).parent} reads no programs of Paddle 3",
            "pip install paddle2onnx==2.1.0 there; where PYTHONPATH names the folder, take it out",
        )
    return {"names": sorted(extension.get_all_supported_operators_pir())}


def load(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Open a program; its inputs are in the order of the answer.

    Args:
        request: ``program``, a path.
        host: gets what is told.
    """
    _quiet()
    paddle = host.load("paddle")
    path = Path(request["program"])
    prefix, ending = str(path.with_suffix("")), path.suffix
    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    scope = paddle.static.Scope()
    try:
        with _mode(paddle, ending), paddle.static.scope_guard(scope):
            program, feeds, fetches = paddle.static.load_inference_model(prefix, executor)
    except Exception as error:
        raise host.refusal(
            "SourceError",
            f"Paddle {paddle.__version__} does not load it: {_first(error)}",
            "convert.check: false converts without a comparison",
        ) from error
    _OPEN.update(program=program, feeds=feeds, fetches=fetches, executor=executor, scope=scope, ending=ending)
    return {"inputs": list(feeds), "version": str(paddle.__version__)}


def run(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Run the open program on arrays in a file, and write what it gives to another.

    Args:
        request: ``inputs`` and ``outputs``, paths of .npz files; arrays of the second are ``0``, ``1``, ...
        host: gets what is told.

    Returns:
        ``rows``: per output, how many of its rows belong to each image, where Paddle says it.
    """
    import numpy as np

    paddle = host.load("paddle")
    with np.load(request["inputs"]) as stored:
        feeds = {name: stored[name] for name in _OPEN["feeds"]}
    try:
        with _mode(paddle, _OPEN["ending"]), paddle.static.scope_guard(_OPEN["scope"]):
            found = _OPEN["executor"].run(_OPEN["program"], feed=feeds, fetch_list=_OPEN["fetches"], return_numpy=False)
    except Exception as error:
        raise host.refusal(
            "SourceError", f"Paddle does not run it: {_first(error)}", "give inputs that fit (convert.check_data)"
        ) from error
    arrays: dict[str, Any] = {str(place): np.array(tensor) for place, tensor in enumerate(found)}
    np.savez(request["outputs"], **arrays)
    return {"rows": [_rows(tensor) for tensor in found]}


def export(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Convert a program with paddle2onnx; trtconv folds the result itself.

    Args:
        request: ``program``, ``weights``, ``model`` (paths) and ``opset``.
        host: gets what is told.
    """
    _quiet()
    host.load("paddle")
    paddle2onnx = host.load("paddle2onnx")
    try:
        # by default it would run pip at this point, to install an optimizer
        paddle2onnx.export(
            request["program"],
            request["weights"],
            request["model"],
            opset_version=request["opset"],
            optimize_tool="none",
        )
    except SystemExit:
        raise host.refusal(
            "ConversionError", "paddle2onnx gave up; its log says why", "end the model earlier (convert.outputs)"
        ) from None
    made = Path(request["model"])
    return {"bytes": made.stat().st_size if made.exists() else 0}


def _quiet() -> None:
    os.environ.setdefault("GLOG_minloglevel", "2")


def _mode(paddle: Any, ending: str) -> Any:
    """Programs of before Paddle 3 need its old form of programs."""
    import contextlib

    guard = getattr(getattr(paddle, "pir_utils", None), "OldIrGuard", None)
    return guard() if guard is not None and ending == ".pdmodel" else contextlib.nullcontext()


def _rows(tensor: Any) -> list[int]:
    lengths = tensor.recursive_sequence_lengths() if hasattr(tensor, "recursive_sequence_lengths") else []
    return [int(length) for length in lengths[-1]] if lengths else []


def _first(error: BaseException) -> str:
    """What is said in the end of Paddle's long messages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line and ":" in line]
    return " ".join((telling or lines or [type(error).__name__])[-1].split())[:300]


if sys.version_info < (3, 8):  # noqa: UP036 - the interpreter is not trtconv's own
    raise ImportError("Python 3.8 or later is needed")
