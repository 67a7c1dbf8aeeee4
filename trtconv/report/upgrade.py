"""A comparison of two versions of TensorRT, as text and as a page."""

from __future__ import annotations

from typing import Any

from trtconv.report.page import Page, Section, Table
from trtconv.report.tables import table

_HEADER = ["engine", "figure", "before", "after"]


def upgrade_text(found: Any) -> str:
    """Tables for the terminal, with the verdict last."""
    rows = _rows(found)
    lines = [" -> ".join(_versions(found)), "", table(_HEADER, rows) if rows else "no engine was built on both sides"]
    lines += [f"{one.label}: {finding.verdict}: {finding.text}" for one in found.engines for finding in one.findings]
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join([*lines, f"verdict: {found.verdict}"])


def upgrade_document(found: Any) -> dict[str, Any]:
    """The same for programs."""
    return {
        "schema": 1,
        "versions": {"before": found.versions[0], "after": found.versions[1]},
        "verdict": found.verdict,
        "exit_code": found.exit_code,
        "engines": [
            {
                "label": one.label,
                "verdict": one.verdict,
                "figures": {name: {"before": pair[0], "after": pair[1]} for name, pair in one.values.items()},
                "findings": [vars(finding) for finding in one.findings],
            }
            for one in found.engines
        ],
        "notes": list(found.notes),
    }


def upgrade_page(found: Any, name: str, job: str) -> Page:
    """The same as a page that opens from disk."""
    reasons = [[one.label, finding.verdict, finding.text] for one in found.engines for finding in one.findings]
    sections = (
        Section("Verdict", (f"{found.verdict}: {' to '.join(_versions(found))}", *found.notes)),
        Section("Reasons", (Table(["engine", "verdict", "what differs"], reasons),) if reasons else ()),
        Section("Figures", (Table(_HEADER, _rows(found), "llrr"),)),
    )
    return Page(f"{name}: upgrade", " to ".join(_versions(found)), sections, job)


def _versions(found: Any) -> list[str]:
    return [version or "nothing built" for version in found.versions]


def _rows(found: Any) -> list[list[str]]:
    return [[one.label, name, before, after] for one in found.engines for name, (before, after) in one.values.items()]
