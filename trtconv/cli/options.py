"""Options that several commands share, and the way from options to a job."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from trtconv.core import permission, strict_json
from trtconv.core.digests import is_glob
from trtconv.core.errors import TrtconvError, UsageError
from trtconv.core.names import is_function
from trtconv.core.records import Loading
from trtconv.core.units import parse_budget
from trtconv.core.writable import told

FILE = click.Path(path_type=Path)
COUNT = click.IntRange(1)


class Finite(click.FloatRange):
    """A number within bounds; NaN compares with nothing, so click's own ranges let it through."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click does."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no ordinary number", param, ctx)
        return number


POSITIVE = Finite(0, min_open=True)
NOT_NEGATIVE = Finite(0)


def row(spelling: str, text: str, default: Any = None, *, short: str = "", **settings: Any) -> Any:
    """A field of a record that ``takes`` reads from the command line.

    Args:
        spelling: such as ``--max-rel``; the parameter is named like the field.
        text: for ``--help``.
        default: where it is not given.
        short: a second spelling, such as ``-o``.
        settings: for ``click.option``.
    """
    if settings.get("multiple"):
        default = ()
    shown = {"show_default": True} if default not in (None, "", (), False) else {}
    settings = {"default": default, "help": text, **shown, **settings}
    return dataclasses.field(
        default=default, metadata={"spellings": [*filter(None, [short]), spelling], "settings": settings}
    )


