"""A small model put in the place of one node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx import helper

from trtconv.graph import editing


@dataclass(frozen=True)
class Spliced:
    """What takes a node's place.

    Attributes:
        nodes: in order.
        constants: TensorProto of its own constants.
        types: TypeProto of the node's outputs, as far as the piece tells them.
    """

    nodes: list[Any]
    constants: list[Any]
    types: Mapping[str, Any]


def splice(node: Any, piece: Any, names: editing.Names) -> Spliced:
    """The nodes of a piece, renamed for the place of a node.

    Args:
        node: its outputs that have a name are those of the piece, in order.
        piece: a model; its inputs have the names of the node's, and so may constants that stand for them.
        names: of the model that the node belongs to.
    """
    label, graph = editing.label(node), piece.graph
    own = {name: name for name in node.input if name}
    wanted = [name for name in node.output if name]
    made = {name for inner in graph.node for name in inner.output}
    passing = []
    for target, value in zip(wanted, graph.output, strict=True):
        if value.name in made and value.name not in own:
            own[value.name] = target
        else:  # an input, a constant, or a tensor that is another output too
            passing.append((target, value.name))

    def renamed(name: str) -> str:
        if name and name not in own:
            own[name] = names.fresh(f"{label}/{name}")
        return str(own.get(name, ""))

    constants = [tensor for tensor in graph.initializer if tensor.name not in node.input]
    for tensor in constants:
        tensor.name = renamed(tensor.name)
    for inner in graph.node:
        _rename(inner, renamed, names, label)
    nodes = list(graph.node)
    for target, source in passing:
        nodes.append(helper.make_node("Identity", [renamed(source)], [target], names.fresh(f"{label}/Identity")))
    types = {target: value.type for target, value in zip(wanted, graph.output, strict=True) if value.HasField("type")}
    return Spliced(nodes, constants, types)


def _rename(node: Any, renamed: Any, names: editing.Names, label: str) -> None:
    node.name = names.fresh(f"{label}/{node.name or node.op_type}")
    for tensors in (node.input, node.output):
        for position, name in enumerate(tensors):
            tensors[position] = renamed(name)
    for body in editing.bodies(node):
        for value in (*body.input, *body.output, *body.value_info, *body.initializer):
            value.name = renamed(value.name)
        for inner in body.node:
            _rename(inner, renamed, names, label)
