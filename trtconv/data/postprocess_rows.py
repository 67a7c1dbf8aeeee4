"""Rows of postprocessing as a job has them: what they may say, checked without a model and without NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean

REQUIRED: Any = object()
"""Default of an option that a row must have."""

OPTIONS: Mapping[str, Mapping[str, object]] = {
    "softmax": {"output": "", "axis": None},
    "argmax": {"output": "", "labels": "", "axis": None},
    "topk": {"output": "", "k": REQUIRED, "labels": "", "axis": None},
    "threshold": {"output": "", "above": REQUIRED},
}
"""Options of every operation, with their defaults."""


def check(rows: Sequence[Mapping[str, object]]) -> None:
    """What can be known of rows without a model.

    Raises:
        UsageError: an unknown operation or option, labels that cannot be read, a call that is none.
    """
    for number, row in enumerate(rows, 1):
        where = f"postprocess row {number}"
        if list(row) == ["call"]:
            target(row["call"], where)
        else:
            parse(row, where)


def parse(row: Mapping[str, object], where: str) -> tuple[str, dict[str, Any]]:
    """The operation of a row, and its options with what is left out; labels are read.

    Raises:
        UsageError: an unknown operation or option, a value of the wrong kind, labels that cannot be read.
    """
    if len(row) != 1:
        raise UsageError(
            f"{where}: expected one operation, got {', '.join(row) or 'none'}",
            hint="write one operation per row, such as - softmax: {}",
        )
    ((name, given),) = row.items()
    if name not in OPTIONS:
        raise UsageError(
            f"{where}: unknown operation {name!r}; there are {', '.join(OPTIONS)}, call",
            hint=did_you_mean(name, OPTIONS),
        )
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"{where}: expected options of {name} as a mapping, got {given!r}", hint=f"{name}: {{}}")
    known = OPTIONS[name]
    options = {**known, **(given or {})}
    unknown = [key for key in options if key not in known]
    if unknown:
        raise UsageError(
            f"{where}: {name} has no option {unknown[0]!r}; it has {', '.join(known)}",
            hint=did_you_mean(str(unknown[0]), known),
        )
    return name, _typed(options, f"{where}: {name}")


def _typed(options: dict[str, Any], where: str) -> dict[str, Any]:
    k = options.get("k", 1)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        got = "nothing" if k is REQUIRED else repr(k)
        raise UsageError(f"{where}: expected k as a positive whole number, got {got}", hint="topk: {k: 3}")
    above = options.get("above", 0.0)
    if isinstance(above, bool) or not isinstance(above, int | float):
        got = "nothing" if above is REQUIRED else repr(above)
        raise UsageError(f"{where}: expected above as a number, got {got}", hint="threshold: {above: 0.5}")
    axis = options.get("axis")
    if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
        raise UsageError(f"{where}: expected axis as a whole number, got {axis!r}", hint="axis: 1")
    for key in ("output", "labels"):
        if not isinstance(options.get(key, ""), str):
            raise UsageError(f"{where}: expected {key} as text, got {options[key]!r}", hint=f"write {key}: name")
    if options.get("labels"):
        options["labels"] = read_labels(Path(options["labels"]))
    return options


def read_labels(path: Path) -> list[str]:
    """Class names, one per line.

    Raises:
        UsageError: a file that is missing, empty, not in UTF-8, or has an empty line among the others: that class would
            look like one that nobody knows.
    """
    try:
        lines = [line.rstrip("\r") for line in path.read_text(encoding="utf-8-sig").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        hint = "give a text file, one class per line"
        hint = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else hint
        raise UsageError(f"{path}: labels cannot be read: {error}", hint=hint) from None
    if lines == [""]:
        raise UsageError(f"{path}: no labels in it", hint="give a text file, one class per line")
    if empty := [number for number, line in enumerate(lines, 1) if not line.strip()]:
        raise UsageError(f"{path}: line {empty[0]} is empty, and every class has a name", hint="name it, or remove it")
    return lines


def target(given: object, where: str) -> str:
    """The function that a row calls.

    Raises:
        UsageError: not of that form.
    """
    named = given.get("function") if isinstance(given, Mapping) else None
    if not isinstance(named, str) or named.count(":") != 1 or not isinstance(given, Mapping) or len(given) > 1:
        raise UsageError(
            f"{where}: expected call: {{function: module:name}}, got {given!r}",
            hint="the function takes a mapping of outputs and returns one",
        )
    return named
