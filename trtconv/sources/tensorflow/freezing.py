"""Variables of a TensorFlow function become constants, large ones without their contents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from trtconv.core.weights import HELD_ABOVE, Weight


def frozen(function: Any) -> tuple[Any, dict[str, Weight]]:
    """The graph of a concrete function with constants for variables, control flow kept whole; and large variables.

    The public converter imports its result once more, which costs seconds and three times the model's memory, and it
    copies every variable twice; the part of it that does the work is private, so there is a way back to the public one.
    """
    from tensorflow.python.framework import convert_to_constants as converter

    try:
        with _every_call_inlined(converter):
            return _frozen_lightly(function, converter)
    except (AttributeError, TypeError):
        frozen = converter.convert_variables_to_constants_v2(
            function, lower_control_flow=False, aggressive_inlining=True
        )
        return frozen.graph.as_graph_def(), {}


@contextlib.contextmanager
def _every_call_inlined(converter: Any) -> Iterator[None]:
    """Let functions be inlined that are marked for XLA, as Keras marks grouped convolutions, or as not to be."""
    first_step = converter.disable_lower_using_switch_merge  # gets the graph before it is inlined

    def unmarked(graph: Any) -> Any:
        for function in graph.library.function:
            _unmark(function, *function.node_def)
        _unmark(*graph.node)
        return first_step(graph)

    converter.disable_lower_using_switch_merge = unmarked
    try:
        yield
    finally:
        converter.disable_lower_using_switch_merge = first_step


def _unmark(*described: Any) -> None:
    for item in described:
        for mark in ("_XlaMustCompile", "_noinline"):
            item.attr.pop(mark, None)
        if getattr(item, "op", "") in ("Case", "StatelessCase"):  # an operator that has a name in messages
            item.attr["_lower_using_switch_merge"].b = False


class _Later(np.ndarray):
    """Stands for a large variable while the graph is made: one number, which says that it has the variable's shape.

    The shape goes into the types of the loops that the variable is handed to.
    """

    variable: Any = None

    @property  # type: ignore[misc]
    def shape(self) -> tuple[int, ...]:
        """That of the variable; of what NumPy makes from this array its own."""
        return super().shape if self.variable is None else tuple(self.variable.shape.as_list())


def _frozen_lightly(function: Any, converter: Any) -> tuple[Any, dict[str, Weight]]:
    class Data(converter._FunctionConverterDataInEager):  # type: ignore[misc]
        def _eval(self, tensor: Any) -> Any:
            size = tensor.dtype.size * (tensor.shape.num_elements() or 0)
            if size <= HELD_ABOVE or not hasattr(tensor, "read_value"):
                return tensor.numpy()
            stand_in = np.zeros((), tensor.dtype.as_numpy_dtype).view(_Later)
            stand_in.variable = tensor
            return stand_in

    data = Data(func=function, lower_control_flow=False, aggressive_inlining=True)
    graph, _ = converter._replace_variables_by_constants(converter_data=data)
    later = {name: t.numpy.variable for name, t in data.tensor_data.items() if isinstance(t.numpy, _Later)}
    weights = {}
    for node in graph.node:
        if node.op == "Const" and node.name in later:
            variable = later[node.name]
            weights[node.name] = Weight(variable.dtype.size * variable.shape.num_elements(), _contents(variable))
            _declare(node.attr["value"].tensor, variable.shape.as_list())
    return graph, weights


def _contents(variable: Any) -> Callable[[], memoryview]:
    """The variable's own memory: ``numpy()`` would copy it."""
    return lambda: np.asarray(variable.read_value()).reshape(-1).view(np.uint8).data


def _declare(tensor: Any, shape: Sequence[int]) -> None:
    """Leave type and shape of a tensor only."""
    dtype = tensor.dtype
    tensor.Clear()
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
