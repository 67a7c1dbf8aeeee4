"""What steps made, by everything that decided it: shared between jobs, folders and precisions.

One entry is a folder named by the SHA-256 of a step's key; it holds the files and ``entry.json``. It appears whole (a
folder is renamed into place) and is checked when it is taken: a file whose digest differs makes the entry worthless,
never a wrong hit. So a large file may be one with what the step made, by a second name for it: whoever changes that in
its place makes the entry worthless, and what is taken from an entry is always a copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.core import digests, files, unfinished
from trtconv.core.errors import UsageError
from trtconv.core.units import parse_bytes

DEFAULT_LIMIT = 10 << 30
"""Bytes kept when TRTCONV_CACHE_LIMIT does not say otherwise."""

_SCHEMA = 1
_KINDS = "kinds"
_ABANDONED = 3600.0  # seconds after which an unfinished entry belongs to a process that was killed


def default_folder() -> Path | None:
    """TRTCONV_CACHE, or trtconv's folder in the user's cache; None where TRTCONV_CACHE is ``off``."""
    named = os.environ.get("TRTCONV_CACHE", "")
    if named.lower() == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(named).expanduser() if named else Path(base) / "trtconv"


def limit() -> int:
    """TRTCONV_CACHE_LIMIT in bytes, such as ``20GiB``.

    Raises:
        UsageError: not a size.
    """
    given = os.environ.get("TRTCONV_CACHE_LIMIT") or DEFAULT_LIMIT
    try:
        return parse_bytes(given)
    except ValueError as error:
        raise UsageError(f"TRTCONV_CACHE_LIMIT: {error}", hint="set it to a size such as 20GiB, or unset it") from None


@dataclass(frozen=True)
class Entry:
    """One step's outcome in the store.

    Attributes:
        folder: of the entry.
        stage: that made it.
        kind: of the step, see ``State.kind``; empty in entries of older versions.
        names: of its files, in the step's own order.
        sizes: of all its files together, in bytes.
        used: when it was last taken or put, seconds since the epoch.
    """

    folder: Path
    stage: str
    kind: str
    names: tuple[str, ...]
    sizes: int
    used: float


@dataclass(frozen=True)
class Taken:
    """What came out of the store.

    Attributes:
        record: of the step: result, seconds, peak_memory, warnings, files.
        digests: SHA-256 of each file, as it was written to its place; folders have another kind.
    """

    record: Mapping[str, Any]
    digests: Mapping[Path, str]


@dataclass(frozen=True)
class Store:
    """A folder of entries."""

    folder: Path

    def take(self, key: str, targets: tuple[Path, ...]) -> Taken | None:
        """Copy an entry's files and folders to their places; None where there is no such entry.

        Files go to their places only after all of them were read and found whole.
        """
        entry, found = self._path(key), dict[Path, str]()
        try:
            raw = json.loads((entry / "entry.json").read_text())
            if raw["schema"] != _SCHEMA or len(raw["sha256"]) != len(targets):
                return None
            with contextlib.ExitStack() as stack:
                for index, (wanted, target) in enumerate(zip(raw["sha256"], targets, strict=True)):
                    kept = entry / str(index)
                    atomic = files.atomic_folder if kept.is_dir() else files.atomic_path
                    temporary = stack.enter_context(atomic(target))
                    if _copied(kept, temporary) != wanted:
                        raise _BrokenEntry
                    found |= {} if kept.is_dir() else {target: wanted}
            os.utime(entry)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        except _BrokenEntry:
            shutil.rmtree(entry, ignore_errors=True)
            return None
        return Taken(raw["record"], found)

    def may_hold(self, kind: str) -> bool:
        """Whether there may be an entry of a kind of step, whatever its inputs hold."""
        return (self.folder / _KINDS / kind).exists()

    def put(self, key: str, stage: str, kind: str, sources: Mapping[Path, str], record: Mapping[str, Any]) -> None:
        """Add an entry; ``sources`` are the files with their digests. A full disk is no failure of the job.

        Large files are not copied where the store lies on the same file system.
        """
        entry = self._path(key)
        if entry.exists():
            return
        try:
            for folder in (entry.parent, self.folder / _KINDS):
                folder.mkdir(parents=True, exist_ok=True)
            (self.folder / _KINDS / kind).touch()  # before the entry is there
        except OSError:
            return
        with contextlib.suppress(OSError), unfinished.folder(self.folder, ".new-") as temporary:
            found = []
            for index, (source, digest) in enumerate(sources.items()):
                kept = temporary / str(index)
                found.append(digest if _linked(source, kept) else _copied(source, kept))
            facts = {
                "schema": _SCHEMA,
                "stage": stage,
                "kind": kind,
                "names": [p.name for p in sources],
                "sha256": found,
                "record": dict(record),
            }
            (temporary / "entry.json").write_text(json.dumps(facts, default=str))
            temporary.rename(entry)  # fails where another process put the same entry first

    def entries(self) -> Iterator[Entry]:
        """All entries, in no order."""
        for path in self.folder.glob("??/*/entry.json"):
            try:
                raw = json.loads(path.read_text())
                size = sum(file.stat().st_size for file in digests.files_under(path.parent))
                yield Entry(
                    folder=path.parent,
                    stage=raw["stage"],
                    kind=raw.get("kind", ""),
                    names=tuple(raw["names"]),
                    sizes=size,
                    used=path.parent.stat().st_mtime,
                )
            except (OSError, ValueError, KeyError):  # taken away meanwhile, or foreign
                continue

    def collect(self, keep: int) -> list[Entry]:
        """Remove the entries longest unused until ``keep`` bytes remain; what was removed."""
        for path in self.folder.glob(".new-*"):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
        removed, total, kinds = [], 0, set()
        for entry in sorted(self.entries(), key=lambda e: e.used, reverse=True):
            total += entry.sizes
            if total > keep:
                shutil.rmtree(entry.folder, ignore_errors=True)
                removed.append(entry)
            else:
                kinds.add(entry.kind)
        for path in (self.folder / _KINDS).glob("*") if removed else ():
            if path.name not in kinds and time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink(missing_ok=True)
        return removed

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key


def _linked(source: Path, target: Path) -> bool:
    """Give a large file a second name; False where that is not worth it, or another file system is there."""
    try:
        if source.is_symlink() or not source.is_file() or source.stat().st_size < files.LARGE:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _copied(source: Path, target: Path) -> str:
    """Copy a file, or a folder without what came to lie in it when it was used: kernels that TensorRT-RTX compiled.

    The digest of the copy.
    """
    if not source.is_dir():
        return digests.of_copy(source, target)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.kernels", ".*"), dirs_exist_ok=True)
    return digests.of_path(target)


class _BrokenEntry(Exception):
    """A file of an entry is not what was put."""
