"""Run a command and watch the memory of everything it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_INTERVAL = 0.02
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Watched:
    """What a command did.

    Attributes:
        code: its exit status.
        seconds: wall time.
        peak: largest sum of resident memory over the process and all below it, in bytes, looked at every 20 ms.
        out: standard output.
        said: standard error.
        cpu: processor time of the process and all below it, user's and system's, in seconds.
    """

    code: int
    seconds: float
    peak: int
    out: str
    said: str
    cpu: float = 0.0


def watch(command: Sequence[str], env: Mapping[str, str] | None = None) -> Watched:
    """Run a command to its end.

    Args:
        command: program and arguments.
        env: variables to add to the environment.
    """
    start, before = time.perf_counter(), _cpu()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=out, stderr=said, env={**os.environ, **(env or {})})
        peak = 0
        while process.poll() is None:
            peak = max(peak, _total(process.pid))
            time.sleep(_INTERVAL)
        seconds = time.perf_counter() - start
        for file in (out, said):
            file.seek(0)
        printed, told = (file.read().decode(errors="replace") for file in (out, said))
        return Watched(process.returncode, seconds, peak, printed, told, _cpu() - before)


def _cpu() -> float:
    """Processor time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _total(root: int) -> int:
    """Resident bytes of a process and all below it.

    A process that has been forked and has not yet started its program has the memory of its parent: it counts once.
    """
    total, queue = 0, [(root, "")]
    while queue:
        pid, parents = queue.pop()
        try:
            pages = Path(f"/proc/{pid}/statm").read_text()
            for task in Path(f"/proc/{pid}/task").iterdir():
                queue += [(int(child), pages) for child in (task / "children").read_text().split()]
        except OSError:  # it has just ended
            continue
        total += int(pages.split()[1]) * _PAGE if pages != parents else 0
    return total
