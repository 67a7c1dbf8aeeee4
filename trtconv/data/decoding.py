"""Images decoded and prepared in processes of their own: as threads, no more than three would work at once.

A process gets the preprocessing rows first, and then names of files; it writes the samples to memory that both sides
see, and answers with what is wrong, if anything is. It is ``python -m trtconv.data.decoding FD`` and ends with its
standard input.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.child import ChildCrash, receive, send
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.data import images, preprocess

_PIECE = 8  # images


class BadImage(Exception):
    """One of the files cannot be used.

    Attributes:
        place: in the list of files.
        problem: what is wrong.
    """

    def __init__(self, place: int, problem: UsageError) -> None:
        super().__init__(problem.message)
        self.place, self.problem = place, problem


class Decoder:
    """One process; used by one thread at a time."""

    def __init__(self, rows: Sequence[Mapping[str, object]]) -> None:
        self._shared = _Shared(os.memfd_create("trtconv-images"))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trtconv.data.decoding", str(self._shared.handle)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, pass_fds=[self._shared.handle], start_new_session=True)  # fmt: skip
        self._say(list(rows))

    def read(self, paths: Sequence[Path], out: np.ndarray) -> None:
        """Images, prepared, to an array with one entry for each.

        Raises:
            BadImage: one of them is damaged, or does not suit the preprocessing.
            TrtconvError: the process ended.
        """
        shared = self._shared.array(out.shape, out.dtype, grow=True)
        self._say((list(map(str, paths)), out.shape, out.dtype.str))
        assert self._process.stdout is not None
        answer = receive(self._process.stdout)
        if answer is None:
            raise ChildCrash(f"a process that decodes images ended with status {self._process.wait()}",
                             hint=f"it was at work on {paths[0]} or the {len(paths) - 1} files after it")  # fmt: skip
        place, error = answer
        if isinstance(error, UsageError):
            raise BadImage(place, error)
        if error is not None:
            raise error
        np.copyto(out, shared)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._shared.close()

    def _say(self, message: Any) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended: told when an answer is awaited
            send(self._process.stdin, message)


class _Shared:
    """Memory that two processes see; the file behind it grows."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self._mapped: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...], dtype: np.dtype, *, grow: bool = False) -> np.ndarray:
        """Its first bytes as an array; an earlier one must not be used any more."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if self._mapped is None or len(self._mapped) < size:
            if grow:
                os.ftruncate(self.handle, size)
            self._mapped = mmap.mmap(self.handle, size)  # the old map goes with its last array
        return np.frombuffer(self._mapped, np.uint8, size).view(dtype).reshape(shape)

    def close(self) -> None:
        self._mapped = None
        os.close(self.handle)


class Decoders:
    """Several processes for several threads. Batches come in pieces: none waits while others have much to do."""

    def __init__(self, rows: Sequence[Mapping[str, object]], count: int) -> None:
        self._all = [Decoder(rows) for _ in range(count)]
        self._free: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        for decoder in self._all:
            self._free.put(decoder)
        self._threads = ThreadPoolExecutor(count, "trtconv-decoder")

    def read(self, paths: Sequence[Path], out: np.ndarray) -> None:
        """See ``Decoder.read``."""
        starts = range(0, len(paths), _PIECE)
        asked = [self._threads.submit(self._read, paths[at : at + _PIECE], out[at : at + _PIECE]) for at in starts]
        wait(asked)
        for start, piece in zip(starts, asked, strict=True):
            try:
                piece.result()
            except BadImage as error:
                raise BadImage(start + error.place, error.problem) from None

    def close(self) -> None:
        """End all processes."""
        self._threads.shutdown()
        for decoder in self._all:
            decoder.close()

    def _read(self, paths: Sequence[Path], out: np.ndarray) -> None:
        decoder = self._free.get()
        try:
            decoder.read(paths, out)
        finally:
            self._free.put(decoder)


@contextlib.contextmanager
def decoders(rows: Sequence[Mapping[str, object]], count: int) -> Iterator[Decoders | None]:
    """So many processes; none for 0."""
    if not count:
        yield None
        return
    with contextlib.closing(Decoders(rows, count)) as found:
        yield found


def main() -> None:
    """The process's side."""
    shared = _Shared(int(sys.argv[1]))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    chain = preprocess.prepare(receive(source) or [])
    while (request := receive(source)) is not None:
        paths, shape, dtype = request
        send(target, _decoded(chain, paths, shared.array(shape, np.dtype(dtype))))


def _decoded(chain: preprocess.Chain | None, paths: Sequence[str], out: np.ndarray) -> tuple[int, TrtconvError | None]:
    """Fill the array; the place of the first bad file and what is wrong with it."""
    for place, path in enumerate(paths):
        try:
            _decode(chain, path, out[place])
        except TrtconvError as error:
            return place, error
    return -1, None


def _decode(chain: preprocess.Chain | None, path: str, out: np.ndarray) -> None:
    picture = images.picture(Path(path))
    if chain is None:
        out[...] = images.array(picture)
        return
    try:
        chain.into(picture, out)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", hint=error.hint) from None


if __name__ == "__main__":
    main()
