"""SHA-256 of files, folders and plain values, as lower-case hex."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

_PIECE = 1 << 20  # bytes


def of_file(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def of_copy(source: Path, target: Path) -> str:
    """Copy a file's bytes; the digest of what was written, from the one time that it was read."""
    total = hashlib.sha256()
    with source.open("rb") as given, target.open("wb", buffering=0) as made:
        piece = memoryview(bytearray(_PIECE))
        while count := given.readinto(piece):
            total.update(piece[:count])
            made.write(piece[:count])
    return total.hexdigest()


def of_path(path: Path) -> str:
    """Digest of a file, or of a folder: relative names and contents of all files in it, in sorted order."""
    if path.is_file():
        return of_file(path)
    total = hashlib.sha256()
    for file in files_under(path):
        total.update(f"{file.relative_to(path).as_posix()}\0{of_file(file)}\n".encode())
    return total.hexdigest()


def of_value(value: Any) -> str:
    """Digest of a JSON-like value; keys are sorted, other types enter through ``str``."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def is_glob(path: Path) -> bool:
    """Whether a path stands for the files whose names match it; one that is there stands for itself."""
    return any(mark in path.name for mark in "*?[") and not path.exists()


def files_under(path: Path) -> list[Path]:
    """All files below a folder, sorted by name; a file stands for itself. Links are followed, also those to folders.

    Raises:
        OSError: a folder that may not be read: what lies in it would be missing in silence.
    """
    if path.is_file():
        return [path]
    return sorted(_below(path, frozenset()))


def _below(folder: Path, above: frozenset[str]) -> list[Path]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return []
    found = []
    for entry in os.scandir(folder):
        if entry.is_dir():
            found += _below(Path(entry.path), above | {real})
        elif entry.is_file():
            found.append(Path(entry.path))
    return found
