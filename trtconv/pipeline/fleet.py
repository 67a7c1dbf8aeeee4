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
from trtconv.core.events import Emit, Message
from trtconv.pipeline import user_code
from trtconv.pipeline.parcels import Answer, Parcel, contents, perform, receive
from trtconv.pipeline.steps import STAGES, Node

_LOOK = 2.0  # seconds between two looks at the nodes
_THREADS = 64
_CODE = ("plugin ", "code ")  # labels of what an engine needs beside it


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
    """Steps under way on a cluster, each with a thread here that waits for it.

    Args:
        address: see ``adapters.ray.Cluster``.
        wait: seconds that a step waits for a node that fits.

    Raises:
        EnvironmentProblem: no cluster is there.
    """

    def __init__(self, address: str, wait: float) -> None:
        self._cluster = ray.Cluster(address)
        self._quiet = contextlib.redirect_stdout(sys.stderr)  # Ray prints news of nodes, results are for others
        self._quiet.__enter__()
        self._wait = wait
        self._threads = ThreadPoolExecutor(_THREADS, "trtconv-fleet")
        self._held: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._channel = self._cluster.channel()
        self._listeners: dict[str, Emit] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self, node: Node, request: Any, before: Mapping[str, Node], emit: Emit, log: Path
    ) -> Future[child.Outcome]:
        """Send a step on its way, with what it reads and what the steps ``before`` made that it needs."""
        self._listeners[node.name] = emit
        return self._threads.submit(self._run, node, request, _reads(node, before), emit, log)

    def stop(self) -> None:
        """End everything that is under way."""
        self._ended.set()

    def close(self) -> None:
        """Wait for all threads and leave the cluster."""
        self._threads.shutdown()
        self._ended.set()
        self._cluster.close()
        self._quiet.__exit__(None, None, None)

    def _run(self, node: Node, request: Any, reads: Sequence[Path], emit: Emit, log: Path) -> child.Outcome:
        found = contents(reads)
        stage = STAGES[node.stage]
        parcel = Parcel(
            function=stage.function,
            request=request,
            reads={name: digest for name, (digest, _) in found.items()},
            makes=tuple(map(str, node.files)),
            packages=versions.of((*stage.packages, *node.packages)),
            alone=stage.alone,
            folders=user_code.folders_of(path for _, path in found.values()),
            allow_code=permission.granted(),
        )
        held = {digest: self._hold(digest, path) for digest, path in found.values()}
        answer = self._asked(node, parcel, held)
        if isinstance(answer.error, EnvironmentProblem) and self._fits(self._gpu(node), answer.node):
            emit(Message(f"{node.name}: {answer.error.message}; trying another node", "warning"))
            answer = self._asked(node, parcel, held, answer.node)
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
        if not ray.patiently(lambda: self._fits(gpu, without) or self._ended.is_set(), self._wait):
            raise _nobody(node.name, gpu, self._wait)
        labels = {ray.GPU_LABEL: gpu} if gpu else {}
        if without:
            labels["ray.io/node-id"] = f"!{without}"
        call = self._cluster.call(_work, (parcel, dict(held), self._channel, node.name), labels)
        lost = 0.0
        while (answer := self._cluster.result(call, _LOOK)) is None:
            if self._ended.is_set():
                self._cluster.cancel(call)
                raise Interrupted(f"interrupted during {node.name}")
            lost = 0.0 if self._fits(gpu, without) else lost + _LOOK
            if lost > self._wait:
                self._cluster.cancel(call)
                raise _nobody(node.name, gpu, self._wait)
        found: Answer = answer
        return found

    def _gpu(self, node: Node) -> str:
        """The GPU that a step needs, or would rather have and can."""
        asked = place(node)
        return asked.gpu or (asked.wanted if asked.wanted and self._fits(asked.wanted) else "")

    def _fits(self, gpu: str, without: str = "") -> bool:
        """Whether a node that is alive has it."""
        nodes = [node for node in self._cluster.nodes() if node["ray.io/node-id"] != without]
        return any(not gpu or node.get(ray.GPU_LABEL) == gpu for node in nodes)

    def _listen(self) -> None:
        """What steps tell on their nodes, to those who asked for them."""
        while not self._ended.is_set():
            try:
                name, event = self._channel.get(timeout=0.5)
            except Exception:  # noqa: BLE001 - empty, or the cluster is gone: progress is not worth an error
                time.sleep(0.1)
                continue
            self._listeners[name](event)


def _reads(node: Node, before: Mapping[str, Node]) -> list[Path]:
    reads, queue, seen = [*node.inputs.values()], [*node.needs], set[str]()
    while queue:
        name = queue.pop()
        if name in before and name not in seen:
            seen.add(name)
            reads += [path for path in before[name].files if path.exists()]
            reads += [path for label, path in before[name].inputs.items() if label.startswith(_CODE)]
            queue += before[name].needs
    return reads


def _nobody(name: str, gpu: str, wait: float) -> EnvironmentProblem:
    what = f"has a GPU {gpu} (label {ray.GPU_LABEL}={gpu})" if gpu else "is there"
    start = f" --labels {ray.GPU_LABEL}={gpu}" if gpu else ""
    return EnvironmentProblem(
        f"{name}: no node of the fleet {what}, and none came in {wait:.0f} s",
        hint=f"ray start --address=HOST:6379{start} on a machine that has, or --fleet-wait for longer",
    )


def _work(parcel: Parcel, held: Mapping[str, Any], channel: Any, name: str) -> Answer:
    """On a node: the step, with its files from the cluster."""
    keys = list(held)
    values = dict(zip(keys, ray.get([held[key] for key in keys]), strict=True))

    def emit(event: Any) -> None:
        with contextlib.suppress(Exception):  # a step does not fail for want of somebody who listens
            channel.put((name, event))

    return replace(perform(parcel, values, emit), node=ray.node_id())
