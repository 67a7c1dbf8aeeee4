"""Where quantization goes: which inputs of which nodes get Q/DQ so that TensorRT can fuse, and what is left alone.

Rules, from TensorRT's guide on explicit quantization: every input of a weighted operator is quantized, weights per
output channel, activations per tensor; outputs are not. Between Conv, batch normalization, activation and residual Add
nothing is inserted, since they become one kernel; of a residual Add the operand that is not the fused Conv is
quantized. Pooling that averages works in INT8 when both its sides are. Operators that only move or pick values commute
with Q and DQ and need none of their own. Tensors share a scale only where a quantized operator reads them together:
those that such operators and Concat tie to what it reads, unless one is so small that it would lose its own levels.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from trtconv.core.records import KeepRules
from trtconv.graph import editing, types
from trtconv.graph.node_rules import Matcher

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
AVERAGING = frozenset({"AveragePool", "GlobalAveragePool"})
RESIDUAL = frozenset({"Add", "Sum"})
TRANSPARENT = frozenset({"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
SHARED_LEVELS = 4
"""How many times smaller than the largest a tensor of a Concat may be to share its scale: it keeps 31 of 127 levels."""

NARROW = 16
"""Channels below which INT8 kernels pad so much that nothing is gained."""

NO_RULES = KeepRules()
_FP8_KERNEL = 32  # largest kernel volume of TensorRT's FP8 convolutions


@dataclass(frozen=True)
class Weighted:
    """A weighted operator to quantize.

    Attributes:
        node: its name.
        activation: the tensor that it reads.
        weight: its weights.
        axis: that of their output channels.
        position: of the weights among its inputs; 0 where a constant is multiplied from the left.
    """

    node: str
    activation: str
    weight: str
    axis: int
    position: int = 1


@dataclass(frozen=True)
class Plan:
    """What to quantize.

    Attributes:
        weighted: the operators that will compute in the quantized type.
        edges: (node, input position) of every activation to read through a Q/DQ pair, in graph order.
        tensors: the tensors of those edges, in graph order; each gets one pair.
        groups: tensor -> the tensor whose scale it shares; only for tensors of the plan.
        left_out: (node, reason) for weighted operators that stay as they are.
        idle: rules of ``exclude`` that matched no node.
    """

    weighted: tuple[Weighted, ...]
    edges: tuple[tuple[str, int], ...]
    tensors: tuple[str, ...]
    groups: Mapping[str, str]
    left_out: tuple[tuple[str, str], ...]
    idle: tuple[str, ...] = ()


def plan(
    model: Any,
    precision: str = "int8",
    exclude: KeepRules = NO_RULES,
    keep: KeepRules = NO_RULES,
    amax: Mapping[str, float] | None = None,
    fragile: Mapping[str, str] | None = None,
) -> Plan:
    """Decide where Q/DQ pairs go.

    Args:
        model: FP32 ONNX whose nodes are named and sorted and whose constants are initializers.
        precision: int8 or fp8.
        exclude: nodes to leave out; ``exclude.limit`` leaves out operators whose input is larger, where ``amax`` says.
        keep: nodes that stay FP32, and so are left out as well.
        amax: ranges, where known; operators that read a tensor without a usable range are left out.
        fragile: tensors that quantization would spoil, and why; operators that read or make one are left out.
    """
    matcher = Matcher(exclude=exclude, keep=keep)
    return _Planner(model.graph, precision, matcher, amax or {}, fragile or {}, exclude.limit).plan()


@dataclass
class _Planner:
    graph: Any
    precision: str
    matcher: Matcher
    amax: Mapping[str, float]
    fragile: Mapping[str, str]
    limit: float | None
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.constants = editing.initializers(self.graph)
        self.producers = editing.producers(self.graph)
        self.consumers = editing.consumers(self.graph)
        self.outputs = {value.name for value in self.graph.output}

    def plan(self) -> Plan:
        weighted = {found.node: found for found in self._weighted()}
        edges = {(found.node, 1 - found.position) for found in weighted.values()}
        edges |= set(self._residual_edges(weighted))
        edges |= self._averaging_edges(edges)
        by_name = {node.name: node for node in self.graph.node}
        order = {node.name: position for position, node in enumerate(self.graph.node)}
        ordered = tuple(sorted(edges, key=lambda edge: (order[edge[0]], edge[1])))
        tensors = tuple(dict.fromkeys(by_name[name].input[position] for name, position in ordered))
        return Plan(
            tuple(weighted.values()),
            ordered,
            tensors,
            self._groups(tensors, edges),
            tuple(self.left_out),
            self.matcher.idle("exclude"),
        )

    def _weighted(self) -> Iterator[Weighted]:
        for graph, node in editing.walk(self.graph):
            excluded = self.matcher.reason(node)
            if node.op_type not in WEIGHTED | RECURRENT or node.domain not in editing.ONNX_DOMAINS:
                continue
            inside = "it is inside a subgraph" if graph is not self.graph else ""
            reason = excluded or inside or self._why_not(node)
            if reason:
                self.left_out.append((editing.label(node), reason))
            else:
                position = self._weight_position(node)
                axis = weight_axis(node) if position else len(self.constants[node.input[0]].dims) - 2
                yield Weighted(node.name, node.input[1 - position], node.input[position], axis, position)

    def _why_not(self, node: Any) -> str:
        """Why a weighted operator cannot or should not be quantized; empty when it should."""
        if node.op_type in RECURRENT or (self.precision == "fp8" and node.op_type == "ConvTranspose"):
            return f"TensorRT has no {self.precision} {node.op_type}"
        position = self._weight_position(node)
        weight, activation = self.constants.get(node.input[position]), node.input[1 - position]
        if activation in self.constants or weight is None:
            return "its weights are not constants" if node.op_type != "MatMul" else "both operands are activations"
        if weight.data_type != onnx.TensorProto.FLOAT:
            return "its weights are not FP32"
        if why := self.fragile.get(activation) or self.fragile.get(node.output[0]):
            return why
        shape = list(weight.dims)
        if node.op_type in ("MatMul", "Gemm"):
            return self._why_not_matrix(shape) or self._why_not_range(activation)
        return self._why_not_conv(node, shape) or self._why_not_range(activation)

    def _weight_position(self, node: Any) -> int:
        """Which input of a weighted operator are its weights: the second, or of a MatMul the constant one."""
        return 0 if node.op_type == "MatMul" and node.input[0] in self.constants else 1

    def _why_not_matrix(self, shape: list[int]) -> str:
        if len(shape) != 2:
            return f"its weights have rank {len(shape)}"
        return f"a {shape[0]}x{shape[1]} matrix is too small to gain" if min(shape) < NARROW else ""

    def _why_not_conv(self, node: Any, shape: list[int]) -> str:
        groups = int(editing.attribute(node, "group", 1))
        ahead, behind = shape[1] * groups, shape[0]
        if node.op_type == "ConvTranspose":
            ahead, behind = shape[0], shape[1] * groups
        if self.precision == "fp8" and (
            math.prod(shape[2:]) > _FP8_KERNEL or min(ahead, behind) <= NARROW or groups > 1
        ):
            return f"FP8 has no kernel for {ahead} to {behind} channels, {groups} groups, kernel {shape[2:]}"
        if node.op_type == "ConvTranspose" and groups > 1:
            return "its weights are shared out to groups, so they have no axis of output channels"
        if max(ahead, behind) < NARROW:
            return f"{ahead} to {behind} channels are too few to gain"
        return ""

    def _why_not_range(self, tensor: str) -> str:
        amax = self.amax.get(tensor)
        if amax is None:
            return ""
        if math.isnan(amax):
            return f"the calibration cache does not cover its input {tensor!r}"
        if amax == 0.0:
            return f"its input {tensor!r} was always zero in calibration"
        if not math.isfinite(amax):
            return f"its input {tensor!r} overflowed in calibration"
        if self.limit is not None and amax > self.limit:
            return f"its input {tensor!r} reaches {amax:.4g}, above exclude.limit {self.limit:.4g}"
        return ""

    def _residual_edges(self, weighted: Mapping[str, Weighted]) -> Iterator[tuple[str, int]]:
        """The skip input of every residual Add that a quantized Conv can take in."""
        depth = _depths(self.graph)
        for node in self.graph.node:
            if node.op_type not in RESIDUAL or len(set(node.input)) != 2 or self.matcher.reason(node):
                continue
            if any(name in self.constants for name in node.input):
                continue
            fusible = [position for position in (0, 1) if self._conv_behind(node.input[position], weighted)]
            if not fusible:
                continue
            fused = max(fusible, key=lambda position: depth.get(node.input[position], 0))
            if not self._why_not_range(node.input[1 - fused]):
                yield node.name, 1 - fused

    def _conv_behind(self, tensor: str, weighted: Mapping[str, Weighted]) -> bool:
        """Whether a tensor comes from a quantized Conv for this one reader, perhaps through its batch normalization."""
        while len(self.consumers.get(tensor, ())) == 1 and tensor not in self.outputs and tensor in self.producers:
            node = self.producers[tensor]
            if node.op_type in ("Conv", "ConvTranspose"):
                return node.name in weighted
            scaled = node.op_type in ("Add", "Mul") and node.input[1] in self.constants
            if node.op_type != "BatchNormalization" and not scaled:
                return False
            tensor = node.input[0]
        return False

    def _averaging_edges(self, edges: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """The input of pooling whose output is quantized."""
        found: set[tuple[str, int]] = set()
        for node in reversed(self.graph.node):
            wanted = node.op_type in AVERAGING and self._reaches(node.output[0], edges | found)
            if wanted and not self.matcher.reason(node) and not self._why_not_range(node.input[0]):
                found.add((node.name, 0))
        return found

    def _reaches(self, tensor: str, edges: set[tuple[str, int]]) -> bool:
        for node in self.consumers.get(tensor, ()):
            if any((node.name, position) in edges for position, name in enumerate(node.input) if name == tensor):
                return True
            if node.op_type in TRANSPARENT and node.input[0] == tensor and self._reaches(node.output[0], edges):
                return True
        return False

    def _groups(self, tensors: tuple[str, ...], edges: set[tuple[str, int]]) -> dict[str, str]:
        """Tensors that Concat or operators that commute tie to what a quantized operator reads share a scale."""
        root: dict[str, str] = {}

        def find(name: str) -> str:
            while root.get(name, name) != name:
                name = root[name]
            return name

        wanted = self._read_together(edges)
        for node in self.graph.node:
            if _ties(node) and node.output[0] in wanted:
                for name in _tied(node):
                    if not self._dwarfed(name, node):
                        root[find(name)] = find(node.output[0])
        first: dict[str, str] = {}
        return {name: first.setdefault(find(name), name) for name in tensors}

    def _read_together(self, edges: set[tuple[str, int]]) -> set[str]:
        """Tensors that quantized operators read, and those that are moved into them."""
        nodes = {node.name: node for node in self.graph.node}
        wanted = {nodes[name].input[position] for name, position in edges}
        for node in reversed(self.graph.node):
            if _ties(node) and node.output[0] in wanted:
                wanted.update(_tied(node))
        return wanted

    def _dwarfed(self, name: str, node: Any) -> bool:
        """Whether others of a Concat are so much larger that a tensor would keep few levels of their scale."""
        known = [self.amax.get(one, 0.0) for one in (*node.input, node.output[0])]
        return node.op_type == "Concat" and 0 < self.amax.get(name, 0.0) * SHARED_LEVELS < max(known)


def _ties(node: Any) -> bool:
    """Whether a node's output holds what its inputs hold."""
    return node.op_type in TRANSPARENT or node.op_type == "Concat"


