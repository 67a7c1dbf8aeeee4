"""How weights that the job names reach a script: as an argument of its function, or in place of a file it opens."""

from __future__ import annotations

import ast
import builtins
import io
import os
import runpy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WEIGHTS = ("weights", "weight_map", "weights_map", "weights_dict", "weight_dict", "state_dict", "params")


@dataclass
class Offer:
    """Whether the script took the weights."""

    used: bool = False


def function_of(script: Path) -> str:
    """The top-level function that takes a network and its weights, and nothing else that is not given; or nothing."""
    for node in ast.parse(script.read_bytes()).body:
        if isinstance(node, ast.FunctionDef) and _fits(node):
            return node.name
    return ""


def _fits(function: ast.FunctionDef) -> bool:
    given = [argument.arg for argument in function.args.args]
    needed = given[: len(given) - len(function.args.defaults)]
    known = {"network", "builder", "config", *_WEIGHTS}
    return "network" in given and bool(set(given) & set(_WEIGHTS)) and set(needed) <= known


def call(script: Path, name: str, weights: dict[str, Any], builder: Callable[..., Any], trt: Any) -> None:
    """Call a function of the script with a network of our own; what it says to builder and configuration counts."""
    function = runpy.run_path(str(script), run_name=script.stem)[name]
    made = builder(trt.Logger())
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) if _explicit(script) else 0
    network, config = made.create_network(flags), made.create_builder_config()
    offered: dict[str, Any] = {"builder": made, "config": config, "network": network}
    parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
    offered |= dict.fromkeys(_WEIGHTS, weights)
    function(**{key: offered[key] for key in parameters if key in offered})
    made.done(made.networks[-1])


def _explicit(script: Path) -> bool:
    """Whether the script asks for an explicit batch where it makes its own network."""
    names = {node.attr for node in ast.walk(ast.parse(script.read_bytes())) if isinstance(node, ast.Attribute)}
    return bool(names & {"EXPLICIT_BATCH", "STRONGLY_TYPED"})


@contextmanager
def offered(source: Path | None, weights: Any) -> Iterator[Offer]:
    """Let a file that the script opens and that is not there be the weights, where its kind is the same."""
    offer = Offer()
    if source is None:
        yield offer
        return
    real, real_io, asking = builtins.open, io.open, {name: getattr(os.path, name) for name in ("exists", "isfile")}

    def stand_in(file: Any, *given: Any, **named: Any) -> Any:
        if _meant(file, source):
            offer.used, file = True, source
        return real_io(file, *given, **named)

    def there(ask: Callable[[Any], bool]) -> Callable[[Any], bool]:
        return lambda file: _meant(file, source) or ask(file)

    builtins.open = io.open = stand_in
    for name, ask in asking.items():
        setattr(os.path, name, there(ask))
    try:
        yield offer
    finally:
        builtins.open, io.open = real, real_io
        for name, ask in asking.items():
            setattr(os.path, name, ask)


def _meant(file: Any, source: Path) -> bool:
    """Whether a path is the weights' own or one of their kind that does not exist."""
    if not isinstance(file, (str, Path)):
        return False
    path = Path(file)
    if path.suffix != source.suffix:
        return False
    try:
        path.stat()
    except OSError:
        return True
    return path.resolve() == source
