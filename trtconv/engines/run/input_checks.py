"""Whether inputs fit a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo
from trtconv.data.casting import cast, is_float
from trtconv.engines.build import profiles
from trtconv.engines.build.profiles import Profile
from trtconv.engines.plan import dtypes
from trtconv.engines.run.device_preprocess import Target

Fill = Callable[[Mapping[str, np.ndarray]], None]
"""Gets arrays to write every element of."""

Make = Callable[[Target], None]
"""Gets an input on the device, to have kernels make every sample of."""


def fitting(
    feeds: Mapping[str, np.ndarray], inputs: Sequence[TensorInfo], allowed: Sequence[Profile], values: Sequence[Profile]
) -> dict[str, np.ndarray]:
    """Feeds in the inputs' types.

    Raises:
        UsageError: an unknown or missing input, a wrong type, a shape or values outside the profiles.
    """
    by_name = {info.name: info for info in inputs}
    unknown = [name for name in feeds if name not in by_name]
    if unknown:
        raise UsageError(
            f"unknown input {unknown[0]!r}; the inputs are {', '.join(by_name)}", hint=did_you_mean(unknown[0], by_name)
        )
    missing = [name for name in by_name if name not in feeds]
    if missing:
        raise UsageError(f"input {missing[0]!r} is missing", hint=f"the inputs are {', '.join(by_name)}")
    checked = {name: _fitting(feeds[name], info) for name, info in by_name.items()}
    shapes = {name: array.shape for name, array in checked.items()}
    profiles.choose(allowed, shapes, values, held(checked, values))
    return checked


def held(feeds: Mapping[str, np.ndarray], values: Sequence[Profile]) -> dict[str, tuple[int, ...]]:
    """What the inputs hold whose values decide shapes."""
    return {name: tuple(int(value) for value in feeds[name].flat) for name in profiles.nth(values, 0)}


def _fitting(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    wanted = dtypes.numpy_type(info.dtype)
    if array.dtype != wanted and not np.can_cast(array.dtype, wanted, "same_kind"):
        raise UsageError(
            f"input {info.name!r} has type {array.dtype}, expected {info.dtype}",
            hint=f"convert it with .astype({wanted.name!r})",
        )
    fits = len(array.shape) == len(info.shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(info.shape, array.shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"input {info.name!r} has shape {list(array.shape)}, expected [{', '.join(map(str, info.shape))}]",
            hint="reshape the samples",
        )
    return array if array.dtype == wanted else _converted(array, wanted, info)


def _converted(array: np.ndarray, wanted: np.dtype, info: TensorInfo) -> np.ndarray:
    made, exact = cast(array, wanted)
    if not exact or (is_float(wanted) and bool((np.isfinite(array) & ~np.isfinite(made)).any())):
        raise UsageError(
            f"input {info.name!r} takes {info.dtype}, which cannot hold all of these {array.dtype} values",
            hint=f"give values that {info.dtype} holds",
        )
    return made
