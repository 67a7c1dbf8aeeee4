"""What a run read and made, for Make: ``include`` the file, and a changed input makes its engines again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from trtconv.core.digests import files_under, is_glob


def depfile(targets: Iterable[Path], prerequisites: Iterable[Path]) -> str:
    """A rule without a recipe, and an empty rule per prerequisite so that a file that goes away stops nothing.

    Args:
        targets: files made.
        prerequisites: files read; a folder or a glob stands for the files in it.
    """
    read = list(dict.fromkeys(_name(file) for path in prerequisites for file in _files(path)))
    rule = " \\\n  ".join([f"{' '.join(map(_name, targets))}:", *read])
    return "\n\n".join([rule, *(f"{name}:" for name in read)]) + "\n"


def _files(path: Path) -> list[Path]:
    if is_glob(path):
        return sorted(path.parent.glob(path.name))
    return files_under(path)


def _name(path: Path) -> str:
    """A path as Make has it: relative where it lies below this folder, with Make's own signs escaped."""
    full = path.absolute()
    here = os.path.relpath(full) if full.is_relative_to(Path.cwd()) else str(full)
    return here.replace("$", "$$").replace("#", "\\#").replace(" ", "\\ ").replace(":", "\\:")
