"""A step that runs on another machine: its files go there by content, its request with their places there.

What it made comes back as bytes, and every path in its result as it is here. Knows nothing of how it travels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from trtconv import __version__
from trtconv.core import child, digests, files, permission, unfinished, versions
from trtconv.core.errors import EnvironmentProblem, TrtconvError
from trtconv.core.events import Emit, Event, Message
from trtconv.core.lazy import resolve

_FOLDER = "trtconv-fleet-"
_ALIVE = ".alive"
_YOUNG = 60.0  # seconds in which a step has locked its file for certain


@dataclasses.dataclass(frozen=True)
class Parcel:
    """All that a step is.

    Attributes:
        function: ``module:function`` of type (request, emit).
        aside: see ``steps.Stage.aside``.
        request: with paths of the machine that sent it.
        reads: path there, as text, and the SHA-256 of the content.
        makes: paths there.
        packages: distributions that decide the outcome, with the versions that it must be made with.
        alone: whether nothing else may run beside it on one machine: it measures time.
        folders: there, that modules of the user's are looked for in.
        allow_code: whether whoever sent it lets the user's code run.
        trtconv: version that sent it.
    """

    function: str
    aside: str
    request: Any
    reads: Mapping[str, str]
    makes: tuple[str, ...]
    packages: Mapping[str, str]
    alone: bool
    folders: tuple[str, ...] = ()
    allow_code: bool = False
    trtconv: str = __version__


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        value: the stage's result; None where it failed.
        peak_memory: of its process, in bytes.
        seconds: that the stage took; what came before and after it there is not counted.
        told: what it said besides its progress, in order.
        made: bytes by path, folders file by file.
        log: text of its log.
        error: why it failed, where another attempt would fail as well.
        node: that did it.
    """

    value: Any = None
    peak_memory: int = 0
    seconds: float = 0.0
    told: tuple[Message, ...] = ()
    made: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    log: str = ""
    error: TrtconvError | None = None
    node: str = ""


def contents(paths: Sequence[Path]) -> dict[str, tuple[str, Path]]:
    """SHA-256 and path of every file that a step reads; folders and globs file by file, tensors beside their model."""
    found: dict[str, tuple[str, Path]] = {}
    for path in paths:
        for file in digests.files_under(path) if path.is_dir() or not path.exists() else [path]:
            for one in (file, files.data_of(file)):
                if one.is_file():
                    found[str(one)] = digests.of_file(one), one
    return found


def perform(parcel: Parcel, fetch: Callable[[str], bytes | memoryview], emit: Emit) -> Answer:
    """Do a step in a folder of its own; an error that another machine would meet as well is an answer.

    Args:
        parcel: the step.
        fetch: gives the content with a SHA-256.
        emit: gets the stage's progress.

    Raises:
        OSError: something of this machine failed; another may do it.
    """
    try:
        _require_versions(parcel, os.uname().nodename)
        _sweep()
        with (
            unfinished.folder(Path(tempfile.gettempdir()), _FOLDER) as root,
            _locked(root / _ALIVE, fcntl.LOCK_EX),
            _turn(alone=parcel.alone),
        ):
            return _perform(parcel, fetch, emit, root)
    except TrtconvError as error:
        return Answer(error=error)


def _perform(parcel: Parcel, fetch: Callable[[str], bytes | memoryview], emit: Emit, root: Path) -> Answer:
    there = _Places(root, [*parcel.reads, *parcel.makes])
    for name in (*parcel.reads, *parcel.makes):
        there.path(Path(name)).parent.mkdir(parents=True, exist_ok=True)
    for name, digest in parcel.reads.items():
        there.path(Path(name)).write_bytes(fetch(digest))
    told: list[Message] = []

    def hear(event: Event) -> None:
        if isinstance(event, Message):
            told.append(Message(there.here(event.text), event.level))
        else:
            emit(event)

    log, began = root / "log", time.perf_counter()
    outcome, failed = child.Outcome(None, 0), None
    try:
        outcome = _called(parcel, _mapped(parcel.request, there.path, there.text), hear, log, there)
    except TrtconvError as error:
        error.message, error.hint, failed = there.here(error.message), there.here(error.hint), error
    seconds = time.perf_counter() - began
    return Answer(
        value=_mapped(outcome.value, lambda path: Path(there.here(str(path))), there.here),
        peak_memory=outcome.peak_memory,
        seconds=seconds,
        told=tuple(told),
        made={} if failed else _made(parcel, there),
        log=_read(log),
        error=failed,
    )


def _called(parcel: Parcel, request: Any, emit: Emit, log: Path, there: _Places) -> child.Outcome:
    """The stage, as it would be called where the parcel comes from."""
    if parcel.aside:
        outcome: child.Outcome = resolve(parcel.aside)(request, emit, log)
        return outcome
    return child.call(parcel.function, request, emit, log, _environment(parcel, there))


