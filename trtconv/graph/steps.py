"""Operators of several steps, written out so that strict arithmetic rounds each step (see ``graph.strict``).

A node in float16 or bfloat16 that its reference implementation computes in several roundings becomes as many nodes:
the square in ReduceL2 overflows, the quotient of QuantizeLinear has 11 bits, a product is rounded before its bias.
Normalizations stay FP32 inside, as their ``stash_type`` says. What is not in the table is rounded once, at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.graph import editing, recurrent_steps, types

_P = onnx.TensorProto
_FLOAT, _BFLOAT16 = int(_P.FLOAT), int(_P.BFLOAT16)
HALVES: Mapping[int, Any] = {int(_P.FLOAT16): np.float16, _BFLOAT16: ml_dtypes.bfloat16}
_PASSES = 3  # a step may be an operator of the table itself

Writer = Callable[["Steps", Any], "str | list[str] | None"]
"""Adds the steps of a node and returns what is its output, or its outputs; None to leave the node as it is."""


@dataclass
class Steps:
    """Collects the nodes that take the place of one.

    Attributes:
        graph: where it stands; gets constants.
        names: of the model.
        kind: type of the node's floats.
        version: opset.
        label: of the node.
        nodes: so far.
    """

    graph: Any
    names: editing.Names
    kind: int
    version: int
    label: str
    nodes: list[Any] = field(default_factory=list)

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return that."""
        return self.several(op, inputs, 1, **attributes)[0]

    def several(self, op: str, inputs: tuple[str, ...], count: int, **attributes: Any) -> list[str]:
        """Add a node and return its outputs."""
        outputs = [self.names.fresh(f"{self.label}/{op.lower()}") for _ in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, outputs[0], **attributes))
        return outputs

    def constant(self, values: Any, dtype: Any = None) -> str:
        """A constant of the node's type, or of another."""
        name = self.names.fresh(f"{self.label}/constant")
        array = np.asarray(values).astype(dtype or HALVES[self.kind])
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def cast(self, tensor: str, kind: int) -> str:
        """Another type."""
        return self("Cast", tensor, to=kind)

    def wide(self, tensor: str) -> str:
        """For arithmetic with plain numbers: float16 rounds each step of it, bfloat16 only the end (see ``half``)."""
        return self.cast(tensor, _FLOAT) if self.kind == _BFLOAT16 else tensor

    def number(self, value: float) -> str:
        """A number to compute with ``wide`` tensors."""
        return self.constant(value, np.float32 if self.kind == _BFLOAT16 else None)

    def half(self, tensor: str) -> str:
        """The node's type again after arithmetic on ``wide`` tensors."""
        return self.cast(tensor, _BFLOAT16) if self.kind == _BFLOAT16 else tensor

    def reduced(self, op: str, tensor: str, axes: list[int]) -> str:
        """A reduction that keeps its axes; they are an input since opset 18, for ReduceSum since 13."""
        if self.version >= (13 if op == "ReduceSum" else 18):
            return self(op, tensor, self.constant(axes, np.int64), keepdims=1)
        return self(op, tensor, axes=axes, keepdims=1)

    def pieces(self, count: int) -> dict[str, int]:
        """What Split needs to be told to cut into equal pieces."""
        return {"num_outputs": count} if self.version >= 18 else {}

    def summed(self, tensor: str, node: Any) -> str:
        """ReduceSum over the axes that another reduction has."""
        kept, axes = attributes(node), list(node.input[1:2])
        if "axes" in kept and self.version >= 13:
            axes = [self.constant(kept.pop("axes"), np.int64)]
        return self("ReduceSum", tensor, *axes, **kept)


def write_out(model: Any) -> None:
    """Replace the nodes of the table in a model and its subgraphs, in place."""
    names, version = editing.Names.of(model), editing.opset(model)
    for _ in range(_PASSES):
        scope = types.visit_graph(model.graph, None, version, check_nodes=False)
        if not _visit(model.graph, scope, names, version):
            return


