"""Inputs that hold no samples: a few numbers that are the same for a whole batch, such as the target of a Reshape."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trtconv.core.records import TensorInfo


def names(inputs: Sequence[TensorInfo], known: Collection[str] = ()) -> frozenset[str]:
    """Inputs that every run takes whole, whatever its batch.

    Only TensorRT knows which values decide shapes. Where nobody asked it, the shapes tell: whole numbers in a vector of
    fixed length, or a single number of any kind, beside inputs whose first dimension is another, cannot be one per
    sample.

    Args:
        inputs: of the model.
        known: those that are known to decide shapes.
    """
    batches = {info.shape[:1] for info in inputs if info.name not in known and not _few(info)}
    guessed = {info.name for info in inputs if _few(info) and batches and info.shape[:1] not in batches}
    return frozenset(guessed | (set(known) & {info.name for info in inputs}))


def _few(info: TensorInfo) -> bool:
    if not info.shape:
        return info.dtype != "string"
    fixed = all(isinstance(dim, int) and dim >= 0 for dim in info.shape)
    return fixed and len(info.shape) == 1 and info.dtype in ("int32", "int64")
