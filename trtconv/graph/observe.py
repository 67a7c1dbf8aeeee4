"""A copy of a model that shows what its tensors hold: whole tensors, or only their extremes."""

from __future__ import annotations

from collections.abc import Sequence
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


def observed(model: Any, fetch: Sequence[str], watch: Sequence[str]) -> tuple[bytes, dict[str, tuple[str, str, str]]]:
    """Serialize the model with further outputs; the model itself is unchanged.

    Args:
        model: FP32 ONNX.
        fetch: tensors to have as outputs under their own names; no inputs of the model.
        watch: tensors of which only extremes are wanted, in three scalar outputs each; no inputs of the model.

    Returns:
        The serialized model, and for every watched tensor the outputs with its largest value, its smallest, and its sum
        (where NaN shows; the runtime's maximum may pass over it).
    """
    graph = model.graph
    names = editing.Names.of(model)
    marks = len(graph.node), len(graph.output)
    present = {value.name for value in graph.output}
    extremes: dict[str, tuple[str, str, str]] = {}
    try:
        graph.output.extend(_output(name) for name in fetch if name not in present)
        for tensor in watch:
            extremes[tensor] = _watch(graph, tensor, names)
        return model.SerializeToString(), extremes
    finally:
        del graph.node[marks[0] :]
        del graph.output[marks[1] :]


def _watch(graph: Any, tensor: str, names: editing.Names) -> tuple[str, str, str]:
    made = []
    for op in ("ReduceMax", "ReduceMin", "ReduceSum"):
        name = names.fresh(f"{tensor}_{op}")
        graph.node.append(helper.make_node(op, [tensor], [name], names.fresh(f"{name}_node"), keepdims=0))
        graph.output.append(_output(name))
        made.append(name)
    return made[0], made[1], made[2]


def _output(name: str) -> Any:
    return helper.make_tensor_value_info(name, _FLOAT, None)
