"""Results of stages as JSON-like values, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtconv.core.lazy import resolve
from trtconv.core.plain import plain, restored
from trtconv.pipeline.steps import STAGES

__all__ = ["plain", "restore"]


def restore(stage: str, values: Mapping[str, Any]) -> Any:
    """A stage's result from what ``plain`` made of it, through JSON or not."""
    return restored(resolve(STAGES[stage].result), values)
