"""Run the steps that are not up to date, each in a process of its own, and remember what came out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from trtconv.core import endings
from trtconv.core.digests import of_value
from trtconv.core.errors import Interrupted, NoKernel, TrtconvError, UsageError
from trtconv.core.events import Emit, Event, Message, NodeFinished, NodeStarted, Progress
from trtconv.core.files import data_of, exclusive
from trtconv.core.lazy import Beside, LaterMapping
from trtconv.pipeline import early_start, output_paths
from trtconv.pipeline.layout import PARTS, Layout
from trtconv.pipeline.lock import Lock
from trtconv.pipeline.relocation import relocated, restamp
from trtconv.pipeline.results import plain, restore
from trtconv.pipeline.state import State
from trtconv.pipeline.steps import STAGES, History, Node
from trtconv.pipeline.store import Store, default_folder
from trtconv.pipeline.store import limit as store_limit

if TYPE_CHECKING:
    from trtconv.pipeline.fleet import Fleet
    from trtconv.pipeline.workers import Call, Workers


PATIENCE = 10.0  # seconds that a measurement gets after Ctrl-C to tell what it has


@dataclass(frozen=True)
class Step:
    """One step as it ended.

    Attributes:
        node: the step.
        status: "done", "from cache", "up to date", "failed", "partial" where Ctrl-C ended a measurement, or "skipped"
            when one that it needs failed or when this machine has no way to run its model.
        seconds: wall time it took, now or when it last ran; on a fleet, of its stage on the node.
        peak_memory: of its process, in bytes.
        result: the stage's result; None for a step that failed or was skipped.
        error: why it failed.
    """

    node: Node
    status: str
    seconds: float = 0.0
    peak_memory: int = 0
    result: Any = None
    error: TrtconvError | None = None


@dataclass(frozen=True)
class Settings:
    """How to run.

    Attributes:
        force: stages to run even if up to date; ``all`` for every stage.
        jobs: steps at the same time.
        lock: the job's lock file, written at the end; None for jobs without one.
        locked: refuse to run where the lock would change.
        job: the job file; None: there is none.
        notes: warnings to tell first.
        fleet: address of a Ray cluster for the steps of engines; empty: all run here.
        fleet_wait: seconds that such a step waits for a node that fits.
        foresee: called once, before the first step that is not up to date: refuses what steps would refuse later.
    """

    force: Sequence[str] = ()
    jobs: int = 1
    lock: Lock | None = None
    locked: bool = False
    job: Path | None = None
    notes: Sequence[str] = ()
    fleet: str = ""
    fleet_wait: float = 120.0
    foresee: Callable[[], object] | None = None

    def forces(self, node: Node) -> bool:
        """Whether a step must run whatever is recorded of it."""
        return node.stage in self.force or "all" in self.force


def run(steps: Sequence[Node], layout: Layout, emit: Emit, settings: Settings = Settings()) -> list[Step]:
    """Bring all steps up to date. A step that fails stops those that need it, not the others.

    Args:
        steps: in an order that respects their needs.
        layout: of the job's files.
        emit: gets the events of all steps.
        settings: how to run.

    Raises:
        UsageError: files cannot be where they should; the lock would change, or the bytes came out differently.
        Interrupted: Ctrl-C; finished steps stay finished, and the error's ``steps`` tells of those that ended.
    """

    def on_wait() -> None:
        emit(Message(f"another trtconv works in {layout.folder}; waiting for it to end", "warning"))

    lock, room = settings.lock, store_limit()
    output_paths.require(steps, layout, writable=True)
    with exclusive(layout.state / "run.lock", on_wait):
        output_paths.sweep(steps, layout)
        state = State.load(layout.state)
        for note in (*settings.notes, *state.claimed_by(settings.job)):
            emit(Message(note, "warning"))
        folder = default_folder()
        store = None if folder is None else Store(folder)
        if lock is not None and settings.locked:
            _refuse(lock, "would change", lock.would_change(steps, state))
        state.forget(node.name for node in steps if settings.forces(node))
        done = _Runner(layout=layout, state=state, emit=emit, store=store, settings=settings).run(steps)
        whole = [step.node for step in done if step.result is not None]
        if lock is not None and settings.locked:
            _refuse(lock, "does not hold", lock.came_out_differently(whole, state))
        elif lock is not None and lock.differs(whole, state):
            lock.write(whole, state)
        if state.unsaved:
            state.save()
    if store is not None and any(step.status == "done" for step in done):
        store.collect(room)
    return done


def _refuse(lock: Lock, what: str, changes: list[str]) -> None:
    if changes:
        raise UsageError(
            "\n".join([f"{lock.path.name} {what}:", *changes]),
            hint="run without --locked and commit the new lock file, if the change is meant",
        )


@dataclass(repr=False, eq=False)
class _Runner:
    """Decides and records in one thread; only the stages' processes run beside each other."""

    layout: Layout
    state: State
    emit: Emit
    store: Store | None
    settings: Settings
    ended: dict[str, Step] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    running: dict[Call, tuple[Node, Callable[[], dict[str, Any]], float]] = field(default_factory=dict)
    warned: dict[str, list[str]] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    workers: Workers | None = None
    fleet: Fleet | None = None
    foreseen: bool = False
    sends: bool = False

    def run(self, steps: Sequence[Node]) -> list[Step]:
        waiting = list(steps)
        self.sends = any(map(self.travels, steps))
        try:
            while waiting or self.running:
                waiting = [node for node in waiting if not self.start(node)]
                if self.running:
                    self.collect()
        except KeyboardInterrupt:
            self.rescue()
            stop = Interrupted("interrupted; finished steps stay finished")
            stop.steps = list(self.ended.values())
            raise stop from None
        finally:
            for crew in self.crews:
                crew.close()
        return [self.ended[node.name] for node in steps]

    def rescue(self) -> None:
        """Stop what is under way; what a measurement has by then is a step's result, but nothing is recorded."""
        for crew in self.crews:
            crew.stop()
        for call, (node, _, began) in self.running.items():
            with contextlib.suppress(TrtconvError):
                value = call.result().value
                if STAGES[node.stage].alone:
                    self.ended[node.name] = Step(node, "partial", time.perf_counter() - began, result=value)

    @property
    def crews(self) -> list[Workers | Fleet]:
        return [crew for crew in (self.workers, self.fleet) if crew is not None]

    def start(self, node: Node) -> bool:
        """Settle or start a step whose needs are met; False when it must wait."""
        before = [self.ended.get(need) for need in node.needs]
        if any(step is not None and step.result is None for step in before):
            self.end(Step(node, "skipped"))
            return True
        if None in before or not self.room_for(node):
            return False
        alone = self.settings.jobs == 1 and not self.running and not self.travels(node)
        early = alone and early_start.may_start(node, self.state, self.store)
        key: Callable[[], dict[str, Any]]
        key = Beside(partial(self.key, node, early_start.marks(node))) if early else partial(dict, self.key(node))
        if not early and self.stands(node, key()):
            return True
        if not self.foreseen and self.settings.foresee is not None:
            with endings.held():  # it loads packages, see below
                self.settings.foresee()
        self.foreseen = True
        self.connect()
        self.emit(NodeStarted(node.name))
        began = time.perf_counter()
        results = {name: step.result for name, step in self.ended.items()}
        digests = LaterMapping(lambda: (key(), self.digests)[1]) if early else self.digests
        try:
            with endings.held():  # packages that are being loaded may swallow Ctrl-C, as NumPy's C code does
                request = node.request(History(results, digests))
        except TrtconvError as error:
            self.end(Step(node, "failed", error=error))
            return True
        if not early and self.fetch(node, key(), request):
            return True
        self.running[self.call(node, request)] = node, key, began
        return True

    def key(self, node: Node, before: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """A step's key, and the digests in it for the steps that follow; ``before`` are marks, see ``early_start``."""
        key = early_start.key(node, self.state, before)
        self.digests |= {path: key["inputs"][label] for label, path in node.inputs.items()}
        return key

    def stands(self, node: Node, key: dict[str, Any]) -> bool:
        """Whether what is recorded of a step holds, which then has ended."""
        if self.state.why_stale(node, key):
            return False
        record = self.state.records[node.name]
        result = restore(node.stage, record.result)
        self.warn_again(record.warnings)
        self.end(Step(node, "up to date", record.seconds, record.peak_memory, result))
        return True

    def call(self, node: Node, request: Any) -> Call:
        """The step's stage, under way."""
        if self.travels(node):
            return self.sent(node, request)
        if self.workers is None:
            from trtconv.pipeline.workers import Workers

            self.workers = Workers(self.settings.jobs)
        stage = STAGES[node.stage]
        patience = PATIENCE if stage.alone else 0.0
        listener, log = self.listener(node), self.log(node)
        if stage.aside:
            return self.workers.start_aside(stage.aside, request, listener, log)
        return self.workers.start(stage.function, request, listener, log, patience)

    def travels(self, node: Node) -> bool:
        """Whether a step goes to the fleet: those of engines do, those that all engines share are done once, here."""
        return bool(self.settings.fleet) and node.target is not None

    def connect(self) -> None:
        """Look for the fleet as soon as a step must run: it is there when those that all engines share are done."""
        if self.fleet is None and self.sends:
            from trtconv.pipeline.fleet import Fleet

            self.fleet = Fleet(self.settings.fleet, self.settings.fleet_wait)

    def sent(self, node: Node, request: Any) -> Call:
        """The step under way on the fleet, with every file that it and the steps before it read or made."""
        assert self.fleet is not None
        before = {name: step.node for name, step in self.ended.items()}
        return self.fleet.start(node, request, before, self.listener(node), self.log(node))

    def room_for(self, node: Node) -> bool:
        """Whether a step may start now: what measures time runs alone on its machine; the fleet sees to its own."""
        if self.travels(node):
            return True
        here = [other for other, _, _ in self.running.values() if not self.travels(other)]
        if STAGES[node.stage].alone or any(STAGES[other.stage].alone for other in here):
            return not here
        return len(here) < self.settings.jobs

    def collect(self) -> None:
        """Wait for a running step and record how it ended."""
        from trtconv.pipeline.workers import first

        for call in first(self.running):
            node, find, began = self.running.pop(call)
            spent = time.perf_counter() - began
            seconds = self.fleet.took.get(node.name, 0.0) if self.fleet and self.travels(node) else spent
            self.waited[node.name] = spent - seconds
            try:
                outcome = call.result()
            except Interrupted:
                raise KeyboardInterrupt from None
            except TrtconvError as error:
                self.end(self.failure(node, seconds, error))
                continue
            result, key = plain(outcome.value), find()
            if changed := self.changed(node, key):
                key = {**key, "inputs": {**key["inputs"], **dict.fromkeys(changed, early_start.CHANGED)}}
            warnings = self.warned.get(node.name, [])
            known = getattr(outcome.value, "digests", {})
            self.state.keep(node, key, result, seconds, outcome.peak_memory, warnings, known)
            if not changed:
                record = {"result": result, "seconds": seconds, "peak_memory": outcome.peak_memory}
                self.offer(node, key, {**record, "warnings": warnings})
            self.end(Step(node, "done", seconds, outcome.peak_memory, outcome.value))

    def changed(self, node: Node, key: Mapping[str, Any]) -> list[str]:
        """Inputs that somebody changed while the step ran: nobody knows which content it read, so it will run again."""
        now = self.state.key(node)["inputs"]
        found = [label for label, digest in key["inputs"].items() if now.get(label) != digest]
        if found:
            text = f"{node.name}: {', '.join(found)} changed while it ran; it will run again the next time"
            self.emit(Message(text, "warning"))
        return found

    def failure(self, node: Node, seconds: float, error: TrtconvError) -> Step:
        """A step whose model this machine can only build is skipped, unless the job demands the runtime it lacks."""
        if isinstance(error, NoKernel) and node.options.get("backend", "auto") == "auto":
            self.emit(Message(f"{node.name} skipped: {error.message}", "warning"))
            return Step(node, "skipped", seconds)
        return Step(node, "failed", seconds, error=error)

    def end(self, step: Step) -> None:
        self.ended[step.node.name] = step
        if step.result is not None:
            self.digests |= self.state.written(step.node)
        spent = step.seconds if step.status in ("done", "failed") else 0.0
        detail = "" if step.error is None else step.error.message
        self.emit(NodeFinished(step.node.name, step.status, spent, detail, self.waited.get(step.node.name, 0.0)))

    def warn_again(self, warnings: Iterable[str]) -> None:
        """What a step warned of when it ran holds for its outcome."""
        for text in warnings:
            self.emit(Message(text, "warning"))

    def listener(self, node: Node) -> Emit:
        """What a step warns of is kept for when its outcome is; beside others, its progress carries its name."""
        warned = self.warned[node.name] = []

        def emit(event: Event) -> None:
            if isinstance(event, Message) and event.level == "warning":
                warned.append(event.text)
            if self.settings.jobs == 1 and not self.settings.fleet:
                self.emit(event)
                return
            named = replace(event, label=f"{node.name}: {event.label}") if isinstance(event, Progress) else event
            self.emit(named)

        return emit

    def fetch(self, node: Node, key: dict[str, Any], request: Any) -> bool:
        """Take a step's outcome from the store, its files to their places; False when it must run."""
        if self.store is None or not STAGES[node.stage].shared or self.settings.forces(node):
            return False
        taken = self.store.take(_address(node, key), node.files)
        if taken is None:
            return False
        record = taken.record
        moved = dict(zip(record["files"], map(str, node.files), strict=True))
        result = relocated(record["result"], moved)
        for path in node.files:
            data_of(path).unlink(missing_ok=True)  # of a larger model that lay here
        for path in node.facts:
            restamp(path, request)
        for path in (path for path in node.files if path.suffix == PARTS):
            from trtconv.engines.plan import manifest

            manifest.write_provenance(path, request.model, request.provenance)
        warnings = record.get("warnings", ())
        known = {path: digest for path, digest in taken.digests.items() if path not in node.facts}  # see restamp
        self.state.keep(node, key, result, record["seconds"], record["peak_memory"], warnings, known)
        self.warn_again(warnings)
        restored = restore(node.stage, result)
        self.end(Step(node, "from cache", record["seconds"], record["peak_memory"], restored))
        return True

    def offer(self, node: Node, key: dict[str, Any], record: dict[str, Any]) -> None:
        """Put a finished step's outcome into the store, for other jobs.

        Not models of several gigabytes, nor what is the source itself: to find that out again takes no time.
        """
        sources = self.state.written(node)
        left = any(data_of(path).exists() for path in sources) or set(sources.values()) <= set(key["inputs"].values())
        if self.store is not None and STAGES[node.stage].shared and not left:
            record = {**record, "files": [str(path) for path in node.files]}
            self.store.put(_address(node, key), node.stage, self.state.kind(node), sources, record)
            self.state.linked(sources)

    def log(self, node: Node) -> Path:
        return self.layout.state / "logs" / f"{self.layout.name}.{node.name}.log"


def _address(node: Node, key: dict[str, Any]) -> str:
    return of_value({"stage": node.stage, **key})
