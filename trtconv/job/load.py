"""Job files to validated jobs: all problems at once, each with its place, what was expected and the nearest name."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from trtconv.core.errors import JobError
from trtconv.core.names import did_you_mean
from trtconv.job.schema import Job
from trtconv.job.tree import Loc, Tree, override, read

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "path_type": "a path",
    "finite_number": "a finite number",
}


def load_job(path: Path, assignments: Iterable[str] = ()) -> Job:
    """Read and validate a job file, after applying ``--set`` assignments.

    Raises:
        JobError: with one line per problem: ``file:line:column: key: what is wrong``.
    """
    tree = read(path)
    for assignment in assignments:
        override(tree, assignment)
    return validate(tree, base=path.absolute().parent, default_name=path.stem)


def validate(tree: Tree, base: Path, default_name: str) -> Job:
    """Turn a tree into a Job; ``base`` is the folder that relative paths start from.

    Raises:
        JobError: all problems.
    """
    problems = list(tree.problems)
    try:
        job = Job.model_validate_json(json.dumps(tree.data, default=str), strict=True, context={"base": base})
    except ValidationError as error:
        unread = {place for place, _ in problems}  # what could not be read is not judged again
        found = [_problem(tree, details) for details in error.errors(include_url=False)]
        problems += [(place, text) for place, text in found if place not in unread]
    if problems:
        lines = [f"{place}: {text}" for place, text in sorted(set(problems), key=_order)]
        raise JobError("\n".join(lines), hint="see README.md for the job file's keys, or run: trtconv schema")
    name = job.name or default_name
    return job.model_copy(update={"name": name, "output": job.output or base / "build" / name})


def _problem(tree: Tree, error: Any) -> tuple[str, str]:
    loc = tree.known(error["loc"])
    key = ".".join(str(part) for part in error["loc"] if part in loc or part == error["loc"][-1])
    kind = error["type"]
    if kind == "extra_forbidden":
        valid = _keys_at(loc[:-1])
        text = f"unknown key {loc[-1]!r}; expected {', '.join(valid)}; {did_you_mean(str(loc[-1]), valid)}"
        return tree.place(loc, of_key=True), text.rstrip("; ")
    if kind == "missing":
        return tree.place(loc), f"{key}: this key is required"
    text = _explain(error)
    if not loc:  # a rule between keys: its text begins with the key to look at
        return tree.place((text.partition(":")[0],)), text
    return tree.place(loc), f"{key}: {text}"


def _explain(error: Any) -> str:
    kind, given = error["type"], error["input"]
    if kind == "literal_error":
        valid = [part.strip("'\" ") for part in error["ctx"]["expected"].replace(" or ", ", ").split(",")]
        return f"unknown value {given!r}; expected {', '.join(valid)}; {did_you_mean(str(given), valid)}".rstrip("; ")
    if kind == "value_error":
        return str(error["ctx"]["error"])
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}, got {json.dumps(given)}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {json.dumps(given)}"


def _keys_at(loc: Loc) -> list[str]:
    """The valid keys of the section at a path."""
    here: Any = Job
    for part in loc:
        here = _section(here, part)
    return list(here.model_fields) if isinstance(here, type) and issubclass(here, BaseModel) else []


def _section(here: Any, part: int | str) -> Any:
    if isinstance(here, type) and issubclass(here, BaseModel):
        annotation: Any = here.model_fields[str(part)].annotation
    else:
        annotation = typing.get_args(here)[-1]  # dict[str, X] or list[X]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
    return annotation


def _order(problem: tuple[str, str]) -> tuple[str, list[int], str]:
    place, text = problem
    file, _, rest = place.partition(":")
    return file, [int(number) for number in rest.split(":") if number.isdigit()], text
