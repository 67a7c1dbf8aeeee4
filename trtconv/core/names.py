"""Finding the name that a user probably meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

_SHOWN = 3
_FUNCTION = r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*"


def is_function(path: Path) -> bool:
    """Whether a path names a function, ``module:function`` or ``file.py:function``, in a folder where it may be."""
    return bool(re.fullmatch(_FUNCTION, path.name)) and not path.exists()


def nearest(wrong: str, valid: Iterable[str], count: int = 1) -> list[str]:
    """The closest of ``valid`` to ``wrong``, best first; empty when nothing is near."""
    import difflib  # imported here: only mistakes need it

    table = {name.lower(): name for name in valid}
    return [table[hit] for hit in difflib.get_close_matches(wrong.lower(), list(table), n=count, cutoff=0.6)]


def did_you_mean(wrong: str, valid: Iterable[str]) -> str:
    """A sentence such as ``did you mean 'fp16'?``, or an empty string."""
    hits = nearest(wrong, valid)
    return f"did you mean {hits[0]!r}?" if hits else ""


def path_meant(path: Path, base: Path = Path(), files: str = "*") -> str:
    """The same for a path that is not there: the path with the nearest names of what is, as far as there are any.

    Args:
        path: as the user wrote it.
        base: the folder that it is relative to.
        files: pattern of the last name.
    """
    found, changed = Path(), False
    for name, pattern in zip(path.parts, ["*"] * (len(path.parts) - 1) + [files], strict=True):
        step = found / name
        if not (base / step).exists():
            near = nearest(name, [other.name for other in (base / found).glob(pattern)])
            if not near:
                break
            step, changed = found / near[0], True
        found = step
    return f"did you mean {str(found)!r}?" if changed else ""


def choice(wrong: str, valid: Iterable[str]) -> str:
    """What to do where a name is none of those listed: the nearest, or one of them; never an empty string."""
    names = list(valid)
    return did_you_mean(wrong, names) or (f"choose one of {', '.join(names)}" if names else "leave it out")


def one_of(wrong: str, there: Collection[str], what: str) -> str:
    """What to do where a name is none of many: the nearest ones, or some of them."""
    if near := nearest(wrong, there, _SHOWN):
        return f"did you mean {' or '.join(map(repr, near))}?"
    few = sorted(there)[:_SHOWN]
    return f"remove it, or name one of the model's {len(there)} {what}, such as {', '.join(few) or 'none'}"


def unicode_path(path: object) -> bool:
    """Whether a path is text, and not bytes that are no UTF-8."""
    return not any("\ud800" <= sign <= "\udfff" for sign in str(path))
