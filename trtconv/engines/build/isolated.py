"""Build in a process that looks the same every time, so that the same model gives the same bytes.

TensorRT orders some of its work by memory address. So it works in a heap of its own (``own_heap``), without address
space randomization, and is told nothing but what decides the plan: it reads and writes through links whose names are
always the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from trtconv.adapters import tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.core import child, unfinished, writable
from trtconv.core.errors import BuildError, TrtconvError
from trtconv.core.events import Emit
from trtconv.engines.build import builder
from trtconv.engines.build.builder import Plan
from trtconv.engines.build.choices import Options


@dataclass(frozen=True)
class Request:
    """What to build, where to write it."""

    flavor: str
    model: Path
    plan: Path
    options: Options


_CRASHED = (
    "another version of TensorRT may take it; end the model earlier and earlier (convert.outputs) to find the node "
    "that this one does not, or let ONNX Runtime run what it refuses: --on-refusal onnxruntime -o NAME.parts"
)


def build(
    loaded: Loaded,
    model: Path,
    file: Path,
    options: Options,
    emit: Emit,
    beside: Iterable[str] = (),
    building: list[child.Talk] | None = None,
) -> Plan:
    """The same as ``builder.build``, in a process of its own.

    Args:
        loaded: the TensorRT to build with.
        model: a typed ONNX file.
        file: to write the plan to.
        options: how to build.
        emit: gets the events.
        beside: files with the model's external data, relative to its folder.
        building: gets the talk with the process, for whoever may have to end it.

    Raises:
        TrtconvError: what ``builder.build`` raises.
        BuildError: TensorRT takes the process down, too.
    """
    before = _mark(model)
    with unfinished.scratch() as folder:
        link, plan = folder / "model.onnx", folder / "plan"
        link.symlink_to(model.absolute())
        plan.symlink_to(file.absolute())
        for name in beside:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(model.absolute().parent / name)
        request = Request(loaded.flavor.name, link, plan, options)
        try:
            made = child.call(f"{__name__}:run", request, emit, folder / "log", same_addresses=True, talks=building)
        except child.ChildCrash as crash:
            if _mark(model) != before:
                raise BuildError(f"{model}: somebody changed it while it was built", hint="build it again") from crash
            raise BuildError(f"{loaded.title} does not survive {model}: {crash.message}", hint=_CRASHED) from crash
        except TrtconvError as error:
            error.message = error.message.replace(str(link), str(model)).replace(str(plan), str(file))
            raise
        built: Plan = made.value
        return replace(built, memory=made.peak_memory)


def _mark(model: Path) -> tuple[int, ...]:
    """What is another when a file is changed in its place; a mapped file that is cut short ends the process."""
    found = model.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def run(request: Request, emit: Emit) -> Plan:
    """The child's side."""
    with writable.at(request.plan):
        return builder.build(tensorrt.load(request.flavor), request.model, request.plan, request.options, emit)
