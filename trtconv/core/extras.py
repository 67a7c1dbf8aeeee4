"""The exact line that installs what is missing."""

from __future__ import annotations

from pathlib import Path


def install_line(extra: str) -> str:
    """The pip command for one of trtconv's extras: of the package, or of the checkout that this code runs from."""
    root = Path(__file__).parents[2]
    if (root / "pyproject.toml").is_file():
        return f"pip install -e '{root}[{extra}]'"
    return f"pip install 'trtconv[{extra}]'"
