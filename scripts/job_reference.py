#!/usr/bin/env python3
"""Write docs/job.md, the reference of the job file's keys, from the schema. A test says when it is out of date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from trtconv.core.files import write_text
from trtconv.job.schema import Job
from trtconv.job.section import REQUIRED, Before, Key, Section, keys, kinds

PAGE = Path(__file__).parents[1] / "docs/job.md"
FORMS = {
    "_bytes": "size, as in `512MiB`, `1GiB`",
    "_budget": "size, share, as in `512MiB`, `50%`, or `all`, `auto`",
    "_seconds": "duration, as in `200ms`, `3s`",
    "_dims": "list of sizes and names",
    "_sizes": "number, or list of sizes",
}  # what a field's own parser accepts, by its name
PLAIN = {int: "whole number", float: "number", str: "text", bool: "`true` or `false`", Path: "path", Any: "value"}
HEAD = """\
# The job file

Every key of a job file, version 1. This page is written by `python scripts/job_reference.py` from the schema;
`trtconv schema` prints the same as JSON Schema, for editors. Unknown keys are errors. Paths start from the folder of
the job file. YAML's anchors, aliases and merge keys (`<<`) may be used. [configs/digits.yaml](../configs/digits.yaml)
is a job that works.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_section("", Job)]) + "\n"


def _section(path: str, model: type[Section]) -> Iterator[str]:
    title = f"`{path}`" if path else "Top level"
    yield from (f"## {title}", "", model.__doc__ or "", "", "| key | value | default | |", "|---|---|---|---|")
    inner: list[tuple[str, type[Section]]] = []
    for name, field in keys(model).items():
        section, suffix = _inner(kinds(model)[name])
        if section is not None:
            inner.append((f"{path}.{name}{suffix}".lstrip("."), section))
        text = (field.description or _summary(section)).replace("<", "&lt;")
        yield f"| `{name}` | {_form(kinds(model)[name])} | {_default(field)} | {text} |"
    yield ""
    for below, section in inner:
        yield from _section(below, section)


def _inner(annotation: Any) -> tuple[type[Section] | None, str]:
    """The section that a field holds, and what stands between it and the field: nothing, or a name of its own."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    for part in get_args(annotation):
        section, suffix = _inner(part)
        if section is not None:
            return section, ".<name>" if get_origin(annotation) is dict else suffix
    return None, ""


def _form(annotation: Any) -> str:
    origin, parts = get_origin(annotation), [part for part in get_args(annotation) if part is not type(None)]
    if origin is Annotated:
        parsers = [_parser(mark) for mark in parts[1:] if isinstance(mark, Before)]
        special = next((FORMS[name] for name in parsers if name in FORMS), "")
        return special or (f"{_form(get_args(parts[0])[0])}, or a list" if "listed" in parsers else _form(parts[0]))
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(map(_form, parts))
    if origin in (dict, list):
        return f"mapping, name to {_form(parts[-1])}" if origin is dict else f"list of {_form(parts[0])}"
    return "section" if issubclass(annotation, Section) else PLAIN[annotation]


def _parser(mark: Before) -> str:
    return mark.read.__name__


def _default(field: Key) -> str:
    if field.default is REQUIRED:
        return "required"
    if field.default in (None, "", [], {}) or isinstance(field.default, Section):
        return ""
    return f"`{json.dumps(field.default)}`".replace('"', "")


def _summary(section: type[Section] | None) -> str:
    text = section.__doc__ or "" if section else ""
    return text[:1].lower() + text[1:].rstrip(".")


if __name__ == "__main__":
    write_text(PAGE, page())
