"""freeze: a model with variables becomes a frozen graph with named inputs and outputs."""

from __future__ import annotations

from dataclasses import replace

from trtconv.core import errors
from trtconv.core.errors import UsageError
from trtconv.core.events import Emit
from trtconv.sources.freeze_records import FreezeRequest, FreezeResult

__all__ = ["FreezeRequest", "FreezeResult", "freeze"]


def freeze(request: FreezeRequest, emit: Emit) -> FreezeResult:
    """Load the model, turn its variables into constants, and write the graph with its description.

    Raises:
        SourceError: damaged or foreign files, unknown signature or output, a model that keeps state.
        UsageError: shapes that do not fit the inputs, a format that needs no freezing.
        MissingPackage: its framework is not installed.
        EnvironmentProblem: the interpreter that the source names is missing, or lacks it.
    """
    from trtconv import sources

    with errors.about(request.source.path):
        found = sources.of(request.source)
        if not found.freezes:
            raise UsageError(f"{found.title} needs no freezing", hint="convert it: trtconv convert")
        sources.require_fitting(request.source, found)
        return found.freeze(replace(request, source=replace(request.source, format=found.name)), emit)
