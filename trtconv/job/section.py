"""Sections of a file: closed and frozen, their keys are the annotations of a class, and reading finds all problems.

Job files need a small part of what validation libraries do, and those take longer to load than all the rest of a run
with nothing to do.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from trtconv.core.names import did_you_mean

Loc = tuple[int | str, ...]

REQUIRED: Any = object()
"""Default of a key that the file must have."""


@dataclasses.dataclass(frozen=True)
class Key:
    """What is said of a key besides its type: see ``key``."""

    default: Any = REQUIRED
    description: str = ""
    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    pattern: str = ""
    least: int = 0


def key(
    default: Any = REQUIRED,
    *,
    description: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    pattern: str = "",
    least: int = 0,
) -> Any:
    """A key of a section, or bounds inside ``Annotated``.

    Args:
        default: its value where the file does not have it.
        description: what it is for, as the references show it.
        gt: the value must be greater.
        ge: greater or equal.
        lt: less.
        le: less or equal.
        pattern: regular expression that text must match.
        least: items that a list must have.
    """
    return Key(default=default, description=description, gt=gt, ge=ge, lt=lt, le=le, pattern=pattern, least=least)


@dataclasses.dataclass(frozen=True)
class Before:
    """In ``Annotated``: turns what the file holds into what the type expects; a ValueError is a problem.

    Attributes:
        read: does it.
        text: whether it also takes text.
        number: whether it also takes whole numbers.
        one: whether it takes a single item for a list of one.
    """

    read: Callable[[Any], Any]
    text: bool = False
    number: bool = False
    one: bool = False


@dataclasses.dataclass(frozen=True)
class After:
    """In ``Annotated``: completes or refuses a value of the right type, given the folder where paths start."""

    check: Callable[[Any, Path], Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong.

    Attributes:
        loc: path of keys and indices to it.
        text: what is wrong.
        kind: ``value``, ``key`` (its name is wrong) or ``rule`` (several keys do not go together).
    """

    loc: Loc
    text: str
    kind: str = "value"


class Section:
    """A mapping of the file. Subclasses annotate its keys and give each a ``key`` or a plain default.

    Values given to the constructor are not checked: ``read`` does that.
    """

    __slots__ = ("__dict__", "_given")
    _given: frozenset[str]

    def __init__(self, **values: Any) -> None:
        known = keys(type(self))
        missing = [name for name, one in known.items() if one.default is REQUIRED and name not in values]
        unknown = values.keys() - known.keys()
        if missing or unknown:
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {sorted(unknown)}")
        self.__dict__.update({name: one.default for name, one in known.items()} | values)
        object.__setattr__(self, "_given", frozenset(values))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def items(self) -> Iterator[tuple[str, Any]]:
        """Keys and values, in the order of the class."""
        return iter(self.__dict__.items())

    def replaced(self, **changes: Any) -> Self:
        """A copy with other values."""
        return type(self)(**{name: self.__dict__[name] for name in self._given} | changes)

    def plain(self, *, given: bool = False) -> dict[str, Any]:
        """As JSON-like values; with ``given``, only what the file said."""
        return {name: _plain(value, given) for name, value in self.items() if not given or name in self._given}


def _plain(value: Any, given: bool) -> Any:
    if isinstance(value, Section):
        return value.plain(given=given)
    if isinstance(value, Mapping):
        return {name: _plain(part, given) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, given) for part in value]
    return str(value) if isinstance(value, Path) else value


S = TypeVar("S", bound=Section)
_Rule = Callable[[S], None]


def rule(method: _Rule[S]) -> _Rule[S]:
    """Mark a method that raises ValueError when keys of a section do not go together."""
    method.__dict__["is_rule"] = True
    return method


_KEYS: dict[type[Section], Mapping[str, Key]] = {}
_KINDS: dict[type[Section], Mapping[str, Any]] = {}


def keys(section: type[Section]) -> Mapping[str, Key]:
    """The keys of a section, in order."""
    if section not in _KEYS:
        said = {name: getattr(section, name, REQUIRED) for name in kinds(section)}
        _KEYS[section] = {name: one if isinstance(one, Key) else Key(one) for name, one in said.items()}
    return _KEYS[section]


def kinds(section: type[Section]) -> Mapping[str, Any]:
    """The type of each key: a section's own ones before those that it shares with others."""
    if section not in _KINDS:
        hints = get_type_hints(section, include_extras=True)
        names = dict.fromkeys((*section.__annotations__, *hints))
        _KINDS[section] = {name: hints[name] for name in names if not name.startswith("_")}
    return _KINDS[section]


def read(section: type[S], values: Any, base: Path) -> tuple[S | None, list[Problem]]:
    """A section from JSON-like values, and everything that is wrong; None when anything is.

    Args:
        section: its class.
        values: of the file.
        base: the folder where relative paths start.
    """
    reader = _Reader(base)
    found = reader.value(section, values, ())
    return (None if reader.problems else found), reader.problems


