"""A report as Markdown: for pull requests and job summaries. Plots are left out; their numbers are in the tables."""

from __future__ import annotations

from trtconv.report.page import Bars, Page, Plot, Table


def markdown(page: Page) -> str:
    """The text of the report."""
    blocks = [f"# {_text(page.title)}", _text(page.lead)]
    for section in page.sections:
        blocks += [f"## {section.title}", *filter(None, map(_part, section.parts))]
    fence = "`" * 4
    return "\n\n".join([*blocks, "## Job", f"{fence}yaml\n{page.job.rstrip()}\n{fence}"]) + "\n"


def _part(part: str | Table | Plot) -> str:
    if isinstance(part, str):
        return _text(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Bars) and "layer" in part.title:  # nothing else has these numbers
        rows = [[name, f"{value:.4g}"] for name, value in part.values.items()]
        return f"{_text(part.title)}\n\n{_table(Table(['layer', 'ms'], rows, 'lr'))}"
    return ""


def _table(table: Table) -> str:
    marks = ["---:" if table.right[at : at + 1] == "r" else "---" for at in range(len(table.header))]
    lines = [table.header, marks, *([_text(cell) for cell in row] for row in table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(text: str) -> str:
    """Free text with Markdown's own signs taken at their word."""
    for sign in ("\\", "|", "<", "*", "_", "`", "["):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
