"""ONNX graphs in the making: nodes and constants are added in order, every tensor's type and shape is known at once.

Readers of other formats build their graphs with this: what a layer becomes often depends on the shape of its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trtconv.core.errors import ConversionError
from trtconv.core.records import Dim, TensorInfo
from trtconv.graph import editing

Shape = tuple[Dim | None, ...]
"""Sizes, names of dynamic dimensions, and None where nothing is known."""


class Builder:
    """Nodes, constants and inputs of one graph.

    Args:
        opset: version of the standard operators.
        weights: whether large constants are kept; without them the graph is an outline, which has shapes and no model.
    """

    def __init__(self, opset: int, *, weights: bool = True) -> None:
        self._weights = weights
        self._opsets = [helper.make_opsetid("", opset)]
        self._names, self._labels = editing.Names(), editing.Names()
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._types: dict[str, Any] = {}

    def forget_weights(self) -> None:
        """Keep no large constants from now on: the graph has turned out to be good for its shapes only."""
        self._weights = False

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        return int(self._opsets[0].version)

    def input(self, info: TensorInfo) -> str:
        """Declare an input under its own name."""
        kind = onnx.TensorProto.DataType.Value(info.dtype.upper())
        value = helper.make_tensor_value_info(self._names.fresh(info.name), kind, list(info.shape))
        self._inputs.append(value)
        self._types[value.name] = value.type
        return str(value.name)

    def typed_input(self, name: str, kind: Any) -> str:
        """Declare an input of a TypeProto; dimensions of it may be unknown."""
        value = onnx.ValueInfoProto(name=self._names.fresh(name))
        value.type.CopyFrom(kind)
        self._inputs.append(value)
        self._types[value.name] = value.type
        return str(value.name)

    def constant(self, values: Any, wish: str) -> str:
        """Add a constant; its name, which is ``wish`` or begins with it. Python numbers are float32 or int64."""
        array = np.asarray(values)
        if not isinstance(values, (np.ndarray, np.generic)):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = self._names.fresh(wish)
        if not self._weights and array.nbytes > editing.SMALL:
            self._types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            return name
        tensor = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        self._constants[name] = tensor
        self._types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        return name

    def value(self, name: str) -> Any:
        """The array of a constant; None for a tensor that is none."""
        return editing.array(self._constants[name]) if name in self._constants else None

    def add(self, op: str, inputs: Sequence[str], wish: str, label: str = "", **attributes: Any) -> str:
        """Add a node with one output, and return that one's name; the node is called ``label`` or the same."""
        return self.several(op, inputs, [wish], label, **attributes)[0]

    def several(
        self, op: str, inputs: Sequence[str], wishes: Sequence[str], label: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, and return their names.

        Raises:
            ConversionError: the operator does not take such inputs.
        """
        outputs = [self._names.fresh(wish) for wish in wishes]
        node = helper.make_node(op, list(inputs), outputs, self._labels.fresh(label or wishes[0]), **attributes)
        self._nodes.append(node)
        self._types |= self._inferred(node)
        return outputs

    def like(self, other: str, op: str, inputs: Sequence[str], wish: str, **attributes: Any) -> str:
        """Add a node whose output has the type and shape of another tensor, such as a Loop of one state."""
        output = self._names.fresh(wish)
        self._nodes.append(helper.make_node(op, list(inputs), [output], self._labels.fresh(wish), **attributes))
        self._types[output] = self._types[other]
        return output

    def fresh(self, wish: str) -> str:
        """A name that nothing has, for what stands inside a node."""
        return self._names.fresh(wish)

    def _inferred(self, node: Any) -> Mapping[str, Any]:
        known = {name: self._types[name] for name in node.input if name in self._types}
        data = {
            name: self._constants[name]
            for name in node.input
            if name in self._constants and np.prod(self._constants[name].dims) <= editing.SMALL
        }
        schema = onnx.defs.get_schema(node.op_type, self.opset)
        try:
            found: Mapping[str, Any] = onnx.shape_inference.infer_node_outputs(
                schema, node, known, data, opset_imports=self._opsets, ir_version=8
            )
        except Exception as error:
            shapes = ", ".join(str(list(self.shape(name))) for name in node.input if name in known)
            raise ConversionError(
                f"node {node.name!r}: {node.op_type} does not take {shapes}: {' '.join(str(error).split())[:200]}",
                hint="check the shapes of the inputs and the layer's parameters",
            ) from error
        return found

    def shape(self, name: str) -> Shape:
        """Dimensions of a tensor.

        Raises:
            ConversionError: their number is not known.
        """
        kind = self._types[name].tensor_type if name in self._types else None
        if kind is None or not kind.HasField("shape"):
            raise ConversionError(
                f"the number of dimensions of {name!r} is not known", hint="give every input a full shape"
            )
        return tuple(_dim(dim) for dim in kind.shape.dim)

    def describe(self, name: str, shape: Sequence[Dim | None]) -> None:
        """Say a shape that inference does not see, such as that of a Reshape to computed sizes."""
        self._types[name] = helper.make_tensor_type_proto(self.dtype(name), list(shape))

    def dtype(self, name: str) -> int:
        """ONNX element type of a tensor."""
        return int(self._types[name].tensor_type.elem_type)

    def model(self, outputs: Iterable[str], name: str = "graph") -> onnx.ModelProto:
        """The finished model; the builder keeps no weights after that."""
        values = []
        for output in outputs:
            value = onnx.ValueInfoProto(name=output)
            value.type.CopyFrom(self._types[output])
            values.append(value)
        model = onnx.ModelProto(ir_version=8, opset_import=self._opsets)
        model.graph.name = name or "graph"
        model.graph.node.extend(self._nodes)
        model.graph.input.extend(self._inputs)
        model.graph.output.extend(values)
        for tensor in list(self._constants):  # weights are held once
            model.graph.initializer.append(self._constants.pop(tensor))
        return model


def _dim(dim: Any) -> Dim | None:
    """``unk__7`` says no more than no name."""
    named = "" if dim.dim_param.startswith("unk__") else dim.dim_param
    return dim.dim_value if dim.HasField("dim_value") else named or None
