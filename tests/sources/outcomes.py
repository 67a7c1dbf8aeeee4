"""What the stages make of sources, many in one child process: a framework is loaded once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from trtconv import sources
from trtconv.core.errors import TrtconvError
from trtconv.core.events import Emit, ignore
from trtconv.core.records import SourceSpec
from trtconv.sources.freeze_records import FreezeRequest
from trtconv.stages.convert import ConvertRequest, convert
from trtconv.stages.freeze import freeze


@dataclass(frozen=True)
class Outcome:
    """Of one source.

    Attributes:
        exit_code: 0 where it became ONNX.
        text: the error, with what to do.
        compared: outputs that were compared with the source.
        unchecked: why none was.
    """

    exit_code: int = 0
    text: str = ""
    compared: int = 0
    unchecked: str = ""


def make(request: tuple[str, Path], _emit: Emit) -> dict[str, Path]:
    """The tiny models of a wing's tests."""
    wing, folder = request
    folder.mkdir()
    return {name: function(folder) for name, function in import_module(f"tests.sources.{wing}.tiny").MODELS.items()}


def outcomes(asked: Sequence[tuple[str, Path]], _emit: Emit) -> list[Outcome]:
    """Each (format, path) taken to ONNX."""
    return [_outcome(name, path) for name, path in asked]


def _outcome(name: str, path: Path) -> Outcome:
    extra = getattr(import_module(f"tests.sources.{wing_of(name)}.tiny"), "SPEC", {}).get(name, {})
    spec = SourceSpec(path, name, **extra)
    out = path.parent / f"{path.name}.made"
    try:
        row = sources.row(name)
        if row.frozen_first:
            freeze(FreezeRequest(spec, out.with_suffix(".pb")), ignore)
            spec = SourceSpec(out.with_suffix(".pb"), row.frozen_as)
        done = convert(ConvertRequest(spec, out.with_suffix(".onnx"), support=False), ignore)
    except TrtconvError as error:
        return Outcome(error.exit_code, f"{error.message}; next: {error.hint}")
    return Outcome(compared=len(done.checked), unchecked=done.unchecked)


def wing_of(name: str) -> str:
    """The wing of a format: ``trtconv.sources.WING.formats:ROW``."""
    return sources.FORMATS[name].split(".")[2]