def _visit(graph: Any, scope: types.Scope, names: editing.Names, version: int) -> bool:
    """Go through one graph and those inside it; says whether anything changed."""
    nodes: list[Any] = []
    deeper = False
    for node in graph.node:
        for body in editing.bodies(node):
            inner = types.visit_graph(body, scope, version, check_nodes=False, given=body_inputs(node, scope))
            deeper |= _visit(body, inner, names, version)
        nodes += _written(graph, node, scope, names, version) or [node]
    if len(nodes) == len(graph.node):
        return deeper
    editing.replace_nodes(graph, nodes)
    return True


def body_inputs(node: Any, scope: types.Scope) -> list[types.Type | None]:
    """Types of the leading inputs of a node's body, which the body need not declare."""
    kinds = [scope.find(name) if name else None for name in node.input]
    if node.op_type == "Loop":
        return [int(_P.INT64), int(_P.BOOL), *kinds[2:]]
    return kinds if node.op_type == "Scan" else []


def _written(graph: Any, node: Any, scope: types.Scope, names: editing.Names, version: int) -> list[Any]:
    """The steps of a node; none where it is one step already."""
    writer = _TABLE.get(node.op_type) if node.domain in editing.ONNX_DOMAINS else None
    kind = scope.find(node.input[0]) if writer and node.input else None
    if writer is None or kind is None or kind not in HALVES:
        return []
    steps = Steps(graph, names, kind, version, editing.label(node))
    made = writer(steps, node)
    if made is None:
        return []
    for result, wanted in zip([made] if isinstance(made, str) else made, node.output, strict=False):
        if wanted:
            steps.nodes.append(helper.make_node("Identity", [result], [wanted], wanted))
    return steps.nodes


def _conv(steps: Steps, node: Any) -> str | None:
    """The reference adds the bias to a float16 product, and to an FP32 one in bfloat16."""
    rank = max(len(editing.attribute(node, name, [])) for name in ("kernel_shape", "strides", "dilations"))
    rank = rank or len(_constant_dims(steps.graph, node.input[1]) or (0, 0)) - 2
    if len(node.input) < 3 or not node.input[2] or not rank or steps.kind == _BFLOAT16:
        return None
    product = steps(node.op_type, *node.input[:2], **attributes(node))
    bias = steps("Reshape", node.input[2], steps.constant([-1] + [1] * rank, np.int64))
    return steps("Add", product, bias)


def _gemm(steps: Steps, node: Any) -> str | None:
    alpha, beta = editing.attribute(node, "alpha", 1.0), editing.attribute(node, "beta", 1.0)
    biased = len(node.input) > 2 and bool(node.input[2]) and beta != 0
    if not biased and alpha == 1:
        return None
    turns = {name: editing.attribute(node, name, 0) for name in ("transA", "transB")}
    total = steps.wide(steps("Gemm", *node.input[:2], **turns))
    if alpha != 1:
        total = steps("Mul", total, steps.number(alpha))
    if biased:
        bias = steps.wide(node.input[2])
        total = steps("Add", total, bias if beta == 1 else steps("Mul", bias, steps.number(beta)))
    return steps.half(total)


def _quantize(steps: Steps, node: Any) -> str | None:
    """The quotient has the input's type before it becomes an integer or float8."""
    if editing.attribute(node, "block_size", 0) or editing.attribute(node, "precision", 0):
        return None
    scale, dims = node.input[1], _constant_dims(steps.graph, node.input[1])
    if dims is None:
        return None
    if np.prod(dims) == 1:
        divisor = steps("Reshape", scale, steps.constant(np.zeros(0), np.int64))
    else:
        divisor = _along(steps, node, scale, editing.attribute(node, "axis", 1))
    unit = steps.constant(np.ones(dims), np.float32)
    quotient = steps.cast(steps("Div", node.input[0], divisor), _FLOAT)
    return steps("QuantizeLinear", quotient, unit, *node.input[2:], **attributes(node))