class _Reader:
    """Values to sections; what is wrong is kept, and stands as None."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.problems: list[Problem] = []

    def wrong(self, loc: Loc, text: str, kind: str = "value") -> None:
        self.problems.append(Problem(loc, text, kind))

    def value(self, kind: Any, given: Any, loc: Loc) -> Any:
        """What the file says, as the type wants it."""
        origin = get_origin(kind)
        form: Callable[..., Any] = _FORMS.get(origin, _Reader.scalar)
        if origin is None and isinstance(kind, type) and issubclass(kind, Section):
            form = _Reader.section
        return form(self, kind, given, loc)

    def section(self, kind: type[Section], given: Any, loc: Loc) -> Section | None:
        if not isinstance(given, dict):
            self.wrong(loc, f"expected a mapping, got {json.dumps(given)}")
            return None
        before, known = len(self.problems), keys(kind)
        for name in given.keys() - known.keys():
            meant = did_you_mean(name, known)
            self.wrong((*loc, name), f"unknown key {name!r}; expected {', '.join(known)}; {meant}".rstrip("; "), "key")
        values = {}
        for name, wanted in kinds(kind).items():
            if name in given:
                values[name] = self.bounded(known[name], self.value(wanted, given[name], (*loc, name)), (*loc, name))
            elif known[name].default is REQUIRED:
                self.wrong((*loc, name), "this key is required")
        if len(self.problems) > before:
            return None
        made = kind(**values)
        for each in (one for part in reversed(kind.__mro__) for one in vars(part).values()):
            if getattr(each, "is_rule", False):
                self.asked(each, made, loc)
        return made

    def asked(self, check: Callable[[Any], None], made: Section, loc: Loc) -> None:
        try:
            check(made)
        except ValueError as error:
            self.wrong(loc, str(error), "rule")

    def annotated(self, kind: Any, given: Any, loc: Loc) -> Any:
        inner, *marks = get_args(kind)
        before = len(self.problems)
        try:
            for mark in marks:
                given = mark.read(given) if isinstance(mark, Before) else given
            value = self.value(inner, given, loc)
            for mark in marks:
                if len(self.problems) == before:
                    value = mark.check(value, self.base) if isinstance(mark, After) else value
                    value = self.bounded(mark, value, loc) if isinstance(mark, Key) else value
        except ValueError as error:
            self.wrong(loc, str(error))
            return None
        return value

    def bounded(self, bounds: Key, value: Any, loc: Loc) -> Any:
        """The value; what goes beyond its bounds is a problem."""
        if value is None:
            return None
        for compare, limit, words in _limits(bounds):
            if not compare(value, limit):
                self.wrong(loc, f"input should be {words} {limit}, got {json.dumps(value)}")
        if bounds.pattern and not re.search(bounds.pattern, value):
            self.wrong(loc, f"text should match {bounds.pattern}, got {json.dumps(value)}")
        if bounds.least and len(value) < bounds.least:
            self.wrong(loc, f"expected {bounds.least} or more items, got {json.dumps(value)}")
        return value

    def choice(self, kind: Any, given: Any, loc: Loc) -> Any:
        valid = get_args(kind)
        if any(type(given) is type(word) and given == word for word in valid):
            return given
        words = [str(word) for word in valid]
        meant = f"without quotes: {given}" if given in words and given not in valid else did_you_mean(str(given), words)
        listed = ", ".join(map(str, valid))
        self.wrong(loc, f"unknown value {given!r}; expected {listed}; {meant}".rstrip("; "))
        return None

    def either(self, kind: Any, given: Any, loc: Loc) -> Any:
        """One of several types: the first that fits."""
        options = [option for option in get_args(kind) if option is not types.NoneType]
        if given is None and len(options) < len(get_args(kind)):
            return None
        if len(options) == 1:
            return self.value(options[0], given, loc)
        for option in options:
            trial = _Reader(self.base)
            value = trial.value(option, given, loc)
            if not trial.problems:
                return value
        self.wrong(loc, f"expected {' or '.join(_WORDS[option] for option in options)}, got {json.dumps(given)}")
        return None

    def sequence(self, kind: Any, given: Any, loc: Loc) -> Any:
        if not isinstance(given, list):
            self.wrong(loc, f"expected a list, got {json.dumps(given)}")
            return None
        return [self.value(get_args(kind)[0], part, (*loc, index)) for index, part in enumerate(given)]

    def mapping(self, kind: Any, given: Any, loc: Loc) -> Any:
        if not isinstance(given, dict):
            self.wrong(loc, f"expected a mapping, got {json.dumps(given)}")
            return None
        return {name: self.value(get_args(kind)[1], part, (*loc, name)) for name, part in given.items()}

    def scalar(self, kind: Any, given: Any, loc: Loc) -> Any:
        if kind is Any:
            return given
        numeric = isinstance(given, int | float) and not isinstance(given, bool)
        fits = {Path: isinstance(given, str), float: numeric and math.isfinite(given)}
        if fits.get(kind, type(given) is kind):
            return kind(given)
        self.wrong(loc, f"expected {_WORDS[kind]}, got {json.dumps(given)}")
        return None


_FORMS: Mapping[Any, Callable[..., Any]] = {
    Annotated: _Reader.annotated,
    Literal: _Reader.choice,
    Union: _Reader.either,
    types.UnionType: _Reader.either,
    list: _Reader.sequence,
    dict: _Reader.mapping,
}
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
_COMPARED = (
    ("gt", operator.gt, "greater than"),
    ("ge", operator.ge, "greater than or equal to"),
    ("lt", operator.lt, "less than"),
    ("le", operator.le, "less than or equal to"),
)


def _limits(bounds: Key) -> Sequence[tuple[Callable[[Any, Any], bool], float, str]]:
    found = [(compare, getattr(bounds, name), words) for name, compare, words in _COMPARED]
    return [limit for limit in found if limit[1] is not None]
