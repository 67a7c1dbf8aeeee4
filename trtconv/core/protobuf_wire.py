"""Protocol buffers taken apart without their schema: field numbers and where their contents lie.

The encoding is described at protobuf.dev, "Encoding": a message is a row of fields, each a key (number << 3 | wire
type) and a value. Contents are not copied, so a weight of any size costs nothing to step over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Damaged(ValueError):
    """Bytes that are no message: a length beyond the end, or a wire type that does not exist."""


class Field(NamedTuple):
    """One field.

    Attributes:
        number: as in the schema.
        value: of a number; for fixed sizes, the raw bits.
        begin: where the field begins, with its key.
        start: where its contents begin.
        end: where they end.
    """

    number: int
    value: int
    begin: int
    start: int
    end: int


def fields(data: memoryview, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of the message in ``data[start:end]``, in order.

    Raises:
        Damaged: it is no message.
    """
    stop = len(data) if end is None else end
    while start < stop:
        begin = start
        tag, start = varint(data, start, stop)
        kind, value, end = tag & 7, 0, start
        if kind == _VARINT:
            value, end = varint(data, start, stop)
        elif kind == _BYTES:
            size, start = varint(data, start, stop)
            end = start + size
        elif kind in (_FIXED32, _FIXED64):
            end = start + (4 if kind == _FIXED32 else 8)
            value = int.from_bytes(data[start:end], "little")
        else:
            raise Damaged(f"wire type {kind} at {begin}")
        if end > stop:
            raise Damaged(f"a field at {begin} ends at {end}, beyond {stop}")
        yield Field(tag >> 3, value, begin, start, end)
        start = end


def varint(data: memoryview, start: int, stop: int) -> tuple[int, int]:
    """A base-128 number and the position after it.

    Raises:
        Damaged: it does not end.
    """
    value = shift = 0
    while start < stop and shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise Damaged(f"a number that does not end at {start}")


def signed(value: int) -> int:
    """An int64 field's value: negative numbers are stored as two's complement in 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(data: memoryview, field: Field) -> str:
    """A string field's value."""
    return bytes(data[field.start : field.end]).decode("utf-8", "replace")


def entries(data: memoryview, field: Field) -> tuple[str, Field | None]:
    """An entry of a map with string keys: its key and the field of its value."""
    key, value = "", None
    for part in fields(data, field.start, field.end):
        if part.number == 1:
            key = text(data, part)
        elif part.number == 2:
            value = part
    return key, value


def without(
    data: memoryview,
    path: Sequence[int],
    above: int,
    dropped: Callable[[list[Field]], None],
    end: int | None = None,
    trail: Sequence[Field] = (),
) -> list[bytes | memoryview]:
    """A message without its large byte fields of one kind, in parts; nothing that stays is copied.

    Args:
        data: the file.
        path: field numbers from the message down to the byte fields meant.
        above: bytes; smaller ones stay.
        dropped: told of each one left out: the fields around it, and itself.
        end: of the message; None: all of data.
        trail: the fields around this message.

    Raises:
        Damaged: it is no message.
    """
    parts: list[bytes | memoryview] = []
    for field in fields(data, trail[-1].start if trail else 0, end):
        inside = [*trail, field]
        if field.number != path[0] or field.end - field.start <= above:
            parts.append(data[field.begin : field.end])
        elif len(path) == 1:
            dropped(inside)
        else:
            parts += message(field.number, without(data, path[1:], above, dropped, field.end, inside))
    return parts


def around(data: bytes, number: int) -> tuple[bytes, bytes]:
    """A message with its fields in order, in two parts: those before a field, and those behind it."""
    cut = next((field.begin for field in fields(memoryview(data)) if field.number > number), len(data))
    return data[:cut], data[cut:]


def message(number: int, content: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """A field that holds these parts one after the other."""
    return [opening(number, sum(map(len, content))), *content]


def opening(number: int, size: int) -> bytes:
    """Key and length of a field of bytes."""
    return encoded(number << 3 | _BYTES) + encoded(size)


def encoded(number: int) -> bytes:
    """A base-128 number."""
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
