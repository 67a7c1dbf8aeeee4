"""How Paddle models are recognised, and what else the line asks of them."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from trtconv.core.records import SourceSpec
from trtconv.sources.format import Format
from trtconv.sources.paddle import files, pir, program_file


def _recognises(path: Path, start: bytes) -> bool:
    return files.looks_like(path) if path.is_dir() else program_file.looks_like(start) or pir.looks_like(start)


def _looks(start: bytes) -> str:
    return "a Paddle program" if program_file.looks_like(start) or pir.looks_like(start) else ""


def _without_reference(spec: SourceSpec) -> str:
    if spec.python is not None or util.find_spec("paddle") is not None:
        return ""
    return "Paddle is not installed here; source.python names an interpreter that has it"


PADDLE = Format(
    name="paddle",
    title="a Paddle program",
    plural="Paddle programs",
    recognises=_recognises,
    looks=_looks,
    beside=files.beside,
    takes=frozenset({"weights", "python"}),
    without_reference=_without_reference,
    describe="trtconv.sources.paddle.describe:describe",
    opens="trtconv.sources.paddle.reference:open_model",
    to_onnx="trtconv.sources.paddle.to_onnx:to_onnx",
    finds_weights=files.weights_of,
    packages=("paddle2onnx", "paddlepaddle", "paddlepaddle-gpu"),
    needs="trtconv.sources.paddle.paddle3:RUNS",
)
