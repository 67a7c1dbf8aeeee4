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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.core.files import atomic_path
from trtconv.core.names import did_you_mean
from trtconv.core.strict_json import unicode
from trtconv.data import casting
from trtconv.data.plain_results import jsonable, ordinary

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
        mode: dict[str, Any] = (
            {"mode": "w+b"} if kind in ("npz", "npy") else {"mode": "w", "newline": "", "encoding": "utf-8"}
        )
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


class _ToDisk:
    """Has the disk begin before all is there, so that little is left to wait for in the end; nobody waits meanwhile."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "trtconv-disk")
        self._under_way: Future[None] | None = None
        self._waiting = 0

    def add(self, size: int, file: IO[bytes]) -> None:
        """Tell of bytes that were written to a file, which stays open until this is closed.

        Raises:
            OSError: the disk did not take what came before.
        """
        self._waiting += size
        if self._waiting > _FLUSH and (self._under_way is None or self._under_way.done()):
            self.wait()
            file.flush()
            self._under_way = self._thread.submit(os.fdatasync, file.fileno())
            self._waiting = 0

    def wait(self) -> None:
        """For what is under way."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        """Wait, whatever became of it."""
        self._thread.shutdown()


class _Growing:
    """An array in .npy form that grows at its end.

    The header tells the length that is expected. Another one is written in the end: NumPy pads headers, so that a
    longer first dimension fits (numpy.lib.format, format 1.0).

    Args:
        out: where it goes.
        disk: the file that this comes to lie in.
        expected: the length.
        to_disk: is told of what was written.
    """

    def __init__(self, out: IO[bytes], disk: IO[bytes], expected: int, to_disk: _ToDisk) -> None:
        self.out, self.disk, self.expected, self.to_disk = out, disk, expected, to_disk
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(np.float32)
        self.count = self.size = 0

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
        if array.dtype != self.dtype:
            array = self._alike(name, array)
        self.out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self.count += len(array)
        self.to_disk.add(array.nbytes, self.disk)

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

    def _alike(self, name: str, array: np.ndarray) -> np.ndarray:
        """Values of another type than before; all of them become the wider one, if that holds them.

        Those are texts of another length, or what a function of the user's made now of one type, now of another.
        """
        mixed = (self.dtype.kind == "U") != (array.dtype.kind == "U")
        wide = array.dtype if mixed else np.promote_types(self.dtype, array.dtype)
        made, exact = _cast(array, wide)
        if mixed or not exact or not (wide == self.dtype or self._widen(wide)):
            raise UsageError(
                f"output {name!r} is {self.dtype} for some samples and {array.dtype} for others; one array cannot "
                "hold both",
                hint="write .jsonl, or have the function return one type",
            )
        return made

    def _widen(self, wide: np.dtype) -> bool:
        """The file begins again with what it holds, in a wider type; False where that cannot hold all of it."""
        self.out.seek(self.size)
        held, exact = _cast(np.frombuffer(self.out.read(), self.dtype), wide)
        if not exact:
            return False
        self.dtype = wide
        self.out.seek(0)
        self.out.truncate()
        self._begin()
        self.out.write(held.view(np.uint8).data)
        return True


def _cast(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, bool]:
    return (values.astype(dtype), True) if dtype.kind == "U" else casting.cast(values, dtype)


class _Npy:
    """One array, written as it comes."""

    def __init__(self, out: IO[bytes], expected: int) -> None:
        self.to_disk = _ToDisk()
        self.array = _Growing(out, out, expected, self.to_disk)

    def add(self, outputs: Outputs, samples: Samples) -> None:
        if len(outputs) > 1:
            raise UsageError(f".npy holds one array, and there are {', '.join(outputs)}", hint="write an .npz file")
        for name, array in outputs.items():
            self.array.add(name, ordinary(array))

    def finish(self) -> None:
        if self.array.size:
            self.array.finish()
        self.to_disk.wait()

    def close(self) -> None:
        self.to_disk.close()


class _Npz:
    """Arrays by name. The first goes to the archive as it comes, others wait in files of their own."""

    def __init__(self, out: IO[bytes], expected: int) -> None:
        self.out, self.expected = out, expected
        self.stack, self.to_disk = contextlib.ExitStack(), _ToDisk()
        self.archive = zipfile.ZipFile(out, "w")
        self.member: IO[bytes] | None = None
        self.begin = 0
        self.direct = ""
        self.arrays: dict[str, _Growing] = {}

    def add(self, outputs: Outputs, samples: Samples) -> None:
        for name, given in outputs.items():
            array = ordinary(given)
            if name not in self.arrays:
                self.arrays[name] = self._place(name, array)
            known = self.arrays[name]
            if name == self.direct and known.size and array.dtype != known.dtype:
                self._again(self.arrays[name])  # what is written there stays as it is
            self.arrays[name].add(name, array)

    def finish(self) -> None:
        if self.member is not None:
            if self.arrays[self.direct].count == self.expected:
                self.member.close()
                del self.arrays[self.direct]
            else:
                self._again(self.arrays[self.direct])
        for name, array in self.arrays.items():
            self._append(name, array)
        self.to_disk.wait()

    def close(self) -> None:
        self.to_disk.close()
        if self.member is not None:
            self.member.close()
        self.archive.close()
        self.stack.close()

    def _place(self, name: str, array: np.ndarray) -> _Growing:
        if unicode(name) != name or "\0" in name:
            raise UsageError(f"an .npz cannot hold an output of the name {name!r}", hint="write .jsonl")
        if self.arrays or array.dtype.kind == "U":  # an archive takes one member at a time; texts may have to widen
            spool = self._spool()
            return _Growing(spool, spool, self.expected, self.to_disk)
        self.direct = name
        self.member = self.archive.open(f"{name}.npy", "w", force_zip64=True)
        self.begin = self.out.tell()
        return _Growing(self.member, self.out, self.expected, self.to_disk)

    def _again(self, array: _Growing) -> None:
        """Other than expected came: the archive begins again, and the array waits in a file like the others."""
        assert self.member is not None
        self.member.close()
        self.member, self.direct = None, ""
        spool = self._spool()
        spool.write(array.header(self.expected))
        self.out.seek(self.begin + array.size)
        left = array.count * array.dtype.itemsize * math.prod(array.shape)
        while left:
            left -= spool.write(self.out.read(min(left, _PIECE)))
        array.out = array.disk = spool
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
        columns = {name: ordinary(array) for name, array in outputs.items()}
        if clash := columns.keys() & ({"sample", "file"} if samples.files else {"sample"}):
            raise UsageError(f"output {min(clash)!r} has the name of what tells the samples apart", hint="write .npz")
        for row, number in enumerate(samples.numbers):
            which = {"sample": int(number)} | ({"file": unicode(samples.files[row])} if samples.files else {})
            self.write(which, {name: array[row] for name, array in columns.items()})
            self.count += 1

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        pass

    def close(self) -> None:
        """It holds nothing but the file."""


def _record(which: Mapping[str, Any], values: Outputs) -> str:
    named = {unicode(name): jsonable(value) for name, value in values.items()}
    return json.dumps({**which, **named}, allow_nan=False)


class _JsonLines(_Samples):
    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        self.out.write(_record(which, values) + "\n")


class _Json(_JsonLines):
    """One document: a list of the same records."""

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        self.out.write((",\n" if self.count else "[\n") + _record(which, values))

    def finish(self) -> None:
        self.out.write("\n]\n" if self.count else "[]\n")


class _Csv(_Samples):
    """A column per value: ``name`` for one value per sample, ``name[0]``, ``name[1,2]`` for more."""

    def __init__(self, out: IO[str], expected: int) -> None:
        super().__init__(out, expected)
        self.rows = csv.writer(out)
        self.header: list[str] = []
        self.form: list[Any] = []  # of the last row: the next ones are alike, and names of columns take their time

    def write(self, which: Mapping[str, Any], values: Outputs) -> None:
        form = [*which, *((name, value.shape) for name, value in values.items())]
        if form != self.form:
            self.check(which, values)
            self.form = form
        flat = (item for value in values.values() for item in value.reshape(-1).tolist())
        self.rows.writerow([*which.values(), *flat])

    def check(self, which: Mapping[str, Any], values: Outputs) -> None:
        """Write the header, or hold what comes to it."""
        columns = [*which, *(column for n, v in values.items() for column in _columns(n, v.shape))]
        if self.count == 0:
            self.header = columns
            if len(set(columns)) < len(columns):
                twice = next(name for name in columns if columns.count(name) > 1)
                raise UsageError(f"two columns would have the name {twice!r}", hint="write .jsonl")
            self.rows.writerow(map(unicode, columns))
        if columns != self.header:
            raise UsageError("the samples' results differ in shape; one table cannot hold them", hint="write .jsonl")


def _columns(name: str, shape: tuple[int, ...]) -> Iterator[str]:
    for index in np.ndindex(shape):
        yield f"{name}[{','.join(map(str, index))}]" if index else name


FORMATS: Mapping[str, Callable[[Any, int], Writer]] = {
    "npz": _Npz,
    "npy": _Npy,
    "json": _Json,
    "jsonl": _JsonLines,
    "csv": _Csv,
}
"""Writers by suffix."""
