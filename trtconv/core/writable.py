"""Places where files cannot go, and what the system says of them, in words for the user."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trtconv.core.errors import EnvironmentProblem, TrtconvError, UsageError

_ROOM = "make room there, or write to another disk (-o, or output: in a job)"
_ELSEWHERE = "write to another folder (-o, or output: in a job), or change the permissions of this one"
_NAME = "check the path"
_LONGEST = 255 - len("..12345678.tmp")  # bytes of a name, with what an unfinished file is called
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.EISDIR: _NAME,
    errno.ENOTDIR: _NAME,
    errno.EEXIST: _NAME,
    errno.ENAMETOOLONG: _NAME,
    errno.ELOOP: _NAME,
    errno.EIO: "check the disk",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
"""What to do, by the system's error number. Others, such as a file that is not there, may be mistakes of trtconv."""


def problem(error: OSError) -> TrtconvError | None:
    """What the system refuses, as an error of the path or of this machine; None for what may be trtconv's mistake."""
    if error.errno not in _HINTS:
        return None
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    place = f"{names[-1]}: " if names else ""
    hint = _HINTS[error.errno]
    if hint is _ELSEWHERE and names and Path(names[-1]).exists() and not os.access(names[-1], os.R_OK):
        hint = "allow reading it: chmod +r, for a folder chmod +rx"
    return (UsageError if hint is _NAME else EnvironmentProblem)(f"{place}{error.strerror}", hint=hint)


@contextmanager
def at(path: Path) -> Iterator[None]:
    """Let what the system refuses name this file where it names none: a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def told() -> Iterator[None]:
    """Raise what the system refuses as an error that the user can do something about."""
    try:
        yield
    except OSError as error:
        if (known := problem(error)) is None:
            raise
        raise known from error


def require_file(path: Path) -> None:
    """Refuse to put a file where a folder, a device or a pipe is: renaming would take its place.

    Raises:
        UsageError: naming it; its name is too long.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="name a file in it")
    if len(os.fsencode(path.name)) > _LONGEST:
        raise UsageError(f"{path.name}: a name this long cannot be written", hint="name it shorter: name: in a job, -o")
    opened = path.is_symlink() and path.readlink().is_relative_to("/proc")  # /dev/stdout
    if opened or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is not an ordinary file", hint="name a file: results appear whole, under their name")


def require_place(path: Path) -> None:
    """Refuse a file that cannot be written.

    Raises:
        UsageError: a folder or a device is there.
        EnvironmentProblem: nothing may be written there.
    """
    require_folder(path.absolute().parent, writable=True)
    require_file(path)


def require_result(path: Path, source: Path) -> None:
    """Refuse a place for a result that cannot be, or where its own source lies.

    Raises:
        UsageError: naming it.
        EnvironmentProblem: nothing may be written there.
    """
    require_folder(path.absolute().parent, writable=True)
    require_file(path)
    if own(path) == own(source):
        raise UsageError(f"{path} is the source, and the result would take its place", hint="write to another file: -o")


def own(path: Path) -> Path:
    """A path without links on the way to it; a link itself is replaced, not what it points to."""
    return path.parent.resolve() / path.name


def require_folder(path: Path, *, writable: bool) -> None:
    """Refuse a folder that cannot be: one of the names above it is a file.

    Args:
        path: of the folder, which need not be there.
        writable: whether it must be possible to write there.

    Raises:
        UsageError: naming the part that is no folder.
        EnvironmentProblem: naming the folder where nothing may be written.
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there} is not a folder: nothing can be written below it", hint="name another folder")
    if writable and not may_write(there):
        raise EnvironmentProblem(f"{there}: nothing may be written there", hint=_ELSEWHERE)


def may_write(folder: Path) -> bool:
    """Whether files can be made in a folder that is there."""
    return os.access(folder, os.W_OK | os.X_OK) and (os.statvfs(folder).f_blocks > 0 or _takes_files(folder))


def _takes_files(folder: Path) -> bool:
    """Whether a file system that says it has no room, as /proc and /sys do, takes one all the same."""
    trial = folder / f".{os.getpid()}.trtconv-trial"
    try:
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        return False
    trial.unlink()
    return True
