"""Run the steps that are not up to date, each in a process of its own, and remember what came out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtconv.core import child
from trtconv.core.digests import of_value
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.events import Emit, Message, NodeFinished, NodeStarted
from trtconv.core.files import exclusive, write_json
from trtconv.core.lazy import resolve
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.lock import Lock
from trtconv.pipeline.nodes import STAGES, History, Node
from trtconv.pipeline.state import State
from trtconv.pipeline.store import Store, default_folder
from trtconv.pipeline.store import limit as store_limit


@dataclass(frozen=True)
class Step:
    """One step as it ended.

    Attributes:
        node: the step.
        status: "done", "from cache" or "up to date".
        seconds: wall time it took, now or when it last ran.
        peak_memory: of its process, in bytes.
        result: the stage's result.
    """

    node: Node
    status: str
    seconds: float
    peak_memory: int
    result: Any


def run(
    steps: Sequence[Node],
    layout: Layout,
    emit: Emit,
    force: Sequence[str] = (),
    lock: Lock | None = None,
    locked: bool = False,
) -> list[Step]:
    """Bring all steps up to date, in order.

    Args:
        steps: in an order that respects their needs.
        layout: of the job's files.
        emit: gets the events of all steps.
        force: stages to run even if up to date; ``all`` for every stage.
        lock: the job's lock file, written at the end; None for jobs without one.
        locked: refuse to run where the lock would change.

    Raises:
        UsageError: the lock would change, or the bytes came out differently.
        TrtconvError: what a stage raised; finished steps stay finished.
    """

    def on_wait() -> None:
        emit(Message(f"another trtconv works in {layout.folder}; waiting for it to end", "warning"))

    with exclusive(layout.state / "run.lock", on_wait):
        state = State.load(layout.state)
        folder = default_folder()
        store = None if folder is None else Store(folder)
        if lock is not None and locked:
            _refuse(lock, "would change", lock.would_change(steps, state))
        state.forget(node.name for node in steps if node.stage in force or "all" in force)
        done = _Runner(layout, state, emit, store, force).run(steps)
        if lock is not None and locked:
            _refuse(lock, "does not hold", lock.came_out_differently(steps, state))
        elif lock is not None:
            lock.write(steps, state)
    if store is not None and any(step.status == "done" for step in done):
        store.collect(store_limit())
    return done


def _refuse(lock: Lock, what: str, changes: list[str]) -> None:
    if changes:
        raise UsageError(
            "\n".join([f"{lock.path.name} {what}:", *changes]),
            hint="run without --locked and commit the new lock file, if the change is meant",
        )


@dataclass
class _Runner:
    layout: Layout
    state: State
    emit: Emit
    store: Store | None
    force: Sequence[str]
    results: dict[str, Any] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)

    def run(self, steps: Sequence[Node]) -> list[Step]:
        done: list[Step] = []
        for node in steps:
            step = self.one(node)
            self.results[node.name] = step.result
            self.digests |= {path: self.state.digest(path) for path in node.files}
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
        request = node.request(History(self.results, self.digests))
        found = self.fetched(node, key, request)
        if found is not None:
            self.state.keep(node, key, found["result"], found["seconds"], found["peak_memory"])
            self.emit(NodeFinished(node.name, "from cache", time.perf_counter() - start))
            result = restore(node.stage, found["result"])
            return Step(node, "from cache", found["seconds"], found["peak_memory"], result)
        try:
            outcome = child.call(STAGES[node.stage].function, request, self.emit, self.log(node))
        except TrtconvError as error:
            self.emit(NodeFinished(node.name, "failed", time.perf_counter() - start, error.message))
            raise
        seconds = time.perf_counter() - start
        result = plain(node.stage, outcome.value)
        self.state.keep(node, key, result, seconds, outcome.peak_memory)
        self.stored(node, key, {"result": result, "seconds": seconds, "peak_memory": outcome.peak_memory})
        self.emit(NodeFinished(node.name, "done", seconds))
        return Step(node, "done", seconds, outcome.peak_memory, outcome.value)

    def fetched(self, node: Node, key: dict[str, Any], request: Any) -> dict[str, Any] | None:
        """A step's outcome from the store, its files in their places; None when it must run."""
        if self.store is None or not STAGES[node.stage].shared or node.stage in self.force or "all" in self.force:
            return None
        record = self.store.take(_address(node, key), node.files)
        if record is None:
            return None
        moved = dict(zip(record.pop("files"), map(str, node.files), strict=True))
        record["result"] = _relocated(record["result"], moved)
        for path in node.facts:  # the chain behind the same bytes may be another one
            facts = {**json.loads(path.read_text()), **getattr(request, "provenance", {})}
            write_json(path, facts)
        return record

    def stored(self, node: Node, key: dict[str, Any], record: dict[str, Any]) -> None:
        """Offer a finished step's outcome to other jobs."""
        if self.store is not None and STAGES[node.stage].shared:
            sources = {path: self.state.digest(path) for path in node.files}
            record = {**record, "files": [str(path) for path in node.files]}
            self.store.put(_address(node, key), node.stage, sources, record)

    def log(self, node: Node) -> Path:
        return self.layout.state / "logs" / f"{self.layout.name}.{node.name}.log"


def _address(node: Node, key: dict[str, Any]) -> str:
    return of_value({"stage": node.stage, **key})


def _relocated(value: Any, moved: dict[str, str]) -> Any:
    """A result whose paths are those of this job."""
    if isinstance(value, dict):
        return {name: _relocated(part, moved) for name, part in value.items()}
    if isinstance(value, list):
        return [_relocated(part, moved) for part in value]
    return moved.get(value, value) if isinstance(value, str) else value


def plain(stage: str, result: Any) -> Any:
    """A stage's result as JSON-like values."""
    return _adapter(stage).dump_python(result, mode="json")


def restore(stage: str, values: Any) -> Any:
    """A stage's result from JSON-like values."""
    return _adapter(stage).validate_python(values)


def _adapter(stage: str) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(resolve(STAGES[stage].result))
