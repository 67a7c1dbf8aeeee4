"""What an input gets that takes the same values with every batch: given once in the data, or a default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from trtconv.core import shape_inputs
from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import sample_files
from trtconv.data.arrays import Array, npz_keys
from trtconv.data.casting import cast, is_float, may_hold

Held = Mapping[str, Array]
"""Arrays that a function returned, by input."""


def values(spec: FeedSpec, inputs: Sequence[TensorInfo], held: Held | None) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of the inputs that hold no samples.

    An input that is only guessed to be one (see ``core.shape_inputs``) is left to the samples where what is given for
    it has another shape.

    Args:
        spec: where the data are, and the defaults.
        inputs: of the model.
        held: what a function returned instead of files.

    Returns:
        Arrays in the inputs' types and shapes, and the names of those that are defaults.

    Raises:
        UsageError: not given and without a default, of another length, or no whole numbers.
    """
    found: dict[str, np.ndarray] = {}
    defaults = []
    taken = shape_inputs.names(inputs, spec.values)
    for info in (info for info in inputs if info.name in taken):
        given = _given(spec, info, held)
        if given is not None and (info.name in spec.values or given.shape == info.shape):
            found[info.name] = _fitting(given, info)
        elif given is None:
            found[info.name] = _default(spec, info)
            defaults.append(info.name)
    return found, defaults


def _given(spec: FeedSpec, info: TensorInfo, held: Held | None) -> Array | None:
    """The one array that the data have for an input; several must be equal."""
    if held is not None:
        return held.get(info.name)
    arrays = list(_arrays(spec, info))
    for other in arrays[1:]:
        if not np.array_equal(arrays[0].all(), other.all()):
            raise UsageError(
                f"{other.label} differs from {arrays[0].label}: input {info.name!r} takes the same "
                "values with every batch",
                hint="run each of them on its own",
            )
    return arrays[0] if arrays else None


def _arrays(spec: FeedSpec, info: TensorInfo) -> Iterator[Array]:
    alone = info.name in spec.names
    path = spec.names.get(info.name, spec.path)
    for file in sample_files.files(path) if path is not None else ():
        kind = file.suffix.lower()
        if not alone and not (kind == ".npz" and info.name in npz_keys(file)):
            continue
        part = sample_files.OPENINGS[kind](file, info, alone) if kind in sample_files.OPENINGS else None
        if not isinstance(part, Array):
            raise UsageError(
                f"{file}: cannot read the values of input {info.name!r} from this kind of file", hint="use a .npy file"
            )
        yield part


def _fitting(given: Array, info: TensorInfo) -> np.ndarray:
    array, kind = given.all(), sample_files.dtype_of(info)
    size = int(np.prod([int(dim) for dim in info.shape], dtype=np.int64))
    if array.size != size or array.ndim > 1:
        raise UsageError(
            f"{given.label}: input {info.name!r} takes {size} values with every batch, and there is an "
            f"array of shape {list(array.shape)}",
            hint="give the values of one run",
        )
    if not _holds(kind, array):
        raise UsageError(
            f"{given.label}: {array.dtype} values for input {info.name!r}, which takes {info.dtype}",
            hint=f"store them as {info.dtype}",
        )
    return np.array(array, kind).reshape([int(dim) for dim in info.shape])


def _holds(kind: np.dtype, array: np.ndarray) -> bool:
    """Whether a type holds the values: whole numbers exactly, fractions as far as they are finite."""
    if not may_hold(array.dtype, kind):
        return False
    made, exact = cast(array, kind)
    return exact and (not is_float(kind) or bool(np.isfinite(made).all()))


def _default(spec: FeedSpec, info: TensorInfo) -> np.ndarray:
    if info.name not in spec.values:
        shape = f"[{', '.join(map(str, info.shape))}]"
        raise UsageError(
            f"no values for input {info.name!r} of shape {shape}, which holds no samples",
            hint=f"give them once: an array {info.name!r} in the .npz, or a file of its own for every input",
        )
    values, kind = np.array(spec.values[info.name], np.int64), sample_files.dtype_of(info)
    if not _holds(kind, values):
        raise UsageError(
            f"input {info.name!r} holds {values.tolist()} where nothing is given, which {info.dtype} cannot hold",
            hint=f"correct inputs.{info.name}.values",
        )
    return values.astype(kind).reshape([int(dim) for dim in info.shape])