def _tied(node: Any) -> list[str]:
    return list(node.input if node.op_type == "Concat" else node.input[:1])


def _depths(graph: Any) -> dict[str, int]:
    """Nodes on the longest path to each tensor: the main branch of a residual block is the deeper one."""
    depth: dict[str, int] = {}
    for node in graph.node:
        here = 1 + max((depth.get(name, 0) for name in editing.reads(node)), default=0)
        depth.update(dict.fromkeys(node.output, here))
    return depth


def weight_axis(node: Any) -> int:
    """The axis of a weighted operator's weights that runs over output channels."""
    axes: Mapping[str, Callable[[], int]] = {
        "Conv": lambda: 0,
        "ConvTranspose": lambda: 1,
        "MatMul": lambda: 1,
        "Gemm": lambda: 0 if editing.attribute(node, "transB", 0) else 1,
    }
    return axes[node.op_type]()


def ranges(plan: Plan, amax: Mapping[str, float]) -> dict[str, float]:
    """The range of every tensor of a plan, after tensors that share a scale took the largest of theirs."""
    shared: dict[str, float] = {}
    for tensor in plan.tensors:
        group = plan.groups[tensor]
        shared[group] = max(shared.get(group, 0.0), amax[tensor])
    return {tensor: shared[plan.groups[tensor]] for tensor in plan.tensors}


