"""A report as one HTML file that opens from disk: style and plots inside, no script, nothing from the network."""

from __future__ import annotations

import re
from html import escape

from trtconv.report.page import Page, Plot, Section, Table
from trtconv.report.plots import svg

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5b6472; --line: #d9dde3; --paper: #fff; --band: #f5f7f9;
  --bad: #b3261e; --good: #1b6e3c;
  --c0: #2563b0; --c1: #c2570c; --c2: #16803c; --c3: #7c3aad; --c4: #b3261e; --c5: #0e7490;
  --c6: #8a6d0b; --c7: #b02a72; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #363c46; --paper: #15181d;
  --band: #1d2127; --bad: #ff8a80; --good: #7ddc9f;
  --c0: #6ea8f7; --c1: #f0a35e; --c2: #6fcf8e; --c3: #c39af0; --c4: #ff8a80; --c5: #67c7dc;
  --c6: #d9bd5b; --c7: #f08cc0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 48px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 10px; padding-bottom: 4px; border-bottom: 1px solid var(--line); }
p { margin: 6px 0 12px; color: var(--soft); overflow-wrap: anywhere; }
.table { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: 14px; min-width: 100%; }
th, td { padding: 5px 18px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.long { white-space: normal; min-width: 240px; overflow-wrap: anywhere; }
@media (max-width: 600px) { td.long { white-space: nowrap; } }
th { color: var(--soft); font-weight: 600; }
.r { text-align: right; font-variant-numeric: tabular-nums; }
.hash { font: 12px/1.6 ui-monospace, monospace; }
.bad { color: var(--bad); font-weight: 700; }
.good { color: var(--good); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 20px; }
figure { margin: 8px 0; max-width: 560px; }
figcaption { font-weight: 600; font-size: 14px; margin-bottom: 6px; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); fill: none; }
.line { stroke: currentColor; stroke-width: 2; fill: none; }
rect, circle { fill: currentColor; }
.legend { list-style: none; margin: 4px 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: 2px 16px; font-size: 13px; }
.legend li::before { content: "■ "; }
pre { background: var(--band); padding: 12px; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
summary { cursor: pointer; color: var(--soft); }
""" + "".join(f".c{n} {{ color: var(--c{n}); }}\n" for n in range(8))
_HASH = re.compile(r"[0-9a-f]{64}")
_LONG = 40


def html(page: Page) -> str:
    """The whole file."""
    title = escape(page.title)
    body = "".join(map(_section, page.sections))
    job = f"<section><h2>Job</h2><details><summary>as it was resolved</summary><pre>{escape(page.job)}</pre></details>"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{title} - trtconv</title>\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<header><h1>{title}</h1><p>{escape(page.lead)}</p></header>\n<main>{body}{job}</section></main>\n"
        "</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    """Texts, then plots side by side, then tables."""
    texts = "".join(f"<p>{escape(part)}</p>" for part in section.parts if isinstance(part, str))
    tables = "".join(_table(part) for part in section.parts if isinstance(part, Table))
    plots = "".join(svg(part) for part in section.parts if isinstance(part, Plot))
    grid = f'<div class="plots">{plots}</div>' if plots else ""
    return f"<section><h2>{escape(section.title)}</h2>{texts}{grid}{tables}</section>\n"


def _table(table: Table) -> str:
    head = "".join(
        f"<th{_class(title, table, at, head=True)}>{escape(title)}</th>" for at, title in enumerate(table.header)
    )
    rows = [
        "".join(f"<td{_class(cell, table, at)}>{escape(cell)}</td>" for at, cell in enumerate(row))
        for row in table.rows
    ]
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def _class(cell: str, table: Table, at: int, *, head: bool = False) -> str:
    names = ["r"] if table.right[at : at + 1] == "r" else []
    if not head:
        names += ["hash"] if _HASH.fullmatch(cell) else ["long"] if len(cell) > _LONG else []
        names += {"MISSED": ["bad"], "kept": ["good"]}.get(cell, [])
    return f' class="{" ".join(names)}"' if names else ""
