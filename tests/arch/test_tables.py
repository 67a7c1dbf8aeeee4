"""Registries are tables of strings, which no import check can follow: so every one of them is resolved here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import trtconv
from trtconv.core.interpreter import Needs
from trtconv.core.lazy import resolve
from trtconv.sources.format import Format

PACKAGE = Path(trtconv.__file__).parent
ROW = re.compile(r"trtconv(\.\w+)+:\w+")


def rows() -> list[str]:
    """Every string ``trtconv.module:attribute`` in the code, wherever it stands."""
    found = {
        node.value
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ROW.fullmatch(node.value)
    }
    return sorted(found)


def test_the_search_sees_the_tables() -> None:
    from trtconv.cli.main import COMMANDS
    from trtconv.pipeline.steps import STAGES

    assert {target for target, _ in COMMANDS.values()} <= set(rows())
    assert {stage.function for stage in STAGES.values()} <= set(rows())


@pytest.mark.parametrize("row", rows())
def test_row_resolves(row: str) -> None:
    resolved = resolve(row)
    assert callable(resolved) or isinstance(resolved, Format | Needs)
