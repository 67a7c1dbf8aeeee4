"""Build in a process that looks the same every time, so that the same model gives the same bytes.

TensorRT orders some of its work by memory address. Addresses repeat when nothing before them differs: no address space
randomization, the same environment, the same paths. So the model gets a path of fixed length, and the process is told
nothing but what decides the plan.
"""

from __future__ import annotations

import mmap
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtconv.adapters import tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.core import child, unfinished
from trtconv.core.errors import BuildError, TrtconvError
from trtconv.core.events import Emit
from trtconv.engines.build import builder
from trtconv.engines.build.builder import Options, Plan


@dataclass(frozen=True)
class Request:
    """What to build, where to put it."""

    flavor: str
    model: Path
    plan: Path
    options: Options


@dataclass(frozen=True)
class Built:
    """A plan without its bytes; see ``builder.Plan``."""

    layers: int
    dtypes: dict[str, str]
    warnings: tuple[str, ...]
    plugins: tuple[Any, ...] = ()


_CRASHED = (
    "another version of TensorRT may take it; end the model earlier and earlier (convert.outputs) to find the node "
    "that this one does not, or let ONNX Runtime run what it refuses: --on-refusal onnxruntime -o NAME.parts"
)


def build(
    loaded: Loaded,
    model: Path,
    options: Options,
    emit: Emit,
    beside: Iterable[str] = (),
    building: list[child.Talk] | None = None,
) -> Plan:
    """The same as ``builder.build``, in a process of its own.

    Args:
        loaded: the TensorRT to build with.
        model: a typed ONNX file.
        options: how to build.
        emit: gets the events.
        beside: files with the model's external data, relative to its folder.
        building: gets the talk with the process, for whoever may have to end it.

    Raises:
        TrtconvError: what ``builder.build`` raises.
        BuildError: TensorRT takes the process down, too.
    """
    with unfinished.scratch() as folder:
        link, plan = folder / "model.onnx", folder / "plan"
        shutil.copyfile(model, link)  # through a link, the length of the model's own path would move addresses
        for file in beside:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).symlink_to(model.absolute().parent / file)
        request = Request(loaded.flavor.name, link, plan, options)
        try:
            made = child.call(f"{__name__}:run", request, emit, folder / "log", same_addresses=True, talks=building)
        except child.ChildCrash as crash:
            raise BuildError(f"{loaded.title} does not survive {model}: {crash.message}", hint=_CRASHED) from crash
        except TrtconvError as error:
            error.message = error.message.replace(str(link), str(model))
            raise
        with plan.open("rb") as handle:
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        built: Built = made.value
        return Plan(memoryview(data), built.layers, built.dtypes, built.warnings, built.plugins, made.peak_memory)


def run(request: Request, emit: Emit) -> Built:
    """The child's side."""
    made = builder.build(tensorrt.load(request.flavor), request.model, request.options, emit)
    request.plan.write_bytes(made.data)
    return Built(made.layers, dict(made.dtypes), made.warnings, made.plugins)
