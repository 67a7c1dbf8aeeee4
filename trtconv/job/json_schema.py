"""The JSON Schema of a section, for editors: what the file may say, before it is read (json-schema.org, 2020-12)."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from trtconv.job.section import REQUIRED, Before, Key, Section, keys, kinds

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", Path: "string"}
_BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
    "pattern": "pattern",
    "least": "minItems",
}
_UNBOUNDED = Key()


def json_schema(section: type[Section], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a file that holds one section.

    Args:
        section: its class.
        extra: properties that a file may have besides.
    """
    parts: dict[str, Any] = {}
    whole = _section(section, parts)
    whole["properties"] |= extra
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": parts}


def _section(section: type[Section], parts: dict[str, Any]) -> dict[str, Any]:
    known = keys(section)
    properties = {name: _key(known[name], kind, parts) for name, kind in kinds(section).items()}
    required = [name for name, one in known.items() if one.default is REQUIRED]
    return {
        "title": section.__name__,
        "description": section.__doc__,
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _key(one: Key, kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    found = _bounded(_kind(kind, parts), one)
    found |= {"description": one.description} if one.description else {}
    default = one.default.plain() if isinstance(one.default, Section) else one.default
    return found if default is REQUIRED else {**found, "default": default}


def _bounded(found: dict[str, Any], bounds: Key) -> dict[str, Any]:
    """With the bounds, on the alternative that is a number or list; text is left to its own parser."""
    values = {word: (getattr(bounds, name), getattr(_UNBOUNDED, name)) for name, word in _BOUNDS.items()}
    said = {word: value for word, (value, usual) in values.items() if value != usual}
    if not said:
        return found
    if "anyOf" not in found:
        return {**found, **said}
    return {"anyOf": [{**part, **said} if _takes(part, bounds) else part for part in found["anyOf"]]}


def _takes(part: Mapping[str, Any], bounds: Key) -> bool:
    return part.get("type") in (("array",) if bounds.least else ("integer", "number"))


def _kind(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(inner[0], inner[1:], parts)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if part is types.NoneType else _kind(part, parts) for part in inner]}
    if origin is list:
        return {"type": "array", "items": _kind(inner[0], parts)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _kind(inner[1], parts)}
    if isinstance(kind, type) and issubclass(kind, Section):
        if kind.__name__ not in parts:
            parts[kind.__name__] = {}
            parts[kind.__name__] = _section(kind, parts)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    return {} if kind is Any else {"type": _TYPES[kind]}


def _annotated(inner: Any, marks: tuple[Any, ...], parts: dict[str, Any]) -> dict[str, Any]:
    """A type, and the other forms that its parser takes."""
    found = _kind(inner, parts)
    for mark in marks:
        if isinstance(mark, Before):
            others = [{"type": "string"}] if mark.text else []
            others += [{"type": "integer"}] if mark.number else []
            others += [found["items"]] if mark.one else []
            found = {"anyOf": [found, *others]} if others else found
        elif isinstance(mark, Key):
            found = _bounded(found, mark)
    return found
