"""Registries are tables of strings ``module:attribute``; a row is imported when it is first used."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def resolve(target: str) -> Any:
    """Import ``"package.module:attribute"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Later:
    """An object that is made when something of it is used, such as a module that takes seconds to import.

    Args:
        make: gives it, the same one each time.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


class LaterMapping(Mapping[Any, Any]):
    """A mapping that is made when something of it is used; on its way to another process it becomes a plain one."""

    def __init__(self, make: Callable[[], Mapping[Any, Any]]) -> None:
        self._make = cache(make)

    def __getitem__(self, key: Any) -> Any:
        return self._make()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self._make()),)


class Beside(Generic[T]):
    """What a function gives that runs in a thread from now on; whoever asks waits for it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._found: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __call__(self) -> T:
        """What it gave, or raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            self._error = error
