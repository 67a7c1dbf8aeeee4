"""Proof of an engine's precision: what every weighted operator computes in, by its typed ONNX and by its layers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.core.records import Proof, Wider
from trtconv.engines.run import inspector
from trtconv.engines.run.inspector import Layer

if TYPE_CHECKING:  # whoever asks an engine needs none of it
    import onnx

RECURRENT = ("LSTM", "GRU", "RNN")
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", *RECURRENT)
"""Operators that hold nearly all weights and arithmetic of a network."""

UNKNOWN = "unknown"

_BITS = {
    "double": 64,
    "float": 32,
    "float16": 16,
    "bfloat16": 16,
    "int8": 8,
    "uint8": 8,
    "float8e4m3fn": 8,
    "float8e5m2": 8,
    "int4": 4,
    "uint4": 4,
    "float4e2m1": 4,
}
_PRODUCTS = ("Gemm", "MatMul")  # of which either operand may be the weights
_MOVES = ("Transpose", "Reshape", "Identity")
_STORES = (*_MOVES, "Cast", "QuantizeLinear", "DequantizeLinear")
_ELEMENTWISE = ("kgen", "reformat")  # layers before and after the arithmetic

Dims = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Operator:
    """A weighted operator.

    Attributes:
        node: its name, as TensorRT's parser has it.
        op: ONNX operator.
        kind: type that it computes in, see ``weighted_types``.
        operands: type of what it is given, dequantized.
        weights: elements of its constant operand; 0 where both operands are computed.
        products: multiplications of one run.
    """

    node: str
    op: str
    kind: str
    operands: str
    weights: int
    products: int

    @property
    def bits(self) -> int:
        """Width of its arithmetic; with quantized weights alone that of its operands. 0 when it is not known."""
        return _BITS.get(self.operands if self.kind.endswith(" weights") else self.kind, 0)


def operators(model: onnx.ModelProto, types: Mapping[str, int], shapes: Dims | None = None) -> tuple[Operator, ...]:
    """The weighted operators of a model, those of subgraphs included.

    Args:
        model: typed ONNX; an outline without its large tensors will do.
        types: element type (TensorProto.DataType) per tensor.
        shapes: of the inputs, for the products. A dimension that stays open counts once.
    """
    dims = _dims(model, shapes or {})
    return tuple(one for graph in _graphs(model.graph) for one in _Inside(graph, types, dims).operators())


def weighted_types(found: Iterable[Operator]) -> dict[str, dict[str, int]]:
    """Count weighted operators by the type they compute in.

    An operator between DequantizeLinear nodes computes in their quantized type (TensorRT fuses the pair); with
    quantized weights only, the type is called ``int8 weights``. Any other one computes in the type of its operands.

    Returns:
        Operator -> type -> count, such as ``{"Conv": {"int8": 2, "float16": 1}}``.
    """
    counts: dict[str, Counter[str]] = {}
    for one in found:
        counts.setdefault(one.op, Counter())[one.kind] += 1
    return {op: dict(sorted(counter.items())) for op, counter in sorted(counts.items())}


def of_engine(engine: Path, found: Sequence[Operator]) -> Proof:
    """By the engine's own layers where it can be loaded here, else by what its typed ONNX says.

    Raises:
        SourceError: not an engine.
    """
    if not found:
        return by_model(found, "no weighted operators")
    told = inspector.ask(engine)
    return by_model(found, told.why) if told.why else by_layers(found, inspector.layers(told.text), told.by)


def by_model(found: Sequence[Operator], why: str) -> Proof:
    """The proof where no engine can be asked, and why not."""
    return Proof(f"typed ONNX ({why})", _shares(found, [one.kind for one in found]))


def by_layers(found: Sequence[Operator], layers: Sequence[Layer], teller: str) -> Proof:
    """What an engine's layers say of the operators of its model.

    Args:
        found: the model's operators.
        layers: of the engine built from it.
        teller: who told of them.
    """
    places = [_place(one, layers) for one in found]
    if all(place.kind == UNKNOWN for place in places):
        return by_model(found, f"the {teller} tells no types of the operators' layers")
    whole = sum(one.products for one in found)
    wider = [
        Wider(
            node=one.node, op=one.op, promised=one.kind, found=place.kind, share=one.products / whole, layer=place.layer
        )
        for one, place in zip(found, places, strict=True)
        if place.bits > one.bits > 0
    ]
    wider.sort(key=lambda one: -one.share)
    kinds = [place.kind for place in places]
    return Proof(teller, _shares(found, [one.kind for one in found]), _shares(found, kinds), tuple(wider))


def holds(model: onnx.ModelProto, *names: str) -> bool:
    """Whether any Q/DQ pair of the model stores one of these types, such as ``float8e4m3fn`` or ``int4``."""
    import onnx

    wanted = {onnx.TensorProto.DataType.Value(name.upper()) for name in names}
    return any(t.data_type in wanted for graph in _graphs(model.graph) for t in graph.initializer)


def _shares(found: Sequence[Operator], kinds: Sequence[str]) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for one, kind in zip(found, kinds, strict=True):
        totals[kind] += one.products
    return {kind: count / totals.total() for kind, count in totals.most_common()}


@dataclass(frozen=True)
class _Place:
    """Where an operator's arithmetic is done: the type, its width, and the layer."""

    kind: str = UNKNOWN
    bits: int = 0
    layer: str = ""


