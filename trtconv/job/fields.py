"""The field types of a job file: what a value may look like, in one sentence each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from trtconv.core.digests import is_glob
from trtconv.core.errors import UsageError
from trtconv.core.names import is_function, path_meant
from trtconv.core.units import parse_budget, parse_bytes, parse_seconds
from trtconv.job.section import After, Before, key
from trtconv.sources import FORMATS, RIVALS

KEEP = "keep"
"""In a file's place: the nodes of that operator stay as they are."""

NO_FILE = "no such file or folder"
"""What is said of a path where nothing is."""

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "typed"]
if TYPE_CHECKING:
    SourceFormat = str
else:
    SourceFormat = Literal[("auto", *FORMATS)]


def _absolute(path: Path, base: Path) -> Path:
    return Path(os.path.normpath(Path(base, path.expanduser()).absolute()))


def _existing(path: Path, base: Path) -> Path:
    full = _absolute(path, base)
    if not full.exists():
        missing = _first_missing(full)
        where = "" if missing == full else f" ({missing} is not there)"
        raise ValueError(f"{NO_FILE}: {path}{where}; {path_meant(path.expanduser(), base)}".rstrip("; "))
    return full


def _existing_model(path: Path, base: Path) -> Path:
    """A checkpoint may be named by the common start of its files' names: its index stands for it. Functions pass."""
    full = _absolute(path, base)
    index = full.with_name(f"{full.name}.index")
    if is_function(full):
        return full
    return index if index.is_file() and not full.exists() else _existing(path, base)


def _program(value: Any) -> Any:
    """A name without a slash is looked for where the shell does."""
    return (shutil.which(value) if isinstance(value, str) and "/" not in value else None) or value


def _existing_or_keep(given: str, base: Path) -> str:
    """``keep``, or a file."""
    return given if given == KEEP else str(_existing(Path(given), base))


def _existing_or_glob(path: Path, base: Path) -> Path:
    full = _absolute(path, base)
    return full if is_glob(full) else _existing(path, base)


def _labels(labels: str, base: Path) -> str:
    """A key stays as it is; the path of a .npy file becomes absolute."""
    return str(_existing(Path(labels), base)) if labels.endswith(".npy") else labels


def _rows(rows: list[dict[str, Any]], base: Path) -> list[dict[str, Any]]:
    """Files with labels become absolute; what else a row may hold, the operation itself checks."""

    def given(options: Any) -> Any:
        if not isinstance(options, dict) or not isinstance(options.get("labels"), str):
            return options
        return {**options, "labels": str(_existing(Path(options["labels"]), base))}

    return [{name: given(options) for name, options in row.items()} for row in rows]


def _preprocess(rows: list[dict[str, Any]], base: Path) -> list[dict[str, Any]]:
    """Refuse rows that make no sense, whatever the samples are."""
    if rows:
        from trtconv.data import preprocess_rows

        _told(preprocess_rows.check, rows)
    return rows


def _postprocess(rows: list[dict[str, Any]], base: Path) -> list[dict[str, Any]]:
    """The same for results; files with labels become absolute."""
    found = _rows(rows, base)
    if rows:
        from trtconv.data import postprocess_rows

        _told(postprocess_rows.check, found)
    return found


def _told(check: Callable[[Any], object], rows: Any) -> None:
    try:
        check(rows)
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}".rstrip("; ")) from None


def _rivals(names: list[str], base: Path) -> list[str]:
    """What an engine can be compared with."""
    for name in names:
        kind, _, target = name.partition(":")
        if name not in ("onnxruntime", *RIVALS) and (kind != "pytorch" or target.count(":") != 1):
            expected = f"onnxruntime, {', '.join(RIVALS)} or pytorch:module:function"
            raise ValueError(f"expected {expected}, got {name!r}")
    return names


def _first_missing(path: Path) -> Path:
    """The first part of a path that is not there."""
    while not path.parent.exists():
        path = path.parent
    return path


def listed(value: Any) -> Any:
    """A single item as a list of one."""
    return value if isinstance(value, list) else [value]


def _bytes(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a size such as 512MiB or 1GiB")
    return parse_bytes(value)


def _budget(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("expected a budget such as 512MiB, 50%, all or auto")
    return parse_budget(value)


def _seconds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("expected a duration such as 200ms or 3s")
    return parse_seconds(value)


def _dims(value: Any) -> Any:
    """Shapes: sizes, names of dynamic dimensions, or -1 for a dynamic one without a name; empty for a single value."""
    if not isinstance(value, list):
        raise ValueError("expected a list of dimensions such as [batch, 224, 224, 3]")
    for dim in value:
        named = isinstance(dim, str) and dim.isidentifier()
        sized = isinstance(dim, int) and not isinstance(dim, bool) and (dim > 0 or dim == -1)
        if not named and not sized:
            raise ValueError(f"expected a positive size, -1, or a name such as batch as a dimension, got {dim!r}")
    return value


def _sizes(value: Any) -> Any:
    """A bound of a profile: one number for every dynamic dimension, or a full shape."""
    sizes = listed(value)
    if not sizes or any(isinstance(s, bool) or not isinstance(s, int) or s < 0 for s in sizes):
        raise ValueError(f"expected a number, or a full shape such as [1, 224, 224, 3], got {value!r}")
    return sizes


def _integers(value: Any) -> Any:
    """A bound of an input's values: one number, or one for every element."""
    numbers = listed(value)
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise ValueError(f"expected a whole number, or a list of them such as [8, 4], got {value!r}")
    return numbers


OutputPath = Annotated[Path, After(_absolute)]
InputPath = Annotated[Path, After(_existing)]
ModelPath = Annotated[Path, After(_existing_model)]
FunctionFile = Annotated[str, After(_existing_or_keep)]
Program = Annotated[Path, Before(_program), After(_absolute)]
DataPath = Annotated[Path, After(_existing_or_glob)]
Labels = Annotated[str, After(_labels)]
Preprocess = Annotated[list[dict[str, Any]], After(_preprocess)]
Postprocess = Annotated[list[dict[str, Any]], After(_postprocess)]
Bytes = Annotated[int, Before(_bytes, text=True), key(gt=0)]
Budget = Annotated[str, Before(_budget, number=True)]
Seconds = Annotated[float, Before(_seconds, text=True), key(ge=0)]
Shape = Annotated[list[Any], Before(_dims)]
Sizes = Annotated[list[int], Before(_sizes, one=True)]
Integers = Annotated[list[int], Before(_integers, one=True)]
Precisions = Annotated[list[Precision], Before(listed, one=True), key(least=1)]
Names = Annotated[list[str], Before(listed, one=True)]
Rivals = Annotated[list[str], Before(listed, one=True), After(_rivals)]
Percentiles = Annotated[list[Annotated[float, key(ge=0, le=100)]], Before(listed, one=True), key(least=1)]
Batches = Annotated[list[Annotated[int, key(gt=0)]], Before(listed, one=True), key(least=1)]
