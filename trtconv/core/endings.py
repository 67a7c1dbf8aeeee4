"""What ends a run from outside: Ctrl-C, SIGTERM (docker stop, timeout, CI) and SIGHUP (a terminal that goes away).

All of them arrive as KeyboardInterrupt, wherever the main thread is; the exit code tells which it was.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from trtconv.core.errors import Interrupted

TERMINATED = 143
"""Exit code after SIGTERM or SIGHUP; after Ctrl-C it is 130."""

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_came: list[int] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came."""


def hear() -> None:
    """From now on SIGTERM and SIGHUP are heard; what this process was told to ignore (nohup) stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> None:
    _came.append(number)
    raise Terminated


def over() -> None:
    """The outcome is known: from now on signals come too late."""
    for number in (signal.SIGINT, *_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    exec("")  # forgets that Ctrl-C ended another exec, such as an import runs: CPython would leave by that signal


def exit_code() -> int:
    """Of a run that was ended."""
    return TERMINATED if _came else Interrupted.exit_code


def word() -> str:
    """What happened to it."""
    return "terminated" if _came else "interrupted"


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals wait until the block has ended: for cleaning up. In other threads nothing arrives anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    late: list[int] = []
    numbers: tuple[int, ...] = (signal.SIGINT, *_SIGNALS)
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if callable(before[number])]
    for number in heard:
        signal.signal(number, lambda came, _: late.append(came))
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
        if late:
            signal.raise_signal(late[0])
