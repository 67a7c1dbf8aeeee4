"""What an export made, as text."""

from __future__ import annotations

from typing import Any

from trtconv.core.units import format_bytes
from trtconv.report.tables import table


def export_text(made: Any) -> str:
    """A table of the models in the repository, and the line that serves them."""
    rows = [
        [one.name, one.backend, str(one.version), one.status, format_bytes(one.size) if one.size else "-"]
        for one in made.models
    ]
    shown = table(["model", "backend", "version", "", "size"], rows)
    return f"{shown}\nserve it: tritonserver --model-repository {made.repository}"
