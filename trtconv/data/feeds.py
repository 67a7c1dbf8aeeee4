"""Samples for a model: which files hold them, whether they fit its inputs, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from trtconv.core import digests
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.arrays import Array, npz_keys, open_npy, open_npz_member

_DTYPES = {"float": np.float32, "double": np.float64, "bfloat16": ml_dtypes.bfloat16}


class Feed:
    """Samples that were checked against a model's inputs by their headers; values are checked as they are read.

    ``len(feed)`` is the number of samples.
    """

    def __init__(self, spec: FeedSpec, columns: Sequence[_Column]) -> None:
        self._spec = spec
        self._columns = columns
        self._available = _common_length(columns)
        self._fixed = _fixed_batch(columns, len(self))

    def __len__(self) -> int:
        return min(self._available, self._spec.samples or self._available)

    def batches(self, size: int, seed: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Inputs by name, ``size`` samples at a time; the last batch holds what remains.

        Args:
            size: samples per batch; a model with a fixed batch gets that instead.
            seed: when the spec uses fewer samples than there are, draw them by this seed instead of taking the first.
                They keep their order in the files.

        Raises:
            UsageError: NaN, infinity, or a value that the input's type cannot hold; the message names file and tensor.
        """
        chosen = self._chosen(seed)
        size = self._fixed or size
        for start in range(0, len(chosen), size):
            rows = chosen[start : start + size]
            yield {column.info.name: column.take(rows) for column in self._columns}

    def labels(self) -> np.ndarray | None:
        """The class of each sample, int64 of shape [len(self)], for batches without a seed; None without labels.

        Raises:
            UsageError: labels that are missing, not whole numbers, or not one per sample.
        """
        if not self._spec.labels:
            return None
        array = _open_labels(self._spec)
        if array.shape not in ((self._available,), (self._available, 1)):
            raise UsageError(f"{array.label}: labels have shape {list(array.shape)}, expected [{self._available}]",
                             hint="give one class number per sample")  # fmt: skip
        values = array.rows(np.arange(len(self))).reshape(-1)
        if values.dtype.kind not in "iufb" or (values != np.rint(values)).any():
            raise UsageError(f"{array.label}: labels are not whole numbers (dtype {values.dtype})",
                             hint="give one class number per sample")  # fmt: skip
        return values.astype(np.int64)

    def digest(self) -> str:
        """SHA-256 over the files read and everything in the spec that chooses among their samples."""
        files = sorted({array.path for column in self._columns for array in column.arrays})
        return digests.of_value({"files": [digests.of_file(path) for path in files],
                                 "inputs": [column.info.name for column in self._columns],
                                 "samples": len(self)})  # fmt: skip

    def _chosen(self, seed: int | None) -> np.ndarray:
        if seed is None or len(self) == self._available:
            return np.arange(len(self))
        return np.sort(np.random.default_rng(seed).choice(self._available, len(self), replace=False))


def open_feed(spec: FeedSpec, inputs: tuple[TensorInfo, ...]) -> Feed:
    """Find the samples for a model's inputs.

    A folder or glob is read in the order of its file names; a file whose array lacks the first dimension is one sample.

    Raises:
        UsageError: missing file or key, wrong shape or type.
    """
    if spec.preprocess:
        raise UsageError("preprocess is not supported for arrays", hint="store samples as the model takes them")
    return Feed(spec, [_Column(info, _arrays(spec, info, inputs)) for info in inputs])