def _place(one: Operator, layers: Sequence[Layer]) -> _Place:
    """The layer that does an operator's arithmetic.

    TensorRT names an operator in every layer that has a part of it: casts before, scales and activations behind. The
    arithmetic is where its weights are (padded, perhaps), or else where two operands of one type meet.
    """
    own = [layer for layer in layers if one.node in layer.nodes]
    own.sort(key=lambda layer: layer.kind.lower() in _ELEMENTWISE)
    held = [
        (layer.kind.lower() in _ELEMENTWISE, count - one.weights, position, kind)
        for position, layer in enumerate(own)
        for kind, count in layer.constants
        if count >= one.weights > 0
    ]
    if held:
        *_, position, kind = min(held)
        return _with_weights(kind, own[position])
    for layer in own:
        if one.weights and layer.kind.lower() in _ELEMENTWISE:  # the arithmetic is in a layer that does not say so
            continue
        met = [kind for kind, count in Counter(layer.inputs).items() if count > 1 and kind in _BITS]
        if met:
            kind = min(met, key=_BITS.__getitem__)
            return _Place(kind, _BITS[kind], layer.name)
    return _Place()


def _with_weights(kind: str, layer: Layer) -> _Place:
    """A layer that has weights of some type: where an input has it too, they meet in it."""
    widths = [_BITS[name] for name in layer.inputs if name in _BITS]
    if kind not in _BITS:
        return _Place()
    if kind in layer.inputs or not widths or _BITS[kind] >= min(widths):
        return _Place(kind, _BITS[kind], layer.name)
    return _Place(f"{kind} weights", min(widths), layer.name)


class _Inside:
    """One graph of a model, and what is known of its tensors."""

    def __init__(self, graph: onnx.GraphProto, types: Mapping[str, int], dims: Dims) -> None:
        self.graph, self.types, self.dims = graph, types, dims
        self.producers: Mapping[str, Any] = {name: node for node in graph.node for name in node.output}
        self.constants: Mapping[str, int] = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}

    def operators(self) -> Iterator[Operator]:
        for node in self.graph.node:
            if node.op_type in WEIGHTED:
                weights = self.elements(node.input[self.weight_position(node)])
                operands = _name(self.types.get(node.input[0]) or self.types.get(node.input[1]))
                name = node.name or f"node_of_{node.output[0]}"  # as TensorRT's parser calls it
                yield Operator(
                    node=name,
                    op=node.op_type,
                    kind=self.compute_type(node),
                    operands=operands,
                    weights=weights,
                    products=self.products(node) or weights or 1,
                )

    def weight_position(self, node: onnx.NodeProto) -> int:
        """Which input is the weights: the second, or of a matrix product the one that is constant."""
        left = node.op_type in _PRODUCTS and self.elements(node.input[0]) and not self.elements(node.input[1])
        return 0 if left else 1

    def compute_type(self, node: onnx.NodeProto) -> str:
        first, second = (self.quantized(name) for name in node.input[:2])
        if first and first == second:
            return first
        weight = node.input[self.weight_position(node)]
        if (kind := self.quantized(weight)) and self.elements(weight):
            return f"{kind} weights"
        return _name(self.types.get(node.input[0]) or self.types.get(node.input[1]))

    def quantized(self, name: str) -> str:
        """The quantized type that a tensor was dequantized from; layout changes in between do not matter."""
        node = self.producers.get(self.behind(name, _MOVES))
        return _name(self.types.get(node.input[0])) if node is not None and node.op_type == "DequantizeLinear" else ""

    def elements(self, name: str) -> int:
        """Of the constant behind an operand; 0 where there is none."""
        source = self.behind(name, _STORES)
        maker = self.producers.get(source)
        if maker is not None and maker.op_type == "Constant":
            return math.prod(self.dims.get(source, (0,)))
        return self.constants.get(source, 0)

    def behind(self, name: str, ops: Sequence[str]) -> str:
        """The tensor that some operators made this one of."""
        while (node := self.producers.get(name)) is not None and node.op_type in ops:
            name = node.input[0]
        return name

    def products(self, node: onnx.NodeProto) -> int:
        """Multiplications of one run; 0 where shapes are not known."""
        shapes: list[tuple[int, ...] | None] = [self.dims.get(n) for n in (*node.input[:2], node.output[0])]
        given, weights, made = shapes
        if not given or not weights or made is None:
            return 0
        if node.op_type.startswith("Conv"):
            return math.prod(made if node.op_type == "Conv" else given) * math.prod(weights[1:])
        if node.op_type in RECURRENT:  # given [steps, batch, size]; weights of all gates and directions
            return math.prod(given[:2]) * (math.prod(weights) + math.prod(self.dims.get(node.input[2], ())))
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(made) * given[0 if turned else -1]


def _dims(model: onnx.ModelProto, shapes: Dims) -> dict[str, tuple[int, ...]]:
    """Dimensions of the main graph's tensors, as far as they are known, for inputs of some shapes."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            dim.dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(copy, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, RuntimeError):  # what is not inferred counts by its weights
        graph = model.graph
    found = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            found[value.name] = tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
    return found


def _name(kind: int | None) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(kind)).lower() if kind else UNKNOWN


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    import onnx

    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
