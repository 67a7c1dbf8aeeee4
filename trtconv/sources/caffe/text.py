"""Protocol buffers in text form, read without a schema: prototxt files.

The grammar is protobuf.dev's "Text Format": ``key: value``, ``key { ... }``, ``key < ... >``, ``key: [a, b]``, comments
from ``#`` on. Without a schema every key may be repeated; who asks for one value gets the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trtconv.core.errors import SourceError
from trtconv.core.names import did_you_mean


class Word(str):
    """A bare word: the name of an enum's value, or true and false."""

    __slots__ = ()


_TRUE, _FALSE = ("true", "t", "True", "1"), ("false", "f", "False", "0")


@dataclass
class Message:
    """A message.

    Attributes:
        line: where it begins.
        values: of every key, in order.
    """

    line: int = 0
    values: dict[str, list[str | int | float | Message]] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def add(self, key: str, *values: str | int | float | Message) -> None:
        """Append values to a key."""
        self.values.setdefault(key, []).extend(values)

    def messages(self, key: str) -> list[Message]:
        """All messages of a key."""
        return [self._checked(key, value, Message, "{ ... }") for value in self.values.get(key, ())]

    def message(self, key: str) -> Message:
        """The last message of a key; an empty one where there is none."""
        found = self.messages(key)
        return found[-1] if found else Message(self.line)

    def texts(self, key: str) -> list[str]:
        """All strings of a key."""
        return [str(self._checked(key, value, str, "a string")) for value in self.values.get(key, ())]

    def text(self, key: str, default: str = "") -> str:
        """The last string of a key."""
        found = self.texts(key)
        return found[-1] if found else default

    def numbers(self, key: str) -> list[float]:
        """All numbers of a key."""
        return [float(self._checked(key, value, (int, float), "a number")) for value in self.values.get(key, ())]

    def number(self, key: str, default: float) -> float:
        """The last number of a key."""
        found = self.numbers(key)
        return found[-1] if found else float(default)

    def integers(self, key: str) -> list[int]:
        """All whole numbers of a key."""
        found = self.numbers(key)
        if any(number % 1 for number in found):  # of infinity it is no number, which counts as true
            raise self._wrong(key, found, "a whole number")
        return [int(number) for number in found]

    def integer(self, key: str, default: int) -> int:
        """The last whole number of a key."""
        found = self.integers(key)
        return found[-1] if found else default

    def flag(self, key: str, default: bool) -> bool:
        """The last of a key's true and false."""
        if key not in self.values:
            return default
        given = str(self.values[key][-1])
        if given not in (*_TRUE, *_FALSE):
            raise self._wrong(key, given, "true or false")
        return given in _TRUE

    def choice(self, key: str, names: Sequence[str], default: str = "") -> str:
        """The last of a key's enum values, by name or number; an empty name is a number without one."""
        given = self.values[key][-1] if key in self else default or names[0]
        if isinstance(given, int) and 0 <= given < len(names):
            return names[given]
        if str(given) not in names:
            raise self._wrong(key, given, f"one of {', '.join(filter(None, names))}", did_you_mean(str(given), names))
        return str(given)

    def _checked(self, key: str, value: object, kind: type | tuple[type, ...], wanted: str) -> Any:
        if not isinstance(value, kind) or (isinstance(value, Word) and wanted != "a string"):
            raise self._wrong(key, value, wanted)
        return value

    def _wrong(self, key: str, value: object, wanted: str, hint: str = "") -> SourceError:
        shown = "{ ... }" if isinstance(value, Message) else repr(value)
        return SourceError(
            f"line {self.line}: {key} is {shown}, {wanted} was expected", hint=hint or "correct the prototxt"
        )


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_TOKENS = re.compile(
    r"""(?P<skip>[ \t\r\f\v]+|\#[^\n]*)
      | (?P<newline>\n)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?)(?![\w.])|[-+]inf(?:inity)?\b)
      | (?P<word>[A-Za-z_][\w.\-/]*)
      | (?P<mark>[{}<>:,;\[\]])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}


def parse(content: str) -> Message:
    """The message that a text holds.

    Raises:
        SourceError: what is wrong, with its line.
    """
    tokens = list(_tokens(content))
    try:
        message, end = _message(tokens, 0, "")
    except RecursionError:
        raise SourceError("messages lie in each other hundreds deep", hint="this is no prototxt, or damaged") from None
    if end < len(tokens):
        raise _unexpected(tokens[end], "a key")
    return message


def _tokens(content: str) -> Iterator[_Token]:
    position, line = 0, 1
    while position < len(content):
        match = _TOKENS.match(content, position)
        if match is None:
            rest = content[position:].splitlines()[0][:40]
            what = f"the string {rest} has no end" if rest[:1] in ("'", '"') else f"{rest!r} cannot be read"
            raise SourceError(f"line {line}: {what}", hint="this is no prototxt, or it is truncated or damaged")
        kind = match.lastgroup or ""
        if kind == "newline":
            line += 1
        elif kind != "skip":
            yield _Token(kind, match.group(), line)
        position = match.end()


def _message(tokens: list[_Token], position: int, closing: str, line: int = 1) -> tuple[Message, int]:
    """The message that begins at a token, and the position after it."""
    message = Message(line)
    while position < len(tokens):
        token = tokens[position]
        if token.text == closing and token.kind == "mark":
            return message, position + 1
        if token.kind == "mark" and token.text in ",;":
            position += 1
            continue
        if token.kind != "word":
            raise _unexpected(token, "a key")
        position = _entry(tokens, position, message)
    if closing:
        raise SourceError(
            f"line {line}: what begins here has no {closing!r} at its end",
            hint="the file is truncated, or a bracket is missing",
        )
    return message, position


def _entry(tokens: list[_Token], position: int, message: Message) -> int:
    """Read one key with what it holds."""
    key, position = tokens[position].text, position + 1
    colon = position < len(tokens) and tokens[position].text == ":"
    position += colon
    if position < len(tokens) and tokens[position] == ("mark", "[", tokens[position].line):
        return _list(tokens, position + 1, message, key)
    value, position = _value(tokens, position, key, scalar=colon)
    message.add(key, value)
    return position


def _list(tokens: list[_Token], position: int, message: Message, key: str) -> int:
    message.add(key)
    while position < len(tokens):
        token = tokens[position]
        if token.text == "]":
            return position + 1
        if token.text == ",":
            position += 1
            continue
        value, position = _value(tokens, position, key, scalar=True)
        message.add(key, value)
    raise SourceError(f"line {tokens[-1].line}: the list of {key} has no end", hint="the file is truncated")


def _value(tokens: list[_Token], position: int, key: str, *, scalar: bool) -> tuple[str | int | float | Message, int]:
    if position >= len(tokens):
        raise SourceError(f"line {tokens[-1].line}: {key} has no value", hint="the file is truncated")
    token = tokens[position]
    if token.kind == "mark" and token.text in _CLOSING:
        return _message(tokens, position + 1, _CLOSING[token.text], token.line)
    if not scalar or token.kind == "mark":
        raise _unexpected(token, f"':' or '{{' after {key}")
    if token.kind == "string":
        return _string(tokens, position)
    if token.kind == "number" or token.text.lower() in ("inf", "infinity", "nan"):
        return _number(token.text), position + 1
    return Word(token.text), position + 1


def _string(tokens: list[_Token], position: int) -> tuple[str, int]:
    """Strings that follow each other are one."""
    text = ""
    while position < len(tokens) and tokens[position].kind == "string":
        text += re.sub(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", _unescape, tokens[position].text[1:-1])
        position += 1
    return text, position


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return chr(int(code, 8)) if code[0] in "01234567" else _ESCAPES.get(code, code)


def _number(text: str) -> int | float:
    low = text.lower()
    if "0x" in low:
        return int(low, 16)
    if re.fullmatch(r"[-+]?\d+", low):
        return int(low)
    return float(low if low[-1] in "yn" or low.endswith("inf") else low.rstrip("f"))


def _unexpected(token: _Token, wanted: str) -> SourceError:
    return SourceError(
        f"line {token.line}: {token.text!r} where {wanted} was expected",
        hint="correct the prototxt; the file may be truncated, or of another kind",
    )


def write(message: Message, indent: str = "") -> str:
    """A message as text."""
    lines = []
    for key, values in message.values.items():
        for value in values:
            if isinstance(value, Message):
                lines.append(f"{indent}{key} {{\n{write(value, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{key}: {_written(value)}\n")
    return "".join(lines)


def _written(value: str | int | float) -> str:
    if isinstance(value, str) and not isinstance(value, Word):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)
