"""Pieces of ONNX graphs put between the nodes of another: operators that a converter left out are made in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

from trtconv.graph import editing


def graft(model: onnx.ModelProto, piece: onnx.ModelProto, made: Mapping[str, str]) -> None:
    """Add a piece to a model, in place; what it makes are inputs of the model until then.

    Args:
        model: gets the nodes; they stand at its end until it is sorted.
        piece: its inputs are tensors of the model under the same names.
        made: tensor of the model -> tensor of the piece that takes its place.
    """
    graph, names = model.graph, editing.Names.of(model)
    shared = {value.name: value.name for value in piece.graph.input}
    for target, source in made.items():  # a tensor may be wanted twice, or be an input of the piece
        if source in shared:
            graph.node.append(
                helper.make_node("Identity", [shared[source]], [target], names.fresh(f"Identity_{target}"))
            )
        else:
            shared[source] = target
    for tensor in piece.graph.initializer:
        tensor.name = shared.setdefault(tensor.name, names.fresh(tensor.name))
        graph.initializer.append(tensor)
    for node in piece.graph.node:
        for name in filter(None, node.output):
            if name not in shared:
                shared[name] = names.fresh(name)
    for node in piece.graph.node:
        _rename(node.input, shared)
        _rename(node.output, shared)
        node.name = names.fresh(node.name)
        graph.node.append(node)
    kept = [value for value in graph.input if value.name not in made]
    del graph.input[:]
    graph.input.extend(kept)


def _rename(tensors: Any, shared: Mapping[str, str]) -> None:
    for position, name in enumerate(tensors):
        tensors[position] = shared[name] if name else ""
