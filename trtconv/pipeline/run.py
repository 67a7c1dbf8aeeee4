"""Run the steps that are not up to date, each in a process of its own, and remember what came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core import child
from trtconv.core.errors import TrtconvError
from trtconv.core.events import Emit, Message, NodeFinished, NodeStarted
from trtconv.core.files import exclusive
from trtconv.core.lazy import resolve
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.nodes import STAGES, History, Node
from trtconv.pipeline.state import State


@dataclass(frozen=True)
class Step:
    """One step as it ended.

    Attributes:
        node: the step.
        status: "done" or "up to date".
        seconds: wall time it took, now or when it last ran.
        peak_memory: of its process, in bytes.
        result: the stage's result.
    """

    node: Node
    status: str
    seconds: float
    peak_memory: int
    result: Any


def run(steps: Sequence[Node], layout: Layout, emit: Emit, force: Sequence[str] = ()) -> list[Step]:
    """Bring all steps up to date, in order.

    Args:
        steps: in an order that respects their needs.
        layout: of the job's files.
        emit: gets the events of all steps.
        force: stages to run even if up to date; ``all`` for every stage.

    Raises:
        TrtconvError: what a stage raised; finished steps stay finished.
    """

    def on_wait() -> None:
        emit(Message(f"another trtconv works in {layout.folder}; waiting for it to end", "warning"))

    with exclusive(layout.state / "run.lock", on_wait):
        state = State.load(layout.state)
        state.forget(node.name for node in steps if node.stage in force or "all" in force)
        return _Runner(layout, state, emit).run(steps)


@dataclass
class _Runner:
    layout: Layout
    state: State
    emit: Emit
    results: dict[str, Any] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)

    def run(self, steps: Sequence[Node]) -> list[Step]:
        done: list[Step] = []
        for node in steps:
            step = self.one(node)
            self.results[node.name] = step.result
            self.digests |= {path: self.state.digest(path) for path in node.outputs}
            done.append(step)
        return done

    def one(self, node: Node) -> Step:
        key = self.state.key(node)
        self.digests |= {path: key["inputs"][label] for label, path in node.inputs.items()}
        why = self.state.why_stale(node, key)
        if not why:
            record = self.state.records[node.name]
            self.emit(NodeFinished(node.name, "up to date", 0.0))
            return Step(node, "up to date", record.seconds, record.peak_memory, restore(node.stage, record.result))
        self.emit(NodeStarted(node.name))
        start = time.perf_counter()
        try:
            request = node.request(History(self.results, self.digests))
            outcome = child.call(STAGES[node.stage].function, request, self.emit, self.log(node))
        except TrtconvError as error:
            self.emit(NodeFinished(node.name, "failed", time.perf_counter() - start, error.message))
            raise
        seconds = time.perf_counter() - start
        self.state.keep(node, key, plain(node.stage, outcome.value), seconds, outcome.peak_memory)
        self.emit(NodeFinished(node.name, "done", seconds))
        return Step(node, "done", seconds, outcome.peak_memory, outcome.value)

    def log(self, node: Node) -> Path:
        return self.layout.state / "logs" / f"{self.layout.name}.{node.name}.log"


def plain(stage: str, result: Any) -> Any:
    """A stage's result as JSON-like values."""
    return _adapter(stage).dump_python(result, mode="json")


def restore(stage: str, values: Any) -> Any:
    """A stage's result from JSON-like values."""
    return _adapter(stage).validate_python(values)


def _adapter(stage: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(resolve(STAGES[stage].result))
