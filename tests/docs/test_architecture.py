"""docs/architecture.md and CONTRIBUTING.md name files and what these define; they must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs/architecture.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| `(trtconv/\S+\.py)` \| `(\w+)` \|$", MAP, re.MULTILINE)


def defined(file: Path) -> set[str]:
    """Functions, classes and variables of a module."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_there_are_ten_tasks_at_least() -> None:
    assert len(ROWS) >= 10
    assert len(ROWS) == sum(line.startswith("| ") for line in MAP.splitlines()) - 1  # but the head


@pytest.mark.parametrize(("task", "file", "name"), ROWS, ids=[name for _, _, name in ROWS])
def test_a_task_leads_to_its_file(task: str, file: str, name: str) -> None:
    assert name in defined(ROOT / file), f"{task}: {file} does not define {name}"


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:\w+/)+\w+\.\w+)`", text))
    assert named
    missing = [path for path in named if not (ROOT / path).exists() and not (ROOT / "trtconv" / path).exists()]
    assert [path for path in missing if "NAME" not in path] == []
