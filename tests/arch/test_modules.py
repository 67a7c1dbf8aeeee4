"""The shape of the code: no circles, no long files, short functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import trtconv

PACKAGE = Path(trtconv.__file__).parent
LINES_OF_FILE = 400
LINES_OF_FUNCTION = 30


def circle(imports: dict[str, set[str]]) -> list[str]:
    from graphlib import CycleError

    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_the_search_sees_circles() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_no_circle_among_modules() -> None:
    graph = grimp.build_graph("trtconv", exclude_type_checking_imports=True, cache_dir=None)
    found = circle({module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules})
    assert found == [], " -> ".join(found)


def test_no_long_file() -> None:
    long = {
        str(file.relative_to(PACKAGE)): count
        for file in PACKAGE.rglob("*.py")
        if (count := lines(file)) > LINES_OF_FILE
    }
    assert long == {}


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def functions() -> Iterator[tuple[str, int]]:
    """Name and lines of code of every function, its docstring left out."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                told = ast.get_docstring(node, clean=False)
                first = node.body[1] if told is not None and len(node.body) > 1 else node.body[0]
                yield f"{file.relative_to(PACKAGE)}:{node.name}", (node.end_lineno or 0) - first.lineno + 1


def test_nine_of_ten_functions_are_short() -> None:
    sizes = sorted(size for _, size in functions())
    assert sizes[len(sizes) * 9 // 10] <= LINES_OF_FUNCTION


@pytest.mark.parametrize("mark", ["skip", "off"])
def test_the_formatters_form_is_the_form(mark: str) -> None:
    roots = [PACKAGE, *(PACKAGE.parent / name for name in ("tests", "scripts", "benchmarks"))]
    found = [str(file) for root in roots for file in root.rglob("*.py") if f"# fmt: {mark}" in file.read_text()]
    assert found == []
