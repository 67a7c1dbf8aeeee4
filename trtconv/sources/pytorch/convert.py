"""A network of PyTorch becomes the ONNX model that is wanted, by way of the interpreter that has PyTorch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trtconv.adapters import guest_model
from trtconv.adapters.guest_model import GuestModel
from trtconv.core import magic
from trtconv.core.errors import SourceError
from trtconv.core.events import Emit, Message, ignore
from trtconv.core.records import Dim, InputSpec, SourceSpec
from trtconv.graph import check, clean, editing, layout, model_io, reshape
from trtconv.sources.pytorch import archive, formats
from trtconv.sources.pytorch.needs import NEEDS
from trtconv.sources.records import Converted, Wanted

EXPORTER = "trtconv.sources.pytorch.exporter"
_FORMS = {"torch_export": "export", "torchscript": "script", "torch_module": "module", "torch_pickle": "pickle"}
_RUNS = {
    "torch_export": "loading a .pt2 runs what it holds: PyTorch unpickles its inputs and evaluates expressions",
    "torch_module": "this function is Python code, run with your rights",
    "torch_pickle": "a pickle of {}: unpickling runs what it names",
}
"""What runs code, and which."""

_OLDEST = 18
"""The first opset that PyTorch's exporter writes."""


def convert(wanted: Wanted, emit: Emit) -> Converted:
    """Export a network with the shapes, layouts and outputs that are wanted.

    Raises:
        SourceError: damaged files, weights of another network, code that raises or is not allowed.
        ConversionError: what PyTorch cannot export.
        UsageError: an unknown input, or one whose shape nobody says.
        EnvironmentProblem: no PyTorch in the interpreter that is named.
    """
    source, inputs = wanted.source, wanted.inputs or wanted.source.inputs
    request = request_for(source, inputs)
    guest = guest_model.start(source, EXPORTER, NEEDS, emit, wanted.scratch)
    emit(Message("importing PyTorch"))
    file = guest.folder / "model.onnx"
    told = guest.call("export", {**request, "opset": max(wanted.opset, _OLDEST), "model": file})
    model = model_io.load(file)
    clean.prepare(model)
    check.require_onnx(model)
    if editing.opset(model) != wanted.opset:
        emit(Message(f"opset {editing.opset(model)}: PyTorch's exporter writes {_OLDEST} and later"))
    _rename_dims(model, told["inputs"])
    layout.inputs_first(model, wanted.first)
    reshape.set_shapes(model, inputs)
    reshape.keep_outputs(model, wanted.outputs)
    unchecked = f"operator {told['random']!r} draws random numbers" if told["random"] else ""
    return Converted(model, lambda: GuestModel(guest, {}), first=wanted.first, unchecked=unchecked, done=guest.close)


def open_model(spec: SourceSpec) -> GuestModel:
    """The network, ready to run.

    Raises:
        SourceError: damaged files, weights of another network, code that raises or is not allowed.
        EnvironmentProblem: no PyTorch in the interpreter that is named.
    """
    request = request_for(spec)
    return GuestModel(guest_model.start(spec, EXPORTER, NEEDS, ignore), request)


def _form(spec: SourceSpec) -> str:
    """The form that the exporter is told, of a file that is what it should be and code that is allowed.

    Raises:
        SourceError: saying what it is, or what would run.
    """
    start = magic.head(spec.path) if spec.path.is_file() else b""
    known = [row for row in formats.ROWS if spec.format in ("auto", row.name)]
    name = next((row.name for row in known if row.recognises(spec.path, start)), "")
    if not name:
        what = magic.describe(spec.path) if spec.path.exists() else "a name without a file"
        titles = " or ".join(row.title for row in known)
        raise SourceError(f"{spec.path}: not {titles}; it looks like {what}", hint="check source.path")
    classes = archive.code_of(spec.path) if name == "torch_pickle" else []
    if name == "torch_pickle" and not classes:
        raise archive.weights_alone(spec.path, "a PyTorch checkpoint: weights")
    if name in _RUNS and not spec.allow_code:
        what = _RUNS[name].format(", ".join(classes[:3]))
        raise SourceError(f"{spec.path}: {what}", hint="if you trust its origin, allow it with --allow-code")
    return _FORMS[name]


def request_for(spec: SourceSpec, inputs: tuple[InputSpec, ...] = ()) -> dict[str, Any]:
    """What the exporter is asked for; shapes as the network itself takes them."""
    return {
        "form": _form(spec),
        "path": spec.path,
        "weights": spec.weights,
        "inputs": [{"name": one.name, "shape": _own(one), "dtype": one.dtype} for one in inputs or spec.inputs],
    }


def _own(one: InputSpec) -> tuple[Dim, ...] | None:
    if one.shape is None or one.layout != "nchw":
        return one.shape
    layout.require_channels(one.name, len(one.shape))
    return tuple(one.shape[axis] for axis in layout.to_last(len(one.shape)))


def _rename_dims(model: Any, inputs: list[Mapping[str, Any]]) -> None:
    """Give dimensions the names that the job has for them, instead of those that PyTorch made up, in place."""
    names: dict[str, str] = {}
    graph_inputs = {value.name: value for value in model.graph.input}
    for one in inputs:
        dims = graph_inputs[one["name"]].type.tensor_type.shape.dim
        for dim, name in zip(dims, one["shape"], strict=True):
            if dim.dim_param and isinstance(name, str):
                names.setdefault(dim.dim_param, name)
    for graph in editing.graphs(model.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_param = re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), dim.dim_param)
