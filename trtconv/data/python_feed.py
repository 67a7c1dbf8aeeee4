"""Samples that a function of the user's returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.lazy import resolve
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.arrays import Array


def arrays(spec: FeedSpec, inputs: Sequence[TensorInfo]) -> dict[str, Array]:
    """Call the function once, without arguments, and take what it returns as the samples of every input.

    Inputs whose values the spec has may be left out.

    Args:
        spec: ``call`` names it, ``module:name``.
        inputs: of the model.

    Raises:
        UsageError: it may not run, cannot be imported, raises, or returns no samples for an input.
    """
    if not spec.allow_code:
        raise UsageError(
            f"the function {spec.call} is code, which runs only by your leave", hint="add --allow-code if you trust it"
        )
    returned = _returned(spec.call)
    needed = [info.name for info in inputs if info.name not in spec.values]
    if not isinstance(returned, Mapping):
        if len(needed) != 1:
            raise UsageError(
                f"{spec.call} returned one array, but the model has the inputs "
                f"{', '.join(info.name for info in inputs)}",
                hint="return a dict of arrays",
            )
        returned = {needed[0]: returned}
    return {
        info.name: _array(spec.call, returned, info) for info in inputs if info.name in needed or info.name in returned
    }


def _returned(target: str) -> Any:
    try:
        function = resolve(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"{target} cannot be imported: {error}", hint="write module:name, and set PYTHONPATH to the module's folder"
        ) from None
    try:
        return function()
    except Exception as error:  # the user's own code may raise anything
        raise UsageError(
            f"{target} raised {type(error).__name__}: {error}", hint="try the function on its own"
        ) from error


def _array(target: str, returned: Mapping[str, Any], info: TensorInfo) -> Array:
    if info.name not in returned:
        known = ", ".join(map(str, returned)) or "none"
        raise UsageError(
            f"{target} returned no samples for input {info.name!r}; it has {known}",
            hint=did_you_mean(info.name, returned) or "name the arrays as the model's inputs",
        )
    values = np.asanyarray(returned[info.name])  # a memory map stays one
    if values.dtype.hasobject:
        raise UsageError(
            f"{target} returned Python objects for input {info.name!r}, not numbers",
            hint="samples of one input need one shape: stack them into an array",
        )
    return Array(path=Path(target), key=info.name, shape=values.shape, dtype=values.dtype, _values=values)
