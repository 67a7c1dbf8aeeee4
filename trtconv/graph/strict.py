"""A typed model computed as its types say: FP32 arithmetic in which every tensor is rounded to the type it declares.

ONNX Runtime's CPU kernels compute float16 nodes in FP32 and drop the casts between them, and it has few kernels for
bfloat16 and none for float8. ``rewrite`` makes a model that it cannot shorten: a tensor of a low-precision type is
carried as FP32 and rounded by two Cast nodes as soon as it is made, overflow to infinity and subnormals included; the
runtime's optimizer stays off. Sums are FP32 and rounded once, as in engines. Operators of several steps are written out
first (see ``graph.steps``). onnx's ReferenceEvaluator computes the same, slowly.

``run(model, feeds)`` is all of it at once; ``session`` keeps a model ready; ``open_file`` takes a file and computes
plain FP32 models at full speed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, inliner, numpy_helper

from trtconv.adapters import onnxruntime
from trtconv.graph import editing, model_io, steps, types

Arrays = Mapping[str, NDArray[Any]]

_P = onnx.TensorProto
_FLOAT = int(_P.FLOAT)
_NUMPY: Mapping[int, Any] = {
    int(_P.FLOAT16): np.float16,
    int(_P.BFLOAT16): ml_dtypes.bfloat16,
    int(_P.FLOAT8E4M3FN): ml_dtypes.float8_e4m3fn,
    int(_P.FLOAT8E4M3FNUZ): ml_dtypes.float8_e4m3fnuz,
    int(_P.FLOAT8E5M2): ml_dtypes.float8_e5m2,
    int(_P.FLOAT8E5M2FNUZ): ml_dtypes.float8_e5m2fnuz,
}
LOW = frozenset(_NUMPY)
"""Types that are carried as FP32."""

_BY_NAME = {types.name_of(kind): dtype for kind, dtype in _NUMPY.items()}
_FLOAT8 = LOW - {_P.FLOAT16, _P.BFLOAT16}
_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear"})
_AS_THEY_ARE: Mapping[str, tuple[int, ...]] = {"QuantizeLinear": (2,), "DequantizeLinear": (0, 2)}
"""Inputs that an operator needs in their own type: a float8 zero point says the type of the result."""

SELECTING = frozenset(
    [
        *("Abs", "Compress", "Concat", "ConcatFromSequence", "DepthToSpace", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "GlobalMaxPool", "Identity", "If", "Loop", "Max", "MaxPool", "Min", "Neg"),
        *("Pad", "ReduceMax", "ReduceMin", "Relu", "Reshape", "ReverseSequence", "Scan", "Slice", "SpaceToDepth"),
        *("Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where"),
    ]
)
"""Operators whose results are values of their inputs, or those with another sign: rounding them again does nothing.
To leave one out costs time, never correctness."""

_SMALL = 1 << 12  # elements up to which a constant is stored in FP32; a larger one is widened whenever the model runs
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "output_datatype"})


def needed(model: Any) -> bool:
    """Whether ONNX Runtime as it is may compute a model otherwise than its types say.

    True for models with 16 or 8 bit floating-point tensors, and with Q/DQ pairs, which its optimizer fuses.

    Args:
        model: ONNX; the contents of its weights are not looked at.
    """
    for graph in editing.graphs(model.graph):
        declared = (v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info))
        if not LOW.isdisjoint([*declared, *(tensor.data_type for tensor in graph.initializer)]):
            return True
    return any(_is_low(node) for body in (model.graph, *model.functions) for _, node in editing.walk(body))


def _is_low(node: Any) -> bool:
    if node.op_type in _QUANTIZING:
        return True
    return any(
        (a.name in _TYPE_ATTRIBUTES and a.i in LOW) or (a.HasField("t") and a.t.data_type in LOW)
        for a in node.attribute
    )


def precision(model: Any) -> str:
    """The word for jobs that a model's types amount to: ``fp8``, ``int8``, ``bf16``, ``fp16`` or ``fp32``.

    Args:
        model: ONNX; the contents of its weights are not looked at.
    """
    nodes = [node for body in (model.graph, *model.functions) for _, node in editing.walk(body)]
    kinds = {item.i for node in nodes for item in node.attribute if item.name in _TYPE_ATTRIBUTES}
    for graph in editing.graphs(model.graph):
        kinds |= {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output, *graph.value_info)}
        kinds |= {tensor.data_type for tensor in graph.initializer}
    if not kinds.isdisjoint(_FLOAT8):
        return "fp8"
    if any(node.op_type in _QUANTIZING for node in nodes):
        return "int8"
    return "bf16" if _P.BFLOAT16 in kinds else "fp16" if _P.FLOAT16 in kinds else "fp32"


def run(model: Any, feeds: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs of a typed model by name, in the types that it declares (``ml_dtypes`` for bfloat16 and float8).

    Args:
        model: ONNX, in memory with its weights; it stays unchanged.
        feeds: every input by name.

    Raises:
        NoKernel: ONNX Runtime has no FP32 kernel for an operator.
        SourceError: it cannot load the model.
    """
    return session(_copied(model)).run(feeds)


