"""A few random inputs for a model, and how far its conversion is from it on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.adapters import onnxruntime
from trtconv.core.errors import AccuracyGateError
from trtconv.core.records import Comparison, TensorInfo
from trtconv.data.compare import OutputMeter

BATCH = 2
_OTHER = 64
"""Size of dynamic dimensions other than the batch: large enough for the strides of most image networks."""


def feeds(inputs: Sequence[TensorInfo], seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs: standard normal numbers, bytes for uint8, and small integers, which are valid in embeddings."""
    random = np.random.default_rng(seed)
    return {info.name: _array(random, info) for info in inputs}


def _array(random: np.random.Generator, info: TensorInfo) -> np.ndarray:
    shape = [
        dim if isinstance(dim, int) and dim >= 0 else BATCH if axis == 0 else _OTHER
        for axis, dim in enumerate(info.shape)
    ]
    if info.dtype == "bool":
        return np.asarray(random.integers(0, 2, shape), bool)
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(info.dtype, info.dtype))
    if dtype.kind in "iu":
        return np.asarray(random.integers(0, 256 if dtype == np.uint8 else 4, shape), dtype)
    return np.asarray(random.standard_normal(shape), dtype)


def to_first(array: np.ndarray) -> np.ndarray:
    """Channels last to channels first."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def to_last(array: np.ndarray) -> np.ndarray:
    """Channels first to channels last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def compare(
    model: Path,
    given: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
    *,
    first: Collection[str] = (),
    outputs_first: bool = False,
) -> tuple[Comparison, ...]:
    """Run a model and measure how far it is from its source.

    Args:
        model: ONNX file.
        given: inputs in the source's layout.
        wanted: the source's outputs.
        first: inputs that the model takes channels first and the source channels last.
        outputs_first: whether four-dimensional outputs are laid out likewise.

    Raises:
        AccuracyGateError: an output of another shape.
        SourceError: ONNX Runtime cannot run the model.
    """
    session = onnxruntime.session(model)
    got = session.run({name: to_first(array) if name in first else array for name, array in given.items()})
    found = []
    for name, reference in wanted.items():
        array: Any = to_last(got[name]) if outputs_first and got[name].ndim == 4 else got[name]
        if array.shape != reference.shape:
            shapes = f"{list(array.shape)}, in the source framework {list(reference.shape)}"
            raise AccuracyGateError(f"output {name!r} has shape {shapes}", hint="check: false keeps the model")
        meter = OutputMeter(name)
        meter.add(reference, array)
        found.append(meter.comparison())
    return tuple(found)


def require(found: Sequence[Comparison], tolerance: float) -> None:
    """Fail when an output is further away than allowed.

    Raises:
        AccuracyGateError: naming every such output.
    """
    wrong = [c for c in found if not c.finite or not c.max_rel <= tolerance]
    if wrong:
        listed = "; ".join(
            f"{c.output!r} by {c.max_rel:.2g}" if c.finite else f"{c.output!r} holds NaN or infinity" for c in wrong
        )
        raise AccuracyGateError(
            f"the ONNX model does not compute what its source computes (largest difference over "
            f"largest value, {tolerance:g} allowed): {listed}",
            hint="end the model earlier (convert.outputs) to find the layer; convert.tolerance "
            "allows more, check: false does not look",
        )
