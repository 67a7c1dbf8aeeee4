"""What a run read and made, for Make: ``include`` the file, and a changed input makes its engines again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from trtconv.core.digests import files_under, is_glob
from trtconv.core.errors import UsageError

_EQUALS = "trtconv_equals"
_NEVER = re.compile(r"[;%|\t\n\r]|[&\\ ]$|^ ")
"""What GNU Make 4.3 reads as something else in a name, however it is written."""


def depfile(targets: Iterable[Path], prerequisites: Iterable[Path]) -> str:
    """A rule without a recipe, and an empty rule per prerequisite so that a file that goes away stops nothing.

    Args:
        targets: files made.
        prerequisites: files read; a folder or a glob stands for the files in it.

    Raises:
        UsageError: a name that Make cannot read.
    """
    read = list(dict.fromkeys(_name(file) for path in prerequisites for file in _files(path)))
    rule = " \\\n  ".join([f"{' '.join(map(_name, targets))}:", *read])
    text = "\n\n".join([rule, *(f"{name}:" for name in read)]) + "\n"
    return f"{_EQUALS} := =\n\n{text}" if f"$({_EQUALS})" in text else text


def _files(path: Path) -> list[Path]:
    if is_glob(path):
        return sorted(path.parent.glob(path.name))
    return files_under(path)


def _name(path: Path) -> str:
    """A path as Make has it: relative where it lies below this folder, with Make's own signs escaped."""
    full = path.absolute()
    here = os.path.relpath(full) if full.is_relative_to(Path.cwd()) else str(full)
    if found := _NEVER.search(here):
        raise UsageError(
            f"--depfile: Make cannot read the name {here!r}, for its {found[0]!r}", hint="rename it, or leave it out"
        )
    here = f"./{here}" if here.startswith("~") else here
    here = re.sub(r"([#: *?\[])", r"\\\1", here.replace("$", "$$"))
    return here.replace("=", f"$({_EQUALS})")
