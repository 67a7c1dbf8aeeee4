"""Random inputs for measurements, the same in every run; ranges as trtexec has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trtconv.core.records import TensorInfo
from trtconv.engines.plan import dtypes

_SEED = 0


def feeds(
    inputs: Sequence[TensorInfo], shapes: Mapping[str, tuple[int, ...]], deciding: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    """Floating-point values uniform in [-1, 1), signed integers in -128..127, unsigned in 0..255, booleans 0 or 1.

    Args:
        inputs: of the model.
        shapes: of the inputs.
        deciding: values of inputs that decide shapes: nothing is random in these.
    """
    generator = np.random.default_rng(_SEED)
    return {
        info.name: np.array(deciding[info.name], dtypes.numpy_type(info.dtype)).reshape(shapes[info.name])
        if info.name in deciding
        else _values(generator, info, shapes[info.name])
        for info in inputs
    }


def _values(generator: np.random.Generator, info: TensorInfo, shape: tuple[int, ...]) -> np.ndarray:
    kind = dtypes.numpy_type(info.dtype)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if kind.kind == "u":
        return generator.integers(0, 256, shape).astype(kind)
    if kind.kind == "i":
        return generator.integers(-128, 128, shape).astype(kind)
    return generator.uniform(-1, 1, shape).astype(kind)
