"""Which files a Paddle model consists of; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.sources.paddle import pir, program_file

_WHOLE = "__model__"
_COMBINED = ("__params__", "params")


@dataclass(frozen=True)
class Files:
    """Where a model lies.

    Attributes:
        program: the file of the program.
        weights: the combined file of parameters, or the folder that holds a file for each.
    """

    program: Path
    weights: Path


def looks_like(path: Path) -> bool:
    """Whether a file or a folder holds a Paddle model, by its first bytes."""
    if path.is_dir():
        return bool(_programs(path))
    start = magic.head(path)
    return program_file.looks_like(start) or pir.looks_like(start)


def _programs(folder: Path) -> list[Path]:
    """Programs in a folder; of one that was saved in two forms, both."""
    names = [folder / _WHOLE, *sorted(folder.glob("*.pdmodel")), *sorted(folder.glob("*.json"))]
    return [path for path in names if path.is_file() and looks_like(path)]


def find(path: Path, weights: Path | None = None) -> Files:
    """The files of a model.

    Args:
        path: its program, or the folder around it.
        weights: its parameters, where they are not beside it under the same name.

    Raises:
        SourceError: no program, or several.
    """
    if path.is_dir():
        found = _programs(path)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise SourceError(
                f"{path}: one Paddle program is needed in a folder; there is {names}", hint="name the file"
            )
        path = found[0]
    elif not path.is_file():
        raise SourceError(f"{path}: no such file or folder", hint="check source.path")
    return Files(path, weights or _beside(path))


def _beside(path: Path) -> Path:
    """Where the parameters of a program are by custom; the folder where each has a file of its own."""
    candidates = [path.with_suffix(".pdiparams")] if path.name != _WHOLE else []
    candidates += [path.with_name(name) for name in _COMBINED]
    return next((file for file in candidates if file.is_file()), path.parent if path.name == _WHOLE else candidates[0])


def weights_of(path: Path) -> Path | None:
    """The combined file of parameters that belongs to a program, where there is one."""
    weights = find(path).weights
    return weights if weights.is_file() else None


def beside(path: Path) -> list[Path]:
    """Files that hold the parameters of a program, as far as they are there.

    Args:
        path: of the program.
    """
    weights = _beside(path)
    if not weights.is_dir():
        return [weights]
    try:
        whole = program_file.read(path.read_bytes(), str(path))
    except SourceError:  # told when it is converted
        return []
    return [weights / variable.name for variable in whole.weights()]
