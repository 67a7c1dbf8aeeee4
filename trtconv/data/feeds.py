"""Samples for a model: whether they fit its inputs, and batches of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import digests
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data import preprocess, python_feed, sample_axes, scaling, shape_values
from trtconv.data.arrays import Array, npz_keys, open_npy, open_npz_member
from trtconv.data.decoding import Decoders
from trtconv.data.sample_files import Column, open_column
from trtconv.data.sample_parts import BadSample

__all__ = ["BadSample", "Feed", "open_feed"]


class Feed:
    """Samples that were checked against a model's inputs by their headers; values are checked as they are read.

    ``len(feed)`` is the number of samples.

    Attributes:
        whole: inputs that hold no samples, with the values that they get with every batch.
        assumed: names of those that the data do not give.
        fixed: the batch size that the model's inputs fix, if they do.
        axes: the axis of each input that counts samples; None where each sample is a whole input.
    """

    def __init__(
        self, spec: FeedSpec, columns: Sequence[Column], values: Mapping[str, np.ndarray], assumed: Sequence[str]
    ) -> None:
        self._spec = spec
        self._columns = columns
        self.whole, self.assumed = values, tuple(assumed)
        self._available = _common_length(columns)
        self.fixed = _fixed_batch(columns)
        self.axes = {column.info.name: column.axis for column in columns}

    def __len__(self) -> int:
        return min(self._available, self._spec.samples or self._available)

    def batches(self, size: int, seed: int | None = None, least: int = 1) -> Iterator[dict[str, np.ndarray]]:
        """Inputs by name, ``size`` samples at a time; the last batch holds what remains.

        A model with a fixed batch gets full ones: what lacks repeats a sample (see ``of_samples``).

        Args:
            size: samples per batch; a model with a fixed batch gets that instead.
            seed: when the spec uses fewer samples than there are, draw them by this seed instead of taking the first.
                They keep their order in the files.
            least: samples per batch that there have to be; what lacks repeats a sample, too.

        Raises:
            UsageError: NaN, infinity, or a value that the input's type cannot hold; the message names file and tensor.
        """
        for rows in self.groups(size, seed):
            count = max(len(rows), self.fixed or 0, least)
            filled = {column.info.name: _Filled(column, rows, count) for column in self._columns}
            self.read(rows, {name: one.given for name, one in filled.items()})
            batch = {name: one.repeated() for name, one in filled.items()}
            yield batch | {name: array.copy() for name, array in self.whole.items()}

    def of_samples(self, outputs: Mapping[str, np.ndarray], rows: np.ndarray, least: int = 1) -> dict[str, np.ndarray]:
        """Outputs of one of the batches without those of repeated samples."""
        count = max(self.fixed or 0, least)
        filled = count > len(rows)
        return {
            name: array[: len(rows)] if filled and array.shape[:1] == (count,) else array
            for name, array in outputs.items()
        }

    def groups(self, size: int, seed: int | None = None) -> Iterator[np.ndarray]:
        """Numbers of the samples of every batch; samples of one batch have the same shapes."""
        chosen = self._chosen(seed)
        size = self.fixed or size
        kinds = np.stack([column.kinds(chosen) for column in self._columns], axis=1)
        if (kinds == kinds[:1]).all():
            yield from (chosen[start : start + size] for start in range(0, len(chosen), size))
            return
        waiting: dict[tuple[int, ...], list[int]] = {}
        for row, kind in zip(chosen, map(tuple, kinds), strict=True):
            waiting.setdefault(kind, []).append(int(row))
            if len(waiting[kind]) == size:
                yield np.array(waiting.pop(kind))
        yield from (np.array(rows) for rows in waiting.values())

    def usual(
        self, groups: Sequence[np.ndarray]
    ) -> tuple[dict[str, tuple[int, ...]] | None, dict[str, tuple[int, ...]] | None]:
        """Shapes that at least half of the groups have, and those of some other group; None where there are none."""
        firsts = np.array([rows[0] for rows in groups])
        kinds = np.stack([[len(rows) for rows in groups], *(column.kinds(firsts) for column in self._columns)], axis=1)
        _, places, counts = np.unique(kinds, axis=0, return_index=True, return_counts=True)
        ranked = [self.shapes(groups[int(place)]) for place in places[np.argsort(-counts)][:2]]
        if 2 * counts.max() < len(groups):
            return None, ranked[0]
        return ranked[0], ranked[1] if len(ranked) > 1 else None

    def shapes(self, rows: np.ndarray) -> dict[str, tuple[int, ...]]:
        """Full shapes of the inputs for one of the groups, or for a part of it."""
        shapes = {column.info.name: column.fed_shape(rows) for column in self._columns}
        return shapes | {name: array.shape for name, array in self.whole.items()}

    @property
    def pictures(self) -> bool:
        """Whether all samples are images that processes of their own can decode."""
        return len(self._columns) == 1 and self._columns[0].pictures

    @property
    def recipe(self) -> scaling.Recipe | None:
        """How a GPU makes the samples of decoded pictures; None where that cannot be."""
        alone = self.pictures and not self.whole
        return scaling.recipe(preprocess.prepare(self._spec.preprocess)) if alone else None

    def send(self, rows: np.ndarray, target: Any, decoders: Decoders) -> None:
        """Have a GPU make samples; see ``Decoders.send``.

        Raises:
            BadSample: one that is damaged, or does not suit the preprocessing; with its number.
        """
        self._columns[0].send(rows, target, decoders)

    def read(self, rows: np.ndarray, into: Mapping[str, np.ndarray], decoders: Decoders | None = None) -> None:
        """Copy samples to arrays of their shapes.

        Args:
            rows: their numbers, ascending.
            into: by input.
            decoders: processes that decode pictures; None: this thread does.

        Raises:
            BadSample: one that is damaged, or that the input's type cannot hold; with its number.
        """
        for column in self._columns:
            if decoders is None:
                column.feed(rows, into[column.info.name])
            else:
                column.decode(rows, into[column.info.name], decoders)
        for name, array in self.whole.items():
            if name in into:
                np.copyto(into[name], array)

    @property
    def first_file(self) -> Path:
        """The file of the first sample."""
        return self._columns[0].parts[0].path

    def files(self, rows: np.ndarray) -> list[str] | None:
        """The file of each sample, from the folder of the data, where every file holds one sample; else None."""
        column = self._columns[0]
        path = self._spec.names.get(column.info.name, self._spec.path)
        if len(column.parts) != len(column) or path is None or path.is_file():
            return None
        top = path if path.is_dir() else path.parent
        above = "" if top == Path() else f"{top.as_posix().rstrip('/')}/"  # the paths were listed from there
        return [column.parts[row].path.as_posix().removeprefix(above) for row in rows]

    def labels(self) -> np.ndarray | None:
        """The class of each sample, int64 of shape [len(self)], for batches without a seed; None without labels.

        Raises:
            UsageError: labels that are missing, not whole numbers, or not one per sample.
        """
        if not self._spec.labels:
            return None
        array = _open_labels(self._spec)
        if array.shape not in ((self._available,), (self._available, 1)):
            raise UsageError(
                f"{array.label}: labels have shape {list(array.shape)}, expected [{self._available}]",
                hint="give one class number per sample",
            )
        values = array.rows(np.arange(len(self))).reshape(-1)
        whole = values.dtype.kind in "iufb" and bool(((values == np.rint(values)) & (np.abs(values) < 2.0**53)).all())
        if not whole:
            raise UsageError(
                f"{array.label}: labels are not whole numbers (dtype {values.dtype})",
                hint="give one class number per sample",
            )
        return values.astype(np.int64)

    def digest(self) -> str:
        """SHA-256 over the files read and everything in the spec that chooses among their samples."""
        beside: dict[str, Any] = {}
        if self.whole:
            beside["whole"] = {name: array.tolist() for name, array in self.whole.items()}
        if any(self.axes.values()):
            beside["axes"] = self.axes
        if self._spec.call:
            values = [_digest(column) for column in self._columns]
            return digests.of_value({"values": values, "samples": len(self), **beside})
        files = sorted({part.path for column in self._columns for part in column.parts})
        return digests.of_value(
            {
                "files": [digests.of_file(path) for path in files],
                "inputs": [column.info.name for column in self._columns],
                "preprocess": list(self._spec.preprocess),
                "samples": len(self),
                **beside,
            }
        )

    def _chosen(self, seed: int | None) -> np.ndarray:
        if seed is None or len(self) == self._available:
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(self._available, len(self), replace=False))


class _Filled:
    """An input's array for more samples than there are.

    Attributes:
        given: the part of it for those that there are.
    """

    def __init__(self, column: Column, rows: np.ndarray, count: int) -> None:
        shape, axis = list(column.fed_shape(rows)), column.axis
        self._before = (slice(None),) * (axis or 0)
        if axis is not None:
            shape[axis] = count
        self._all = np.empty(shape, column.dtype)
        self._lacks = axis is not None and count > len(rows)
        self._count = len(rows)
        self.given = self._all[(*self._before, slice(len(rows)))] if self._lacks else self._all

    def repeated(self) -> np.ndarray:
        """All of it: what lacks repeats the first sample."""
        if self._lacks:
            self._all[(*self._before, slice(self._count, None))] = self._all[(*self._before, slice(1))]
        return self._all


def open_feed(
    spec: FeedSpec, inputs: tuple[TensorInfo, ...], bad_file: Callable[[UsageError], None] | None = None
) -> Feed:
    """Find the samples for a model's inputs, and the values of those that hold none (see ``core.shape_inputs``).

    A function's samples are held in memory; preprocessing is its own affair.
    A folder or glob is read in the order of its file names; a file whose array lacks the first dimension is one sample.

    Args:
        spec: where they are.
        inputs: of the model.
        bad_file: gets what is wrong with a file that is one of many, which is then left out; None: it is raised. With
            several inputs, or with labels, no file is left out.

    Raises:
        UsageError: missing file or key, wrong shape or type, unknown preprocessing.
    """
    chain = preprocess.prepare(spec.preprocess)
    held = python_feed.arrays(spec, inputs) if spec.call else None
    values, assumed = shape_values.values(spec, inputs, held)
    rest = [info for info in inputs if info.name not in values]
    if values and not rest:
        raise UsageError(
            f"input {next(iter(values))!r} holds no samples, and there is no other input",
            hint="trtconv bench measures such a model",
        )
    skip = bad_file if len(rest) == 1 and not spec.labels else None
    if held is not None:
        columns = [Column(info, [held[info.name]]) for info in rest]
    else:
        axes = sample_axes.axes(rest, spec.batch_axes)
        columns = _one_sample([open_column(spec, info, rest, chain, skip, axes[info.name]) for info in rest], rest)
    return Feed(spec, columns, values, assumed)


def _digest(column: Column) -> str:
    """SHA-256 of an input's samples themselves."""
    total = hashlib.sha256(column.info.name.encode())
    for number in range(len(column)):
        total.update(column.parts[0].rows(np.array([number])).tobytes())
    return total.hexdigest()