def takes(record: type[Any], name: str = "asked") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each field of a dataclass; the command gets them as one record.

    Args:
        record: whose fields are made by ``row``.
        name: the command's parameter for it.
    """
    fields = dataclasses.fields(record)

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*arguments: Any, **options: Any) -> Any:
            asked = record(**{field.name: options.pop(field.name) for field in fields})
            return command(*arguments, **{name: asked}, **options)

        whole: Callable[..., Any] = run
        for field in reversed(fields):
            whole = click.option(*field.metadata["spellings"], field.name, **field.metadata["settings"])(whole)
        return whole

    return add


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """What runs a model, and how.

    Attributes:
        backend: ``auto``, or the library that must run it.
        fallback: ONNX to run where the engine cannot.
        device_api: door to the GPU.
        budget: weights that stay on the GPU, as it was typed.
        lean_runtime: library that runs an engine for other versions.
    """

    backend: str = row(
        "--backend",
        "auto: the engine where a GPU can run it, else its typed ONNX on ONNX Runtime.",
        "auto",
        type=click.Choice(["auto", "tensorrt", "rtx", "onnxruntime"]),
    )
    fallback: Path | None = row(
        "--fallback", "ONNX to run where the engine cannot (default: the one beside it).", type=FILE
    )
    device_api: str = row("--device-api", "Door to the GPU.", "auto", type=click.Choice(["auto", "cuda", "pycuda"]))
    budget: str | None = row(
        "--weight-streaming-budget",
        "Weights that stay on the GPU, of an engine that can stream them: 512MiB, 50%, all (default) or auto.",
        metavar="SIZE|SHARE",
    )
    lean_runtime: Path | None = row(
        "--lean-runtime", "Library that runs an engine for other versions; with --allow-code.", type=FILE
    )

    @property
    def loading(self) -> Loading:
        """How the engine is loaded."""
        try:
            budget = "" if self.budget is None else parse_budget(self.budget)
        except ValueError as error:
            raise UsageError(f"--weight-streaming-budget: {error}", hint="for example 50%") from None
        return Loading(budget, self.lean_runtime and existing(self.lean_runtime))


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, ``--log-json`` and ``--quiet``."""
    for option in reversed(
        [
            click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document."),
            click.option("--log-json", is_flag=True, help="Print events as JSON lines on standard error."),
            click.option("-q", "--quiet", is_flag=True, help="Only warnings, errors and the result."),
        ]
    ):
        command = option(command)
    return _json_errors(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` to a command that has no events to tell of."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(_json_errors(command))


def _granted(_context: click.Context, _parameter: click.Parameter, given: bool) -> bool:
    """Child processes have the user's leave too."""
    if given:
        permission.grant()
    return given


def job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--set``, ``--force`` and ``--allow-code``."""
    for option in reversed(
        [
            click.option(
                "--set", "assignments", multiple=True, metavar="A.B=C", help="Override a key of the job file."
            ),
            click.option(
                "--force", multiple=True, metavar="STAGE", help="Run a stage even if up to date; 'all' for all."
            ),
            click.option(
                "--allow-code",
                is_flag=True,
                callback=_granted,
                help="Let code inside the model or named by the job run, and plugins of engines.",
            ),
        ]
    ):
        command = option(command)
    return command


def gate_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--gate``."""
    return click.option(
        "--gate",
        "bounds",
        multiple=True,
        metavar="MEASURE<=VALUE",
        help="Bound a measure, as in 'latency_p99<=2ms', 'throughput[fp16]>=1000', 'energy<=20mJ'; exit 6 or 7.",
    )(command)


def _json_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """With ``--json``, an error also leaves a JSON document on standard output."""

    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, **options: Any) -> None:
        try:
            with told():
                command(*args, as_json=as_json, **options)
        except TrtconvError as error:
            if as_json and not error.reported:
                click.echo(strict_json.dumps(error_document(error)))
            raise

    return wrapped


def error_document(error: TrtconvError) -> dict[str, Any]:
    """An error as part of a JSON document."""
    return {"error": type(error).__name__, "exit_code": error.exit_code, "message": error.message, "hint": error.hint}


def is_job(path: Path) -> bool:
    """Whether an argument is a job file rather than a model."""
    return path.suffix.lower() in (".yaml", ".yml")


_OF_ALL = {"model", "models", "allow_code", "as_json", "log_json", "quiet"}
_OF_JOBS = {"assignments", "force"}


def only_job(*more: str) -> None:
    """On a job file, refuse every option that was given and would change nothing: the job says it itself.

    Args:
        more: parameters of this command that do work on jobs.

    Raises:
        UsageError: naming the option.
    """
    kept = _OF_ALL | _OF_JOBS | set(more)
    _refuse(
        lambda name: name not in kept,
        "goes with a model; a job file says it itself",
        "use --set KEY=VALUE to override the job",
    )


def only_model(*more: str) -> None:
    """On a model, refuse the options of job files, and ``more``.

    Raises:
        UsageError: naming the option.
    """
    _refuse(lambda name: name in _OF_JOBS | set(more), "goes with a job file", "use the command's own options")


def _refuse(wrong: Callable[[str], bool], text: str, hint: str) -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if wrong(name) and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{parameter.opts[0]} {text}", hint=hint)


def existing(path: Path) -> Path:
    """A file or folder named on the command line, a checkpoint by the common start of its files' names, a function.

    Raises:
        UsageError: it is not there; with the nearest name beside it.
    """
    if not path.exists() and not path.with_name(f"{path.name}.index").exists() and not is_function(path):
        from trtconv.core.names import path_meant

        if path.is_symlink():
            raise UsageError(f"{path} is a link to {path.readlink()}, which is not there", hint="make the link anew")
        raise UsageError(f"no such file or folder: {path}", hint=path_meant(path) or "check the path")
    return path


def existing_or_glob(path: Path) -> Path:
    """The same for samples, which a glob may stand for.

    Raises:
        UsageError: see ``existing``.
    """
    return path if is_glob(path) else existing(path)


def labels_of(text: str) -> str:
    """Labels named on the command line: the key of an array, or a .npy file, from the current folder on.

    Raises:
        UsageError: no such file.
    """
    return str(existing(Path(text)).absolute()) if text.endswith(".npy") else text


def job_from(values: Mapping[str, tuple[str, Any]], name: str, folder: Path) -> Any:
    """A validated job from options.

    Args:
        values: dotted key -> (the option's spelling, value); rows whose value is None or empty are left out.
        name: of the job.
        folder: where its files go.

    Raises:
        JobError: with the option in front of each problem.
    """
    from trtconv.job.load import validate
    from trtconv.job.yaml_tree import Tree

    tree = Tree({"version": 1, "name": name, "output": str(folder)}, values={(): "command line"})
    for dotted, (spelling, value) in values.items():
        if value is None or value in ((), [], "", {}):
            continue
        *parents, last = dotted.split(".")
        here = tree.data
        for depth, key in enumerate(parents, 1):
            here = here.setdefault(key, {})
            tree.values.setdefault(tuple(parents[:depth]), "command line")
        here[last] = value
        _mark(tree, (*parents, last), value, spelling)
    return validate(tree, Path.cwd(), name)


def _mark(tree: Any, loc: tuple[Any, ...], value: Any, spelling: str) -> None:
    tree.values[loc] = tree.keys[loc] = spelling
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        _mark(tree, (*loc, key), child, spelling)


def parse_shape(text: str, option: str) -> tuple[str, list[Any]]:
    """``name:batch,28,28,1`` to (name, dimensions).

    Raises:
        UsageError: not of that form.
    """
    name, colon, dims = text.partition(":")
    if not name or not colon:
        raise UsageError(
            f"{option} {text}: expected NAME:DIM,DIM,...",
            hint=f"for example {option} image:batch,28,28,1, and {option} threshold: for a single number",
        )
    if not dims.strip():
        return name, []
    return name, [int(d) if d.lstrip("-").isdigit() else d for d in dims.replace(" ", "").split(",")]


def parse_constants(texts: Iterable[str], option: str) -> dict[str, bool | float | str]:
    """``NAME=VALUE`` to values by name; what is neither a truth value nor a number is left as it is.

    Raises:
        UsageError: not of that form.
    """
    values: dict[str, bool | float | str] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text}: expected NAME=VALUE", hint=f"for example {option} keep_prob=1.0")
        values[name] = _constant(value)
    return values


def parse_axes(texts: Iterable[str], option: str = "--batch-axis") -> dict[str, int]:
    """``NAME=AXIS`` to axes by input.

    Raises:
        UsageError: not of that form.
    """
    values: dict[str, int] = {}
    for text in texts:
        name, equals, axis = text.rpartition("=")
        if not equals or not name or not axis.isdigit():
            raise UsageError(f"{option} {text}: expected NAME=AXIS", hint=f"for example {option} state=1")
        values[name] = int(axis)
    return values


def _constant(text: str) -> bool | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return text


_RANGED = {
    "--values": ("a number for every element", "--values size=1,1x224,224x512,512"),
    "--shapes": (
        "batch sizes or full shapes",
        "--shapes image=1x8x32 or --shapes image=1,28,28,1x8,28,28,1x32,28,28,1",
    ),
}


def parse_profile(text: str, option: str) -> tuple[str, dict[str, list[int]]]:
    """``name=1x8x32`` or ``name=1,28,28,1x8,28,28,1x32,28,28,1`` to (name, profile).

    Raises:
        UsageError: not of that form.
    """
    name, _, ranges = text.rpartition("=")
    bounds = ranges.split("x")
    numbers = [[int(n) for n in bound.split(",") if n.isdigit()] for bound in bounds]
    if not name or len(bounds) != 3 or any(len(n) != len(b.split(",")) for n, b in zip(numbers, bounds, strict=True)):
        numbered, example = _RANGED[option]
        raise UsageError(f"{option} {text}: expected NAME=MINxOPTxMAX, with {numbered}", hint=f"for example {example}")
    return name, dict(zip(("min", "opt", "max"), numbers, strict=True))
