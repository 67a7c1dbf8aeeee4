"""A copy of a model that shows what its tensors hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx

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


def observed(model: Any, fetch: Sequence[str]) -> bytes:
    """Serialize the model with further outputs; the model itself is unchanged.

    Args:
        model: ONNX, of any float type.
        fetch: tensors to have as outputs under their own names; no inputs of the model.
    """
    graph = model.graph
    mark = len(graph.output)
    present = {value.name for value in graph.output}
    try:
        graph.output.extend(_output(name) for name in fetch if name not in present)
        serialized: bytes = model.SerializeToString()
        return serialized
    finally:
        del graph.output[mark:]


def _output(name: str) -> Any:
    return onnx.ValueInfoProto(name=name)  # the runtime knows type and shape
