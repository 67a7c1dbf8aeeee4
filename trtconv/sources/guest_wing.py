"""A wing's own code in another interpreter, which has its framework: what ``adapters.guest_model`` calls there.

It imports trtconv there, and with it numpy and onnx. A wing whose framework cannot have these has a small module of its
own instead, with the same ``describe`` and ``run``.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_opened: list[Any] = []


def freeze(request: dict[str, Any], host: Any) -> Any:
    """``target`` on its ``request``; the result as plain values."""
    from trtconv.core.lazy import resolve
    from trtconv.core.plain import plain

    with _translated(host):
        function = resolve(request["target"])
        return plain(function(_request(function, request["request"]), _emit(host)))


def to_onnx(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """The source as an ONNX file; it stays open, for ``run``.

    Args:
        request: ``target``, which makes a conversion of its ``request``; ``model``, the file to write.
        host: whoever asked.

    Returns:
        The conversion's fields, but for its model and its functions.
    """
    from trtconv.core.lazy import resolve
    from trtconv.core.plain import plain
    from trtconv.graph import model_io

    with _translated(host):
        maker = resolve(request["target"])
        made = maker(_request(maker, request["request"]), _emit(host))
        model_io.save(made.model, Path(request["model"]))
        _opened.append(made.source)
        told = {name: value for name, value in vars(made).items() if name != "model" and not callable(value)}
        return {name: plain(value) for name, value in told.items()}


def describe(request: dict[str, Any], host: Any) -> dict[str, Any]:
    """Inputs, outputs and framework of the model that is open, or of ``source``."""
    from trtconv.core.lazy import resolve
    from trtconv.core.plain import plain, restored
    from trtconv.core.records import SourceSpec

    with _translated(host):
        if request:
            _opened.append(resolve("trtconv.sources:open_model")(restored(SourceSpec, request["source"])))
        model = _model()
        return {"inputs": plain(model.inputs), "outputs": plain(model.outputs), "framework": model.framework()}


def run(request: dict[str, Any], host: Any) -> list[str]:
    """One batch through the model that is open.

    Args:
        request: ``feeds``, an .npz with the arrays a0, a1, ... of the inputs ``names``; ``outputs``, one to write.
        host: whoever asked.

    Returns:
        Names of the outputs a0, a1, ... in it.
    """
    import numpy as np

    with _translated(host):
        with np.load(request["feeds"]) as stored:
            feeds = {name: stored[f"a{number}"] for number, name in enumerate(request["names"])}
        made = _model().run(feeds)
        np.savez(request["outputs"], **{f"a{number}": array for number, array in enumerate(made.values())})
        return list(made)


def _model() -> Any:
    if callable(_opened[-1]):
        _opened[-1] = _opened[-1]()
    return _opened[-1]


def _request(function: Any, values: dict[str, Any]) -> Any:
    from typing import get_type_hints

    from trtconv.core.plain import restored

    return restored(next(iter(get_type_hints(function).values())), values)


def _emit(host: Any) -> Any:
    from trtconv.core.events import Event, Message, Progress

    def emit(event: Event) -> None:
        if isinstance(event, Message):
            host.message(event.text, event.level)
        elif isinstance(event, Progress):
            host.progress(event.label, event.done, event.total, event.unit)

    return emit


@contextlib.contextmanager
def _translated(host: Any) -> Iterator[None]:
    """Errors of trtconv as refusals: their classes exist at the other end too."""
    from trtconv.core.errors import MissingPackage, TrtconvError

    try:
        yield
    except MissingPackage as error:
        raise host.refusal(
            "EnvironmentProblem", error.message, f"{sys.executable} -m pip install {error.package}"
        ) from error
    except TrtconvError as error:
        raise host.refusal(type(error).__name__, error.message, error.hint) from error
