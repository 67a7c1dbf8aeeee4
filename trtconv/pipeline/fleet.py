"""The steps of engines on a Ray cluster: each on a node that has what its target needs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtconv.adapters import ray
from trtconv.core import child, permission, versions
from trtconv.core.errors import EnvironmentProblem, Interrupted
from trtconv.core.events import Emit, Event, Message
from trtconv.pipeline import user_code
from trtconv.pipeline.parcels import Answer, Parcel, contents, perform, receive
from trtconv.pipeline.steps import STAGES, Node

_LOOK = 2.0  # seconds between two looks at the nodes while a step is under way
_LOOK_FOR = 0.5  # while there is none for it
_TELL = 0.5  # seconds between two words of a step's progress
_THREADS = 64
_CODE = ("plugin ", "code ")  # labels of files that hold the user's code


@dataclass(frozen=True)
class Place:
    """Where a step may run.

    Attributes:
        gpu: compute capability of the GPU that it needs, such as ``sm89``; empty: none.
        wanted: the one that it would rather have, where a node has it.
    """

    gpu: str = ""
    wanted: str = ""


def place(node: Node) -> Place:
    """What a step needs: TensorRT builds on the GPU itself, TensorRT-RTX anywhere; what runs one wants its GPU."""
    backend, target = str(node.options.get("backend", "auto")), node.target or ""
    if node.stage == "build":
        return Place(gpu=target) if backend == "tensorrt" else Place()
    return Place(gpu=target) if backend in ("tensorrt", "rtx") else Place(wanted=target)


def require(address: str) -> None:
    """Refuse an address where no cluster is, before anything runs.

    Raises:
        EnvironmentProblem: none is there, or no Ray here.
    """
    ray.require(address)


class Fleet:
    """Steps under way on a cluster, each with a thread here that waits for it. It connects while others work.

    Args:
        address: see ``adapters.ray.Cluster``.
        wait: seconds that a step waits for a node that fits.

    Attributes:
        took: seconds that the stage of a step took on its node, by the step's name.
    """

    def __init__(self, address: str, wait: float) -> None:
        self.took: dict[str, float] = {}
        self._wait = wait
        self._threads = ThreadPoolExecutor(_THREADS, "trtconv-fleet")
        self._held: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._listeners: dict[str, Emit] = {}
        self._quiet = contextlib.redirect_stdout(sys.stderr)  # Ray prints news of nodes, results are for others
        self._quiet.__enter__()
        self._connecting = self._threads.submit(ray.Cluster, address, _work)

    def start(
        self, node: Node, request: Any, before: Mapping[str, Node], emit: Emit, log: Path
    ) -> Future[child.Outcome]:
        """Send a step on its way, with what it reads and what the steps ``before`` made that it needs.

        Raises:
            EnvironmentProblem: no cluster is there.
        """
        self._connecting.result()
        if not self._listeners:
            threading.Thread(target=self._listen, daemon=True).start()
        self._listeners[node.name] = emit
        return self._threads.submit(self._run, node, request, _reads(node, before), emit, log)

    def stop(self) -> None:
        """End everything that is under way."""
        self._ended.set()

    def close(self) -> None:
        """Wait for all threads and leave the cluster."""
        self._threads.shutdown()
        self._ended.set()
        with contextlib.suppress(EnvironmentProblem):
            self._cluster.close()
        self._quiet.__exit__(None, None, None)

    @property
    def _cluster(self) -> ray.Cluster:
        return self._connecting.result()

    def _run(self, node: Node, request: Any, reads: Sequence[Path], emit: Emit, log: Path) -> child.Outcome:
        found = contents(reads)
        parcel = _parcel(node, request, found)
        held = {digest: self._hold(digest, path) for digest, path in found.values()}
        answer = self._asked(node, parcel, held)
        if isinstance(answer.error, EnvironmentProblem) and self._fitting(self._gpu(node), answer.node):
            emit(Message(f"{node.name}: {answer.error.message}; trying another node", "warning"))
            answer = self._asked(node, parcel, held, answer.node)
        self.took[node.name] = answer.seconds
        for message in answer.told:
            emit(message)
        return receive(answer, node.files, log)

    def _hold(self, digest: str, path: Path) -> Any:
        """A file's content in the cluster, once for all steps."""
        with self._lock:
            if digest not in self._held:
                self._held[digest] = self._cluster.put(path.read_bytes())
            return self._held[digest]

    def _asked(self, node: Node, parcel: Parcel, held: Mapping[str, Any], without: str = "") -> Answer:
        """The answer of a node that fits; not of the one ``without``.

        Raises:
            EnvironmentProblem: none does, or none any more.
            Interrupted: Ctrl-C.
        """
        gpu = self._gpu(node)
        nodes = self._awaited(node.name, gpu, without)
        labels = {ray.GPU_LABEL: gpu} if gpu else {}
        if without:
            labels["ray.io/node-id"] = f"!{without}"
        own = int(bool(gpu) and all(one.gpus for one in nodes))  # some Ray hide the GPUs that nobody asked for
        call = self._cluster.call((node.name, parcel, [*held], *held.values()), labels, own)
        seen = time.monotonic()
        while (answer := self._cluster.result(call, _LOOK)) is None:
            if self._fitting(gpu, without):
                seen = time.monotonic()
            if self._ended.is_set() or time.monotonic() - seen > self._wait:
                self._cluster.cancel(call)
                raise self._without_answer(node.name, gpu)
        found: Answer = answer
        return found

    def _awaited(self, name: str, gpu: str, without: str) -> list[ray.Node]:
        """The nodes that fit, as soon as there is one."""
        end = time.monotonic() + self._wait
        while not (nodes := self._fitting(gpu, without)):
            if self._ended.wait(_LOOK_FOR) or time.monotonic() > end:
                raise self._without_answer(name, gpu)
        return nodes

    def _gpu(self, node: Node) -> str:
        """The GPU that a step needs, or would rather have and can."""
        asked = place(node)
        return asked.gpu or (asked.wanted if asked.wanted and self._fitting(asked.wanted) else "")

    def _fitting(self, gpu: str, without: str = "") -> list[ray.Node]:
        """The nodes that are alive and have it."""
        nodes = [node for node in self._cluster.nodes() if node.name != without]
        return [node for node in nodes if not gpu or node.labels.get(ray.GPU_LABEL) == gpu]

    def _without_answer(self, name: str, gpu: str) -> EnvironmentProblem | Interrupted:
        if self._ended.is_set():
            return Interrupted(f"interrupted during {name}")
        what = f"has a GPU {gpu} (label {ray.GPU_LABEL}={gpu})" if gpu else "is there"
        start = f" --labels {ray.GPU_LABEL}={gpu}" if gpu else ""
        return EnvironmentProblem(
            f"{name}: no node of the fleet {what}, and none came in {self._wait:.0f} s",
            hint=f"ray start --address=HOST:6379{start} on a machine that has, or --fleet-wait for longer",
        )

    def _listen(self) -> None:
        """The progress of steps on their nodes, to those who asked for them."""
        while not self._ended.wait(_TELL):
            for name, event in self._cluster.posted():
                self._listeners[name](event)


