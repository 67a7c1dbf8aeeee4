"""Whether code that a job or an engine names may run in this process and its children."""

from __future__ import annotations

import os

from trtconv.core.errors import UsageError

_VARIABLE = "TRTCONV_ALLOW_CODE"


def grant() -> None:
    """Let it: ``--allow-code`` was given."""
    os.environ[_VARIABLE] = "1"


def granted() -> bool:
    """Whether it may."""
    return os.environ.get(_VARIABLE) == "1"


def environment(*, may: bool) -> dict[str, str]:
    """What tells a process of somebody else's whether it may."""
    return {_VARIABLE: "1" if may else "0"}


def require(what: str) -> None:
    """Fail unless it may.

    Args:
        what: would run, such as ``the plugin libx.so``.

    Raises:
        UsageError: it may not.
    """
    if not granted():
        raise UsageError(
            f"{what} is code, which runs only by your leave",
            hint="add --allow-code if you trust it (docs/custom_layers.md)",
        )
