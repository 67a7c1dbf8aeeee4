"""The file of a plan, written while TensorRT hands it over; a thread computes its digest beside that."""

from __future__ import annotations

import hashlib
import queue
import threading
from pathlib import Path
from typing import Self

_PIECE = 64 << 20  # bytes, as TensorRT-RTX hands them over itself

LARGE = 2 * _PIECE
"""Bytes of a model from which its plan is best had in pieces, of which two are there at a time."""


class PlanFile:
    """A file that is open for a plan.

    Which memory is taken and given back when depends on the pieces alone and not on how quick the thread is: TensorRT
    orders some of its work by address (see ``isolated``).

    Attributes:
        size: bytes written.
        sha256: of all of them, once it is closed.
        error: why writing failed; the rest was not written.
    """

    def __init__(self, path: Path) -> None:
        self.size, self.sha256 = 0, ""
        self.error: OSError | None = None
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
        """Write a piece; the number of its bytes, or 0 after an error, for TensorRT's C++ must not see exceptions."""
        self._free.acquire()
        self._held = piece  # the one before is given back here, whoever was done with it last
        self._given.put(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            self.error = self.error or error
            return 0
        self.size += len(piece)
        return len(piece)

    def write_all(self, plan: memoryview) -> None:
        """Write a whole plan."""
        for start in range(0, len(plan), _PIECE):
            self.write(plan[start : start + _PIECE])

    def _hash(self) -> None:
        while (piece := self._given.get()) is not None:
            self._digest.update(piece)
            del piece
            self._free.release()
