"""Files and folders that must not stay if this process ends before it is done with them, whatever ends it.

A process that is killed cannot clean up. So a child tells its parent what it begins and ends (see ``core.child``), and
the parent removes what is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_begun: dict[Path, None] = {}
_lock = threading.Lock()
_watcher: list[Callable[[str, Path], None]] = []


def watched_by(tell: Callable[[str, Path], None]) -> None:
    """From now on ``tell`` hears of everything: ``("begun", path)`` before it is there, ``("ended", path)`` after."""
    _watcher[:] = [tell]


def begin(path: Path) -> None:
    """Something is about to be made that must not stay."""
    with _lock:
        _begun[path] = None
    for tell in _watcher:
        tell("begun", path)


def end(path: Path) -> None:
    """It is gone, or has become what it was meant to be."""
    with _lock:
        _begun.pop(path, None)
    for tell in _watcher:
        tell("ended", path)


def name(beside: Path) -> Path:
    """A name of its own for what becomes ``beside``, in the same folder."""
    return beside.with_name(f".{beside.name}.{os.urandom(4).hex()}.tmp")


@contextlib.contextmanager
def folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder that is gone afterwards, unless it has been kept."""
    path = parent / f"{prefix}{os.urandom(4).hex()}"
    begin(path)
    try:
        path.mkdir(mode=0o700)
        yield path
    finally:
        if path in _begun:
            remove(path)


def scratch() -> contextlib.AbstractContextManager[Path]:
    """A folder among the temporary ones."""
    import tempfile  # a run with nothing to do makes none

    return folder(Path(tempfile.gettempdir()), "trtconv-")


def remove(path: Path) -> None:
    """Remove one of them, a file or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
    end(path)


def remove_all() -> None:
    """Remove what this process began and did not end."""
    for path in list(_begun):
        remove(path)