def _open_labels(spec: FeedSpec) -> Array:
    base = spec.path or next(iter(spec.names.values()))
    if not spec.labels.endswith(".npy"):
        if base.suffix != ".npz":
            raise UsageError(
                f"labels: {spec.labels!r} is no .npy file, and {base} has no keys", hint="give the path of a .npy file"
            )
        if spec.labels not in npz_keys(base):
            raise UsageError(
                f"{base}: no array {spec.labels!r} for the labels; it has {', '.join(npz_keys(base))}",
                hint=did_you_mean(spec.labels, npz_keys(base)),
            )
        return open_npz_member(base, spec.labels)
    path = base.parent / spec.labels
    if not path.exists():
        raise UsageError(f"{path}: no such file with labels", hint="its path starts from the folder of the data")
    return open_npy(path)


def _one_sample(columns: list[Column], inputs: Sequence[TensorInfo]) -> list[Column]:
    """The columns; arrays of different lengths that have exactly the shapes of the inputs are one sample."""
    alone = all(len(column.parts) == 1 and column.axis == 0 for column in columns)
    exact = alone and all(c.parts[0].shape == info.shape for c, info in zip(columns, inputs, strict=True))
    if not exact or len({len(column) for column in columns}) == 1:
        return columns
    return [
        Column(info, [sample_axes.Moved(column.parts[0], None)], None)
        for column, info in zip(columns, inputs, strict=True)
    ]


