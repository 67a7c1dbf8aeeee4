"""The rows of preprocessing as a job has them: their options, defaults, and what is wrong with them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from trtconv.core.errors import UsageError
from trtconv.core.names import did_you_mean
from trtconv.data.conventions import Convention

_REQUIRED = object()
_Row = Mapping[str, object]


@contextmanager
def named(where: str, name: str) -> Iterator[None]:
    """Let what is wrong name the row."""
    try:
        yield
    except UsageError as error:
        text = error.message.removeprefix("preprocess: ")
        raise UsageError(f"{where}: {name}: {text}", hint=error.hint) from None


def places(rows: Sequence[_Row]) -> Iterator[tuple[_Row, str]]:
    """Rows, and how messages call them."""
    return ((row, f"preprocess row {number}") for number, row in enumerate(rows, 1))


def check(rows: Sequence[_Row]) -> None:
    """Refuse rows that make no sense, whatever the samples are.

    Raises:
        UsageError: see ``parse``.
    """
    for row, where in places(rows):
        parse(row, where)


def parse(row: _Row, where: str) -> tuple[str, dict[str, Any]]:
    """The operation of a row, and its options: numbers per channel as tuples, rounded to float32.

    Raises:
        UsageError: an unknown operation or option, or a value that makes no sense.
    """
    if len(row) != 1:
        raise UsageError(
            f"{where}: expected one operation, got {', '.join(row) or 'none'}",
            hint="write one operation per row, such as - crop: {size: [224, 224]}",
        )
    ((name, given),) = row.items()
    if name not in OPTIONS:
        raise UsageError(
            f"{where}: unknown operation {name!r}; there are {', '.join(OPTIONS)}", hint=did_you_mean(name, OPTIONS)
        )
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(f"{where}: expected options of {name} as a mapping, got {given!r}", hint=f"{name}: {{}}")
    known = OPTIONS[name]
    unknown = [key for key in given or {} if key not in known]
    if unknown:
        raise UsageError(
            f"{where}: {name} has no option {unknown[0]!r}; it has {', '.join(known)}",
            hint=did_you_mean(str(unknown[0]), known),
        )
    options = {key: default for key, (default, _) in known.items()} | dict(given or {})
    made = {key: known[key][1](key, value, f"{where}: {name}") for key, value in options.items()}
    with named(where, name):
        _together(name, made)
    return name, made


def _together(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that do not go together."""
    like = options.get("like")
    if like == Convention.OPENCV and options.get("antialias"):
        raise UsageError("OpenCV's linear scaling never averages", hint="leave antialias out")
    if name == "resize" and like == Convention.KERAS and options["fit"] == "shorter":
        raise UsageError("Keras has no scaling of the shorter side", hint="use fit: crop, or like: torchvision")
    if name == "resize" and like != Convention.KERAS and options["fit"] == "crop":
        raise UsageError(f"{like} does not cut before it scales", hint="use fit: shorter and a crop, or like: keras")
    if name == "normalize":
        scale, mean, std = (options[key] for key in ("scale", "mean", "std"))
        length = max(map(len, (scale, mean, std)))
        if {len(scale), len(mean), len(std)} - {1, length}:
            raise UsageError("scale, mean and std have different lengths", hint="give one number, or one per channel")
        values = (each * (length // len(each)) for each in (scale, mean))
        divisors = std * (length // len(std))
        quotients = [value / divisor for each in values for value, divisor in zip(each, divisors, strict=True)]
        if not all(map(math.isfinite, map(_float32, quotients))):
            raise UsageError("scale / std or mean / std is beyond float32", hint="write numbers of ordinary size")


def _float32(value: float) -> float:
    """The nearest one."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.inf


def _choice(*words: str) -> Callable[[str, Any, str], str]:
    def read(key: str, value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in words:
            got = "nothing" if value is _REQUIRED else repr(value)
            raise UsageError(
                f"{where}: expected {key} as one of {', '.join(filter(None, words))}, got {got}",
                hint=did_you_mean(str(value), words),
            )
        return value

    return read


def _size(key: str, value: Any, where: str) -> list[int]:
    listed = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not listed or not all(type(side) is int and 0 < side <= _LARGEST for side in value):
        raise UsageError(f"{where}: expected {key} as [height, width], up to {_LARGEST}", hint=f"{key}: [224, 224]")
    return list(value)


_LARGEST = 1 << 15  # pixels of a side


def _numbers(key: str, value: Any, where: str) -> tuple[float, ...]:
    numbers = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    wrong = not numbers or any(isinstance(n, bool) or not isinstance(n, int | float) for n in numbers)
    if wrong or not all(math.isfinite(n) and abs(n) < _FLOAT32 for n in numbers):
        _refuse(key, value, where, "a number")
    return tuple(map(_float32, numbers))


_FLOAT32 = 3.4e38


def _divisors(key: str, value: Any, where: str) -> tuple[float, ...]:
    numbers = _numbers(key, value, where)
    if not all(numbers):
        _refuse(key, value, where, "a number other than 0")
    return numbers


def _bytes(key: str, value: Any, where: str) -> tuple[float, ...]:
    numbers = _numbers(key, value, where)
    if not all(number.is_integer() and 0 <= number <= 255 for number in numbers):
        _refuse(key, value, where, "a whole number from 0 to 255")
    return numbers


def _refuse(key: str, value: Any, where: str, what: str) -> None:
    raise UsageError(f"{where}: expected {key} as {what}, or one per channel, got {value!r}", hint=f"{key}: 1")


def _switch(key: str, value: Any, where: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise UsageError(f"{where}: expected {key} as true or false, got {value!r}", hint=f"{key}: true")
    return value


_SIZE = (_REQUIRED, _size)
_LIKE = (Convention.TORCHVISION, _choice(*Convention))
_ANTIALIAS = (None, _switch)

OPTIONS: Mapping[str, Mapping[str, tuple[Any, Callable[[str, Any, str], Any]]]] = {
    "resize": {
        "size": _SIZE,
        "fit": ("stretch", _choice("stretch", "shorter", "crop")),
        "like": _LIKE,
        "antialias": _ANTIALIAS,
    },
    "crop": {"size": _SIZE, "like": _LIKE},
    "letterbox": {
        "size": _SIZE,
        "fill": (114, _bytes),
        "like": ("", _choice("", Convention.KERAS, Convention.OPENCV)),
        "antialias": _ANTIALIAS,
    },
    "normalize": {"scale": (1.0, _numbers), "mean": (0.0, _numbers), "std": (1.0, _divisors)},
    "layout": {"to": (_REQUIRED, _choice("nchw", "nhwc"))},
    "channels": {"to": (_REQUIRED, _choice("rgb", "bgr", "gray"))},
}
"""Options of every operation: default, and what reads and checks a value."""