def uncovered(plan: Plan, amax: Mapping[str, float]) -> list[str]:
    """Tensors of a plan that a calibration cache says nothing about."""
    return [tensor for tensor in plan.tensors if tensor not in amax]


def channels(weights: Any, axis: int) -> Any:
    """Largest magnitude per output channel, float32 [channels]."""
    others = tuple(position for position in range(weights.ndim) if position != axis)
    return np.abs(weights).max(axis=others)


def weighted_types(model: Any, scope: types.Scope) -> dict[str, int]:
    """How many weighted operators compute in each type: ``{"int8": 3, "float16": 1}``; subgraphs included.

    Args:
        model: typed ONNX.
        scope: types of its main graph's tensors.
    """
    return dict(sorted(Counter(_weighted_types(model.graph, scope, editing.opset(model))).items()))


def _weighted_types(graph: Any, scope: types.Scope, version: int) -> Iterator[str]:
    makers = editing.producers(graph)
    for node in graph.node:
        if node.op_type in WEIGHTED | RECURRENT:
            sources = [makers[name] for name in node.input[:2] if name in makers]
            stored = [maker.input[0] for maker in sources if maker.op_type == "DequantizeLinear"]
            yield types.name_of(scope.find(stored[0] if len(stored) == 2 else node.input[0]))
        for body in editing.bodies(node):
            yield from _weighted_types(body, types.visit_graph(body, scope, version, check_nodes=False), version)
