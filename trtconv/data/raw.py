"""Samples from files without a header, as trtexec --loadInputs takes them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trtconv.core import files
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import TensorInfo

_TYPES = {"float": "float32", "double": "float64", "bool": "bool"}


def collect(
    samples: Mapping[str, Path], shapes: Mapping[str, Sequence[int]], inputs: Sequence[TensorInfo], target: Path
) -> None:
    """Write one .npz with an array per input.

    Args:
        samples: input name to file: raw values in the input's own type and C order, or a .npy.
        shapes: of one batch of each input.
        inputs: of the model.
        target: the .npz.

    Raises:
        UsageError: an input without a file, a name that is no input, a file of another size.
    """
    names = [info.name for info in inputs]
    unknown = [name for name in samples if name not in names]
    missing = [name for name in names if name not in samples]
    if unknown:
        raise UsageError(
            f"--loadInputs: the model has no input {unknown[0]!r}",
            hint=did_you_mean(unknown[0], names) or f"the inputs are {', '.join(names)}",
        )
    if missing:
        raise UsageError(f"--loadInputs: there is no file for input {missing[0]!r}", hint="name a file for each input")
    arrays = {info.name: _read(samples[info.name], info, tuple(shapes[info.name])) for info in inputs}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(target, content.getvalue())


def _read(path: Path, info: TensorInfo, shape: tuple[int, ...]) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        values = np.fromfile(path, np.dtype(_TYPES.get(info.dtype, info.dtype)))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"--loadInputs: {path} cannot be read as {info.dtype}: {error}",
            hint="give raw values in the input's own type, or a .npy file",
        ) from None
    if values.size != np.prod(shape, dtype=int) or path.stat().st_size != values.nbytes:
        raise UsageError(
            f"--loadInputs: {path} has {path.stat().st_size} bytes; input {info.name!r} of type {info.dtype} and shape "
            f"{list(shape)} takes {np.prod(shape, dtype=int) * values.itemsize}",
            hint="give the values of exactly one batch; --shapes sets the shape",
        )
    return values.reshape(shape)