class _Column:
    """All samples of one input, spread over one or more arrays."""

    def __init__(self, info: TensorInfo, arrays: list[Array]) -> None:
        self.info = info
        self.dtype = np.dtype(_DTYPES.get(info.dtype, info.dtype))
        self.arrays = [array.as_samples(len(info.shape)) for array in arrays]
        for array in self.arrays:
            self._check(array)
        self.ends = np.cumsum([array.shape[0] for array in self.arrays])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Samples by number (ascending), checked and in the input's type."""
        parts = []
        for array, end in zip(self.arrays, self.ends, strict=True):
            begin = end - array.shape[0]
            inside = rows[(rows >= begin) & (rows < end)] - begin
            if len(inside):
                parts.append(self._converted(array, inside))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _check(self, array: Array) -> None:
        wanted = self.info.shape
        fits = len(array.shape) == len(wanted) and all(
            not isinstance(want, int) or want == have for want, have in zip(wanted[1:], array.shape[1:], strict=True)
        )
        if not fits:
            raise UsageError(
                f"{array.label}: shape {list(array.shape)} does not fit input {self.info.name!r} of shape "
                f"[{', '.join(str(d) for d in wanted)}]",
                hint="the first dimension counts samples; the others must be the input's",
            )
        if not _convertible(array.dtype, self.dtype):
            raise UsageError(f"{array.label}: {array.dtype} values for input {self.info.name!r}, which takes "
                             f"{self.dtype}", hint=f"store the samples as {self.dtype}")  # fmt: skip

    def _converted(self, array: Array, rows: np.ndarray) -> np.ndarray:
        values = array.rows(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            result = np.ascontiguousarray(values, dtype=self.dtype)
            lossless = _is_float(array.dtype) or bool((result.astype(array.dtype) == values).all())
        if _is_float(self.dtype) and not np.isfinite(result).all():
            bad = rows[np.nonzero(~np.isfinite(result).reshape(len(rows), -1).all(axis=1))[0][0]]
            raise UsageError(f"{array.label}: sample {bad} of input {self.info.name!r} holds NaN, infinity or a value "
                             f"that {self.dtype} cannot hold", hint="remove or repair that sample")  # fmt: skip
        if not lossless:
            raise UsageError(f"{array.label}: input {self.info.name!r} takes {self.dtype}, which cannot hold all of "
                             f"these {array.dtype} values", hint=f"store the samples as {self.dtype}")  # fmt: skip
        return result


def _arrays(spec: FeedSpec, info: TensorInfo, inputs: tuple[TensorInfo, ...]) -> list[Array]:
    """The arrays that hold one input's samples."""
    path = spec.names.get(info.name, spec.path)
    if path is None:
        raise UsageError(f"no samples for input {info.name!r}; there are some for {', '.join(spec.names) or 'none'}",
                         hint=did_you_mean(info.name, spec.names) or "name a file for every input")  # fmt: skip
    alone = len(inputs) == 1 or info.name in spec.names
    return [_array(file, info.name, alone) for file in _files(path)]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [file for file in digests.files_under(path) if file.suffix in (".npy", ".npz")]
        if not found:
            raise UsageError(f"{path}: no .npy or .npz file in this folder", hint="check data.path")
        return found
    if any(sign in path.name for sign in "*?["):
        found = sorted(path.parent.glob(path.name))
        if not found:
            raise UsageError(f"{path}: no file matches", hint=f"look into {path.parent}")
        return found
    if not path.exists():
        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"{path}: no such file", hint=did_you_mean(path.name, there) or "check data.path")
    return [path]


def _array(path: Path, name: str, alone: bool) -> Array:
    if path.suffix == ".npy":
        if not alone:
            raise UsageError(f"{path}: one array, but the model has several inputs",
                             hint="use an .npz with one array per input")  # fmt: skip
        return open_npy(path)
    if path.suffix == ".npz":
        return open_npz_member(path, name)
    raise UsageError(f"{path}: cannot read samples from this kind of file", hint="use .npz or .npy")


def _open_labels(spec: FeedSpec) -> Array:
    base = spec.path or next(iter(spec.names.values()))
    if not spec.labels.endswith(".npy"):
        if base.suffix != ".npz":
            raise UsageError(f"labels: {spec.labels!r} is no .npy file, and {base} has no keys",
                             hint="give the path of a .npy file")  # fmt: skip
        if spec.labels not in npz_keys(base):
            raise UsageError(f"{base}: no array {spec.labels!r} for the labels; it has {', '.join(npz_keys(base))}",
                             hint=did_you_mean(spec.labels, npz_keys(base)))  # fmt: skip
        return open_npz_member(base, spec.labels)
    path = base.parent / spec.labels
    if not path.exists():
        raise UsageError(f"{path}: no such file with labels", hint="its path starts from the folder of the data")
    return open_npy(path)


def _common_length(columns: Sequence[_Column]) -> int:
    lengths = {column.info.name: len(column) for column in columns}
    if not lengths:
        raise UsageError("the model has no inputs to feed", hint="check the model with trtconv inspect")
    if len(set(lengths.values())) > 1:
        raise UsageError(f"inputs have different numbers of samples: {lengths}", hint="give each input as many")
    count = next(iter(lengths.values()))
    if not count:
        raise UsageError(f"{columns[0].arrays[0].path}: no samples", hint="give at least one")
    return count


def _fixed_batch(columns: Sequence[_Column], count: int) -> int | None:
    """The batch size that the model's inputs fix, if they do."""
    sizes = {column.info.shape[0] for column in columns if column.info.shape}
    size = next(iter(sizes)) if len(sizes) == 1 else None
    if not isinstance(size, int):
        return None
    if count % size:
        raise UsageError(f"the model takes exactly {size} samples at a time; {count} samples do not divide",
                         hint=f"use a multiple of {size} samples, or a model with a dynamic batch")  # fmt: skip
    return size


def _convertible(have: np.dtype, want: np.dtype) -> bool:
    """Whether a conversion is meant or can be lossless (values decide later); never from fractions to whole numbers."""
    if have == want:
        return True
    numeric = have.kind in "iufb" or _is_float(have)
    return numeric and (_is_float(want) or (not _is_float(have) and want.kind != "b"))


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16