def _along(steps: Steps, node: Any, scale: str, axis: int) -> str:
    """A scale per slice of an axis, shaped to broadcast: [1, ..., n, ..., 1] of the input's rank."""
    ones = _ones(steps, steps("Shape", node.input[0]), int(_P.INT64))
    shape = steps("ScatterND", ones, steps.constant([[axis]], np.int64), steps.constant([-1], np.int64))
    return steps("Reshape", scale, shape)


def _softmax(steps: Steps, node: Any) -> str | None:
    """Since opset 13; before, the operator flattens its input first."""
    if steps.version < 13:
        return None
    axis = [editing.attribute(node, "axis", -1)]
    power = steps("Exp", steps("Sub", node.input[0], steps.reduced("ReduceMax", node.input[0], axis)))
    return steps("Div", power, steps.reduced("ReduceSum", power, axis))


def _log_softmax(steps: Steps, node: Any) -> str | None:
    share = _softmax(steps, node)
    return share and steps("Log", share)


def _sum_square(steps: Steps, node: Any) -> str:
    return steps.summed(steps("Mul", node.input[0], node.input[0]), node)


def _l2(steps: Steps, node: Any) -> str:
    return steps("Sqrt", _sum_square(steps, node))


def _lp_norm(steps: Steps, node: Any) -> str | None:
    """By the root of the sum of squares; 0 where that is 0."""
    if editing.attribute(node, "p", 2) != 2:
        return None
    x, axis = node.input[0], [editing.attribute(node, "axis", -1)]
    norm = steps("Sqrt", steps.reduced("ReduceSum", steps("Mul", x, x), axis))
    zero = steps.constant(0)
    return steps("Where", steps("Equal", norm, zero), zero, steps("Div", x, norm))


def _log_sum(steps: Steps, node: Any) -> str:
    return steps("Log", steps.summed(node.input[0], node))


def _sigmoid(steps: Steps, node: Any) -> str:
    """Without overflow: exp(-|x|) serves both sides."""
    x = node.input[0]
    power = steps.wide(steps("Exp", steps("Neg", steps("Abs", x))))
    one = steps.number(1)
    total = steps("Add", power, one)
    above = steps("Greater", x, steps.constant(0))
    return steps.half(steps("Where", above, steps("Div", one, total), steps("Div", power, total)))


def _hard_sigmoid(steps: Steps, node: Any) -> str:
    alpha, beta = editing.attribute(node, "alpha", 0.2), editing.attribute(node, "beta", 0.5)
    return _line(steps, node.input[0], alpha, beta)


def _line(steps: Steps, x: str, alpha: float, beta: float) -> str:
    line = steps("Add", steps("Mul", steps.wide(x), steps.number(alpha)), steps.number(beta))
    return steps.half(steps("Max", steps("Min", line, steps.number(1)), steps.number(0)))


def _hard_swish(steps: Steps, node: Any) -> str:
    return steps("Mul", node.input[0], _line(steps, node.input[0], 1 / 6, 0.5))


def _softsign(steps: Steps, node: Any) -> str:
    x = node.input[0]
    return steps("Div", x, steps("Add", steps("Abs", x), steps.constant(1)))


def _selu(steps: Steps, node: Any) -> str:
    alpha = editing.attribute(node, "alpha", 1.6732631921768188)
    gamma = editing.attribute(node, "gamma", 1.0507010221481323)
    x = node.input[0]
    below = steps("Mul", steps.wide(steps("Elu", x)), steps.number(alpha))
    chosen = steps("Where", steps("Greater", x, steps.constant(0)), steps.wide(x), below)
    return steps.half(steps("Mul", chosen, steps.number(gamma)))


def _mish(steps: Steps, node: Any) -> str:
    return steps("Mul", node.input[0], steps("Tanh", steps("Softplus", node.input[0])))


