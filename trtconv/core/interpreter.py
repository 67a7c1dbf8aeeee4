"""Call functions of a small module in another Python: frameworks that cannot share trtconv's environment.

The second form of ``core.child``. The module imports the standard library and its framework; it is run by the
interpreter that a job names (``source.python``), or by trtconv's own. Requests and results are JSON, arrays are files
in ``Guest.folder``; nothing is pickled, and nothing that is installed beside trtconv is seen there. The process stays
until the Guest is closed, so a framework is loaded once and a model stays open from call to call.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from trtconv.core import child, errors, guest, guests, unfinished, versions
from trtconv.core.errors import EnvironmentProblem, MissingPackage, TrtconvError
from trtconv.core.events import Emit, Message, Progress

_PROBE = (
    "import importlib.util, json, sys; print(json.dumps([sys.version_info[:3], [one for one in sys.path if one], "
    "[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]]))"
)
_PROBE_SECONDS = 60
_NOT_INHERITED = ("PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""Variables that belong to the interpreter of this process."""


@dataclass(frozen=True)
class Needs:
    """What a small module imports besides the standard library.

    Attributes:
        framework: as messages call it, such as ``PyTorch``.
        packages: import name -> what pip installs for it, such as ``torch==2.13.*``.
        optional: likewise, for what only some models need.
        extra: of trtconv, which installs the same in its own environment; empty: it cannot be there.
        python: the oldest version that will do.
    """

    framework: str
    packages: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""
    python: tuple[int, int] = (3, 8)

    def lines(self, environment: Path) -> str:
        """The commands that make an environment with all of it."""
        folder = shlex.quote(str(environment))
        return f"python3 -m venv {folder} && {folder}/bin/pip install {self._wanted((*self.packages, *self.optional))}"

    def missing(self, python: Path, names: Iterable[str]) -> EnvironmentProblem:
        """The error for packages that an interpreter lacks, by import name."""
        lacking = list(names)
        if self.extra and python == own():
            return MissingPackage(lacking[0], self.extra, f"a model of {self.framework}")
        return EnvironmentProblem(
            f"{python} has no {', '.join(lacking)}, which a model of {self.framework} needs",
            hint=f"{shlex.quote(str(python))} -m pip install {self._wanted(lacking)}",
        )

    def _wanted(self, names: Iterable[str]) -> str:
        known = {**self.packages, **self.optional}
        return " ".join(shlex.quote(known[name]) for name in names)


@dataclass(frozen=True)
class Interpreter:
    """A Python that is there and answers.

    Attributes:
        path: the program.
        version: such as ``3.11.9``.
        folders: where it looks for packages.
    """

    path: Path
    version: str
    folders: tuple[str, ...]

    def versions(self, distributions: Iterable[str]) -> dict[str, str]:
        """What decides the bytes that it makes: its own version and those of distributions; no path is among them."""
        return {"python": self.version, **versions.of(distributions, self.folders)}


def own() -> Path:
    """The interpreter that runs trtconv."""
    return Path(sys.executable)


def find(python: Path | None, needs: Needs) -> Interpreter:
    """The interpreter that a job names, asked whether it has what is needed.

    Args:
        python: the program, or the folder of a virtual environment; None: the one that runs trtconv.
        needs: what it must have.

    Raises:
        EnvironmentProblem: not there, no Python, too old, or without a package; with the commands that mend it.
        MissingPackage: trtconv's own interpreter lacks what an extra installs.
    """
    program = own() if python is None else _program(python)
    interpreter, missing = _asked(program, needs, _environment_of(program))
    if missing:
        raise needs.missing(program, missing)
    return interpreter


def _program(path: Path) -> Path:
    return path / "bin" / "python" if path.is_dir() else path


def _environment_of(program: Path) -> Path:
    """The folder of the virtual environment that a program is, or would be, part of."""
    return program.parent.parent if program.parent.name == "bin" else program


def _asked(program: Path, needs: Needs, environment: Path) -> tuple[Interpreter, list[str]]:
    try:
        version, folders, missing = _answer(program, tuple(needs.packages))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise EnvironmentProblem(
            f"{program}: {_why(error)}; a model of {needs.framework} is read there", hint=needs.lines(environment)
        ) from None
    if tuple(version) < needs.python:
        wanted = ".".join(map(str, needs.python))
        raise EnvironmentProblem(
            f"{program} is Python {'.'.join(map(str, version))}; a model of {needs.framework} needs {wanted} or later",
            hint=f"name another one in source.python: {needs.lines(environment.with_name(environment.name + '-new'))}",
        )
    return Interpreter(program, ".".join(map(str, version)), tuple(folders)), missing


@cache
def _answer(program: Path, names: tuple[str, ...]) -> Any:
    """Version, folders and absent packages, from the interpreter itself."""
    done = subprocess.run(
        [program, "-c", _PROBE, *names],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=_PROBE_SECONDS,
        check=True,
    )
    version, folders, missing = json.loads(done.stdout)
    return version, folders, missing


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError):
        return f"cannot be started ({error.strerror})"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {_PROBE_SECONDS} seconds"
    return "not a Python interpreter"


