"""A node of tf2onnx's graph that other nodes replace."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtconv.core.errors import ConversionError


class Place:
    """A node that is to be replaced, and the nodes that come in its place.

    Attributes:
        graph: of tf2onnx, or the body of a loop or branch.
        node: of TensorFlow.
        dtype: of its first output.
    """

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self.inputs = list(node.input)
        self.dtype = graph.get_dtype(node.output[0])

    def make(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """The name of a new node's output; a list where there are several."""
        from tf2onnx import utils

        made = self.graph.make_node(
            op, list(inputs), attr=attributes, name=utils.make_name(self.node.name), output_count=outputs
        )
        return made.output[0] if outputs == 1 else list(made.output)

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """The name of a new constant; ``dtype`` is of NumPy or of ONNX."""
        from tf2onnx import utils

        numpy_dtype = utils.map_onnx_to_numpy_type(dtype) if isinstance(dtype, int) else dtype
        name = utils.make_name(self.node.name)
        return str(self.graph.make_const(name, np.array(value, numpy_dtype)).output[0])

    def cast(self, name: str, dtype: int) -> str:
        """A tensor in a type."""
        return name if self.graph.get_dtype(name) == dtype else str(self.make("Cast", name, to=dtype))

    def value(self, position: int) -> np.ndarray | None:
        """The values of an input that is a constant."""
        source = self.node.inputs[position]
        return np.asarray(source.get_tensor_value(as_list=False)) if source.is_const() else None

    def finish(self, *results: str) -> None:
        """Let these tensors be the node's outputs."""
        outputs, name = list(self.node.output), self.node.name
        shapes, dtypes = self.node.output_shapes, self.node.output_dtypes
        self.graph.remove_node(name)
        for position, result in enumerate(results):
            self.graph.make_node(
                "Identity",
                [result],
                name=name if not position else f"{name}_{position}",
                outputs=[outputs[position]],
                shapes=[shapes[position]],
                dtypes=[dtypes[position]],
            )

    def refuse(self, why: str, hint: str) -> ConversionError:
        """An error that names the node and its operator."""
        return ConversionError(f"node {self.node.name!r} ({self.node.type}): {why}", hint=hint)
