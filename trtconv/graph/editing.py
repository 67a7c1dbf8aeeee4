"""Tools for taking ONNX graphs apart and putting them together: walks, names, constants, order, opset."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.inliner  # onnx itself does not load it
from onnx import helper, numpy_helper

from trtconv.core.errors import ConversionError
from trtconv.graph import weights_aside

ONNX_DOMAINS = ("", "ai.onnx")
SMALL = 1024
"""Initializers of at most this many bytes count as parameters of the graph (shapes, axes); larger ones are weights."""

_GRAPH, _GRAPHS = onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS


def bodies(node: Any) -> list[Any]:
    """The subgraphs of a node: branches of If, bodies of Loop and Scan."""
    found = []
    for attribute in node.attribute:
        kind = attribute.type
        if kind == _GRAPH:
            found.append(attribute.g)
        elif kind == _GRAPHS:
            found.extend(attribute.graphs)
    return found


def walk(graph: Any) -> Iterator[tuple[Any, Any]]:
    """(graph, node) for every node, outer graphs first, subgraphs where their node stands."""
    for node in graph.node:
        yield graph, node
        for body in bodies(node):
            yield from walk(body)


def graphs(graph: Any) -> Iterator[Any]:
    """The graph itself and every subgraph."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def reads(node: Any) -> Iterator[str]:
    """Every tensor that a node reads: its inputs, and what its subgraphs take from outside."""
    yield from filter(None, node.input)
    for body in bodies(node):
        yield from captured(body)


def captured(graph: Any) -> list[str]:
    """Names that a subgraph reads from the graphs around it, in order of first use."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {name for node in graph.node for name in node.output}
    needed = [name for node in graph.node for name in reads(node)] + [value.name for value in graph.output]
    return [name for name in dict.fromkeys(needed) if name not in own]


def producers(graph: Any) -> dict[str, Any]:
    """The node that makes each tensor of one graph."""
    return {name: node for node in graph.node for name in node.output if name}


def consumers(graph: Any) -> dict[str, list[Any]]:
    """The nodes of one graph that read each tensor, also through their subgraphs; once per node."""
    found: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in dict.fromkeys(reads(node)):
            found.setdefault(name, []).append(node)
    return found


def initializers(graph: Any) -> dict[str, Any]:
    """TensorProto per name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of an attribute, or ``default``."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def label(node: Any) -> str:
    """How errors and reports call a node: its name, else the first tensor it makes."""
    return node.name or next(filter(None, node.output), "?")


def array(tensor: Any) -> Any:
    """The values of a TensorProto; bfloat16 and float8 come as ml_dtypes types."""
    return weights_aside.array(tensor)


@dataclass
class Names:
    """Fresh names for tensors and nodes, unique in the whole model with its subgraphs."""

    taken: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, model: Any) -> Names:
        """All names that a model uses."""
        taken: set[str] = set()
        for graph in graphs(model.graph):
            taken.update(value.name for value in (*graph.input, *graph.output, *graph.initializer))
            for node in graph.node:
                taken.update((node.name, *node.input, *node.output))
        return cls(taken)

    def fresh(self, wish: str) -> str:
        """``wish`` if it is free, else ``wish_2``, ``wish_3``, ..."""
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}_{count}"
        self.taken.add(name)
        return name


def name_nodes(model: Any, names: Names) -> None:
    """Give every node a name of its own: unnamed and doubly named nodes are called after their type and output."""
    counts = Counter(node.name for _, node in walk(model.graph))
    for _, node in walk(model.graph):
        if not node.name or counts[node.name] > 1:
            node.name = names.fresh(f"{node.op_type}_{next(filter(None, node.output), 'node')}")


_CONSTANT_VALUES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def hoist_constants(model: Any) -> None:
    """Turn numeric Constant nodes into initializers of their graph; one form is enough to reason about.

    A constant that is itself an output of its graph stays a node, and so do strings and sparse tensors.
    """
    for graph in graphs(model.graph):
        outputs = {value.name for value in graph.output}
        kept = []
        for node in graph.node:
            value = None if node.output[0] in outputs else _constant_value(node)
            if value is None:
                kept.append(node)
                continue
            value.name = node.output[0]
            graph.initializer.append(value)
        replace_nodes(graph, kept)


def _constant_value(node: Any) -> Any:
    if node.op_type != "Constant" or node.domain not in ONNX_DOMAINS or len(node.attribute) != 1:
        return None
    item = node.attribute[0]
    if item.name == "value":
        return item.t
    if item.name in _CONSTANT_VALUES:
        value = np.asarray(helper.get_attribute_value(item), dtype=_CONSTANT_VALUES[item.name])
        return numpy_helper.from_array(value)
    return None


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Give a graph these nodes, some of which may be its own."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def drop_unused_initializers(graph: Any) -> None:
    """Remove the initializers of one graph that nothing reads."""
    used = {name for node in graph.node for name in reads(node)} | {value.name for value in graph.output}
    unused = [position for position, tensor in enumerate(graph.initializer) if tensor.name not in used]
    for position in reversed(unused):
        del graph.initializer[position]


