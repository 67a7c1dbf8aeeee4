"""Results as files have them: NumPy's own types for .npy and .npz, plain values for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.strict_json import unicode
from trtconv.data import casting


def ordinary(array: np.ndarray) -> np.ndarray:
    """As NumPy files and texts have it: bfloat16 and 8-bit floats become float32, texts get a fixed length.

    Raises:
        UsageError: complex numbers, dates, or what is neither a number nor a text.
    """
    if array.dtype.kind in "OS":
        array = np.array([_text(value) for value in array.reshape(-1).tolist()], str).reshape(array.shape)
    if array.dtype.kind == "U":
        texts = array.reshape(-1).tolist()
        clean = [unicode(text) for text in texts]
        return array if clean == texts else np.array(clean).reshape(array.shape)
    if array.dtype.kind in "biu" or (array.dtype.kind == "f" and array.dtype.itemsize <= _DOUBLE):
        return array
    if array.dtype.kind == "f" or casting.is_float(array.dtype):
        return array.astype(np.float64 if array.dtype.kind == "f" else np.float32)
    raise UsageError(
        f"results of type {array.dtype} cannot be written", hint="have postprocess: [call: ...] convert them"
    )


_DOUBLE = 8  # bytes


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def jsonable(value: np.ndarray) -> Any:
    """Plain values; NaN and infinity, which JSON has not, become null."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        values = np.asarray(value).astype(object)
        values[~np.isfinite(value)] = None
        return values.tolist()
    return value.tolist()
