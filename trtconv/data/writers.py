"""Results into files: .npz, .npy, .json, .jsonl, .csv; whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.files import atomic_path
from trtconv.core.names import did_you_mean

Outputs = Mapping[str, np.ndarray]
_FLUSH = 16 << 20  # bytes that may wait for the disk
_PIECE = 4 << 20  # bytes copied at a time


@dataclass(frozen=True)
class Samples:
    """Which samples some results are of: their numbers, and the files that hold them where each has its own."""

    numbers: Sequence[int]
    files: Sequence[str] | None = None


class Writer(Protocol):
    """Takes results batch by batch."""

    def add(self, outputs: Outputs, samples: Samples) -> None:
        """Results of some samples: arrays by name, first axis samples; and which samples they are."""

    def finish(self) -> None:
        """Write what was held back."""

    def close(self) -> None:
        """Let go of everything, finished or not."""


@contextlib.contextmanager
def open_writer(path: Path, expected: int = 0) -> Iterator[Writer]:
    """A writer for a file, by its suffix; the file appears when the block ends without an error.

    Args:
        path: the file.
        expected: number of samples, as far as it is known: with the right one less is left to do in the end.

    Raises:
        UsageError: an unknown suffix.
    """
    kind = check(path)
    with atomic_path(path) as temporary:
        mode: dict[str, Any] = {"mode": "w+b"} if kind in ("npz", "npy") else {"mode": "w", "newline": ""}
        with temporary.open(**mode) as out, contextlib.closing(FORMATS[kind](out, expected)) as writer:
            yield writer
            writer.finish()


def check(path: Path) -> str:
    """The format of a results file.

    Raises:
        UsageError: none of FORMATS.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise UsageError(
            f"{path}: unknown results format; there are {', '.join(FORMATS)}",
            hint=did_you_mean(kind, FORMATS) or "name the file .npz",
        )
    return kind


class _Growing:
    """An array in .npy form that grows at its end.

    The header tells the length that is expected. Another one is written in the end: NumPy pads headers, so that a
    longer first dimension fits (numpy.lib.format, format 1.0).

    Args:
        out: where it goes.
        disk: the file that this comes to lie in.
        expected: the length.
    """

    def __init__(self, out: IO[bytes], disk: IO[bytes], expected: int) -> None:
        self.out, self.disk, self.expected = out, disk, expected
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float32)
        self.count = self.size = self.waiting = 0

    def add(self, name: str, array: np.ndarray) -> None:
        if not self.size:
            self.shape, self.dtype = array.shape[1:], array.dtype
            self._begin()
        if array.shape[1:] != self.shape:
            raise UsageError(
                f"output {name!r} has samples of shape {list(self.shape)} and of {list(array.shape[1:])}; "
                "one array cannot hold them",
                hint="write .jsonl",
            )
        if array.dtype != self.dtype:  # texts of another length
            self._widen(array.dtype)
        self.out.write(np.ascontiguousarray(array, self.dtype).reshape(-1).view(np.uint8).data)
        self.count += len(array)
        self._store(array.nbytes)

    def finish(self) -> None:
        if self.count != self.expected:
            self.out.seek(0)
            self.out.write(self.header(self.count))
            assert self.out.tell() == self.size, "the header outgrew its padding"

    def header(self, count: int) -> bytes:
        """For an array of this length."""
        header, dtype = io.BytesIO(), np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": dtype, "fortran_order": False, "shape": (count, *self.shape)}
        )
        return header.getvalue()

    def _begin(self) -> None:
        header = self.header(self.expected)
        self.size = len(header)
        self.out.write(header)

    def _store(self, size: int) -> None:
        """The disk begins before all is there, so that little is left to wait for in the end."""
        self.waiting += size
        if self.waiting > _FLUSH:
            self.disk.flush()
            os.fdatasync(self.disk.fileno())
            self.waiting = 0

    def _widen(self, dtype: np.dtype) -> None:
        """Texts of any length become texts of the greater length; the file begins again with those that it has."""
        wide = np.promote_types(self.dtype, dtype)
        if wide == self.dtype:
            return
        self.out.seek(self.size)
        held = np.frombuffer(self.out.read(), self.dtype).astype(wide)
        self.dtype = wide
        self.out.seek(0)
        self.out.truncate()
        self._begin()
        self.out.write(held.view(np.uint8).data)


class _Npy:
    """One array, written as it comes."""

    def __init__(self, out: IO[bytes], expected: int) -> None:
        self.array = _Growing(out, out, expected)

    def add(self, outputs: Outputs, samples: Samples) -> None:
        if len(outputs) > 1:
            raise UsageError(f".npy holds one array, and there are {', '.join(outputs)}", hint="write an .npz file")
        for name, array in outputs.items():
            self.array.add(name, _ordinary(array))

    def finish(self) -> None:
        if self.array.size:
            self.array.finish()

    def close(self) -> None:
        """It holds nothing but the file."""


