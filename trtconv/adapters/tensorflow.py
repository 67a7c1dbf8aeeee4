"""The door to TensorFlow: imported quietly, for the CPU, without Keras, and only when it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from trtconv.core.errors import EnvironmentProblem, MissingPackage
from trtconv.core.interpreter import Needs

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": "-1"}

NEEDS = Needs(
    framework="TensorFlow",
    packages={
        "tensorflow": "tensorflow-cpu>=2.21,<2.22",
        "tf2onnx": "tf2onnx==1.17.*",
        "onnx": "onnx>=1.22,<1.24",
        "numpy": "numpy>=1.26,<3",
    },
    extra="tf",
    python=(3, 11),
)
"""In an interpreter that a job names, the wings' own code runs: hence numpy, onnx and a Python that trtconv knows."""


def load() -> Any:
    """Import TensorFlow, quietly and for the CPU.

    Raises:
        MissingPackage: it is not installed.
        EnvironmentProblem: it does not load.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    try:
        with _keras_later():
            import tensorflow
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise MissingPackage("tensorflow", "tf", "reading a TensorFlow model") from None
    except ImportError as error:
        raise EnvironmentProblem(
            f"TensorFlow is installed but does not load: {error}", hint="pip install --force-reinstall 'trtconv[tf]'"
        ) from error
    return tensorflow


@contextlib.contextmanager
def _keras_later() -> Iterator[None]:
    """Keep TensorFlow from importing Keras: a third of its start, for optimizers, which it does without as well."""
    names = [name for name in ("keras.src.optimizers", "tf_keras.src.optimizers") if name not in sys.modules]
    absent: Any = dict.fromkeys(names)  # a module that is None is one whose import fails at once
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def framework() -> str:
    """Name and version, such as ``TensorFlow 2.21.0``."""
    return f"TensorFlow {load().__version__}"


def reason(error: Exception) -> str:
    """The first lines of a foreign message, in one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:400] or type(error).__name__
