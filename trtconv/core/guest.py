"""The other interpreter's side of ``core.interpreter``: standard library only, Python 3.8 or later.

It is run as a file, ``python guest.py FD MODULE.py ROOT``: calls come through standard input, one JSON document a line
(``{"function": "export", "request": {...}}``), and answers leave through file descriptor FD in the same form. Standard
output and error are the log. The function gets the request and a ``Host``.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1


class Refused(Exception):
    """A failure that the user can do something about.

    Args:
        kind: class of ``trtconv.core.errors`` that it becomes, by name.
        message: what is wrong.
        hint: what to do next.
    """

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.hint = kind, message, hint


class Host:
    """Whoever asked: what a function tells while it works, and how it gives up."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def send(self, **message: Any) -> None:
        """One JSON document."""
        self._out.write(json.dumps(message, default=str) + "\n")
        self._out.flush()

    def message(self, text: str, level: str = "info") -> None:
        """A line for the log: ``debug``, ``info``, ``warning`` or ``error``."""
        self.send(kind="message", text=text, level=level)

    def progress(self, label: str, done: float, total: float | None = None, unit: str = "steps") -> None:
        """Work done so far."""
        self.send(kind="progress", label=label, done=done, total=total, unit=unit)

    def refusal(self, kind: str, message: str, hint: str = "") -> Refused:
        """An error to raise: ``raise host.refusal("SourceError", "...", hint="...")``."""
        return Refused(kind, message, hint)

    def beside(self, name: str) -> Any:
        """Another small module, from the folder of the first."""
        return _loaded(str(Path(sys.argv[0]).with_name(f"{name}.py")))

    def load(self, package: str) -> Any:
        """Import a framework; one that is there and does not load is a problem of its environment.

        Raises:
            ModuleNotFoundError: it is not installed; the other end says how to install it.
            Refused: it is, and its libraries are not, or not in the right version.
        """
        try:
            return importlib.import_module(package)
        except ModuleNotFoundError:
            raise
        except (ImportError, OSError, AttributeError, RuntimeError) as error:
            raise Refused(
                "EnvironmentProblem",
                f"{package} is installed for {sys.executable} but does not load: {' '.join(str(error).split())}",
                f"{sys.executable} -m pip install --force-reinstall {package}",
            ) from error


class OwnPackage(importlib.abc.MetaPathFinder):
    """Finds the package ``trtconv`` of whoever asked, and nothing else that is installed beside it."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """As the import system asks for it."""
        return importlib.machinery.PathFinder.find_spec(name, [self._root]) if name == "trtconv" else None


def main() -> None:
    """Answer calls until standard input ends."""
    with contextlib.suppress(OSError, AttributeError):  # never outlive the parent, whatever kills it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    descriptor, file, root = sys.argv[1:4]
    beside = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - its modules' names are common words
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != beside]  # noqa: PTH100
    sys.meta_path.insert(0, OwnPackage(root))
    sys.argv = [file]
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as out:
        host, module = Host(out), None
        for line in sys.stdin:
            call = json.loads(line)
            try:
                module = module or _loaded(file)
                value = getattr(module, call["function"])(call["request"], host)
            except BaseException as error:  # noqa: BLE001 - told to whoever asked
                host.send(**_failure(error))
            else:
                host.send(kind="result", value=value, peak_memory=peak_memory())


def _loaded(file: str) -> Any:
    """The small module, by its file: the packages that it lies in need not be importable here."""
    name = f"_trtconv_{Path(file).stem}"  # no name that a user's own module may have
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, Refused):
        return {"kind": "refused", "error": error.kind, "message": error.message, "hint": error.hint}
    told = {"kind": "failed", "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__))}
    if isinstance(error, ModuleNotFoundError):
        told["missing"] = str(error.name or "").partition(".")[0]
    return told


def peak_memory() -> int:
    """Peak resident memory of this process in bytes; VmHWM, because ru_maxrss is inherited from a fat parent."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
