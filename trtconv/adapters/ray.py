"""Door to Ray: functions that run on a node of a cluster."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from trtconv.core.errors import EnvironmentProblem
from trtconv.core.extras import install_line

GPU_LABEL = "trtconv.io/gpu"
"""The label of nodes that says which GPU they have: ``ray start --labels trtconv.io/gpu=sm89``."""

_RETRIES = 3
_CONNECT = 10.0  # seconds


class Cluster:
    """A Ray cluster that this process is a driver of.

    Args:
        address: ``ray`` for the one on this machine (or RAY_ADDRESS), ``ray://host:10001`` or ``host:6379``.

    Raises:
        EnvironmentProblem: no cluster is there, or no Ray.
    """

    def __init__(self, address: str) -> None:
        require(address)
        import ray

        self._ray = ray
        where = "auto" if address == "ray" else address
        try:
            ray.init(address=where, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _nowhere(address, str(error).splitlines()[0]) from None

    def nodes(self) -> list[Mapping[str, str]]:
        """The labels of every node that is alive and may work."""
        return [
            {**node.get("Labels", {}), "ray.io/node-id": node["NodeID"]}
            for node in self._ray.nodes()
            if node["Alive"] and node.get("Resources", {}).get("CPU", 0) > 0
        ]

    def put(self, value: Any) -> Any:
        """Hold a value in the cluster; what stands for it."""
        return self._ray.put(value)

    def channel(self) -> Any:
        """A queue that functions on all nodes can put into; it lives where this process does, and as long."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(node_id(), soft=True)
        return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def call(self, function: Callable[..., Any], arguments: Sequence[Any], labels: Mapping[str, str]) -> Any:
        """Start ``function(*arguments)`` on a node with all labels; what stands for its result.

        A node or worker that dies, and an OSError, let Ray start it again, on whatever node fits.
        """
        remote = self._ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=[OSError])(function)
        return remote.options(**({"label_selector": dict(labels)} if labels else {})).remote(*arguments)

    def result(self, call: Any, seconds: float) -> Any:
        """The result, or None where it takes longer than ``seconds``.

        Raises:
            EnvironmentProblem: the nodes that it ran on died, more often than it was started again.
        """
        done, _ = self._ray.wait([call], timeout=seconds)
        if not done:
            return None
        try:
            return self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            told = str(getattr(error, "cause", None) or error).strip().splitlines()
            raise EnvironmentProblem(
                f"the fleet could not do it, {_RETRIES + 1} times: {type(error).__name__}: {told[0] if told else ''}",
                hint="look at the nodes: ray status; ray list tasks",
            ) from None

    def cancel(self, call: Any) -> None:
        """End a call that is under way or waits."""
        try:
            self._ray.cancel(call, force=False)
        except (self._ray.exceptions.RayError, ValueError, TypeError):
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


def get(references: Sequence[Any]) -> list[Any]:
    """On a node: the values behind what ``put`` gave."""
    import ray

    return list(ray.get(list(references)))


def patiently(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds; False where it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True
