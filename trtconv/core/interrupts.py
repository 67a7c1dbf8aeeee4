"""Ctrl-C during work whose results so far are worth keeping."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class CtrlC:
    """Hears Ctrl-C for the main thread while it is entered; in other threads nothing changes, and it is never heard.

    KeyboardInterrupt may come between any two steps, also where a result is about to be kept. From ``hold`` on the
    first Ctrl-C only sets ``pressed``, for loops to look at; one more raises as ever.

    Attributes:
        pressed: set by the first one.
    """

    def __init__(self) -> None:
        self.pressed = threading.Event()
        self._raises = True
        self._before: Any = None

    def __enter__(self) -> CtrlC:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        raises = self._raises or self.pressed.is_set()
        self.pressed.set()
        if raises:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """From here on there is something to keep."""
        self._raises = False

    @contextlib.contextmanager
    def dropping(self) -> Iterator[None]:
        """What is done within is not worth waiting for: Ctrl-C ends it at once, and goes no further."""
        try:
            try:
                self._raises = True
                yield
            finally:
                self._raises = False
        except KeyboardInterrupt:  # around the other: it may come until the last moment
            pass
