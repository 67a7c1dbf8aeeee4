"""Door to Ray: functions that run on a node of a cluster."""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from trtconv.core.errors import EnvironmentProblem
from trtconv.core.extras import install_line

GPU_LABEL = "trtconv.io/gpu"
"""The label of nodes that says which GPU they have: ``ray start --labels trtconv.io/gpu=sm89``."""

_RETRIES = 3
_CONNECT = 10.0  # seconds


@dataclass(frozen=True)
class Node:
    """A machine of a cluster.

    Attributes:
        name: in the cluster.
        labels: that it was started with, and Ray's own.
        gpus: that Ray knows of.
    """

    name: str
    labels: Mapping[str, str]
    gpus: int


class Cluster:
    """A Ray cluster that this process is a driver of.

    Args:
        address: ``ray`` for the one on this machine (or RAY_ADDRESS), ``ray://host:10001`` or ``host:6379``.
        function: that its nodes run, of a module that they all have; its first argument is for ``post``. A node or
            worker that dies, and an OSError, let Ray start it again, on whatever node fits.

    Raises:
        EnvironmentProblem: no cluster is there, or no Ray.
    """

    def __init__(self, address: str, function: Callable[..., Any]) -> None:
        require(address)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray = ray
        where = "auto" if address == "ray" else address
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            ray.init(address=where, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _nowhere(address, str(error).splitlines()[0]) from None
        self._address = address if "://" in address else ray.get_runtime_context().gcs_address
        self._function = ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=[OSError])(function)
        here = NodeAffinitySchedulingStrategy(node_id(), soft=True)
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()

    def nodes(self) -> list[Node]:
        """Every node that is alive and may work.

        Raises:
            EnvironmentProblem: the cluster has gone.
        """
        require(self._address)
        with self._there():
            found = self._ray.nodes()
        return [
            Node(node["NodeID"], node.get("Labels", {}), int(node["Resources"].get("GPU", 0)))
            for node in found
            if node["Alive"] and node.get("Resources", {}).get("CPU", 0) > 0
        ]

    @contextmanager
    def _there(self) -> Iterator[None]:
        """Raise what Ray says when its processes on this machine, or the head, have gone as what it is."""
        try:
            yield
        except (OSError, self._ray.exceptions.RayError) as error:
            raise _nowhere(self._address, f"it has gone ({type(error).__name__})") from None

    def put(self, data: bytes) -> Any:
        """Hold bytes in the cluster; what stands for them.

        As an argument of its own of a call it is a ``Shared`` there, and the call waits for it without holding a CPU.
        """
        with self._there():
            return self._ray.put(Shared(data))

    def call(self, arguments: Sequence[Any], labels: Mapping[str, str], gpus: int) -> Any:
        """Start the function on a node with all labels; what stands for its result.

        Args:
            arguments: after the first one; picklable, or what ``put`` gave.
            labels: as Ray's ``label_selector`` takes them.
            gpus: of the node that are its own, and all that it sees.
        """
        options = {"num_gpus": gpus, **({"label_selector": dict(labels)} if labels else {})}
        with self._there():
            return self._function.options(**options).remote(self._mailbox, *arguments)

    def posted(self) -> list[Any]:
        """What functions posted since the last time; nothing where the cluster is gone."""
        try:
            return list(self._ray.get(self._mailbox.take.remote(), timeout=_CONNECT))
        except (OSError, self._ray.exceptions.RayError):
            return []

    def result(self, call: Any, seconds: float) -> Any:
        """The result, or None where it takes longer than ``seconds``.

        Raises:
            EnvironmentProblem: the nodes that it ran on died, more often than it was started again; or the cluster did.
        """
        with self._there():
            done, _ = self._ray.wait([call], timeout=seconds)
            if not done:
                return None
            try:
                return self._ray.get(call)
            except self._ray.exceptions.RayError as error:
                why = str(getattr(error, "cause", None) or error).strip().partition("\n")[0]
                raise EnvironmentProblem(
                    f"the fleet could not do it, {_RETRIES + 1} times: {type(error).__name__}: {why}",
                    hint="look at the nodes: ray status; ray list tasks",
                ) from None

    def cancel(self, call: Any) -> None:
        """End a call that is under way or waits."""
        try:
            self._ray.cancel(call, force=False)
        except (OSError, self._ray.exceptions.RayError, ValueError, TypeError):
            return

    def close(self) -> None:
        """Leave the cluster; what was started from here ends."""
        self._ray.shutdown()


def require(address: str) -> None:
    """Refuse at once what Ray would find out after minutes.

    Raises:
        EnvironmentProblem: no Ray is installed, or nobody listens at the address.
    """
    if find_spec("ray") is None:
        raise EnvironmentProblem("a fleet needs Ray, which is not installed", hint=install_line("ray"))
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()
    except OSError as error:
        raise _nowhere(address, str(error)) from None


def _nowhere(address: str, why: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"no Ray cluster at {address}: {why}",
        hint="ray start --head, then ray start --address=HOST:6379 on each node; see docs/fleet.md",
    )


def node_id() -> str:
    """On a node: its name in the cluster."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def post(mailbox: Any, value: Any) -> None:
    """On a node: send something to whoever called, without waiting: Ray gives the CPU of who waits to others."""
    mailbox.put.remote(value)


class Shared:
    """Bytes that all processes of a node read in the same memory."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return Shared, (pickle.PickleBuffer(self.data),)


class _Mailbox:
    """The actor behind ``post``; it lives where the driver does, and as long."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def put(self, value: Any) -> None:
        self._values.append(value)

    def take(self) -> list[Any]:
        values, self._values = self._values, []
        return values
