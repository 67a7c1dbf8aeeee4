"""Tiny Paddle models for the tests that every format runs."""

from __future__ import annotations

from pathlib import Path

from tests.sources.paddle.programs import perceptron


def _program(folder: Path) -> Path:
    return perceptron(folder / "paddle", "pdmodel")


MODELS = {"paddle": _program}
