"""Run a command and watch the memory of everything it starts."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.02


@dataclass(frozen=True)
class Watched:
    """What a command did.

    Attributes:
        code: its exit status.
        seconds: wall time.
        peak: largest sum of resident memory over the process and all below it, in bytes, looked at every 20 ms.
        out: standard output.
        said: standard error.
    """

    code: int
    seconds: float
    peak: int
    out: str
    said: str


def watch(command: Sequence[str], env: Mapping[str, str] | None = None) -> Watched:
    """Run a command to its end.

    Args:
        command: program and arguments.
        env: variables to add to the environment.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=out, stderr=said, env={**os.environ, **(env or {})})
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_resident(pid) for pid in _tree(process.pid)))
            time.sleep(_INTERVAL)
        seconds = time.perf_counter() - start
        for file in (out, said):
            file.seek(0)
        return Watched(
            process.returncode, seconds, peak, out.read().decode(errors="replace"), said.read().decode(errors="replace")
        )


def _tree(root: int) -> list[int]:
    """A process and all below it."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [int(child) for child in (task / "children").read_text().split()]
        except OSError:  # it has just ended
            continue
    return found


def _resident(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
