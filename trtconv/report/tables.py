"""Plain-text tables: columns as wide as their content, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> str:
    """A table without borders.

    Args:
        header: column titles.
        rows: cells.
        right: one letter per column, ``r`` for those aligned to the right; shorter means the rest is left.
    """
    columns = list(zip(header, *rows, strict=True)) if rows else [(title,) for title in header]
    widths = [max(map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right[index : index + 1] == "r" else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])
