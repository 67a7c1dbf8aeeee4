"""A file that is written in pieces while a thread computes its digest: it need not be read for that."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import queue
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Self

PIECE = 64 << 20
"""Bytes of a piece at most, where whoever writes can choose."""

_SMALL = 1 << 20  # bytes: hashing fewer is quicker than handing them to the thread


def _begin_to_store(descriptor: int) -> None:
    """Let the disk begin with what is written so far, and do not wait for it: less is left for fsync."""
    with contextlib.suppress(AttributeError):  # sync_file_range(2) is Linux's
        ctypes.CDLL(None).sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), 2)  # all; only to write


class HashedFile:
    """A file that is open for writing.

    Which memory is taken and given back when depends on the pieces alone and not on how quick the thread is.

    Attributes:
        size: bytes written.
        sha256: of all of them, once it is closed.
    """

    def __init__(self, path: Path) -> None:
        self.size, self.sha256 = 0, ""
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._given: queue.SimpleQueue[bytes | memoryview | None] = queue.SimpleQueue()
        self._free = threading.Semaphore()
        self._held: bytes | memoryview | None = None
        self._thread = threading.Thread(target=self._hash, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._given.put(None)
        self._thread.join()
        self._held = None
        self.sha256 = self._digest.hexdigest()
        self._file.close()

    def write(self, piece: bytes | memoryview) -> int:
        """Write a piece; the number of its bytes."""
        self._free.acquire()
        self._held = piece  # the one before is given back here, whoever was done with it last
        if len(piece) < _SMALL:
            self._digest.update(piece)
            self._free.release()
        else:
            self._given.put(piece)
        self._file.write(piece)
        self.size += len(piece)
        return len(piece)

    def write_all(self, parts: Iterable[bytes | memoryview]) -> None:
        """Write all of them, large ones piece by piece; none is held while the next one is made."""
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), PIECE):
                self.write(view[start : start + PIECE])
            self._settle()
            del part, view

    def _settle(self) -> None:
        self._free.acquire()
        self._held = None
        self._free.release()

    def _hash(self) -> None:
        while (piece := self._given.get()) is not None:
            self._digest.update(piece)
            del piece
            self._free.release()
            _begin_to_store(self._file.fileno())