def rewrite(model: Any) -> Any:
    """The FP32 model that computes what a typed model says; the typed model stays unchanged.

    Inputs and outputs of low-precision types become FP32: feed values that the type has; what comes out are values of
    the type. Names stay. Local functions are inlined.

    Raises:
        ConversionError: a damaged graph.
    """
    return _rewritten(_copied(model))


class Session:
    """A typed model, computed strictly.

    Attributes:
        inputs: name, dtype and shape of each input, as the typed model declares them.
        outputs: likewise of each output.
    """

    def __init__(self, inner: onnxruntime.Session, model: Any) -> None:
        self._inner = inner
        self.inputs, self.outputs = model_io.interface(model)
        self._narrow = {info.name: _BY_NAME[info.dtype] for info in self.outputs if info.dtype in _BY_NAME}
        self._wide = {info.name for info in self.inputs if info.dtype in _BY_NAME}

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for one batch, in the types that the model declares.

        Raises:
            UsageError: a feed is missing or does not fit the model.
        """
        return self._typed(self._inner.run(self._widened(feeds)))

    def run_reusing(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Like ``run``; see ``onnxruntime.Session.run_reusing``."""
        return self._typed(self._inner.run_reusing(self._widened(feeds)))

    def _widened(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        return {name: array.astype(np.float32) if name in self._wide else array for name, array in feeds.items()}

    def _typed(self, outputs: Arrays) -> dict[str, NDArray[Any]]:
        return {
            name: array.astype(self._narrow[name]) if name in self._narrow else array for name, array in outputs.items()
        }


def session(model: Any, *, folder: Path | None = None, threads: int | None = None) -> Session:
    """A typed model ready to run; its nodes are used up.

    Args:
        model: ONNX, in memory; large weights may lie outside.
        folder: where those lie.
        threads: for one operator; None: one per core.

    Raises:
        NoKernel: ONNX Runtime has no FP32 kernel for an operator.
        SourceError: it cannot load the model.
    """
    declared = _ends(model)
    serialized = _rewritten(model, folder).SerializeToString()
    return Session(onnxruntime.session(serialized, threads=threads, optimize=False, folder=folder), declared)


def _ends(model: Any) -> Any:
    """A model without nodes that has the inputs and outputs; types that are not declared are inferred."""
    constants, scope = {tensor.name for tensor in model.graph.initializer}, types.infer(model)
    ends = onnx.ModelProto()
    ends.graph.input.extend(value for value in model.graph.input if value.name not in constants)
    ends.graph.output.extend(model.graph.output)
    for value in ends.graph.output:
        kind = value.type.tensor_type
        kind.elem_type = kind.elem_type or scope.find(value.name) or 0
    return ends


def open_file(path: Path, threads: int | None = None) -> Session | onnxruntime.Session:
    """A model file: strict where its types ask for it (see ``needed``), as it is where they do not.

    Raises:
        SourceError: it cannot be loaded.
        NoKernel: ONNX Runtime has no FP32 kernel for an operator.
    """
    path = model_io.file_of(path)
    if not needed(model_io.load(path, weights=False)):
        return onnxruntime.session(path, threads=threads)
    return session(model_io.load(path, outside=False), folder=path.parent, threads=threads)


def _copied(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _rewritten(model: Any, folder: Path | None = None) -> Any:
    """See ``rewrite``; the model that is given is used up."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    editing.hoist_constants(model)
    for graph in editing.graphs(model.graph):
        editing.replace_nodes(graph, editing.sorted_nodes(graph))
    steps.write_out(model)
    _Rewriting(model, folder).run()
    return model


@dataclass
class _Frame:
    """A graph being rewritten.

    Attributes:
        scope: types of its tensors, as the typed model has them.
        carried: what stands for a tensor of a low-precision type, where that has another name: constants.
        nodes: so far.
        parent: the graph around it.
    """

    scope: types.Scope
    carried: dict[str, str] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    parent: _Frame | None = None

    def name(self, tensor: str) -> str:
        """What holds a tensor's values in FP32."""
        if tensor in self.scope or self.parent is None:
            return self.carried.get(tensor, tensor)
        return self.carried.get(tensor) or self.parent.name(tensor)


class _Rewriting:
    def __init__(self, model: Any, folder: Path | None) -> None:
        self.model = model
        self.folder = str(folder or ".")
        self.version = editing.opset(model)
        self.names = editing.Names.of(model)

    def run(self) -> None:
        graph = self.model.graph
        self.graph(graph, types.visit_graph(graph, None, self.version, check_nodes=False), None)

    def graph(self, graph: Any, scope: types.Scope, parent: _Frame | None) -> None:
        """Rewrite one graph, and those inside it, in place."""
        frame = _Frame(scope, parent=parent)
        self.constants(graph, frame, inner=parent is not None)
        for node in graph.node:
            self.node(node, frame)
        for value in (*graph.input, *graph.output, *graph.value_info):
            _widen(value.type)
        editing.replace_nodes(graph, frame.nodes)
        self.ends(graph, frame)

    def constants(self, graph: Any, frame: _Frame, *, inner: bool) -> None:
        """Small constants, and those of bodies that run again and again, become FP32; the others get a Cast."""
        outputs = {value.name for value in (*graph.input, *graph.output)}
        for tensor in graph.initializer:
            if tensor.data_type not in LOW:
                continue
            stored = inner or tensor.name in outputs or np.prod(tensor.dims, dtype=np.int64) <= _SMALL
            if stored and not self.read_as_is(graph, tensor.name):
                values = numpy_helper.to_array(tensor, self.folder).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                continue
            wide = self.names.fresh(f"{tensor.name}/wide")
            frame.nodes.append(helper.make_node("Cast", [tensor.name], [wide], wide, to=_FLOAT))
            frame.carried[tensor.name] = wide

    def read_as_is(self, graph: Any, name: str) -> bool:
        """Whether some node takes a constant in its own type."""
        return any(
            name in (node.input[p] for p in _AS_THEY_ARE.get(node.op_type, ()) if p < len(node.input))
            for _, node in editing.walk(graph)
        )

    def ends(self, graph: Any, frame: _Frame) -> None:
        """An output that is a constant or an input of a body under another name."""
        made = {name for node in frame.nodes for name in node.output}
        for value in graph.output:
            held = frame.name(value.name)
            if held != value.name and value.name not in made:
                value.name, old = self.names.fresh(f"{value.name}/out"), value.name
                graph.node.append(helper.make_node("Identity", [held], [value.name], old))

    def node(self, node: Any, frame: _Frame) -> None:
        """Append a node, its inputs in FP32 and its outputs rounded."""
        kinds = [frame.scope.find(name) or 0 for name in node.input]
        given = steps.body_inputs(node, frame.scope)
        for body in editing.bodies(node):
            self.graph(body, types.visit_graph(body, frame.scope, self.version, False, given), frame)
        native = _AS_THEY_ARE.get(node.op_type, ())
        for position, (name, kind) in enumerate(zip(node.input, kinds, strict=True)):
            if name:
                as_is = position in native and kind in LOW
                node.input[position] = self.narrow(name, kind, frame) if as_is else frame.name(name)
        exact = node.op_type in SELECTING and node.domain in editing.ONNX_DOMAINS
        results = (
            []
            if exact
            else [
                (position, frame.scope[name])
                for position, name in enumerate(node.output)
                if name and frame.scope.get(name) in LOW
            ]
        )
        frame.nodes.append(node)
        _widen_attributes(node)
        for position, kind in results:
            self.round(node, position, kind, frame)

    def narrow(self, name: str, kind: int, frame: _Frame) -> str:
        """A tensor in its own type again: a constant itself, or an exact Cast."""
        if frame.name(name) != name:
            return name
        result = self.names.fresh(f"{name}/narrow")
        frame.nodes.append(helper.make_node("Cast", [name], [result], result, to=kind))
        return result

    def round(self, node: Any, position: int, kind: int, frame: _Frame) -> None:
        """Two Cast nodes behind an output; a node that makes the type itself needs the second only."""
        name = node.output[position]
        source = node.output[position] = self.names.fresh(f"{name}/exact")
        if not _makes(node, kind):
            low = self.names.fresh(f"{name}/low")
            frame.nodes.append(helper.make_node("Cast", [source], [low], low, to=kind))
            source = low
        back = self.names.fresh(f"{name}/back")
        frame.nodes.append(helper.make_node("Cast", [source], [name], back, to=_FLOAT))


def _makes(node: Any, kind: int) -> bool:
    """Whether a node's own result is of a low-precision type even now."""
    return node.op_type == "Cast" or (node.op_type == "QuantizeLinear" and kind in _FLOAT8)


def _widen_attributes(node: Any) -> None:
    """Values and types named in attributes; those of nodes that round by themselves stay."""
    for item in node.attribute:
        if item.HasField("t") and item.t.data_type in LOW:
            item.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item.t).astype(np.float32), item.t.name))
        made = node.op_type == "Cast" or (node.op_type == "QuantizeLinear" and item.i in _FLOAT8)
        if item.name in _TYPE_ATTRIBUTES and item.i in LOW and not made:
            item.i = _FLOAT


def _widen(kind: Any) -> None:
    """A type, or the types inside a sequence or an optional one."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        if kind.tensor_type.elem_type in LOW:
            kind.tensor_type.elem_type = _FLOAT
    elif which in ("sequence_type", "optional_type"):
        _widen(getattr(kind, which).elem_type)
