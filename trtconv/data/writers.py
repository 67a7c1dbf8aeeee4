"""Results into files: .npz, .npy, .json, .jsonl, .csv; whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.files import atomic_path
from trtconv.core.names import did_you_mean

Outputs = Mapping[str, np.ndarray]


class Writer(Protocol):
    """Takes results batch by batch."""

    def add(self, outputs: Outputs) -> None:
        """Results of a batch: arrays by name, first axis samples."""

    def finish(self) -> None:
        """Write what was held back."""


@contextlib.contextmanager
def open_writer(path: Path) -> Iterator[Writer]:
    """A writer for a file, by its suffix; the file appears when the block ends without an error.

    Raises:
        UsageError: an unknown suffix.
    """
    kind = check(path)
    with atomic_path(path) as temporary:
        mode: dict[str, Any] = {"mode": "wb"} if kind in ("npz", "npy") else {"mode": "w", "newline": ""}
        with temporary.open(**mode) as out:
            writer = FORMATS[kind](out)
            yield writer
            writer.finish()


def check(path: Path) -> str:
    """The format of a results file.

    Raises:
        UsageError: none of FORMATS.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UsageError(f"{path}: unknown results format; there are {', '.join(FORMATS)}",
                         hint=did_you_mean(kind, FORMATS) or "name the file .npz")  # fmt: skip
    return kind


class _Arrays:
    """Batches held until the end, since an array's header holds its length."""

    def __init__(self, out: IO[bytes]) -> None:
        self.out = out
        self.parts: dict[str, list[np.ndarray]] = {}

    def add(self, outputs: Outputs) -> None:
        for name, array in outputs.items():
            self.parts.setdefault(name, []).append(_ordinary(array))

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.concatenate(parts) for name, parts in self.parts.items()}


class _Npz(_Arrays):
    def finish(self) -> None:
        with zipfile.ZipFile(self.out, "w") as archive:  # np.savez takes no array called "file"
            for name, array in self.arrays().items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


class _Npy(_Arrays):
    def finish(self) -> None:
        if len(self.parts) > 1:
            raise UsageError(f".npy holds one array, and there are {', '.join(self.parts)}", hint="write an .npz file")
        for array in self.arrays().values():
            np.save(self.out, array)


class _Samples:
    """One record per sample."""

    def __init__(self, out: IO[str]) -> None:
        self.out = out
        self.count = 0

    def add(self, outputs: Outputs) -> None:
        columns = {name: _ordinary(array) for name, array in outputs.items()}
        for row in range(len(next(iter(columns.values()), ()))):
            self.write(self.count, {name: array[row] for name, array in columns.items()})
            self.count += 1

    def write(self, sample: int, values: Outputs) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        pass


class _JsonLines(_Samples):
    def write(self, sample: int, values: Outputs) -> None:
        record = {"sample": sample, **{name: _jsonable(value) for name, value in values.items()}}
        self.out.write(json.dumps(record, allow_nan=False) + "\n")


class _Json(_JsonLines):
    """One document: a list of the same records."""

    def write(self, sample: int, values: Outputs) -> None:
        self.out.write(",\n" if sample else "[\n")
        record = {"sample": sample, **{name: _jsonable(value) for name, value in values.items()}}
        self.out.write(json.dumps(record, allow_nan=False))

    def finish(self) -> None:
        self.out.write("\n]\n" if self.count else "[]\n")


class _Csv(_Samples):
    """A column per value: ``name`` for one value per sample, ``name[0]``, ``name[1,2]`` for more."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__(out)
        self.rows = csv.writer(out)

    def write(self, sample: int, values: Outputs) -> None:
        if sample == 0:
            self.rows.writerow(["sample", *(column for n, v in values.items() for column in _columns(n, v.shape))])
        self.rows.writerow([sample, *(item for value in values.values() for item in value.reshape(-1).tolist())])


def _columns(name: str, shape: tuple[int, ...]) -> Iterator[str]:
    for index in np.ndindex(shape):
        yield f"{name}[{','.join(map(str, index))}]" if index else name


def _ordinary(array: np.ndarray) -> np.ndarray:
    """NumPy files and texts know no bfloat16 and no 8-bit floats: those become float32."""
    return array if array.dtype.kind in "biufU" else array.astype(np.float32)


def _jsonable(value: np.ndarray) -> Any:
    """Plain values; NaN and infinity, which JSON has not, become null."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        values = value.astype(object)
        values[~np.isfinite(value)] = None
        return values.tolist()
    return value.tolist()


FORMATS: Mapping[str, Callable[[Any], Writer]] = {"npz": _Npz, "npy": _Npy, "json": _Json, "jsonl": _JsonLines,
                                                  "csv": _Csv}  # fmt: skip
"""Writers by suffix."""
