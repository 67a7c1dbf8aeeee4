"""A copy of a model that shows what its tensors hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper

from trtconv.graph import editing, types
from trtconv.graph.half import masked_tensors

_FLOAT = onnx.TensorProto.FLOAT


def activations(model: Any) -> list[str]:
    """The FP32 tensors of the main graph whose ranges matter, in graph order; inputs of the model come first.

    Two kinds are left out: what only a ReLU reads, since the ReLU's output tells the same and a reader more would keep
    the runtime from fusing the two; and tensors that carry a mask to a Softmax, which are as large as can be by design.
    """
    graph = model.graph
    scope = types.infer(model)
    constants = editing.initializers(graph)
    readers = editing.consumers(graph)
    outputs = {value.name for value in graph.output}
    masked = masked_tensors(graph)
    names = [value.name for value in graph.input] + [name for node in graph.node for name in node.output if name]
    floats = [name for name in names if scope.find(name) == _FLOAT and name not in constants and name not in masked]
    return [name for name in floats if name in outputs or [n.op_type for n in readers.get(name, ())] != ["Relu"]]


def origins(model: Any, tensors: Sequence[str]) -> dict[str, str]:
    """For each tensor the first one of them that holds the same values, perhaps in another order or shape.

    Args:
        model: ONNX, nodes sorted.
        tensors: some of its tensors.
    """
    found = {name: name for name in tensors}
    for node in model.graph.node:
        if node.op_type in _MOVING and node.input[0] in found and node.output[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


_MOVING = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True)
class Probe:
    """Outputs that stand for a tensor [n, c, h, w] without negative values.

    Attributes:
        peak: its largest value per sample and channel.
        sample: its values at every ``stride``-th row and column; empty when none are wanted.
        stride: of the sample.
    """

    peak: str
    sample: str = ""
    stride: int = 1


def probes(model: Any, tensors: Sequence[str], sampled: Collection[str], quota: int) -> dict[str, Probe]:
    """Tensors that need not be handed out to be measured.

    Two poolings in the model itself tell enough of a feature map behind a ReLU, and the runtime has it in its cache
    then, in the layout of its convolutions: handing out those of ResNet50 costs a third of its time.

    Args:
        model: ONNX, nodes sorted.
        tensors: what is to be measured.
        sampled: which of them need values too.
        quota: values that are enough per sample; a tensor that needs values and has not many more is left out.
    """
    maps, names = _feature_maps(model), editing.Names.of(model)
    found = {}
    for name in tensors:
        shape = maps.get(name)
        if shape is None or math.prod(shape[1:]) == 1:
            continue
        stride = min(max(math.isqrt(math.prod(shape) // quota), 1), *shape[1:])
        if name not in sampled:
            found[name] = Probe(names.fresh(f"{name}/peak"))
        elif stride > 1:
            found[name] = Probe(names.fresh(f"{name}/peak"), names.fresh(f"{name}/sample"), stride)
    return found


_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax"})
_KEEPING_SIGNS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Transpose", "Identity"})


def _feature_maps(model: Any) -> dict[str, tuple[int, ...]]:
    """[c, h, w] of the tensors of rank 4 that have no negative values and a fixed shape beyond the batch."""
    positive: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _NEVER_NEGATIVE or (node.op_type in _KEEPING_SIGNS and positive.issuperset(node.input)):
            positive.add(node.output[0])
    inferred = onnx.shape_inference.infer_shapes(editing.skeleton(model))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in inferred.graph.value_info}
    return {name: tuple(shape[1:]) for name, shape in shapes.items()
            if name in positive and len(shape) == 4 and all(shape[1:])}  # fmt: skip


def observed(model: Any, fetch: Sequence[str], probing: Mapping[str, Probe] | None = None) -> bytes:
    """Serialize the model with further outputs; the model itself is unchanged.

    Args:
        model: ONNX, of any float type.
        fetch: tensors to have as outputs under their own names; no inputs of the model.
        probing: how to have some of them instead.
    """
    graph, probing = model.graph, probing or {}
    outputs, nodes = len(graph.output), len(graph.node)
    present = {value.name for value in graph.output}
    try:
        for name in fetch:
            if name in probing:
                graph.node.extend(_poolings(name, probing[name]))
        names = [found for name in fetch for found in _names(name, probing)]
        graph.output.extend(_output(name) for name in names if name not in present)
        serialized: bytes = model.SerializeToString()
        return serialized
    finally:
        del graph.output[outputs:]
        del graph.node[nodes:]


def _names(name: str, probing: Mapping[str, Probe]) -> list[str]:
    probe = probing.get(name)
    return [name] if probe is None else [found for found in (probe.peak, probe.sample) if found]


def _poolings(name: str, probe: Probe) -> Iterator[Any]:
    yield helper.make_node("GlobalMaxPool", [name], [probe.peak], probe.peak)
    if probe.sample:
        yield helper.make_node("MaxPool", [name], [probe.sample], probe.sample, kernel_shape=[1, 1],
                               strides=[probe.stride] * 2)  # fmt: skip


def _output(name: str) -> Any:
    return onnx.ValueInfoProto(name=name)  # the runtime knows type and shape
