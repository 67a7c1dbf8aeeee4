"""How events reach people and programs: a progress bar on a terminal, plain lines elsewhere, JSON lines on request."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

from trtconv.core import strict_json
from trtconv.core.events import Emit, Event, Message, NodeFinished, NodeStarted, Progress, Running
from trtconv.core.units import format_seconds

_LINE_EVERY = 5.0
"""Seconds between two progress lines where there is no terminal."""


@contextlib.contextmanager
def listening(*, quiet: bool = False, log_json: bool = False) -> Iterator[Emit]:
    """Yield the ``Emit`` for this process's standard error."""
    if log_json:
        yield _json_line
    elif sys.stderr.isatty() and not quiet:
        with _terminal() as emit:
            yield emit
    else:
        yield _Lines(quiet)


def _json_line(event: Event) -> None:
    value = {"time": round(time.time(), 3), "event": type(event).__name__, **dataclasses.asdict(event)}
    sys.stderr.write(strict_json.dumps(value) + "\n")
    sys.stderr.flush()


def describe(event: Event) -> str:
    """One line for an event, or an empty string for one that is not worth a line."""
    if isinstance(event, Message):
        return event.text if event.level == "info" else f"{event.level}: {event.text}" if event.level != "debug" else ""
    if isinstance(event, NodeFinished):
        if event.status == "failed":
            return ""  # the error itself follows
        took = f" in {format_seconds(event.seconds)}" if event.seconds else ""
        waited = f", waited {format_seconds(event.waited)}" if event.waited >= 1 else ""
        return f"{event.node}: {event.status}{took}{waited}"
    if isinstance(event, NodeStarted):
        return f"{event.node}: started"
    if isinstance(event, Running):
        return ""
    share = f"{event.done:.0f} of {event.total:.0f}" if event.total else f"{event.done:.0f}"
    return f"  {event.label}: {share} {event.unit}"


class _Lines:
    """Plain lines; progress at most every few seconds."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            if time.monotonic() - self.last < _LINE_EVERY:
                return
            self.last = time.monotonic()
        important = isinstance(event, Message) and event.level in ("warning", "error")
        text = describe(event)
        if text and (important or not self.quiet):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


@contextlib.contextmanager
def _terminal() -> Iterator[Emit]:
    from rich import progress as rich_progress
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    columns: tuple[Any, ...] = (
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, visible=False)
        node = ""

        def emit(event: Event) -> None:
            nonlocal node
            if isinstance(event, NodeStarted):
                node = event.node
                bars.reset(task, description=node, total=None, visible=True)
            elif isinstance(event, Progress):
                label = f"{node}: {event.label}" if node else event.label
                bars.update(task, description=label, completed=event.done, total=event.total, visible=True)
            elif text := describe(event):
                console.print(text, markup=False)

        yield emit
