"""What rows of preprocessing make of a first sample, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import images, preprocess, sample_files
from trtconv.data.arrays import npz_keys, open_npy, open_npz_member
from trtconv.data.sample_parts import BadSample


@dataclass(frozen=True)
class Traced:
    """A sample after a row.

    Attributes:
        row: name of the operation; ``sample`` as it comes.
        shape: of it.
        dtype: of its values.
        layout: ``nhwc`` or ``nchw``.
        low: its smallest value.
        high: its largest.
    """

    row: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    low: float
    high: float


def trace(spec: FeedSpec) -> tuple[Path, list[Traced]]:
    """The first sample that preprocessing is for, and what it becomes.

    Raises:
        UsageError: there is none, or it does not suit a row.
    """
    chain = preprocess.prepare(spec.preprocess)
    assert chain is not None
    assert spec.path is not None
    path = sample_files.files(spec.path)[0]
    sample = _first(path)
    try:
        forms = list(chain.forms(images.array(sample).shape, images.array(sample).dtype))
        made = list(chain.traced(sample))
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None
    return path, [
        Traced(name, values.shape, str(values.dtype), "nchw" if form.first else "nhwc", *_range(values))
        for (_, form), (name, values) in zip(forms, made, strict=True)
    ]


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def _first(path: Path) -> Any:
    """Of a file: an image, or the first entry of an array of images."""
    if path.suffix.lower() in images.SUFFIXES:
        return images.picture(path)
    arrays = [open_npz_member(path, key) for key in npz_keys(path)] if path.suffix.lower() == ".npz" else []
    arrays += [open_npy(path)] if path.suffix.lower() == ".npy" else []
    for array in arrays:
        if len(array.shape) in (3, 4) and 0 not in array.shape:
            return array.all() if len(array.shape) == 3 else array.rows(np.array([0]))[0]
    raise UsageError(f"{path}: no sample of [height, width, channels] in it", hint="leave preprocess out")


def fits(spec: FeedSpec, inputs: Sequence[TensorInfo], *, strict: bool, least: int = 1) -> list[str]:
    """Refuse samples and labels that a model's inputs do not take, as far as files' headers and a first sample tell.

    Args:
        spec: where they are.
        inputs: of the model.
        strict: whether a bad file among many is an error; else its message is returned.
        least: samples that there must be.

    Raises:
        UsageError: see ``open_feed``.
    """
    from trtconv.data.feeds import open_feed

    left_out: list[UsageError] = []
    feed = open_feed(spec, tuple(inputs), None if strict else left_out.append)
    feed.labels()
    if len(feed) < least:
        raise UsageError(
            f"a batch of {least} was asked for, and there are {len(feed)} samples",
            hint="measure smaller batches, or leave the data out for random inputs",
        )
    try:
        next(feed.batches(1))
    except BadSample as problem:
        if strict or len(feed) == 1:
            raise
        left_out.append(problem)
    return [problem.message for problem in left_out]
