"""What stages tell while they work. A stage gets an ``Emit`` and knows nothing of terminals or log formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Message:
    """One line for the log."""

    text: str
    level: Level = "info"


@dataclass(frozen=True)
class Progress:
    """Work done so far.

    Attributes:
        label: what is being done, in a few words.
        done: units finished.
        total: units in all, or None when unknown.
        unit: the name of one unit, plural ("samples", "steps", "bytes").
    """

    label: str
    done: float
    total: float | None = None
    unit: str = "steps"


@dataclass(frozen=True)
class Running:
    """A model that may crash or never end now runs on inputs that nobody chose; said to whoever watches the process.

    Attributes:
        what: runs, such as ``the model on random inputs``; empty: it is over.
        seconds: it gets, after which the process is ended.
    """

    what: str
    seconds: float = 0.0


@dataclass(frozen=True)
class NodeStarted:
    """A step of the plan begins; ``node`` is its name, such as ``build[fp16]``."""

    node: str


@dataclass(frozen=True)
class NodeFinished:
    """A step of the plan ended.

    Attributes:
        node: its name.
        status: "done", "from cache" (taken from the store), "up to date", "failed" or "skipped".
        seconds: wall time spent now.
        detail: one line about the outcome.
        waited: seconds besides, between its start here and that of its stage on a node of a fleet, and on the way back.
    """

    node: str
    status: str
    seconds: float
    detail: str = ""
    waited: float = 0.0


Event = Message | Progress | Running | NodeStarted | NodeFinished
Emit = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """An ``Emit`` for callers that do not listen."""
