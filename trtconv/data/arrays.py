"""NumPy files: shape and type from the header, values when asked for."""

from __future__ import annotations

import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from trtconv.core import magic
from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean

_DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
"""What the modules for zip files, streams and arrays raise for bytes that are not what they should be; RuntimeError is
for encrypted members, and NotImplementedError, which is one, for ways of compressing that Python lacks."""


_ALONE = threading.Lock()
_BLOCK = 4 << 20  # bytes: caches hold them; with fewer, threads spend their time waiting for the interpreter


@dataclass
class Array:
    """An array in a file.

    Attributes:
        path: the .npy or .npz.
        key: its name in the .npz; empty in a .npy.
        shape: from the header.
        dtype: from the header.
        offset: of the values in the file, where they lie there in C order; None where they are compressed or not.
        lifted: whether the first dimension is not in the file: all of it is one sample.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None = None
    lifted: bool = False
    _values: np.ndarray | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """File and key for messages."""
        return f"{self.path}: array {self.key!r}" if self.key else str(self.path)

    def as_samples(self, rank: int) -> Array:
        """This array with a first dimension of 1 if it is one sample of an input of ``rank`` dimensions."""
        return replace(self, shape=(1, *self.shape), lifted=True) if len(self.shape) == rank - 1 else self

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Samples by number."""
        values = self.all()
        first, last = int(numbers[0]), int(numbers[-1])
        in_a_row = last - first + 1 == len(numbers)
        chosen: np.ndarray = values[first : last + 1] if in_a_row else values[numbers]
        return chosen

    def all(self) -> np.ndarray:
        """All values. They are mapped where the file has them as they are, else read once and kept."""
        with _ALONE:  # a dozen threads may ask for the first batches at once: one reads
            if self._values is None:
                self._values = self._mapped() if self.offset is not None else _read(self).reshape(self.shape)
            return self._values

    def blocks_into(self, numbers: np.ndarray, out: np.ndarray) -> Iterator[np.ndarray]:
        """Copy samples by number to an array of the same type; straight from the file where that can be.

        Yields:
            What was copied, in blocks, each while the processor's cache still holds it.

        Raises:
            UsageError: the file ended early.
        """
        first, last = int(numbers[0]), int(numbers[-1])
        if self.offset is None or last - first + 1 != len(numbers) or not out.flags.c_contiguous:
            out[...] = self.rows(numbers)
            yield out
            return
        flat, begin = out.reshape(-1), self.offset + first * (out.nbytes // len(numbers))
        step = _BLOCK // out.itemsize
        with self.path.open("rb", buffering=0) as file:  # reading beats mapping: no page faults, no interpreter lock
            for start in range(0, len(flat), step):
                block = flat[start : start + step]
                self._fill(file.fileno(), block, begin + start * out.itemsize)
                yield block

    def _fill(self, handle: int, block: np.ndarray, begin: int) -> None:
        into, done = memoryview(block.view(np.uint8).data), 0
        while done < len(into):
            got = os.preadv(handle, [into[done:]], begin + done)
            if not got:
                raise UsageError(f"{self.path}: cannot be read, it is truncated", hint="write it again with NumPy")
            done += got

    def _mapped(self) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset or 0, self.shape)


def open_npy(path: Path) -> Array:
    """A .npy file.

    Raises:
        UsageError: not one, truncated, or of Python objects.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError(f"it looks like {magic.describe(path)}")
    except (OSError, ValueError, EOFError) as error:
        if "Python objects" in str(error):
            raise _of_objects(path) from None
        raise _unreadable(path, error) from None
    offset = values.offset if isinstance(values, np.memmap) and values.flags.c_contiguous else None
    return Array(path, "", values.shape, values.dtype, offset)


def open_npz_member(path: Path, key: str) -> Array:
    """One array of an .npz; only its header is read.

    Raises:
        UsageError: no such array, or a file that is no .npz.
    """
    keys = npz_keys(path)
    if key not in keys:
        raise UsageError(
            f"{path}: no array {key!r}; it has {', '.join(keys) or 'none'}",
            hint=did_you_mean(key, keys) or "name the arrays as the model's inputs",
        )
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, by_columns, dtype = read(stream)
            header = stream.tell()
            member = archive.getinfo(f"{key}.npy")
        plain = member.compress_type == zipfile.ZIP_STORED and not by_columns and not dtype.hasobject
        offset = _data_offset(path, member) + header if plain else None
    except _DAMAGE as error:
        raise _unreadable(path, error) from None
    if dtype.hasobject:
        raise _of_objects(f"{path}: array {key!r}")
    return Array(path, key, shape, dtype, offset)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz.

    Raises:
        UsageError: a file that is no .npz, or is damaged.
    """
    return {key: _read(open_npz_member(path, key)) for key in npz_keys(path)}


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after its local header, whose two last fields are the lengths of what follows."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name) + int(extra)


def npz_keys(path: Path) -> list[str]:
    """Names of the arrays in an .npz.

    Raises:
        UsageError: missing file, or no .npz.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGE as error:
        raise _unreadable(path, error) from None


def _read(array: Array) -> np.ndarray:
    try:
        if not array.key:
            mapped: np.ndarray = np.load(array.path, mmap_mode="r", allow_pickle=False)
            return mapped
        with np.load(array.path, allow_pickle=False) as archive:
            values: np.ndarray = archive[array.key]
            return values
    except _DAMAGE as error:
        raise _unreadable(array.path, error) from None


def _of_objects(label: object) -> UsageError:
    return UsageError(
        f"{label}: holds Python objects, not numbers: its rows may differ in length",
        hint="save arrays of one shape and type, in several files where they differ",
    )


def _unreadable(path: Path, error: Exception) -> UsageError:
    what = magic.describe(path)
    if "NumPy" in what or "zip" in what:
        return UsageError(f"{path}: cannot be read, it may be truncated: {error}", hint="write it again with NumPy")
    return UsageError(f"{path}: not a NumPy file; it looks like {what}", hint="use .npz or .npy")
