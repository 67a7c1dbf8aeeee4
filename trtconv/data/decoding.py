"""Images decoded and prepared in processes of their own: as threads, no more than three would work at once.

See ``decoder`` for what a process does. One thread of this process talks to all of them: many would spend most of their
time waiting for the interpreter.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.child import ChildCrash
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.packed_images import Contents, Landing, Landings
from trtconv.data import preprocess, scaling
from trtconv.data.decoder import READY, Shared

_PIECE = 8  # images
_ASKED = 2  # pieces that a process knows of
_BAYS = _ASKED + 1


class BadImage(Exception):
    """One of the files cannot be used.

    Attributes:
        place: in the list of files.
        problem: what is wrong.
    """

    def __init__(self, place: int, problem: UsageError) -> None:
        super().__init__(problem.message)
        self.place, self.problem = place, problem


class _Batch:
    """Files that somebody waits for.

    Args:
        paths: of the files.
        form: shape and type of what a process makes of the files from one number to another.
        take: does something with what it made; gets the bay, the memory as such an array, both numbers, and what was
            packed.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        form: Callable[[int, int], tuple[tuple[int, ...], np.dtype]],
        take: Callable[[_Bay, np.ndarray, int, int, Contents | None], None],
    ) -> None:
        self.paths, self.form, self.take = paths, form, take
        self.left = len(paths)
        self.done = threading.Event()
        self.failures: dict[int, Exception] = {}

    def pieces(self) -> list[_Piece]:
        return [(self, begin, min(begin + _PIECE, self.left)) for begin in range(0, self.left, _PIECE)]

    def count(self, files: int, failure: tuple[int, Exception] | None = None) -> None:
        """So many files need no more work."""
        if failure is not None:
            self.failures[failure[0]] = failure[1]
        self.left -= files
        if not self.left:
            self.done.set()

    def wait(self) -> None:
        """Until all is done; raises what went wrong with the first file that something did with."""
        self.done.wait()
        if self.failures:
            raise self.failures[min(self.failures)]


_Piece = tuple[_Batch, int, int]


