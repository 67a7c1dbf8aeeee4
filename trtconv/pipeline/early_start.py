"""Steps that start before their large inputs are hashed: nothing that is recorded or stored could make them needless.

The digests are computed beside the step. They are needed to record and to store what it made, and to look for it in the
store; where that holds nothing of the same kind, there is nothing to look for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtconv.core.files import LARGE
from trtconv.pipeline.state import State, mark_of
from trtconv.pipeline.steps import STAGES, Node
from trtconv.pipeline.store import Store


def may_start(node: Node, state: State, store: Store | None) -> bool:
    """Whether a step, with nothing else under way, may start like that.

    It is worth it for files that are large and not known; and possible for steps that run in this process, which can
    wait for the digests in the end.
    """
    files = list(node.inputs.values())
    if not STAGES[node.stage].aside or node.name in state.records or not all(path.is_file() for path in files):
        return False
    if (
        not any(path.stat().st_size >= LARGE and not state.knows(path) for path in files)
        or None in marks(node).values()
    ):
        return False
    return store is None or not store.may_hold(state.kind(node))


def marks(node: Node) -> dict[str, Any]:
    """What changes whenever the content of an input does, by label; see ``state.mark_of``."""
    return {label: mark_of(path) for label, path in node.inputs.items()}


def key(node: Node, state: State, before: Mapping[str, Any]) -> dict[str, Any]:
    """A step's key once its inputs are hashed; one that changed since it started is none that anybody has again."""
    found = state.key(node)
    changed = {label: CHANGED for label, mark in before.items() if mark_of(node.inputs[label]) != mark}
    return {**found, "inputs": {**found["inputs"], **changed}}


CHANGED = "changed while it was read"
"""In place of a digest."""
