"""compose: a typed ONNX model whose foreign operators are written with ONNX's own; its types stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trtconv.core import errors
from trtconv.core.events import Emit, Message


@dataclass(frozen=True)
class ComposeRequest:
    """What to compose.

    Attributes:
        model: a typed ONNX file.
        typed: the file to write.
        operators: ``DOMAIN::NAME`` and the file that says what it computes, or None where its nodes stay.
    """

    model: Path
    typed: Path
    operators: tuple[tuple[str, Path | None], ...] = ()


@dataclass(frozen=True)
class ComposeResult:
    """What was written.

    Attributes:
        typed: the model.
        composed: a sentence per operator that was replaced.
    """

    typed: Path
    composed: tuple[str, ...] = ()


def compose(request: ComposeRequest, emit: Emit) -> ComposeResult:
    """Replace foreign operators of a typed model; see ``graph.composition``.

    Raises:
        SourceError: the model cannot be read, or a file is no ONNX function.
        ConversionError: a node and its function do not fit.
        UsageError: an operator that the model does not have.
    """
    from trtconv.graph import check, clean, composition, model_io

    with errors.about(request.model):
        model = model_io.load(request.model)
        operators = dict(request.operators)
        composition.take_over(model, operators)
        clean.prepare(model)
        done = composition.compose(model, operators)
        if done.counts:
            clean.prepare(model)
            check.infer_shapes(model)
        model_io.save(model, request.typed)
    for text in done.sentences():
        emit(Message(text))
    for node, why in done.left.items():
        emit(Message(f"node {node!r} stays as it is: {why}", "warning"))
    if done.counts:
        emit(Message("what was written for them was not compared with the model: it is typed already", "warning"))
    return ComposeResult(request.typed, tuple(done.sentences()))
