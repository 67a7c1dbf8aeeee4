"""Standard streams as they come: closed, read by somebody who has seen enough, in any locale."""

from __future__ import annotations

import io
import locale
import os
import sys
from typing import Any


def prepare() -> None:
    """Have all three, whatever this process was given; nothing that is printed can fail for its letters."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would take its number, and get what others print
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - stays open
    sys.stdout, sys.stderr = _patient(sys.stdout, 1), _patient(sys.stderr, 2)


def flush() -> None:
    """Write what is still held back.

    Raises:
        OSError: a full disk.
    """
    sys.stdout.flush()


def in_utf8() -> None:
    """Begin again in UTF-8 where the locale is another one: jobs, labels and results are UTF-8 everywhere."""
    if sys.flags.utf8_mode or locale.getencoding().lower().replace("-", "") == "utf8":
        return
    command = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})


class _Patient(io.FileIO):
    """Takes everything, also when the other end of the pipe has gone: the outcome is not the reader's affair."""

    gone = False

    def write(self, data: Any) -> int:
        if not self.gone:
            try:
                return super().write(data) or 0
            except BrokenPipeError:
                self.gone = True
        return len(data)


def _patient(stream: Any, number: int) -> Any:
    raw = _Patient(number, "w", closefd=False)
    encoding = "utf-8" if stream is None else stream.encoding
    made = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=raw.isatty())
    if number == 2:
        made.reconfigure(write_through=True)
    return made