def environment() -> dict[str, str]:
    """The variables that another interpreter gets."""
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}


class Guest:
    """A process of another interpreter that answers calls of one small module; a context manager.

    A stage may leave it open: it ends with the stage. Ctrl-C reaches a stage as SIGTERM, which while a guest is open
    raises KeyboardInterrupt instead, so that no folder stays behind.

    Args:
        interpreter: from ``find``.
        module: the small module, such as ``trtconv.sources.pytorch.exporter``; only its file is loaded there.
        needs: what it imports.
        emit: gets what its functions tell.
        log: file for its standard output and error; None: they go to this process's standard error, at the end.
        folder: where the folder for files is made; None: where temporary files go.

    Attributes:
        folder: for files that go to and fro; gone when the guest is closed.
        peak_memory: largest resident memory in bytes, as far as it was told.
    """

    def __init__(
        self,
        interpreter: Interpreter,
        module: str,
        needs: Needs,
        emit: Emit,
        log: Path | None = None,
        folder: Path | None = None,
    ) -> None:
        self.interpreter, self._needs, self._passed_on = interpreter, needs, log is None
        self.peak_memory = 0
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.folder = (folder or Path(tempfile.gettempdir())) / f".trtconv-{os.urandom(4).hex()}"
        unfinished.begin(self.folder)
        self.folder.mkdir(mode=0o700)
        self._log = log or self.folder / "log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        read_fd, write_fd = os.pipe()
        self._messages: IO[bytes] = os.fdopen(read_fd, "rb")
        self._process = _started(interpreter.path, _file(module), write_fd, self._log)
        child.LIVE[self._process] = 0.0
        guests.OPEN.append(self)
        hint = "" if self._passed_on else None
        self._talk = child.Talk(self._process, self._messages, emit, self._log, self._heard, hint)

    def __enter__(self) -> Guest:
        """It is open already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def call(self, function: str, request: Mapping[str, Any]) -> Any:
        """``function(request, host)`` there.

        Args:
            function: of the small module.
            request: JSON-like values; paths become texts.

        Raises:
            TrtconvError: what the function refused.
            EnvironmentProblem: a package is missing there.
            ChildCrash: the process died or raised something unexpected; the message holds the end of the log.
            KeyboardInterrupt: Ctrl-C; the process has been stopped.
        """
        call = json.dumps({"function": function, "request": dict(request)}, default=str)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died: told by the answer
            self._process.stdin.write(call.encode() + b"\n")
            self._process.stdin.flush()
        try:
            outcome = self._talk.answer()
        except KeyboardInterrupt:  # nobody between here and the stage's end may take it for a failure
            self._process.kill()
            raise
        self.peak_memory = max(self.peak_memory, outcome.peak_memory)
        guests.count_memory(self.peak_memory)
        return outcome.value

    def close(self) -> None:
        """End the process and remove its folder."""
        if self not in guests.OPEN:
            return
        guests.OPEN.remove(self)
        child.LIVE.pop(self._process)
        self._process.kill()
        self._process.wait()
        self._talk.close()
        self._messages.close()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._passed_on:
            sys.stderr.write(self._log.read_text(errors="replace"))
        unfinished.remove(self.folder)
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _heard(self, messages: IO[bytes]) -> tuple[str, Any] | None:
        """The next message as ``child.Talk`` knows them; None when the other end has closed."""
        line = messages.readline()
        if not line.endswith(b"\n"):
            return None
        told = json.loads(line)
        kind = told.pop("kind")
        if kind == "message":
            return "event", Message(**told)
        if kind == "progress":
            return "event", Progress(**told)
        if kind == "result":
            return "result", (told["value"], told["peak_memory"])
        return self._failure(kind, told)

    def _failure(self, kind: str, told: Mapping[str, str]) -> tuple[str, Any]:
        if kind == "refused":
            known = getattr(errors, told["error"])
            assert issubclass(known, TrtconvError)
            return "error", known(told["message"], hint=told["hint"])
        if told.get("missing") in {**self._needs.packages, **self._needs.optional}:
            return "error", self._needs.missing(self.interpreter.path, [told["missing"]])
        return "crash", f"{told['traceback']}{child.log_tail(self._log)}"


def _started(python: Path, module: str, answers: int, log: Path) -> subprocess.Popen[bytes]:
    """The process; it alone keeps the file descriptor of the answers."""
    try:
        with log.open("wb") as noise:
            return subprocess.Popen(
                [python, guest.__file__, str(answers), module, str(Path(guest.__file__).parents[2])],
                stdin=subprocess.PIPE,
                stdout=noise,
                stderr=subprocess.STDOUT,
                pass_fds=[answers],
                start_new_session=True,
                env={**environment(), **child.NOISE},
            )
    finally:
        os.close(answers)


def _file(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module}", name=module)
    return spec.origin
