"""The door to paddle2onnx: its extension module alone, which needs no Paddle and nothing else.

``import paddle2onnx`` would import Paddle (1.6 GB); the extension that does the work loads by itself in milliseconds.
Its function takes positional arguments that other versions have not, so that the version is pinned.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from trtconv.core.errors import EnvironmentProblem, MissingPackage
from trtconv.core.events import Emit

VERSION = "1.2.11"
NEWER = (3, 13)
"""The first Python without a wheel."""

OPSETS = range(7, 20)
"""Others abort the process."""

_NAME = "paddle2onnx_cpp2py_export"


def supported() -> frozenset[str]:
    """Operators that it converts.

    Raises:
        MissingPackage: it is not installed.
        EnvironmentProblem: it is, in another version, or does not load.
    """
    return frozenset(_module().get_all_supported_operators())


def require() -> None:
    """Fail where it cannot be used; the same errors as ``supported``, without loading it."""
    _file()


def convert(request: dict[str, Any], _emit: Emit) -> int:
    """Convert a program; for a process of its own, because it aborts on what it does not take.

    Args:
        request: ``program``, ``weights`` (paths; empty: it has none), ``opset`` and ``model``, the path to write.

    Returns:
        Bytes written; 0 where it made nothing, which it does not call a failure.
    """
    upgrade_opset = verbose = False
    optimize = experimental = True
    check = False  # done here, after our own operators have come in
    model = _module().export(
        request["program"],
        request["weights"],
        request["opset"],
        upgrade_opset,
        verbose,
        check,
        experimental,
        optimize,
        {},
        "onnxruntime",
        "",
        "",
        False,
    )
    return Path(request["model"]).write_bytes(model)


@cache
def _module() -> Any:
    spec = importlib.util.spec_from_file_location(_NAME, _file())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise EnvironmentProblem(
            f"paddle2onnx {VERSION} is installed but does not load: {error}",
            hint=f"{sys.executable} -m pip install --force-reinstall paddle2onnx=={VERSION}",
        ) from error
    return module


def _file() -> Path:
    """The extension, found without importing the package around it."""
    spec = importlib.util.find_spec("paddle2onnx")
    folders = spec.submodule_search_locations if spec is not None else None
    found = sorted(Path(next(iter(folders))).glob(f"{_NAME}*.so")) if folders else []
    if not found and sys.version_info >= NEWER:
        raise EnvironmentProblem(
            f"programs before Paddle 3 need paddle2onnx {VERSION}, which is not made for Python {sys.version_info[0]}."
            f"{sys.version_info[1]}",
            hint=f"run trtconv with Python 3.{NEWER[1] - 1}",
        )
    if not found:
        raise MissingPackage("paddle2onnx", "paddle", "a Paddle model")
    version = metadata.version("paddle2onnx")
    if version != VERSION:
        raise EnvironmentProblem(
            f"paddle2onnx {version} is installed; trtconv calls version {VERSION}",
            hint=f"{sys.executable} -m pip install paddle2onnx=={VERSION}; other versions belong "
            "into another environment (source.python)",
        )
    return found[0]
