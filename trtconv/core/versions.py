"""Versions of installed packages, read from their metadata without importing them."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable
from functools import cache


def of(distributions: Iterable[str], folders: Iterable[str] | None = None) -> dict[str, str]:
    """Version per distribution name; absent ones are left out.

    Args:
        distributions: their names.
        folders: where to look; None: where this interpreter does.
    """
    places = tuple(sys.path if folders is None else folders)
    installed = _installed(places)
    found = {name: installed.get(_normalized(name)) for name in distributions}
    return {name: version or _asked(name, places) for name, version in found.items() if version is not None}


@cache
def _installed(folders: tuple[str, ...]) -> dict[str, str]:
    """Normalized name -> version, by the names of the metadata's folders: NAME-VERSION.dist-info.

    importlib.metadata parses a file per package for the same answer, which takes 20 times as long. The version is empty
    where the folder does not tell it, as in the NAME.egg-info of older installers.
    """
    found: dict[str, str] = {}
    for folder in folders:
        with contextlib.suppress(OSError):  # sys.path may name archives, and what is not there
            for entry in os.scandir(folder or "."):
                stem, _, ending = entry.name.rpartition(".")
                if ending in ("dist-info", "egg-info"):
                    name, _, version = stem.partition("-")
                    found.setdefault(_normalized(name), version if ending == "dist-info" else "")
    return found


def _normalized(name: str) -> str:
    """As the packaging rules compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _asked(name: str, folders: tuple[str, ...]) -> str:
    from importlib import metadata

    return next(iter(metadata.distributions(name=name, path=list(folders)))).version
