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
    masked = masked_tensors(model)
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
    """Outputs that stand for a tensor; each in one row, and empty when it is not wanted.

    Attributes:
        whole: its values.
        peak: of a tensor [n, c, h, w] the largest value per sample and channel.
        sample: of a tensor [n, c, h, w] the values at every ``stride``-th row and column.
        stride: of the sample.
    """

    whole: str = ""
    peak: str = ""
    sample: str = ""
    stride: int = 1


def declare(model: Any) -> None:
    """State the type and shape of every tensor, as far as they can be inferred, in place.

    Probes are chosen by them. ONNX Runtime opens a model much faster, too, when every dimension has a value or a name;
    names that the inference makes up will do.
    """
    inferred = onnx.shape_inference.infer_shapes(editing.skeleton(model))
    del model.graph.value_info[:]
    model.graph.value_info.extend(inferred.graph.value_info)


def probes(model: Any, tensors: Sequence[str], sampled: Collection[str], quota: int) -> dict[str, Probe]:
    """What tells the range of each tensor exactly, and the values of some.

    Two poolings in the model itself tell enough of a feature map behind a ReLU, in the layout of the runtime's
    convolutions.

    Args:
        model: ONNX, nodes sorted, its tensors declared.
        tensors: what is to be measured.
        sampled: which of them need values too.
        quota: values that are enough per sample; of a tensor that has not many more, all are had.
    """
    maps, names, positive = _feature_maps(model), editing.Names.of(model), _positive(model)
    found = {}
    for name in tensors:
        stride = _stride(maps[name], quota) if name in maps and name in positive else 1
        if stride > 1 and name in sampled:
            found[name] = Probe(peak=names.fresh(f"{name}/peak"), sample=names.fresh(f"{name}/sample"), stride=stride)
        elif name in maps and name in positive and name not in sampled:
            found[name] = Probe(peak=names.fresh(f"{name}/peak"))
        else:
            found[name] = Probe(whole=names.fresh(f"{name}/whole"))
    return found


def selections(model: Any, tensors: Sequence[str], quota: int) -> dict[str, Probe]:
    """What tells a selection of the values of large feature maps: the other values are not even read again.

    Args:
        model: ONNX, nodes sorted, its tensors declared.
        tensors: what is to be measured.
        quota: values that are enough per sample; a tensor that has not many more is left out.
    """
    maps, names = _feature_maps(model), editing.Names.of(model)
    strides = {name: _stride(maps[name], quota) for name in tensors if name in maps}
    return {
        name: Probe(sample=names.fresh(f"{name}/sample"), stride=stride)
        for name, stride in strides.items()
        if stride > 1
    }


def _stride(shape: tuple[int, ...], quota: int) -> int:
    """The step through rows and columns that takes ``quota`` values of [c, h, w] or somewhat more."""
    return min(max(math.isqrt(math.prod(shape) // quota), 1), *shape[1:])


_NEVER_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax"})
_KEEPING_SIGNS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Transpose", "Identity"})


def _positive(model: Any) -> set[str]:
    """Tensors that have no negative values."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _NEVER_NEGATIVE or (node.op_type in _KEEPING_SIGNS and found.issuperset(node.input)):
            found.add(node.output[0])
    return found


def _feature_maps(model: Any) -> dict[str, tuple[int, ...]]:
    """[c, h, w] of the FP32 tensors of rank 4 that have a fixed shape beyond the batch, and more than one value."""
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)[1:]
        for v in model.graph.value_info
        if v.type.tensor_type.elem_type == _FLOAT
    }
    return {name: shape for name, shape in shapes.items() if len(shape) == 3 and math.prod(shape) > 1}


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
        graph.output.extend(_output(name) for name in fetch if name not in probing and name not in present)
        for name in _last_first(graph, [name for name in fetch if name in probing]):
            for node in _probe(name, probing[name]):
                graph.node.append(node)
                if node.op_type == "Flatten":
                    graph.output.append(_output(node.output[0]))
        serialized: bytes = model.SerializeToString()
        return serialized
    finally:
        del graph.output[outputs:]
        del graph.node[nodes:]


def _last_first(graph: Any, tensors: Sequence[str]) -> list[str]:
    """Tensors in the order in which their probes must be added to be run as soon as their tensors are there.

    ONNX Runtime goes through the nodes that nothing reads from the last one to the first, each with everything that it
    needs. A probe that waits for the end of the network keeps its tensor alive until then, and reads it from memory.
    """
    place = {name: number for number, node in enumerate(graph.node) for name in node.output}
    return sorted(tensors, key=lambda name: -place.get(name, -1))


def _probe(name: str, probe: Probe) -> Iterator[Any]:
    """Nodes for the outputs, each ended by one that ONNX Runtime's change of layouts leaves as it is, see above."""
    if probe.peak:
        source = f"{probe.peak}/map"
        yield helper.make_node("GlobalMaxPool", [name], [source], source)
        yield _row(source, probe.peak)
    if probe.sample:
        source = f"{probe.sample}/map"
        yield helper.make_node("MaxPool", [name], [source], source, kernel_shape=[1, 1], strides=[probe.stride] * 2)
        yield _row(source, probe.sample)
    if probe.whole:
        yield _row(name, probe.whole)


def _row(tensor: str, output: str) -> Any:
    return helper.make_node("Flatten", [tensor], [output], output, axis=0)


def _output(name: str) -> Any:
    return onnx.ValueInfoProto(name=name)  # the runtime knows type and shape
