"""Files that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from trtconv.core import digests, strict_json, unfinished
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.writable import at, require_folder, require_place

LARGE = 8 << 20
"""Bytes of a file from which freeing it takes time, and copying it too."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; on success it replaces ``path``, on any failure it is removed.

    The folder is created. The data reach the disk (fsync) before the rename, so a crash leaves the old file or the new.

    Raises:
        UsageError: a folder or a device is there.
        EnvironmentProblem: nothing may be written there.
    """
    require_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = unfinished.name(path)
    unfinished.begin(temporary)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with at(path):
            yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())  # results are ordinary files; unfinished ones are nobody else's
        _take_place(temporary, path)
    finally:
        unfinished.remove(temporary)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside ``path``; on success it takes its place in one step, on any failure it is removed.

    The data reach the disk before that. Where a file system cannot exchange two folders, there is a moment without any.

    Raises:
        UsageError: a file or a device is there.
    """
    require_folder(path, writable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = unfinished.name(path)
    unfinished.begin(fresh)
    try:
        fresh.mkdir()
        with at(path):
            yield fresh
        for inside in (*fresh.rglob("*"), fresh):
            _sync(inside)
        if not path.exists():
            fresh.rename(path)
        elif not _exchange(fresh, path):
            _replace(fresh, path)
        _sync(path.parent)
    finally:
        unfinished.remove(fresh)


def _exchange(first: Path, second: Path) -> bool:
    """Let two names change places at once (renameat2 of Linux); False where that cannot be done."""
    import ctypes  # slow to load, and seldom needed

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    return int(function(here, os.fsencode(first), here, os.fsencode(second), exchange)) == 0


def _replace(fresh: Path, path: Path) -> None:
    old = unfinished.name(path)
    unfinished.begin(old)
    path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        old.rename(path)
        raise
    finally:
        unfinished.remove(old)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write ``data`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    write_text(path, strict_json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write NumPy arrays as an ``.npz``, atomically; the same arrays give the same bytes."""
    import numpy as np

    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **arrays)


def copy(source: Path, target: Path) -> str:
    """Copy one file's bytes atomically; their SHA-256."""
    with atomic_path(target) as temporary:
        return digests.of_copy(source, temporary)


@contextlib.contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold an advisory lock on ``path``; call ``on_wait`` once if another process has it, then wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        lock(handle, fcntl.LOCK_EX, on_wait, every=0.1)
        yield


def lock(handle: IO[Any], kind: int, on_wait: Callable[[], None], *, every: float) -> None:
    """Lock an open file (flock) until it is closed, looking every so many seconds; call ``on_wait`` once if it waits.

    Raises:
        EnvironmentProblem: its file system has no locks.
    """
    told = False
    while True:
        try:
            return fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                on_wait()
            told = True
            time.sleep(every)
        except OSError as error:
            raise EnvironmentProblem(
                f"{handle.name} cannot be locked: {error.strerror}",
                hint="write to a file system that has locks (flock): -o, or output: in a job",
            ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)  # a folder has no other way
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take_place(temporary: Path, path: Path) -> None:
    """Put it in the place of another, whose bytes are freed meanwhile: that takes half a second for a gigabyte."""
    old = None
    with contextlib.suppress(OSError):
        if path.stat().st_size >= LARGE:
            old = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # the name goes now, the bytes when this is closed
    try:
        temporary.replace(path)
    finally:
        if old is not None:
            threading.Thread(target=os.close, args=(old,)).start()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def data_of(model: Path) -> Path:
    """Where the large tensors of an ONNX model lie that trtconv wrote, if it was too large for one file."""
    return model.with_name(model.name + ".data")
