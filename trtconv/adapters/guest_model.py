"""The door to frameworks in another interpreter: a source is frozen, converted and run where its job says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core import events, interpreter
from trtconv.core.events import Emit, Message
from trtconv.core.interpreter import Guest, Needs
from trtconv.core.plain import plain, restored
from trtconv.core.records import SourceSpec, TensorInfo

_WING = "trtconv.sources.guest_wing"


class GuestModel:
    """A model that is open in another interpreter.

    Attributes:
        inputs: name, dtype and shape of each.
        outputs: likewise.

    Args:
        guest: its small module has ``describe`` and ``run`` as in ``guest_wing``.
        request: for ``describe``.
    """

    def __init__(self, guest: Guest, request: Mapping[str, Any]) -> None:
        self._guest = guest
        told = guest.call("describe", request)
        self.inputs: tuple[TensorInfo, ...] = restored(tuple[TensorInfo, ...], told["inputs"])
        self.outputs: tuple[TensorInfo, ...] = restored(tuple[TensorInfo, ...], told["outputs"])
        self._framework = str(told["framework"])

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for one batch."""
        given, made = self._guest.folder / "feeds.npz", self._guest.folder / "outputs.npz"
        arrays: Any = {f"a{number}": array for number, array in enumerate(feeds.values())}
        np.savez(given, **arrays)
        names = self._guest.call("run", {"feeds": given, "names": list(feeds), "outputs": made})
        with np.load(made) as stored:
            return {name: stored[f"a{number}"] for number, name in enumerate(names)}

    def framework(self) -> str:
        """What runs it, with its version."""
        return self._framework


def start(spec: SourceSpec, module: str, needs: Needs, emit: Emit, folder: Path | None = None) -> Guest:
    """A process of the source's interpreter for a small module; see ``interpreter.Guest``.

    Raises:
        EnvironmentProblem: it is missing, or lacks a package.
        MissingPackage: the source names none, and trtconv's own lacks what an extra installs.
    """
    there = interpreter.find(spec.python, needs)
    if spec.python is not None:
        emit(Message(f"in {there.path}, Python {there.version}"))
    return Guest(there, module, needs, emit, folder=folder)


def open_model(spec: SourceSpec, needs: Needs) -> GuestModel:
    """A model of a wing whose own code runs in ``spec.python``.

    Raises:
        EnvironmentProblem: that is missing, or lacks a package.
        TrtconvError: what the wing raises.
    """
    return GuestModel(start(spec, _WING, needs, events.ignore), {"source": plain(replace(spec, python=None))})


def freeze(target: str, request: Any, result: Any, needs: Needs, emit: Emit) -> Any:
    """``target(request, emit)`` in ``request.source.python``; what it returned, of the class ``result``."""
    with start(request.source, _WING, needs, emit) as guest:
        return restored(result, guest.call("freeze", _call(target, request)))


def to_onnx(target: str, wanted: Any, needs: Needs, emit: Emit) -> dict[str, Any]:
    """``target(wanted, emit)`` in ``wanted.source.python``.

    Returns:
        The fields of what it returned as plain values; ``model`` is a file that goes with the guest, ``source`` runs
        there, and ``done`` ends it.
    """
    guest = start(wanted.source, _WING, needs, emit, wanted.scratch)
    file = guest.folder / "model.onnx"
    told: dict[str, Any] = guest.call("to_onnx", {**_call(target, wanted), "model": file})
    return {**told, "model": file, "source": lambda: GuestModel(guest, {}), "done": guest.close}


def _call(target: str, request: Any) -> dict[str, Any]:
    return {"target": target, "request": plain(replace(request, source=replace(request.source, python=None)))}
