"""The first batches, read in pieces by threads that they share.

Batches that are read beside each other, a thread each, share the memory's bandwidth and are ready at the same late
moment, while a GPU waits for the first. In pieces the one that was asked for first is ready first. Later nobody waits:
then pieces would only cost what handing them over takes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.data.feeds import Feed

_PIECE = 8 << 20  # bytes, about: with fewer, threads spend their time waiting for the interpreter


class SharedReading:
    """Reads batches of a feed.

    Args:
        feed: the samples.
        threads: that ask for batches; the first of each is read in pieces, by as many threads.
    """

    def __init__(self, feed: Feed, threads: int) -> None:
        self._feed, self._left = feed, threads
        self._alone = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, "trtconv-read")
        together = threading.Barrier(threads)
        list(self._pool.map(lambda _: together.wait(), range(threads)))  # started before anybody waits for them

    def read(self, rows: np.ndarray, into: Mapping[str, np.ndarray]) -> None:
        """See ``Feed.read``; arrays may have room for more samples."""
        pieces = list(self._pieces(rows, into)) if self._first() else []
        if len(pieces) < 2:
            self._feed.read(rows, into)
            return
        done = [
            self._pool.submit(
                self._feed.read, rows[piece], {name: array[piece] for name, array in self._columns(into).items()}
            )
            for piece in pieces
        ]
        wait(done)
        problem = next((problem for one in done if (problem := one.exception()) is not None), None)
        if isinstance(problem, UsageError):  # told of the batch, as of any other: a mask is known by all its values
            self._feed.read(rows, into)
        elif problem is not None:
            raise problem
        for name in into.keys() & self._feed.whole.keys():
            np.copyto(into[name], self._feed.whole[name])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def _first(self) -> bool:
        with self._alone:
            self._left -= 1
            return self._left >= 0 and not any(self._feed.axes.values()) and None not in self._feed.axes.values()

    def _columns(self, into: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array for name, array in into.items() if name not in self._feed.whole}

    def _pieces(self, rows: np.ndarray, into: Mapping[str, np.ndarray]) -> Iterator[slice]:
        sample = sum(array.nbytes // len(array) for array in self._columns(into).values())
        step = max(_PIECE // max(sample, 1), 1)
        return (slice(start, min(start + step, len(rows))) for start in range(0, len(rows), step))
