"""Records as JSON-like values, and back. Types come from the fields of the record's own class."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """A record, or a part of one, as dicts, lists, texts and numbers.

    Raises:
        TypeError: something in it is none of these, such as a NumPy number.
    """
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, frozenset):
        return sorted(map(plain, value))
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{value!r} cannot be part of a record that is kept or sent")


def restored(kind: Any, value: Any) -> Any:
    """A record of a class from what ``plain`` made of it, through JSON or not."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        structured = [part for part in parts if part is not types.NoneType]
        return value if value is None or len(structured) > 1 else restored(structured[0], value)
    if origin is frozenset:
        return frozenset(restored(parts[0], part) for part in value)
    if origin in (tuple, list):
        kinds = parts if origin is tuple and parts[-1] is not ... else [parts[0]] * len(value)
        return origin(restored(each, part) for each, part in zip(kinds, value, strict=True))
    if origin is dict or origin is Mapping:
        return {name: restored(parts[1], part) for name, part in value.items()}
    if hints := _fields(kind):
        return kind(**{name: restored(hints[name], part) for name, part in value.items()})
    return Path(value) if kind is Path else value


@functools.cache
def _fields(kind: Any) -> Mapping[str, Any]:
    """Types of a dataclass's fields; empty for what is none."""
    return typing.get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
