"""Channels first or last: inputs and outputs moved from one to the other, and the transposes that remain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx
from onnx import helper

from trtconv.core.errors import UsageError
from trtconv.core.names import choice
from trtconv.graph import editing


def to_first(rank: int) -> list[int]:
    """The permutation from channels last to channels first."""
    return [0, rank - 1, *range(1, rank - 1)]


def to_last(rank: int) -> list[int]:
    """The permutation from channels first to channels last."""
    return [0, *range(2, rank), 1]


def count(model: onnx.ModelProto) -> int:
    """Transposes between the two layouts."""
    found = 0
    for _, node in editing.walk(model.graph):
        perm = list(editing.attribute(node, "perm", ())) if node.op_type == "Transpose" else []
        found += len(perm) > 2 and perm in (to_first(len(perm)), to_last(len(perm)))
    return found


def inputs_first(model: onnx.ModelProto, names: Iterable[str]) -> None:
    """Take inputs channels first, in place; a Transpose brings each into the layout that the graph wants.

    Raises:
        UsageError: no such input, or one with fewer than three dimensions.
    """
    fresh = editing.Names.of(model)
    values = {value.name: value for value in model.graph.input}
    for name in names:
        if name not in values:
            raise UsageError(f"inputs: the model has no input {name!r}", hint=choice(name, values))
        dims = values[name].type.tensor_type.shape.dim
        require_channels(name, len(dims))
        inside = fresh.fresh(f"{name}_channels_last")
        for _, node in editing.walk(model.graph):
            for position, read in enumerate(node.input):
                if read == name:
                    node.input[position] = inside
        node = helper.make_node(
            "Transpose", [name], [inside], fresh.fresh(f"{name}_to_channels_last"), perm=to_last(len(dims))
        )
        editing.replace_nodes(model.graph, [node, *model.graph.node])
        _permute(dims, to_first(len(dims)))
    del model.graph.value_info[:]


def require_channels(name: str, rank: int) -> None:
    """Fail on an input that has no channels.

    Raises:
        UsageError: fewer than three dimensions.
    """
    if rank < 3:
        raise UsageError(
            f"inputs.{name}.layout: nchw needs an input with channels, this one has {rank} dimensions",
            hint="leave the layout out",
        )


def outputs_first(model: onnx.ModelProto) -> None:
    """Give four-dimensional outputs channels first, in place, by dropping a Transpose where there is one."""
    graph = model.graph
    fresh = editing.Names.of(model)
    for value in graph.output:
        dims = value.type.tensor_type.shape.dim
        if len(dims) != 4:
            continue
        inside = fresh.fresh(f"{value.name}_channels_last")
        for _, node in editing.walk(graph):
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == value.name:
                        names[position] = inside
        name = fresh.fresh(f"{value.name}_to_channels_first")
        graph.node.append(helper.make_node("Transpose", [inside], [value.name], name, perm=to_first(4)))
        _permute(dims, to_first(4))
    del graph.value_info[:]


def _permute(dims: Any, order: list[int]) -> None:
    sizes = [type(dims[axis]).FromString(dims[axis].SerializeToString()) for axis in order]
    del dims[:]
    dims.extend(sizes)


def join_transposes(model: onnx.ModelProto) -> bool:
    """Let a Transpose of a Transpose be one, or none; True if any changed."""
    graph = model.graph
    makers = editing.producers(graph)
    changed = False
    for node in graph.node:
        if node.op_type != "Transpose" or node.domain not in editing.ONNX_DOMAINS:
            continue
        before = makers.get(node.input[0])
        if before is None or before.op_type != "Transpose" or not _perm(before) or not _perm(node):
            continue
        joined = [_perm(before)[axis] for axis in _perm(node)]
        node.input[0] = before.input[0]
        del node.attribute[:]
        if joined == sorted(joined):
            node.op_type = "Identity"
        else:
            node.attribute.append(helper.make_attribute("perm", joined))
        changed = True
    return changed


def _perm(node: Any) -> list[int]:
    return list(editing.attribute(node, "perm", ()))