def _common_length(columns: Sequence[Column]) -> int:
    lengths = {column.info.name: len(column) for column in columns}
    if not lengths:
        raise UsageError("the model has no inputs to feed", hint="check the model with trtconv inspect")
    if len(set(lengths.values())) > 1:
        raise UsageError(
            f"inputs have different numbers of samples: {lengths}",
            hint="give each input as many; of one whose samples lie along another axis than the first, as those of "
            "recurrent states do, name the axis: --batch-axis NAME=1, data.batch_axis: {NAME: 1}",
        )
    if len({column.axis is None for column in columns}) > 1:
        stacked = [column.info.name for column in columns if column.axis is None]
        raise UsageError(
            f"every sample of {', '.join(map(repr, stacked))} is a whole input, those of the other inputs are not",
            hint="give all inputs one dimension more, or none",
        )
    count = next(iter(lengths.values()))
    if not count:
        raise UsageError(f"{columns[0].parts[0].path}: no samples", hint="give at least one")
    return count


def _fixed_batch(columns: Sequence[Column]) -> int | None:
    if any(column.axis is None for column in columns):
        return 1
    sizes = {column.info.shape[0] for column in columns if column.info.shape}
    size = next(iter(sizes)) if len(sizes) == 1 else None
    return size if isinstance(size, int) else None
