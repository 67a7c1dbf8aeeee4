"""Build in a process that looks the same every time, so that the same model gives the same bytes.

TensorRT orders some of its work by memory address. Addresses repeat when nothing before them differs: no address space
randomization, the same environment, the same paths. So the model gets a path of fixed length, and the process is told
nothing but what decides the plan.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx

from trtconv.adapters import tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.backends import builder
from trtconv.backends.builder import Options, Plan
from trtconv.core import child
from trtconv.core.errors import TrtconvError
from trtconv.core.events import Emit


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


def build(loaded: Loaded, model: Path, options: Options, emit: Emit) -> Plan:
    """The same as ``builder.build``, in a process of its own.

    Raises:
        TrtconvError: what ``builder.build`` raises, or ChildCrash when TensorRT takes the process down.
    """
    with tempfile.TemporaryDirectory(prefix="trtconv-") as name:
        folder = Path(name)
        link, plan = folder / "model.onnx", folder / "plan"
        link.symlink_to(model.absolute())
        for beside in model.absolute().parent.glob(
            f"{model.name}*"
        ):  # external data lie beside, under the model's name
            if beside.name != model.name:
                (folder / beside.name).symlink_to(beside)
        request = Request(loaded.flavor.name, link, plan, options)
        try:
            built = child.call(f"{__name__}:run", request, emit, folder / "log", same_addresses=True).value
        except TrtconvError as error:
            error.message = error.message.replace(str(link), str(model))
            raise
        with plan.open("rb") as handle:
            data = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return Plan(memoryview(data), built.layers, built.dtypes, built.warnings)


def _external_files(model: Path) -> set[str]:
    """Where a model keeps tensors outside, relative to its folder."""
    tensors = onnx.load(model, load_external_data=False).graph.initializer
    entries = [entry for tensor in tensors for entry in tensor.external_data]
    return {entry.value for entry in entries if entry.key == "location"}


def _same_file(source: Path, target: Path) -> None:
    """A hard link, or a copy on another file system; a symbolic link would bring its own path along."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def run(request: Request, emit: Emit) -> Built:
    """The child's side."""
    made = builder.build(tensorrt.load(request.flavor), request.model, request.options, emit)
    request.plan.write_bytes(made.data)
    return Built(made.layers, dict(made.dtypes), made.warnings)