class _Bay:
    """Memory that a process fills.

    Attributes:
        landing: where its parcels go, if anything is packed.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.shared = Shared(os.memfd_create("trtconv-images"))
        self.landing: Landing | None = None

    def free(self) -> None:
        """Wait until its parcel is used up."""
        if self.landing is not None:
            self.landing.wait()

    def close(self) -> None:
        if self.landing is not None:
            self.landing.close()
            self.landing = None
        self.shared.close()


class _Decoder:
    """One process, with what it was asked for."""

    def __init__(self, rows: Sequence[Mapping[str, object]], example: Path, *, packs: bool) -> None:
        self.bays = [_Bay(number) for number in range(_BAYS)]
        self.free = deque(self.bays)
        self.asked: deque[tuple[_Bay, np.ndarray, _Piece]] = deque()
        self.ready = False
        self.socket, theirs = Pipe()
        handles = [theirs.fileno(), *(bay.shared.handle for bay in self.bays)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trtconv.data.decoder", *map(str, handles)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=handles,
            start_new_session=True,
        )
        theirs.close()
        self.say((list(rows), packs, str(example)))

    def ask(self, piece: _Piece) -> None:
        """Have it do a piece."""
        batch, begin, end = piece
        bay = self.free[0]  # the one that was emptied first
        bay.free()
        shape, dtype = batch.form(begin, end)
        self.asked.append((bay, bay.shared.array(shape, dtype, grow=True), piece))
        self.free.popleft()
        self.say((bay.number, [str(path) for path in batch.paths[begin:end]], shape, dtype.str))

    def say(self, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it ended: told when an answer is awaited
            self.socket.send(message)

    def hear(self) -> Any:
        """Its next message; None when it ended."""
        try:
            return self.socket.recv()
        except (EOFError, ConnectionResetError):
            return None

    def close(self) -> None:
        """End the process."""
        self.socket.close()
        self.process.wait()
        for bay in self.bays:
            bay.close()


class Decoders:
    """Several processes for several threads. Batches come in pieces: none waits while others have much to do.

    Args:
        rows: preprocessing.
        count: processes.
        example: an image like those that will come, to get ready with.
        landings: where pixels go; they are packed then (see ``scaling``), and preprocessing must have a recipe. None:
            samples are prepared.

    Raises:
        EnvironmentProblem: the GPU cannot read the processes' memory.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, object]], count: int, example: Path, landings: Landings | None = None
    ) -> None:
        recipe = scaling.recipe(preprocess.prepare(rows)) if landings else None
        self._parcel = ((recipe.capacity if recipe else 0,), np.dtype(np.uint8))
        self._all: list[_Decoder] = []
        self._waiting: deque[_Piece] = deque()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._crash: ChildCrash | None = None
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._talk, name="trtconv-decoders", daemon=True)
        try:
            for _ in range(count):
                self._add(_Decoder(rows, example, packs=landings is not None), landings)
        except BaseException:
            self._close_all()
            raise
        self._thread.start()

    def wait(self) -> None:
        """Until all processes are ready.

        Raises:
            ChildCrash: one ended.
        """
        self._ready.wait()
        if self._crash is not None:
            raise self._crash

    def read(self, paths: Sequence[Path], out: np.ndarray) -> None:
        """Images, prepared, to an array with one entry for each.

        Raises:
            BadImage: one of them is damaged, or does not suit the preprocessing.
            TrtconvError: a process ended.
        """

        def take(bay: _Bay, made: np.ndarray, begin: int, end: int, contents: Contents | None) -> None:
            np.copyto(out[begin:end], made[: end - begin])

        self._do(_Batch(paths, lambda begin, end: ((end - begin, *out.shape[1:]), out.dtype), take))

    def send(self, paths: Sequence[Path], target: Any) -> None:
        """Images, packed, to a GPU that makes samples of them; that is enqueued when this returns.

        Args:
            paths: of the images.
            target: what the landings know as the input that these are the samples of.

        Raises:
            BadImage: one of them is damaged, or does not suit the preprocessing.
            TrtconvError: a process ended, or there is no more memory on the GPU.
        """

        def take(bay: _Bay, made: np.ndarray, begin: int, end: int, contents: Contents | None) -> None:
            assert bay.landing is not None
            assert contents is not None
            bay.landing.land(contents, target, begin)

        self._do(_Batch(paths, lambda begin, end: self._parcel, take))

    def close(self) -> None:
        """End all processes."""
        self._ended.set()
        os.write(self._woken, b"!")
        self._thread.join()
        self._close_all()

    def _do(self, batch: _Batch) -> None:
        with self._lock:
            self._waiting.extend(batch.pieces())
        with contextlib.suppress(BlockingIOError):  # enough is in there to wake the thread
            os.write(self._woken, b"!")
        batch.wait()

    def _add(self, decoder: _Decoder, landings: Landings | None) -> None:
        self._all.append(decoder)
        self._selector.register(decoder.socket, selectors.EVENT_READ, decoder)
        for bay in decoder.bays if landings else ():
            bay.landing = landings(bay.shared.array(*self._parcel, grow=True)) if landings else None

    def _talk(self) -> None:
        """The thread: hears answers, and gives out what is to be done."""
        while not self._ended.is_set():
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wake, 1 << 16)
                else:
                    self._hear(key.data)
            self._give()

    def _hear(self, decoder: _Decoder) -> None:
        message = decoder.hear()
        if message is None:
            self._lose(decoder)
        elif message == READY:
            decoder.ready = True
        else:
            self._took(decoder, *message)
        if all(one.ready for one in self._all):
            self._ready.set()

    def _took(self, decoder: _Decoder, files: int, error: TrtconvError | None, contents: Contents | None) -> None:
        bay, made, (batch, begin, end) = decoder.asked.popleft()
        done = begin + files
        failure: Exception | None = BadImage(done, error) if isinstance(error, UsageError) else error
        if failure is None:
            try:
                batch.take(bay, made, begin, done, contents)
            except Exception as problem:  # noqa: BLE001 - raised again in the thread that waits
                failure = problem
        decoder.free.append(bay)
        if failure is not None:
            batch.count(end - begin, (done, failure))
            return
        batch.count(files)
        if done < end:
            with self._lock:
                self._waiting.appendleft((batch, done, end))

    def _give(self) -> None:
        """Pieces to the processes that have the fewest."""
        for asked in range(_ASKED):
            for decoder in self._all:
                if len(decoder.asked) <= asked and decoder.process.returncode is None:
                    with self._lock:
                        if not self._waiting:
                            return
                        piece = self._waiting.popleft()
                    try:
                        decoder.ask(piece)
                    except Exception as problem:  # noqa: BLE001 - raised again in the thread that waits
                        piece[0].count(piece[2] - piece[1], (piece[1], problem))
        if all(decoder.process.returncode is not None for decoder in self._all):
            with self._lock:
                self._fail(self._waiting)

    def _lose(self, decoder: _Decoder) -> None:
        """A process ended."""
        self._selector.unregister(decoder.socket)
        decoder.process.wait()
        decoder.ready = True
        pieces = deque(piece for _, _, piece in decoder.asked)
        paths = [str(batch.paths[begin]) for batch, begin, _ in pieces][:1]
        self._crash = ChildCrash(
            f"a process that decodes images ended with status {decoder.process.returncode}",
            hint=f"it was at work on {paths[0]} or one of the files after it" if paths else "it had nothing to do",
        )
        self._fail(pieces)

    def _fail(self, pieces: deque[_Piece]) -> None:
        while pieces:
            batch, begin, end = pieces.popleft()
            assert self._crash is not None
            batch.count(end - begin, (begin, self._crash))

    def _close_all(self) -> None:
        for decoder in self._all:
            decoder.close()
        self._selector.close()
        os.close(self._wake)
        os.close(self._woken)


@contextlib.contextmanager
def decoders(
    rows: Sequence[Mapping[str, object]], count: int, example: Path, landings: Landings | None = None
) -> Iterator[Decoders | None]:
    """So many processes; none for 0."""
    if not count:
        yield None
        return
    with contextlib.closing(Decoders(rows, count, example, landings)) as found:
        yield found
