"""The files behind functions of the user's: their modules, and what those import that lies beside them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def files(functions: Iterable[str]) -> dict[str, Path]:
    """Files that decide what functions do, by what they are called in a key.

    Modules are looked for where Python will: in the current folder, then in PYTHONPATH. What is installed counts by its
    version elsewhere. Modules that are imported in other ways than by statements are not seen.

    Args:
        functions: ``module:name`` each.
    """
    found: dict[str, Path] = {}
    waiting = [target.partition(":")[0] for target in functions if ":" in target]
    while waiting:
        name = waiting.pop()
        label = f"code {name}"
        if label in found or (path := _path(name)) is None:
            continue
        found[label] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += _parents(name)
        waiting += _imported(path, package)
    return dict(sorted(found.items()))


def folders_of(paths: Iterable[Path]) -> tuple[str, ...]:
    """The folders among those where modules are looked for that hold one of some files, as absolute paths."""
    modules = [path for path in paths if path.suffix == ".py"]
    places = [Path(os.path.normpath(Path(folder).absolute())) for folder in folders()]
    return tuple(str(place) for place in places if any(path.is_relative_to(place) for path in modules))


def _path(name: str) -> Path | None:
    for folder in folders():
        place = Path(folder, *name.split(".")).absolute()
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return None if name.partition(".")[0] == "trtconv" else file
    return None


def folders() -> list[str]:
    """Where modules of the user's are looked for."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [
        ".",
        *(folder for folder in given if folder and Path(folder).name not in ("site-packages", "dist-packages")),
    ]


def _parents(name: str) -> Iterator[str]:
    """Packages that are imported on the way to a module."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def _imported(file: Path, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # told when it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
