"""Measurements of several processes on one machine, one after the other: what prepares them may go on together.

Whoever gets ready for a measurement holds a lock beside others who do; whoever measures holds it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from trtconv.core import files
from trtconv.core.errors import EnvironmentProblem
from trtconv.core.events import Emit, Message

_EVERY = 0.02  # seconds between two looks
_WAITING = "another trtconv measures on this machine; waiting for it"


@contextlib.contextmanager
def preparing(emit: Emit) -> Iterator[None]:
    """Work that would disturb a measurement; waits while one is under way."""
    with _lock(fcntl.LOCK_SH, emit):
        yield


@contextlib.contextmanager
def measuring(emit: Emit) -> Iterator[None]:
    """A measurement; waits for those of others, and for what they prepare."""
    with _lock(fcntl.LOCK_EX, emit):
        yield


def _file() -> Path:
    """One for each user and choice of GPUs; TMPDIR is another one in every process of a stage."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    gpus = re.sub(r"[^\w-]", "_", os.environ.get("CUDA_VISIBLE_DEVICES", ""))[:100]
    return Path(base) / f"trtconv-measuring{gpus and '-'}{gpus}.lock"


@contextlib.contextmanager
def _lock(kind: int, emit: Emit) -> Iterator[None]:
    path = _file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    except OSError:  # nowhere to write: nobody can be waited for
        yield
        return
    with handle:
        with contextlib.suppress(EnvironmentProblem):  # no locks there: as above
            files.lock(handle, kind, lambda: emit(Message(_WAITING)), every=_EVERY)
        yield