def _parcel(node: Node, request: Any, found: Mapping[str, tuple[str, Path]]) -> Parcel:
    stage, code = STAGES[node.stage], any(label.startswith(_CODE) for label in node.inputs)
    return Parcel(
        function=stage.function,
        aside="" if code else stage.aside,  # it runs in a process that has the sender's leave, and no other
        request=request,
        reads={name: digest for name, (digest, _) in found.items()},
        makes=tuple(map(str, node.files)),
        packages=versions.of((*stage.packages, *node.packages)),
        alone=stage.alone,
        folders=user_code.folders_of(path for _, path in found.values()),
        allow_code=permission.granted(),
    )


def _reads(node: Node, before: Mapping[str, Node]) -> list[Path]:
    """What a step names, and all that the steps before it made: an engine that cannot run is the model it came from."""
    reads, queue, seen = [*node.inputs.values()], [*node.needs], set[str]()
    while queue:
        name = queue.pop()
        if name in before and name not in seen:
            seen.add(name)
            reads += [path for path in before[name].files if path.exists()]
            reads += [path for label, path in before[name].inputs.items() if label.startswith(_CODE)]
            queue += before[name].needs
    return reads


def _work(mailbox: Any, name: str, parcel: Parcel, digests: Sequence[str], *contents: ray.Shared) -> Answer:
    """On a node: the step, with its files from the cluster."""
    held = dict(zip(digests, contents, strict=True))
    last = 0.0

    def emit(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TELL:
            last = now
            ray.post(mailbox, (name, event))

    return replace(perform(parcel, lambda digest: memoryview(held[digest].data), emit), node=ray.node_id())
