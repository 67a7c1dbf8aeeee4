"""One list of what a model computes, subgraphs included: every tensor has one name, its maker and its readers."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx

from trtconv.graph import editing, types

JOIN = "Join"
"""The step that control flow is made of: its output is one of its inputs, or the elements of all of them."""

_FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True, eq=False)
class Step:
    """A node, or one value that a control-flow operator hands on.

    Attributes:
        op: operator; with its domain where that is not ONNX's; ``JOIN`` for control flow.
        node: the node; None for ``JOIN``.
        inputs: keys of the tensors read, "" for those left out.
        outputs: keys of the tensors made.
    """

    op: str
    node: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass
class Flow:
    """What a model computes.

    Attributes:
        steps: in order; a ``JOIN`` that opens a loop's body also reads what the body makes.
        kinds: element type per key, as far as known.
        constants: TensorProto per key.
        inputs: keys of the model's inputs.
        outputs: keys of the model's outputs.
        version: opset.
    """

    steps: list[Step] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    inputs: set[str] = field(default_factory=set)
    outputs: set[str] = field(default_factory=set)
    version: int = 0

    def __post_init__(self) -> None:
        self._makers: dict[str, Step] = {}
        self._readers: dict[str, list[Step]] = {}

    def link(self) -> None:
        """Note who makes and reads what, once all steps are there."""
        for step in self.steps:
            self._makers.update(dict.fromkeys(step.outputs, step))
            for key in dict.fromkeys(step.inputs):
                self._readers.setdefault(key, []).append(step)

    def maker(self, key: str) -> Step | None:
        """The step that makes a tensor; None for inputs and constants."""
        return self._makers.get(key)

    def readers(self, key: str) -> Sequence[Step]:
        """The steps that read a tensor."""
        return self._readers.get(key, ())

    def is_float(self, key: str) -> bool:
        """Whether a tensor is FP32."""
        return bool(self.kinds.get(key) == _FLOAT)

    def floats(self, keys: Sequence[str]) -> Iterator[str]:
        """Those of some tensors that are FP32."""
        return (key for key in keys if self.kinds.get(key) == _FLOAT)


def inside(node: Any, number: int) -> str:
    """The path of a node's subgraph; that of the main graph is ""."""
    return f"{node.name}/{number}"


def key(path: str, name: str) -> str:
    """What a tensor of the graph at ``path`` is called: branches may use the same name for different tensors."""
    return f"{path}:{name}" if path and name else name


def flow(model: Any) -> Flow:
    """The flow of a model whose nodes are named and sorted and whose constants are initializers."""
    builder = _Builder(editing.opset(model))
    scope = types.infer(model)
    builder.graph(model.graph, "", ChainMap(), scope)
    result = builder.flow
    result.inputs = {value.name for value in model.graph.input if value.name not in result.constants}
    result.outputs = {value.name for value in model.graph.output}
    result.link()
    return result


class _Builder:
    def __init__(self, version: int) -> None:
        self.flow = Flow(version=version)
        self.version = version

    def graph(self, graph: Any, path: str, outer: ChainMap[str, str], scope: types.Scope) -> Mapping[str, str]:
        """Add the steps of one graph; returns the key of every name that is known in it."""
        names = outer.new_child()
        for tensor in graph.initializer:
            names[tensor.name] = key(path, tensor.name)
            self.flow.constants[names[tensor.name]] = tensor
        for value in graph.input:
            names[value.name] = key(path, value.name)
        for node in graph.node:
            names.update((name, key(path, name)) for name in node.output if name)
            self._node(node, names, scope)
        self.flow.kinds.update((key(path, name), kind) for name, kind in scope.items())
        return names

    def _node(self, node: Any, names: ChainMap[str, str], scope: types.Scope) -> None:
        inputs = tuple(names.get(name, name) for name in node.input)
        outputs = tuple(names.get(name, name) for name in node.output)
        if editing.bodies(node):
            self._control(node, inputs, outputs, names, scope)
            return
        op = node.op_type if node.domain in editing.ONNX_DOMAINS else f"{node.domain}.{node.op_type}"
        self.flow.steps.append(Step(op, node, inputs, outputs))

    def _control(
        self,
        node: Any,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        names: ChainMap[str, str],
        scope: types.Scope,
    ) -> None:
        """The bodies of If, Loop and Scan, and how tensors go in and out of them."""
        given = _given(node, [scope.find(name) if name else None for name in node.input])
        made: list[list[str]] = []
        for number, body in enumerate(editing.bodies(node)):
            path, start = inside(node, number), len(self.flow.steps)
            inner = self.graph(body, path, names, types.visit_graph(body, scope, self.version, False, given))
            results = [inner.get(value.name, value.name) for value in body.output]
            formals = [key(path, value.name) for value in body.input]
            self.flow.steps[start:start] = _entries(node, formals, inputs, results)
            made.append(results)
        carried, skipped = _carried(node, inputs)
        for position, output in enumerate(outputs):
            sources = [results[position + skipped] for results in made if position + skipped < len(results)]
            sources += carried[position : position + 1]
            self.flow.steps.append(Step(JOIN, None, tuple(sources), (output,)))


def _given(node: Any, kinds: list[Any]) -> list[Any]:
    """Types of the leading inputs of a node's bodies."""
    if node.op_type == "Loop":
        return [onnx.TensorProto.INT64, onnx.TensorProto.BOOL, *kinds[2:]]
    return kinds if node.op_type == "Scan" else []


def _carried(node: Any, inputs: tuple[str, ...]) -> tuple[Sequence[str], int]:
    """The first values of what a loop carries, and how many outputs of its body come before those of the node."""
    if node.op_type == "Loop":
        return inputs[2:], 1
    if node.op_type == "Scan":
        return inputs[: len(inputs) - int(editing.attribute(node, "num_scan_inputs", 0))], 0
    return (), 0


def _entries(node: Any, formals: list[str], inputs: tuple[str, ...], results: list[str]) -> list[Step]:
    """How a body's inputs come about: from outside, and in a loop from the turn before."""
    carried, skipped = _carried(node, inputs)
    first = 2 if node.op_type == "Loop" else 0
    steps = []
    for position, formal in enumerate(formals[first:]):
        sources = list(inputs[first + position : first + position + 1])
        if position < len(carried) and position + skipped < len(results):
            sources.append(results[position + skipped])
        steps.append(Step(JOIN, None, tuple(sources), (formal,)))
    return steps
