"""The small module of ``core.interpreter``: a script is recorded where its packages are.

It imports trtconv there, and with it numpy and onnx.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any


def record(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Run a script against the recorder and write what it built.

    Args:
        request: fields of ``worker.Request``.
        host: whoever asked.

    Returns:
        Fields of ``worker.Recording``.
    """
    from trtconv.core.errors import TrtconvError
    from trtconv.sources.network import standin, worker

    wanted = worker.Request(
        Path(request["script"]),
        Path(request["model"]),
        Path(request["weights"]) if request["weights"] else None,
        request["implicit_batch"],
        tuple(request["arguments"]),
        request["version"] or standin.VERSION,
    )
    try:
        made: dict[str, Any] = asdict(worker.record(wanted))
    except TrtconvError as error:
        raise host.refusal(type(error).__name__, error.message, error.hint) from error
    return made
