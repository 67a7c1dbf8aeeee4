"""What became of an engine that got other weights, as text."""

from __future__ import annotations

from typing import Any

from trtconv.core.units import format_bytes


def refit_text(result: Any) -> str:
    """How it was done, what was proven, and the sizes."""
    changed = "of which nobody knows the old values" if result.changed is None else f"{result.changed} of them others"
    how = "got its weights" if result.how == "refitted" else "was built again"
    lines = [f"{result.engine} {how} by {result.runner}: {result.weights} weights, {changed}"]
    lines += [f"  no refit: {result.why}"] if result.why else []
    lines += [f"  {sentence}" for sentence in result.proof]
    return "\n".join([*lines, f"  {format_bytes(result.size)}, the old engine has {format_bytes(result.size_before)}"])
