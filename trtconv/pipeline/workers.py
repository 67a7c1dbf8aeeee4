"""Stages under way, each in a process of its own, with a thread here that listens to it."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from trtconv.core import child
from trtconv.core.events import Emit, Message
from trtconv.core.lazy import resolve

Call = Future[child.Outcome]


class Workers:
    """At most ``jobs`` at a time. A run with nothing to do never makes them, and is spared these imports."""

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)

    def start(self, function: str, request: Any, emit: Emit, log: Path, patience: float = 0.0) -> Call:
        """Call ``module:function`` of type (request, emit); see ``child.call``."""
        return self._threads.submit(_call, function, request, emit, log, patience)

    def start_aside(self, function: str, request: Any, emit: Emit, log: Path) -> Call:
        """Call a stage that has processes of its own; see ``steps.Stage.aside``."""
        return self._threads.submit(resolve(function), request, emit, log)

    def stop(self) -> None:
        """End all processes, those with patience not before they told what they have."""
        child.stop_all()

    def close(self) -> None:
        """Wait for all threads."""
        self._threads.shutdown()


def first(calls: Iterable[Call]) -> Iterable[Call]:
    """Wait until one of them has ended; all that have."""
    return wait(calls, return_when=FIRST_COMPLETED).done


def _call(function: str, request: Any, emit: Emit, log: Path, patience: float) -> child.Outcome:
    """A stage; once more, without running a model for its comparison, where that ended the process."""
    try:
        return child.call(function, request, emit, log, patience=patience)
    except child.RunDied as died:
        if not hasattr(request, "without_running"):
            raise
        emit(Message(f"{died.what}: {died.why}; done again without that", "warning"))
        return child.call(function, request.without_running(died.why), emit, log, patience=patience)
