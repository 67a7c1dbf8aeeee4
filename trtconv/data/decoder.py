"""A process that decodes images: ``python -m trtconv.data.decoder SOCKET BAY...``; it ends with its socket.

It gets the preprocessing rows and an example first, and then names of files; it writes the samples to memory that both
sides see, and answers with what is wrong, if anything is. Or it only decodes, and packs the pixels for a GPU to make
samples of. It has several such pieces of memory, bays: while one is emptied, it fills another, and knows which comes
next.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from trtconv.core import memory
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.packed_images import Contents
from trtconv.data import images, preprocess, scaling

READY = "ready"
"""A process's first message."""

_Answer = tuple[int, TrtconvError | None, Contents | None]
"""How many images are done, what is wrong with the next one, and what was packed."""


class Shared:
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
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE  # no page is waited for later
            self._mapped = mmap.mmap(self.handle, size, flags)  # the old map goes with its last array
        return np.frombuffer(self._mapped, np.uint8, size).view(dtype).reshape(shape)

    def close(self) -> None:
        """Give it back; its arrays must not be used any more."""
        self._mapped = None
        os.close(self.handle)


def main() -> None:
    """The process's side."""
    memory.keep()
    number, *handles = map(int, sys.argv[1:])
    socket, bays = Connection(number), [Shared(handle) for handle in handles]
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):
        rows, packs, example = socket.recv()
        chain = preprocess.prepare(rows)
        recipe = scaling.recipe(chain) if packs else None
        work = partial(_packed, recipe, images.Canvas()) if recipe else partial(_prepared, chain)
        _rehearse(recipe, bays, example, work)
        socket.send(READY)
        while True:
            number, paths, shape, dtype = socket.recv()
            socket.send(work(paths, bays[number].array(shape, np.dtype(dtype))))


_Work = Callable[[Sequence[str], np.ndarray], _Answer]


def _rehearse(recipe: scaling.Recipe | None, bays: Sequence[Shared], example: str, work: _Work) -> None:
    """Have everything ready that images need: libraries, and pages of memory."""
    parcels = [bay.array((recipe.capacity,), np.dtype(np.uint8), grow=True) for bay in bays if recipe]
    with contextlib.suppress(TrtconvError):  # told of when it is the image's turn
        if recipe:
            work([example], parcels[0])
        else:
            images.picture(Path(example))


def _prepared(chain: preprocess.Chain | None, paths: Sequence[str], out: np.ndarray) -> _Answer:
    """Fill the array with samples."""
    for place, path in enumerate(paths):
        try:
            _prepare(chain, path, out[place])
        except TrtconvError as error:
            return place, error, None
    return len(paths), None, None


def _prepare(chain: preprocess.Chain | None, path: str, out: np.ndarray) -> None:
    picture = images.picture(Path(path))
    if chain is None:
        out[...] = images.array(picture)
        return
    try:
        chain.into(picture, out)
    except UsageError as error:
        raise _named(path, error) from None


def _packed(recipe: scaling.Recipe, canvas: images.Canvas, paths: Sequence[str], memory: np.ndarray) -> _Answer:
    """Fill the memory with pictures, as many as fit but one at least."""
    parcel = scaling.Parcel(recipe, memory, len(paths))
    for place, path in enumerate(paths):
        try:
            picture = images.picture(Path(path), parcel.fits if place else None, canvas)
            if picture is None:
                return place, None, parcel.contents()
        except TrtconvError as error:
            return place, error, None
        try:
            parcel.add(picture)
        except UsageError as error:
            return place, _named(path, error), None
    return len(paths), None, parcel.contents()


def _named(path: str, error: UsageError) -> UsageError:
    """What does not suit the preprocessing, with the file's name."""
    return UsageError(f"{path}: {error.message}", hint=error.hint)


if __name__ == "__main__":
    main()