def sorted_nodes(graph: Any) -> list[Any]:
    """The nodes in an order in which every tensor is made before it is read; the given order is kept where it can be.

    Raises:
        ConversionError: a cycle, or a tensor made twice.
    """
    makers: dict[str, int] = {}
    for position, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if makers.setdefault(name, position) != position:
                raise ConversionError(f"tensor {name!r} is made by two nodes", hint="the ONNX file is damaged")
    waiting = [{makers[name] for name in reads(node) if name in makers} for node in graph.node]
    if all(max(needed, default=-1) < position for position, needed in enumerate(waiting)):
        return list(graph.node)
    return [graph.node[position] for position in _topological(waiting)]


def _topological(waiting: list[set[int]]) -> list[int]:
    followers: dict[int, list[int]] = {}
    for position, needed in enumerate(waiting):
        for maker in needed:
            followers.setdefault(maker, []).append(position)
    ready = deque(position for position, needed in enumerate(waiting) if not needed)
    order = []
    while ready:
        position = ready.popleft()
        order.append(position)
        for follower in followers.get(position, ()):
            waiting[follower].discard(position)
            if not waiting[follower]:
                ready.append(follower)
    if len(order) < len(waiting):
        raise ConversionError("the graph has a cycle", hint="the ONNX file is damaged")
    return order


def normalize(model: Any) -> None:
    """Bring a model, in place, into the form that plans and lowerings expect.

    Constants become initializers, nodes stand in topological order, and every node has a name of its own. The result
    depends on the model alone, so a plan made before calibration fits the model when it is lowered.
    """
    hoist_constants(model)
    for graph in graphs(model.graph):
        replace_nodes(graph, sorted_nodes(graph))
    name_nodes(model, Names.of(model))


def opset(model: Any) -> int:
    """The version of the standard operators that a model uses."""
    return max((item.version for item in model.opset_import if item.domain in ONNX_DOMAINS), default=1)


def skeleton(model: Any) -> Any:
    """A copy whose weights are declared as inputs instead: what the checker and the version converter need to see.

    Keeps both within a few megabytes for a model of any size.
    """
    copy = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
        setattr(copy, name, getattr(model, name))
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    copy.metadata_props.extend(model.metadata_props)
    graph = model.graph
    copy.graph.name = graph.name or "graph"
    for field_name in ("node", "input", "output", "value_info"):
        getattr(copy.graph, field_name).extend(getattr(graph, field_name))
    declared = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if _size(tensor) <= SMALL:
            copy.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            copy.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return copy


def inline(model: Any) -> Any:
    """A model without functions of its own: what they compute stands where they were called.

    ONNX's inliner leaves out attributes that a node does not give and the function has a default for.
    """
    functions = {(function.domain, function.name): function for function in model.functions}
    for graph in (model.graph, *model.functions):
        for _, node in walk(graph):
            function = functions.get((node.domain, node.op_type))
            given = {item.name for item in node.attribute}
            node.attribute.extend(d for d in (function.attribute_proto if function else ()) if d.name not in given)
    return onnx.inliner.inline_local_functions(model)


def _size(tensor: Any) -> int:
    return size(tensor) or 8 * int(np.prod(tensor.dims, dtype=np.int64))


def size(tensor: Any) -> int:
    """Bytes of raw data; of 4-bit types twice as many. Told by its shape: to ask the tensor would copy it."""
    if not tensor.HasField("raw_data"):
        return 0
    return int(np.prod(tensor.dims, dtype=np.int64) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def require_opset(model: Any, version: int) -> None:
    """Raise the model's opset to ``version`` if it is lower, in place; operators are rewritten where they changed.

    Raises:
        ConversionError: the version converter cannot do it.
    """
    if not any(item.domain in ONNX_DOMAINS for item in model.opset_import):
        model.opset_import.add(version=version)  # it has operators of other domains only
    if opset(model) >= version:
        return
    before = skeleton(model)
    try:
        after = onnx.version_converter.convert_version(before, version)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise ConversionError(
            f"cannot raise the opset from {opset(model)} to {version}: {first}",
            hint=f"export the model with opset {version} or later",
        ) from error
    _adopt(model, after)


def _adopt(model: Any, converted: Any) -> None:
    """Take nodes and opset from a converted skeleton; weights, inputs and outputs stay the model's own."""
    known = {tensor.name for tensor in model.graph.initializer}
    replace_nodes(model.graph, converted.graph.node)
    model.graph.initializer.extend(tensor for tensor in converted.graph.initializer if tensor.name not in known)
    del model.opset_import[:]
    model.opset_import.extend(converted.opset_import)
    model.ir_version = max(model.ir_version, converted.ir_version)
