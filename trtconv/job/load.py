"""Job files to validated jobs: all problems at once, each with its place, what was expected and the nearest name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from trtconv.core.errors import JobError
from trtconv.job import gate_bounds
from trtconv.job.fields import NO_FILE
from trtconv.job.schema import Job
from trtconv.job.section import Problem, Section, read
from trtconv.job.yaml_tree import Tree, add, override
from trtconv.job.yaml_tree import read as read_tree

S = TypeVar("S", bound=Section)

_KEYS = "docs/job.md lists the keys of a job file, and so does: trtconv schema"
_NO_FILE = "make the files first, or say where they are: paths start from the job file's folder"


def load_job(path: Path, assignments: Iterable[str] = (), gates: Iterable[str] = ()) -> Job:
    """Read and validate a job file, after applying ``--set`` assignments and adding the gates of ``--gate``.

    Raises:
        JobError: with one line per problem: ``file:line:column: key: what is wrong``.
    """
    tree = read_tree(path)
    for assignment in assignments:
        override(tree, assignment)
    for gate in gates:
        add(tree, "gates", gate_bounds.written(gate), f"--gate {gate}")
    return validate(tree, base=path.parent.resolve(), default_name=path.stem)


def validate(tree: Tree, base: Path, default_name: str) -> Job:
    """Turn a tree into a Job; ``base`` is the folder that relative paths start from.

    Raises:
        JobError: all problems.
    """
    job = checked(Job, tree, base)
    name = job.name or default_name
    return job.replaced(name=name, output=job.output or base / "build" / name)


def checked(section: type[S], tree: Tree, base: Path) -> S:
    """A tree as a section of any kind.

    Raises:
        JobError: all problems.
    """
    unread = {place for place, _ in tree.problems}  # what could not be read is not judged again
    made, wrong = read(section, json.loads(json.dumps(tree.data, default=str)), base)
    found = [_told(tree, problem) for problem in wrong]
    problems = tree.problems + [(place, text) for place, text in found if place not in unread]
    if made is None or problems:
        lines = [f"{place}: {text}" for place, text in sorted(set(problems), key=_order)]
        raise JobError("\n".join(lines), hint=_NO_FILE if all(NO_FILE in text for _, text in problems) else _KEYS)
    return made


def _told(tree: Tree, problem: Problem) -> tuple[str, str]:
    """(place, text) of a problem."""
    loc = tree.written(problem.loc)
    if problem.kind == "key":
        return tree.place(loc, of_key=True), problem.text
    if not loc:  # a rule between sections: its text begins with the key to look at
        return tree.place((problem.text.partition(":")[0],)), problem.text
    return tree.place(loc), f"{'.'.join(map(str, loc))}: {problem.text}"


def _order(problem: tuple[str, str]) -> tuple[str, list[int], str]:
    place, text = problem
    file, _, rest = place.partition(":")
    return file, [int(number) for number in rest.split(":") if number.isdigit()], text
