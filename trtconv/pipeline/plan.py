"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trtconv.pipeline import output_paths, store
from trtconv.pipeline.layout import Layout
from trtconv.pipeline.state import State
from trtconv.pipeline.steps import Node


@dataclass(frozen=True)
class Forecast:
    """One step: whether it would run, and why.

    Attributes:
        name: of the step.
        will_run: whether it is not up to date.
        why: what changed; empty when it is up to date.
        needs: names of the steps before.
        inputs: files from outside.
        outputs: files that it makes.
    """

    name: str
    will_run: bool
    why: str
    needs: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]


def forecast(steps: Sequence[Node], layout: Layout, force: Sequence[str] = ()) -> list[Forecast]:
    """Say of each step whether it would run. Reads files to compare digests; writes nothing.

    A step after one that would run is counted as running too, although it is skipped in the end if that one makes
    the same bytes as before.

    Raises:
        UsageError: files cannot be where they should, or TRTCONV_CACHE_LIMIT is no size.
        EnvironmentProblem: nothing may be written there.
    """
    store.limit()
    output_paths.require(steps, layout, writable=True)
    state = State.load(layout.state)
    rows: list[Forecast] = []
    running: set[str] = set()
    for node in steps:
        why = _why(node, state, running, force)
        if why:
            running.add(node.name)
        rows.append(
            Forecast(
                name=node.name,
                will_run=bool(why),
                why=why,
                needs=node.needs,
                inputs=tuple(node.inputs.values()),
                outputs=node.files,
            )
        )
    return rows


def _why(node: Node, state: State, running: set[str], force: Sequence[str]) -> str:
    if node.stage in force or "all" in force:
        return "forced"
    before = [need for need in node.needs if need in running]
    if before:
        return f"after {', '.join(before)}"
    return state.why_stale(node, state.key(node))
