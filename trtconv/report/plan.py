"""A forecast as a table and as a graph in the DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trtconv.report.tables import table


def plan_text(rows: Sequence[Any]) -> str:
    """One row per step: whether it would run, why, from what, to what."""
    cells = [
        [
            r.name,
            "run" if r.will_run else "up to date",
            r.why,
            ", ".join([*r.needs, *(p.name for p in r.inputs)]),
            ", ".join(p.name for p in r.outputs),
        ]
        for r in rows
    ]
    return table(["step", "would", "why", "from", "files"], cells)


def plan_document(job: str, rows: Sequence[Any]) -> dict[str, Any]:
    """The same as JSON-like values."""
    steps = [
        {
            "name": r.name,
            "will_run": r.will_run,
            "why": r.why,
            "needs": list(r.needs),
            "inputs": [str(p) for p in r.inputs],
            "outputs": [str(p) for p in r.outputs],
        }
        for r in rows
    ]
    return {"schema": 1, "job": job, "valid": True, "steps": steps}


def traces_text(traces: Sequence[Any]) -> str:
    """First samples and what they become, row by row; empty without preprocessing."""
    parts = []
    for name, path, rows in traces:
        cells = [
            [one.row, "x".join(map(str, one.shape)), one.dtype, one.layout, f"{one.low:.6g} to {one.high:.6g}"]
            for one in rows
        ]
        parts.append(f"\n{name}: {path.name}\n{table(['row', 'shape', 'type', 'layout', 'range'], cells)}\n")
    return "".join(parts)


def traces_document(traces: Sequence[Any]) -> dict[str, Any]:
    """The same as JSON-like values."""
    return {"samples": [{"section": n, "file": str(p), "rows": [vars(one) for one in rows]} for n, p, rows in traces]}


def plan_dot(rows: Sequence[Any]) -> str:
    """Steps as boxes (bold: would run), files from outside as notes, made files on the boxes."""
    lines = ["digraph plan {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    outside = dict.fromkeys(path for row in rows for path in row.inputs)
    lines += [f"  {_quoted(str(path))} [shape=note, label={_quoted(path.name)}];" for path in outside]
    for row in rows:
        label = "\n".join([row.name, *(path.name for path in row.outputs)])
        style = ", style=bold" if row.will_run else ", color=gray, fontcolor=gray"
        lines.append(f"  {_quoted(row.name)} [label={_quoted(label)}{style}];")
        lines += [f"  {_quoted(need)} -> {_quoted(row.name)};" for need in row.needs]
        lines += [f"  {_quoted(str(path))} -> {_quoted(row.name)};" for path in row.inputs]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
