"""JSON as RFC 8259 has it, for any values: no NaN, no infinity, no text that is not Unicode."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def dumps(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """A value as a JSON document.

    A number that JSON lacks becomes null; in a mapping, ``NAME_is`` beside it says what it was. What JSON has no form
    for at all goes through ``str``.
    """
    return json.dumps(_plain(value), indent=indent, sort_keys=sort_keys, default=str, allow_nan=False)


def unicode(text: str) -> str:
    """A text with those of its bytes spelled out that are no UTF-8, as a file's name may have them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str):
        return unicode(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, part in value.items():
        name = unicode(key) if isinstance(key, str) else str(key)
        found[name] = _plain(part)
        if isinstance(part, float) and not math.isfinite(part):
            found[f"{name}_is"] = "not a number" if math.isnan(part) else "infinity" if part > 0 else "minus infinity"
    return found
