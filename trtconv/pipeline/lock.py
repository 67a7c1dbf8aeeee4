"""The lock file: what a job became, in digests. Belongs into version control beside the job; the job is what is wanted.

It holds neither times nor paths of this machine, so that the same inputs, options and versions give the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trtconv.core.digests import of_value
from trtconv.core.errors import UsageError
from trtconv.core.files import write_text
from trtconv.pipeline.state import State, difference
from trtconv.pipeline.steps import STAGES, Node

_SCHEMA = 1
_HEAD = "# What the job became. Written by trtconv run; checked by trtconv run --locked. Do not edit.\n"


@dataclass(frozen=True)
class Lock:
    """A lock file's content: per step its key (see ``State.key``) and the digests of its outputs in order."""

    path: Path
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Lock:
        """Read a lock; a missing one is empty.

        Raises:
            UsageError: not a lock file, or of another schema.
        """
        try:
            raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except FileNotFoundError:
            return cls(path)
        except (yaml.YAMLError, UnicodeDecodeError):
            raw = None
        if not isinstance(raw, dict) or raw.get("schema") != _SCHEMA or not _whole(raw.get("steps")):
            raise UsageError(f"{path}: not a lock file of this trtconv", hint="remove it and run the job again")
        return cls(path, raw["steps"])

    def would_change(self, steps: Sequence[Node], state: State) -> list[str]:
        """One line per step that would not come out as locked, judged without running anything."""
        contents = {name: list(step["outputs"].values()) for name, step in self.steps.items()}
        changes = []
        for node in steps:
            locked = self.steps.get(node.name)
            if locked is None or any(need not in contents for need in node.needs):
                changes.append(f"{node.name}: not in the lock")
                continue
            key = locked_key(state.key(node, contents))
            if key != locked["key"]:
                changes.append(f"{node.name}: {difference(locked['key'], key)}")
        return changes

    def came_out_differently(self, steps: Sequence[Node], state: State) -> list[str]:
        """One line per file whose bytes are not the locked ones, after a run. Measurements are not compared."""
        return [
            f"{node.name}: {path.name} has other bytes"
            for node in steps
            if STAGES[node.stage].shared
            for (path, made), digest in zip(
                state.made(node).items(), self.steps[node.name]["outputs"].values(), strict=True
            )
            if made != digest
        ]

    def differs(self, steps: Sequence[Node], state: State) -> bool:
        """Whether it does not say what came of some steps."""
        return any(self.steps.get(node.name) != _entry(node, state) for node in steps)

    def write(self, steps: Sequence[Node], state: State) -> None:
        """Replace the steps that ran, keep the others; the file is left alone when nothing changed."""
        fresh = {node.name: _entry(node, state) for node in steps}
        text = _HEAD + yaml.safe_dump({"schema": _SCHEMA, "steps": {**self.steps, **fresh}}, sort_keys=False, width=120)
        if not self.path.exists() or self.path.read_text(encoding="utf-8") != text:
            write_text(self.path, text)


def _whole(steps: Any) -> bool:
    """Whether a lock's steps have the form that ``write`` gives them."""
    return isinstance(steps, dict) and all(
        isinstance(step, dict) and isinstance(step.get("key"), dict) and isinstance(step.get("outputs"), dict)
        for step in steps.values()
    )


def locked_key(key: Mapping[str, Any]) -> dict[str, Any]:
    """A key as the lock keeps it: parts that name what changed, digests for what would be long."""
    return {
        "trtconv": key["trtconv"],
        "versions": dict(sorted(key["versions"].items())),
        "options": of_value(key["options"]),
        "inputs": dict(sorted(key["inputs"].items())),
        "upstream": of_value(key["upstream"]),
    }


def _entry(node: Node, state: State) -> dict[str, Any]:
    made = state.made(node) if STAGES[node.stage].shared else {}  # measurements differ from run to run
    outputs = {path.name: digest for path, digest in made.items()}
    return {"key": locked_key(state.records[node.name].key), "outputs": outputs}
