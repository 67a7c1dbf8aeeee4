"""Options for operators that TensorRT lacks: texts to a job's operators and plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trtconv.core.errors import UsageError


def parse_plugins(texts: tuple[str, ...]) -> list[dict[str, Any]]:
    """``libx.so``, ``embed:libx.so`` or ``module:Class``, one each."""
    found: list[dict[str, Any]] = []
    for text in texts:
        file = text.removeprefix("embed:")
        if file == text and ":" in text and not Path(text).exists():
            found.append({"python": text})
        else:
            found.append({"path": file, **({"embed": True} if file != text else {})})
    return found


def parse_files(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """``my.domain::Op=op.onnx`` to files by operator.

    Raises:
        UsageError: not of that form.
    """
    found = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise UsageError(
                f"{option} {text}: expected DOMAIN::NAME=FILE", hint=f"for example {option} my.domain::Op=op.onnx"
            )
        found[name] = file
    return found