def _environment(parcel: Parcel, there: _Places) -> dict[str, str]:
    """Modules of the user's are found where they came to lie, and run by the leave of whoever sent them."""
    came = [str(there.folder(Path(name))) for name in parcel.folders]
    path = os.pathsep.join(filter(None, (*came, os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": path, **permission.environment(may=parcel.allow_code)}


def _made(parcel: Parcel, there: _Places) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    for name in parcel.makes:
        place = there.path(Path(name))
        made |= {there.here(str(file)): there.content(file) for file in (_under(place) if place.is_dir() else [place])}
        if (data := files.data_of(place)).is_file():
            made[there.here(str(data))] = data.read_bytes()
    return made


def receive(answer: Answer, makes: Sequence[Path], log: Path) -> child.Outcome:
    """Put what came back in its places here; the outcome as if the step had run here.

    Raises:
        TrtconvError: what the step ended with.
    """
    files.write_text(log, answer.log)
    if answer.error is not None:
        raise answer.error
    for path in makes:
        inside = {
            name: data for name, data in answer.made.items() if Path(name).is_relative_to(path) and name != str(path)
        }
        if inside:
            _receive_folder(path, inside)
    folders = tuple(path for path in makes if path.is_dir())
    for name, data in answer.made.items():
        if not any(Path(name).is_relative_to(folder) for folder in folders):
            files.write_bytes(Path(name), data)
    return child.Outcome(answer.value, answer.peak_memory)


def _receive_folder(path: Path, inside: Mapping[str, bytes]) -> None:
    """A folder that appears whole: a model in parts."""
    with files.atomic_folder(path) as new:
        for name, data in inside.items():
            place = new / Path(name).relative_to(path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def _require_versions(parcel: Parcel, node: str) -> None:
    here = {"trtconv": __version__, **versions.of(parcel.packages)}
    wanted = {"trtconv": parcel.trtconv, **parcel.packages}
    other = [
        f"{name} {here.get(name, 'not installed')}, wanted {version}"
        for name, version in wanted.items()
        if here.get(name) != version
    ]
    if other:
        raise EnvironmentProblem(
            f"node {node} has other versions: {'; '.join(other)}", hint="install the same on every node of the fleet"
        )


def _turn(*, alone: bool) -> AbstractContextManager[None]:
    """Steps that measure time have the machine to themselves, as far as this user's steps go."""
    path = Path(tempfile.gettempdir()) / f"{_FOLDER}{os.getuid()}.lock"
    return _locked(path, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, kind)
        yield


def _sweep() -> None:
    """Remove what steps left whose process was killed, models among it: nobody holds their locks any more."""
    for alive in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*/{_ALIVE}"):
        with contextlib.suppress(OSError):
            if time.time() - alive.stat().st_mtime > _YOUNG:
                with _locked(alive, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    unfinished.remove(alive.parent)


class _Places:
    """Where the files of one machine lie on another: below a folder, at their own paths."""

    def __init__(self, root: Path, known: Sequence[str]) -> None:
        self._root = root
        self._known = {Path(name) for name in known}
        self._folders = {folder for path in self._known for folder in path.parents if len(folder.parts) > 1}

    def path(self, path: Path) -> Path:
        """Whatever lies beside, above or below something that came along; other paths are as they are."""
        near = path in self._known or path in self._folders or path.parent in self._folders
        return self._root / path.relative_to("/") if path.is_absolute() and near else path

    def folder(self, path: Path) -> Path:
        """Where files of a folder lie, if any came along."""
        return self._root / path.relative_to("/")

    def content(self, file: Path) -> bytes:
        """What a file says on the machine that sent the step: facts in JSON may name places."""
        data = file.read_bytes()
        return data.replace(f"{self._root}/".encode(), b"/") if file.suffix == ".json" else data

    def text(self, text: str) -> str:
        """Texts that are the path of something that came along."""
        return str(self.path(Path(text))) if text.startswith("/") and Path(text) in self._known else text

    def here(self, text: str) -> str:
        """A text in which these places are those of the machine that sent the step."""
        return text.replace(f"{self._root}/", "/")


def _mapped(value: Any, path: Callable[[Path], Path], text: Callable[[str], str]) -> Any:
    """A value of dataclasses, lists and mappings with other paths and texts."""
    if isinstance(value, Path):
        return path(value)
    if isinstance(value, str):
        return text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {
            field.name: _mapped(getattr(value, field.name), path, text)
            for field in dataclasses.fields(value)
            if field.init
        }
        return dataclasses.replace(value, **parts)
    if isinstance(value, Mapping):
        return {_mapped(key, path, text): _mapped(part, path, text) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(part, path, text) for part in value)
    return value


def _under(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
