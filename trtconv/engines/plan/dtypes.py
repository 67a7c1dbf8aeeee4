"""Element types: TensorRT's names, ONNX's names, numpy's types."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from trtconv.adapters.tensorrt_enum import Enum
from trtconv.core.errors import EnvironmentProblem

if TYPE_CHECKING:  # the process that builds needs names only
    import numpy as np

_ONNX: Mapping[str, str] = {
    "FLOAT": "float",
    "HALF": "float16",
    "BF16": "bfloat16",
    "FP8": "float8e4m3fn",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "INT4": "int4",
    "FP4": "float4e2m1",
    "E8M0": "float8e8m0",
}


def onnx_name(kind: Enum) -> str:
    """``float16`` for TensorRT's HALF; a type that is new keeps its own name, in lower case."""
    return _ONNX.get(kind.name, kind.name.lower())


def numpy_type(name: str) -> np.dtype:
    """The numpy type for an ONNX type's name.

    Raises:
        EnvironmentProblem: numpy has none (strings, 4-bit types).
    """
    try:
        return _numpy()[name]
    except KeyError:
        raise EnvironmentProblem(
            f"inputs and outputs of type {name} cannot be exchanged",
            hint="give the model inputs and outputs of an ordinary type",
        ) from None


@cache
def _numpy() -> Mapping[str, np.dtype]:
    import ml_dtypes
    import numpy as np

    return {
        "float": np.dtype(np.float32),
        "double": np.dtype(np.float64),
        "float16": np.dtype(np.float16),
        "bfloat16": np.dtype(ml_dtypes.bfloat16),
        "float8e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
        "int8": np.dtype(np.int8),
        "uint8": np.dtype(np.uint8),
        "int16": np.dtype(np.int16),
        "uint16": np.dtype(np.uint16),
        "int32": np.dtype(np.int32),
        "uint32": np.dtype(np.uint32),
        "int64": np.dtype(np.int64),
        "uint64": np.dtype(np.uint64),
        "bool": np.dtype(np.bool_),
    }