def _gelu(steps: Steps, node: Any) -> str:
    """By the operator's definition: 0.5 x (1 + erf(x / sqrt 2)), or its approximation by tanh."""
    x, half, one = node.input[0], steps.constant(0.5), steps.constant(1)
    if editing.attribute(node, "approximate", b"none") == b"tanh":
        cube = steps("Mul", steps.constant(0.044715), steps("Pow", x, steps.constant(3)))
        bent = steps("Tanh", steps("Mul", steps.constant(np.sqrt(2 / np.pi)), steps("Add", x, cube)))
        return steps("Mul", steps("Mul", half, x), steps("Add", one, bent))
    bent = steps("Erf", steps("Div", x, steps("Sqrt", steps.constant(2))))
    return steps("Mul", x, steps("Mul", half, steps("Add", one, bent)))


def _chain(op: str) -> Writer:
    """Sum of several tensors, one after the other."""

    def write(steps: Steps, node: Any) -> str | None:
        total = node.input[0]
        if len(node.input) == 1 or (op == "Sum" and len(node.input) == 2):
            return None
        for other in node.input[1:]:
            total = steps("Add", total, other)
        return total if op == "Sum" else steps("Div", total, steps.constant(len(node.input)))

    return write


def _layer_norm(steps: Steps, node: Any) -> str | None:
    """FP32 up to the normalized values, then the scale, then the bias."""
    if len([name for name in node.output if name]) > 1:
        return None
    scale, *bias = node.input[1:]
    normal = steps(node.op_type, steps.cast(node.input[0], _FLOAT), _ones(steps, scale, _FLOAT), **attributes(node))
    result = steps("Mul", steps.cast(normal, steps.kind), scale)
    return steps("Add", result, bias[0]) if bias and bias[0] else result


def _ones(steps: Steps, tensor: str, kind: int) -> str:
    """Ones in the shape of a tensor."""
    return steps("ConstantOfShape", steps("Shape", tensor), value=helper.make_tensor("one", kind, [1], [1]))


def _batch_norm(steps: Steps, node: Any) -> str | None:
    """(x - mean) * scale / sqrt(variance + epsilon) + bias, in this order; feature maps need their rank."""
    if len([name for name in node.output if name]) > 1 or editing.attribute(node, "training_mode", 0):
        return None
    x, scale, bias, mean, variance = (node.input[0], *(_channels(steps, node.input[0], n) for n in node.input[1:]))
    centred = steps("Mul", scale, steps("Sub", x, mean))
    epsilon = editing.attribute(node, "epsilon", 1e-5)
    root = steps("Sqrt", steps("Add", steps.wide(variance), steps.number(epsilon)))
    return steps.half(steps("Add", steps("Div", steps.wide(centred), root), steps.wide(bias)))


def _channels(steps: Steps, x: str, vector: str) -> str:
    """[C] as [C, 1, ...], to broadcast over [N, C, ...]: the shape of x without its first axis, all but C ones."""
    rest = steps("Slice", steps("Shape", x), steps.constant([2], np.int64), steps.constant([1 << 30], np.int64))
    shape = steps("Concat", steps.constant([-1], np.int64), _ones(steps, rest, int(_P.INT64)), axis=0)
    return steps("Reshape", vector, shape)


def _constant_dims(graph: Any, name: str) -> list[int] | None:
    tensor = editing.initializers(graph).get(name)
    return None if tensor is None else list(tensor.dims)


def attributes(node: Any) -> dict[str, Any]:
    """Names and values."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


_TABLE: Mapping[str, Writer] = {
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GRU": recurrent_steps.gru,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "LSTM": recurrent_steps.lstm,
    "LpNormalization": _lp_norm,
    "Mean": _chain("Mean"),
    "Mish": _mish,
    "QuantizeLinear": _quantize,
    "ReduceL2": _l2,
    "ReduceLogSum": _log_sum,
    "ReduceSumSquare": _sum_square,
    "RMSNormalization": _layer_norm,
    "RNN": recurrent_steps.rnn,
    "Selu": _selu,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Softsign": _softsign,
    "Sum": _chain("Sum"),
}

OPERATORS = tuple(_TABLE)
"""What is written out."""
