"""Random inputs for measurements, the same in every run; ranges as trtexec has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from trtconv.core.input_use import DATA, Use
from trtconv.core.records import TensorInfo
from trtconv.engines.plan import dtypes

_SEED = 0


def feeds(
    inputs: Sequence[TensorInfo],
    shapes: Mapping[str, tuple[int, ...]],
    deciding: Mapping[str, Sequence[int]],
    uses: Mapping[str, Use] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """Floating-point values uniform in [-1, 1), signed integers in -128..127, unsigned in 0..255, booleans 0 or 1.

    Numbers of rows of a table are such as it has.

    Args:
        inputs: of the model.
        shapes: of the inputs.
        deciding: values of inputs that decide shapes: nothing is random in these.
        uses: what integers are for, where that is known.
    """
    generator = np.random.default_rng(_SEED)
    return {
        info.name: np.array(deciding[info.name], dtypes.numpy_type(info.dtype)).reshape(shapes[info.name])
        if info.name in deciding
        else _values(generator, info, shapes[info.name], uses.get(info.name, DATA))
        for info in inputs
    }


def _values(generator: np.random.Generator, info: TensorInfo, shape: tuple[int, ...], use: Use) -> np.ndarray:
    kind = dtypes.numpy_type(info.dtype)
    if use.kind == "position" and kind.kind in "iu":
        return generator.integers(0, use.bound or 1, shape).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if kind.kind == "u":
        return generator.integers(0, 256, shape).astype(kind)
    if kind.kind == "i":
        return generator.integers(-128, 128, shape).astype(kind)
    return generator.uniform(-1, 1, shape).astype(kind)
