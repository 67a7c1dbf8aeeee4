"""The error tree: one class per kind of failure, each with the exit code that a script can rely on.

    TrtconvError                    1   internal error (shown with a traceback)
    |-- UsageError                  2   the job file or the command line is wrong
    |   `-- JobError                2   ... with file, line and column of every problem
    |-- SourceError                 3   the model file cannot be read, frozen or converted
    |   `-- ConversionError         3   ... an operator or a graph that ONNX or a precision cannot express
    |-- BuildError                  4   TensorRT refused the network
    |-- EnvironmentProblem          5   no GPU, an engine for another GPU or version
    |   |-- MissingPackage          5   ... a package that an extra installs
    |   `-- NoKernel                5   ... a runtime lacks an operator in a type: the model can be built, not run here
    |-- AccuracyGateError           6   a result differs by more than the job allows, or an engine's types do
    |-- PerformanceGateError        7   a measurement misses what the job demands
    `-- Interrupted               130   Ctrl-C; 143 after SIGTERM or SIGHUP (see ``core.endings``)

Foreign exceptions are translated at the doors (``adapters/``); ``cli/`` is the only place that turns an error into an
exit code and text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from trtconv.core.extras import install_line


class TrtconvError(Exception):
    """A failure that trtconv understands.

    Args:
        message: what is wrong, naming the file, node or key.
        hint: what the user can do next; printed on a line of its own.

    Attributes:
        reported: whether standard output tells of it already.
    """

    exit_code: ClassVar[int] = 1
    reported: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by state: errors cross from child processes to their parent."""
        return (_rebuild, (type(self), self.__dict__))

    def __str__(self) -> str:
        return self.message


def _rebuild(cls: type[TrtconvError], state: dict[str, Any]) -> TrtconvError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class UsageError(TrtconvError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class JobError(UsageError):
    """A job file has problems; the message lists all of them with their places."""


class SourceError(TrtconvError):
    """A model file is missing, truncated, foreign, or cannot be frozen."""

    exit_code = 3


class ConversionError(SourceError):
    """A graph cannot be expressed as asked: unsupported operator, dtype or shape."""


@contextmanager
def about(model: object) -> Iterator[None]:
    """Let what is said of a model begin with its path, where that is not in it."""
    try:
        yield
    except SourceError as error:
        if str(model) not in error.message:
            error.message = f"{model}: {error.message}"
        raise


class BuildError(TrtconvError):
    """TensorRT refused to parse or build the network."""

    exit_code = 4


class EnvironmentProblem(TrtconvError):
    """This machine lacks something: a GPU, a driver, a matching version."""

    exit_code = 5


class OutOfMemory(EnvironmentProblem):
    """The GPU has too little memory left for what was asked."""


class MissingPackage(EnvironmentProblem):
    """A Python package is needed and absent.

    Args:
        package: the import name.
        extra: the trtconv extra that installs it.
        why: what needed it.
    """

    def __init__(self, package: str, extra: str, why: str) -> None:
        super().__init__(
            f"{why} needs the Python package {package!r}, which is not installed", hint=install_line(extra)
        )
        self.package = package
        self.extra = extra


class NoKernel(EnvironmentProblem):
    """A runtime lacks an operator in the type that a model uses: it can be built on this machine, but not run."""


class AccuracyGateError(TrtconvError):
    """A model's outputs differ from the reference, or its engine's types from those asked, by more than allowed."""

    exit_code = 6


class PerformanceGateError(TrtconvError):
    """A measurement misses what the job demands."""

    exit_code = 7


class Interrupted(TrtconvError):
    """The user pressed Ctrl-C; nothing half-written stays behind.

    Attributes:
        steps: of a run, those that had ended by then.
    """

    exit_code = 130
    steps: Sequence[Any] = ()
