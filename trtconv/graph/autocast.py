"""FP32 ONNX becomes FP16 or BF16: nodes typed as decided, constants converted once, casts only where types change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.core.records import KeepRules
from trtconv.graph import dataflow, editing, types, weights_aside
from trtconv.graph.half import Decision, Saturation, decide
from trtconv.graph.half_types import HALVES, Half, takes

_FLOAT = onnx.TensorProto.FLOAT
_REST = -1  # beside the element types of copies: what the 16-bit type cannot hold of a tensor
_INDIFFERENT = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class Lowered:
    """What changed.

    Attributes:
        casts: Cast nodes added.
        kept: (node name, reason) for nodes that stay FP32 for a reason of their own.
        idle: rules of the user that matched no node.
    """

    casts: int
    kept: tuple[tuple[str, str], ...]
    idle: tuple[str, ...]


def lower(
    model: Any,
    precision: str,
    ranges: Mapping[str, float] | None = None,
    keep: KeepRules | None = None,
    io_types: str = "keep",
) -> Lowered:
    """Give a model a 16-bit type, in place.

    Args:
        model: FP32 ONNX, or one with FP32 Q/DQ pairs; nodes named and sorted, constants hoisted.
        precision: fp16 or bf16.
        ranges: largest magnitude per tensor on real samples; None: not measured, static rules decide.
        keep: nodes to leave in FP32.
        io_types: ``keep`` leaves the model's inputs and outputs FP32, ``convert`` gives them the 16-bit type.

    Raises:
        ConversionError: the model cannot be brought to the opset that the type needs.
    """
    half = HALVES[precision]
    editing.require_opset(model, half.opset)
    editing.name_nodes(model, editing.Names.of(model))
    decision = decide(model, half, ranges, keep or KeepRules())
    run = _Run(model, half, decision)
    _Graph(run, model.graph, None, "", _FLOAT if io_types == "keep" else half.element).convert()
    return Lowered(run.casts, tuple((name, why) for name, why in decision.kept.items() if why), decision.idle)


class _Run:
    """What all graphs of one model share."""

    def __init__(self, model: Any, half: Half, decision: Decision) -> None:
        self.half = half
        self.decision = decision
        self.names = editing.Names.of(model)
        self.version = editing.opset(model)
        self.scope = decision.scope
        self.casts = 0
        self.wanted: dict[str, set[int]] = {}
        self.wishes = {node.name: self._wishes(node) for _, node in editing.walk(model.graph)}
        for _, node in editing.walk(model.graph):
            for name, kind in zip(node.input, self.wishes[node.name], strict=True):
                self.wanted.setdefault(name, set()).add(kind)

    def _wishes(self, node: Any) -> list[int]:
        """The types in which a node reads its FP32 inputs."""
        if editing.bodies(node) or node.name in self.decision.kept:
            return [_FLOAT] * len(node.input)
        return [self.half.element if yes else _FLOAT for yes in takes(node, self.half, self.version)]

    def converted(self, tensor: Any, element: int, name: str, saturation: Saturation | None = None) -> Any:
        """A constant in another type; finite values beyond the type, or beyond what is left of masks, are clamped."""
        values = editing.array(tensor)
        if element == _FLOAT:
            return weights_aside.made(values.astype(np.float32), name)
        low, high = weights_aside.bounds(tensor, values) if values.size else (0.0, 0.0)
        if saturation is not None and saturation.beyond:
            values = _layered(values, saturation)
            low, high = -math.inf, math.inf
        bound = np.float32(self.half.largest if saturation is None or saturation.beyond else saturation.bound)
        if max(high, -low) > bound:  # rare, and costs a copy
            values = np.where(np.isfinite(values), np.clip(values, -bound, bound), values)
        return weights_aside.made(values.astype(self.half.dtype), name)

    def suffix(self, element: int) -> str:
        return types.name_of(element) if element != _FLOAT else "float32"


def _layered(values: Any, saturation: Saturation) -> Any:
    """Masks of several sizes, clipped to the bound and a little more, in their order; see ``_Graph._clipped``."""
    near = np.clip(values, -saturation.bound, saturation.bound)
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(values), near + (values - near) * np.float32(saturation.beyond), values)


class _Graph:
    """One graph on its way: nodes are taken in order and put out again, with the casts that they need before them."""

    def __init__(self, run: _Run, graph: Any, parent: _Graph | None, path: str, io: int) -> None:
        self.run = run
        self.graph = graph
        self.parent = parent
        self.path = path
        self.io = io
        self.scope: types.Scope = (
            run.scope if parent is None else types.visit_graph(graph, parent.scope, run.version, False)
        )
        self.outputs = {value.name for value in graph.output}
        self.constants = editing.initializers(graph)
        self.kinds: dict[str, int] = {}  # present type of every tensor that was FP32
        self.copies: dict[tuple[str, int], str] = {}
        self.makers: dict[str, Any] = {}
        self.nodes: list[Any] = []

    def convert(self) -> None:
        for value in self.graph.input:
            if self._was_float(value.name) and value.name not in self.constants:
                self.kinds[value.name] = self.io
                value.type.tensor_type.elem_type = self.io
        for name, tensor in self.constants.items():
            if tensor.data_type == _FLOAT:
                self._constant(name, tensor)
        for node in list(self.graph.node):
            self._node(node)
        for value in self.graph.output:
            if self._was_float(value.name) and value.name in self.kinds:
                value.type.tensor_type.elem_type = self.kinds[value.name]
        for value in self.graph.value_info:
            if value.name in self.kinds:
                value.type.tensor_type.elem_type = self.kinds[value.name]
        editing.replace_nodes(self.graph, self.nodes)
        editing.drop_unused_initializers(self.graph)

    def _was_float(self, name: str) -> bool:
        return bool(name) and self.scope.find(name) == _FLOAT

    def _constant(self, name: str, tensor: Any) -> None:
        """Convert a constant in place when all its readers want the 16-bit type, and note its type."""
        wanted = self.run.wanted.get(name, {_FLOAT}) | ({_FLOAT} if name in self.outputs else set())
        self.kinds[name] = _FLOAT if _FLOAT in wanted else self.run.half.element
        if self.kinds[name] != _FLOAT:
            tensor.CopyFrom(self.run.converted(tensor, self.kinds[name], name, self.saturation(name)))

    def _node(self, node: Any) -> None:
        if node.name in self.run.decision.split:
            self._split(node)
            return
        given = [self._read(node, position) for position in range(len(node.input))]
        halves = self._half_parameters(node)
        low = node.name not in self.run.decision.kept and not editing.bodies(node)
        _, outs = types.formals(node, self.run.version)
        for number, body in enumerate(editing.bodies(node)):
            _Graph(self.run, body, self, dataflow.inside(node, number), _FLOAT).convert()
        node.input[:] = given
        if low:
            self._retype(node)
        self.nodes.append(node)
        for position, name in enumerate(list(node.output)):
            if self._was_float(name):
                named = low and (node.op_type in ("Cast", "ConstantOfShape") or outs[position].type_str in halves)
                self._made(node, position, self.run.half.element if named else _FLOAT)

    def _half_parameters(self, node: Any) -> set[str]:
        """Type parameters that the node's inputs bind to the 16-bit type."""
        ins, _ = types.formals(node, self.run.version)
        return {
            ins[position].type_str
            for position, name in enumerate(node.input)
            if self._was_float(name)
            and self.run.wishes[node.name][position] == self.run.half.element
            and node.op_type not in _INDIFFERENT
        }

    def _retype(self, node: Any) -> None:
        """Operators that name their output type in an attribute."""
        for item in node.attribute:
            if node.op_type == "Cast" and item.name == "to" and item.i == _FLOAT:
                item.i = self.run.half.element
            if node.op_type == "ConstantOfShape" and item.name == "value" and item.t.data_type == _FLOAT:
                item.t.CopyFrom(self.run.converted(item.t, self.run.half.element, item.t.name))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, self.run.half.dtype))
            node.attribute.append(helper.make_attribute("value", zero))

    def _made(self, node: Any, position: int, kind: int) -> None:
        """Note the type of an output; a graph output of another type than promised gets a cast of its own."""
        name = node.output[position]
        if name not in self.outputs or kind == self.io:
            self.kinds[name] = kind
            self.makers[name] = node
            return
        inner = self.run.names.fresh(f"{name}_{self.run.suffix(kind)}")
        node.output[position] = inner
        self.kinds[inner], self.kinds[name] = kind, self.io
        self.copies[name, kind] = inner
        self._cast(inner, name, self.io)

    def _read(self, node: Any, position: int) -> str:
        name = str(node.input[position])
        if node.op_type in _INDIFFERENT or not self._was_float(name):
            return name
        return self._as(name, self.run.wishes[node.name][position])

    def _as(self, name: str, kind: int) -> str:
        """The name under which a tensor can be read in a type, made here if there is none yet."""
        for graph in self._outward():
            if (name, kind) in graph.copies:
                return graph.copies[name, kind]
        owner = next((graph for graph in self._outward() if name in graph.kinds), None)
        if owner is None or owner.kinds[name] == kind:
            return name
        if name in owner.constants:
            return owner.constant_copy(name, kind)
        if owner is self and self._can_double(name, kind):
            return self._twin(owner.makers[name], kind)
        copy = self.run.names.fresh(f"{name}_{self.run.suffix(kind)}")
        self.copies[name, kind], self.kinds[copy] = copy, kind
        saturation = owner.saturation(name) if kind != _FLOAT else None
        self._cast(name if saturation is None else self._clipped(name, saturation), copy, kind)
        return copy

    def _split(self, node: Any) -> None:
        """A product as three, of parts with few digits: many GPUs round the operands of FP32 products to TF32.

        (a + b)(c + d) is ac + bc + ad up to the square of a 16-bit rounding. a and c are 16-bit, which TF32 holds;
        b and d are what is left, and none where an operand is 16-bit anyway.
        """
        output, rest = node.output[0], [self._read(node, position) for position in range(2, len(node.input))]
        (a, b), (c, d) = (self._parts(node, position) for position in (0, 1))
        node.input[:] = [a, c, *rest]
        node.output[0] = total = self.run.names.fresh(f"{output}_product")
        self.nodes.append(node)
        for pair in ((b, c), (a, d)):
            if all(pair):
                low = onnx.NodeProto()
                low.CopyFrom(node)
                low.input[:], low.output[0] = pair, self.run.names.fresh(f"{output}_product")
                low.name = self.run.names.fresh(f"{node.name}_rest")
                self.nodes.append(low)
                total = self._add("Add", [total, low.output[0]], f"{output}_sum")
        last = self.nodes[-1]
        last.output[0] = output
        self._made(last, 0, _FLOAT)

    def _parts(self, node: Any, position: int) -> tuple[str, str]:
        """An operand's 16-bit values in FP32, and what is left of it; nothing of what is 16-bit already."""
        name = str(node.input[position])
        owner = next(graph for graph in self._outward() if name in graph.kinds)
        if name in owner.constants:
            return owner.constant_parts(name)
        high = self._as(self._as(name, self.run.half.element), _FLOAT)
        if owner.kinds[name] != _FLOAT:
            return high, ""
        if (name, _REST) not in self.copies:
            self.copies[name, _REST] = self._add("Sub", [name, high], f"{name}_rest")
        return high, self.copies[name, _REST]

    def constant_parts(self, name: str) -> tuple[str, str]:
        """The same for a constant."""
        values = editing.array(self.constants[name]).astype(np.float32)
        high = values.astype(self.run.half.dtype).astype(np.float32)
        names = self.run.names.fresh(f"{name}_high"), self.run.names.fresh(f"{name}_rest")
        parts = zip((high, values - high), names, strict=True)
        self.graph.initializer.extend(numpy_helper.from_array(part, copy) for part, copy in parts)
        return names

    def _can_double(self, name: str, kind: int) -> bool:
        """Whether a DequantizeLinear makes the tensor whose scale both types hold."""
        maker = self.makers.get(name)
        if maker is None or maker.op_type != "DequantizeLinear":
            return False
        return kind == _FLOAT or self.run.decision.kept.get(maker.name) == ""

    def _outward(self) -> Iterator[_Graph]:
        graph: _Graph | None = self
        while graph is not None:
            yield graph
            graph = graph.parent

    def constant_copy(self, name: str, kind: int) -> str:
        """A constant in a second type."""
        copy = self.run.names.fresh(f"{name}_{self.run.suffix(kind)}")
        tensor = self.run.converted(self.constants[name], kind, copy, self.saturation(name))
        self.graph.initializer.append(tensor)
        self.copies[name, kind] = copy
        return copy

    def saturation(self, name: str) -> Saturation | None:
        """How a tensor of this graph becomes 16-bit; None where it fits."""
        return self.run.decision.saturated.get(dataflow.key(self.path, name))

    def _clipped(self, name: str, saturation: Saturation) -> str:
        """A tensor without what the type cannot hold; infinities, where there are any, mean what they say and stay."""
        clipped = self._clip(name, saturation.bound)
        if saturation.beyond:
            rest = self._add("Sub", [name, clipped], f"{name}_beyond")
            scaled = self._add("Mul", [rest, self._bound(saturation.beyond)], f"{name}_scaled")
            clipped = self._clip(self._add("Add", [clipped, scaled], f"{name}_layered"), self.run.half.largest / 2)
        if not saturation.infinite:
            return clipped
        return self._add("Where", [self._add("IsInf", [name], f"{name}_infinite"), name, clipped], f"{name}_saturated")

    def _clip(self, name: str, bound: float) -> str:
        return self._add("Clip", [name, self._bound(-bound), self._bound(bound)], f"{name}_clipped")

    def _bound(self, value: float) -> str:
        """An FP32 constant."""
        name = self.run.names.fresh("saturation")
        self.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
        return name

    def _add(self, op: str, inputs: list[str], output: str) -> str:
        name = self.run.names.fresh(output)
        self.nodes.append(helper.make_node(op, inputs, [name], self.run.names.fresh(f"{name}_{op}")))
        return name

    def _twin(self, maker: Any, kind: int) -> str:
        """A second DequantizeLinear instead of a cast, so that its reader still fuses with it."""
        name = str(maker.output[0])
        copy = self.run.names.fresh(f"{name}_{self.run.suffix(kind)}")
        twin = onnx.NodeProto()
        twin.CopyFrom(maker)
        twin.name = self.run.names.fresh(f"{maker.name}_{self.run.suffix(kind)}")
        twin.input[1] = self._as(self._first_name(maker.input[1]), kind)
        twin.output[0] = copy
        self.nodes.append(twin)
        self.copies[name, kind] = copy
        return copy

    def _first_name(self, name: str) -> str:
        """The name that a constant had before it was copied into another type."""
        return next((origin for (origin, _), copy in self.copies.items() if copy == name), name)

    def _cast(self, source: str, target: str, kind: int) -> None:
        self.run.casts += 1
        self.nodes.append(helper.make_node("Cast", [source], [target], self.run.names.fresh(f"{target}_Cast"), to=kind))
