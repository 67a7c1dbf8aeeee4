"""A forecast as a table and as a graph in the DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from trtconv.core.plain import plain
from trtconv.core.units import format_bytes
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


def fallback_text(found: Sequence[Any]) -> str:
    """What would fall back, an engine after the other; empty where nothing may."""
    return "".join(f"\n{line}" for one in found for line in _outlook(one)) + ("\n" if found else "")


def _outlook(one: Any) -> Iterator[str]:
    if one.found is None:
        yield f"{one.label}: what would fall back cannot be said: {one.why_not}"
        return
    f = one.found
    share = "" if f.products is None else f" with {100 * f.products:.1f} % of the multiplications"
    told = "" if one.typed else f", by {one.model.name}, before its types are final"
    yield f"{one.label}: {f.asked} would make engines: {f.engines}{share}; parts for ONNX Runtime: {f.rests}{told}"
    if f.rests:
        there, back = _copied(f.to_gpu, f.gpu_bytes), _copied(f.to_host, f.host_bytes)
        yield f"  per query: to the GPU {there}; to the host {back}"
    if f.by_plugins:
        yield f"  by plugins, inside engines: {', '.join(f.by_plugins)}"
    yield from (f"  {doubt}" for doubt in f.doubts)
    yield from (f"  {node.node} ({node.op}): {node.by}: {node.why}" for node in f.fell_back)


def _copied(names: Sequence[str], size: int | None) -> str:
    tensors = f"{len(names)} {'tensor' if len(names) == 1 else 'tensors'}"
    return tensors if size is None else f"{tensors}, {format_bytes(size)}"


def fallback_document(found: Sequence[Any]) -> dict[str, Any]:
    """The same as JSON-like values; nothing of a job without fallback."""
    return {"fallback": [plain(one) for one in found]} if found else {}


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