class _Npz:
    """Arrays by name. The first goes to the archive as it comes, others wait in files of their own."""

    def __init__(self, out: IO[bytes], expected: int) -> None:
        self.out, self.expected = out, expected
        self.stack = contextlib.ExitStack()
        self.archive = zipfile.ZipFile(out, "w")
        self.member: IO[bytes] | None = None
        self.begin = 0
        self.direct = ""
        self.arrays: dict[str, _Growing] = {}

    def add(self, outputs: Outputs, samples: Samples) -> None:
        for name, given in outputs.items():
            array = _ordinary(given)
            if name not in self.arrays:
                self.arrays[name] = self._place(name, array)
            self.arrays[name].add(name, array)

    def finish(self) -> None:
        if self.member is not None:
            self.member.close()
            if self.arrays[self.direct].count == self.expected:
                del self.arrays[self.direct]
            else:
                self._again(self.arrays[self.direct])
        for name, array in self.arrays.items():
            self._append(name, array)

    def close(self) -> None:
        if self.member is not None:
            self.member.close()
        self.archive.close()
        self.stack.close()

    def _place(self, name: str, array: np.ndarray) -> _Growing:
        if self.arrays or array.dtype.kind == "U":  # an archive takes one member at a time; texts may have to widen
            spool = self._spool()
            return _Growing(spool, spool, self.expected)
        self.direct = name
        self.member = self.archive.open(f"{name}.npy", "w", force_zip64=True)
        self.begin = self.out.tell()
        return _Growing(self.member, self.out, self.expected)

    def _again(self, array: _Growing) -> None:
        """Other than expected came: the archive begins again, and the array waits in a file like the others."""
        spool = self._spool()
        spool.write(array.header(self.expected))
        self.out.seek(self.begin + array.size)
        left = array.count * array.dtype.itemsize * math.prod(array.shape)
        while left:
            left -= spool.write(self.out.read(min(left, _PIECE)))
        array.out = spool
        self.archive.close()
        self.out.seek(0)
        self.out.truncate()
        self.archive = zipfile.ZipFile(self.out, "w")

    def _append(self, name: str, array: _Growing) -> None:
        array.finish()
        array.out.seek(0)
        with self.archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            shutil.copyfileobj(array.out, member, _PIECE)

    def _spool(self) -> IO[bytes]:
        folder = Path(self.out.name).parent
        return self.stack.enter_context(tempfile.TemporaryFile(dir=folder))


class _Samples:
    """One record per sample."""

    def __init__(self, out: IO[str], expected: int) -> None:
        self.out = out
        self.count = 0

    def add(self, outputs: Outputs, samples: Samples) -> None:
        columns = {name: _ordinary(array) for name, array in outputs.items()}
        for row, number in enumerate(samples.numbers):
            which = {"sample": int(number)} | ({"file": samples.files[row]} if samples.files else {})
            self.write(which, {name: array[row] for name, array in columns.items()})
            self.count += 1

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        pass

    def close(self) -> None:
        """It holds nothing but the file."""


class _JsonLines(_Samples):
    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        record = {**which, **{name: _jsonable(value) for name, value in values.items()}}
        self.out.write(json.dumps(record, allow_nan=False) + "\n")


class _Json(_JsonLines):
    """One document: a list of the same records."""

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        self.out.write(",\n" if self.count else "[\n")
        record = {**which, **{name: _jsonable(value) for name, value in values.items()}}
        self.out.write(json.dumps(record, allow_nan=False))

    def finish(self) -> None:
        self.out.write("\n]\n" if self.count else "[]\n")


class _Csv(_Samples):
    """A column per value: ``name`` for one value per sample, ``name[0]``, ``name[1,2]`` for more."""

    def __init__(self, out: IO[str], expected: int) -> None:
        super().__init__(out, expected)
        self.rows = csv.writer(out)
        self.header: list[str] = []

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        columns = [*which, *(column for n, v in values.items() for column in _columns(n, v.shape))]
        if self.count == 0:
            self.header = columns
            self.rows.writerow(columns)
        if columns != self.header:
            raise UsageError("the samples' results differ in shape; one table cannot hold them", hint="write .jsonl")
        self.rows.writerow(
            [*which.values(), *(item for value in values.values() for item in value.reshape(-1).tolist())]
        )


def _columns(name: str, shape: tuple[int, ...]) -> Iterator[str]:
    for index in np.ndindex(shape):
        yield f"{name}[{','.join(map(str, index))}]" if index else name


def _ordinary(array: np.ndarray) -> np.ndarray:
    """NumPy files and texts know no bfloat16 and no 8-bit floats: those become float32. Texts get a fixed length."""
    if array.dtype.kind == "O":
        return array.astype(str)
    return array if array.dtype.kind in "biufU" else array.astype(np.float32)


def _jsonable(value: np.ndarray) -> Any:
    """Plain values; NaN and infinity, which JSON has not, become null."""
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        values = value.astype(object)
        values[~np.isfinite(value)] = None
        return values.tolist()
    return value.tolist()


FORMATS: Mapping[str, Callable[[Any, int], Writer]] = {
    "npz": _Npz,
    "npy": _Npy,
    "json": _Json,
    "jsonl": _JsonLines,
    "csv": _Csv,
}
"""Writers by suffix."""
