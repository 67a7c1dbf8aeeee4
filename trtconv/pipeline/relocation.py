"""What another job made, under this job's names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trtconv.core.files import write_json


def restamp(facts: Path, request: Any) -> None:
    """An engine's facts taken from the store: same bytes, but this job's names and this job's chain behind them."""
    known = json.loads(facts.read_text())
    known["provenance"] = dict(request.provenance)
    known["engine"]["file"] = request.engine.name
    known["model"]["file"] = os.path.relpath(request.model, request.engine.parent)
    write_json(facts, known)


def relocated(value: Any, moved: dict[str, str]) -> Any:
    """A result whose paths are those of this job."""
    if isinstance(value, dict):
        return {name: relocated(part, moved) for name, part in value.items()}
    if isinstance(value, list):
        return [relocated(part, moved) for part in value]
    if not isinstance(value, str):
        return value
    before = next((old for old in moved if value == old or value.startswith(f"{old}/")), "")
    return moved[before] + value.removeprefix(before) if before else value
