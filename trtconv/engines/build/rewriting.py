"""Models that TensorRT cannot take although it has all that is needed, said in another way: ONNX to ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from trtconv.core.records import Dim, InputSpec, ShapeRange, TensorInfo
from trtconv.engines.build import weight_scales
from trtconv.graph import editing, model_io, reshape

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_SEQUENCES = (0, 5, 6)  # a recurrent operator's input and first states


def rewritten(model: Path) -> bytes | None:
    """The model without things that TensorRT-RTX cannot take or gets wrong; None where it has none of them.

    The process ends when one tensor is query and key of Attention, and a recurrent operator that reads what a Cast
    makes fails for shapes that do not fit. Operators that it can remove do not help; negated twice, a tensor holds the
    same numbers in every type. One scale for all of a product's weights is told in ``weight_scales``.
    """
    proto = onnx.load(model, load_external_data=False)
    return proto.SerializeToString() if _untroubled(proto) else None


def with_fixed_sizes(model: Path, profiles: Sequence[Mapping[str, ShapeRange]]) -> bytes | None:
    """The model with the sizes that no profile lets vary written into its inputs; None where there are none.

    TensorRT parses a model before it sees a profile, and then lacks the channels of a convolution, say, that the model
    leaves open and every profile gives the same number.
    """
    proto = onnx.load(model, load_external_data=False)
    found = {info.name: _fixed(info, profiles) for info in model_io.interface(proto)[0]}
    wanted = [InputSpec(name, shape) for name, shape in found.items() if shape is not None]
    if not wanted:
        return None
    reshape.set_shapes(proto, wanted)
    _untroubled(proto)
    return bytes(proto.SerializeToString())


def _fixed(info: TensorInfo, profiles: Sequence[Mapping[str, ShapeRange]]) -> tuple[Dim, ...] | None:
    """A shape in which open dimensions have the only size that they can have; None where nothing changes."""
    ranges = [profile[info.name] for profile in profiles if info.name in profile]
    if not ranges:
        return None
    spans = [set(sizes) for sizes in zip(*(span for r in ranges for span in (r.minimum, r.maximum)), strict=True)]
    shape = tuple(next(iter(sizes)) if len(sizes) == 1 else dim for dim, sizes in zip(info.shape, spans, strict=True))
    return shape if shape != info.shape else None


def _untroubled(proto: onnx.ModelProto) -> bool:
    """Rewrite what TensorRT cannot take, in place; whether there was any."""
    names = editing.Names.of(proto)
    changed = [_rewrite(graph, names) for graph in editing.graphs(proto.graph)]  # all of them
    return weight_scales.spread(proto) or any(changed)


def _rewrite(graph: Any, names: editing.Names) -> bool:
    makers = editing.producers(graph)
    nodes: list[Any] = []
    for node in graph.node:
        for position in _troubling(node, makers):
            for _ in range(2):
                output = names.fresh(f"{editing.label(node)}_negated")
                nodes.append(helper.make_node("Neg", [node.input[position]], [output], output))
                node.input[position] = output
        nodes.append(node)
    added = len(nodes) > len(graph.node)
    if added:
        editing.replace_nodes(graph, nodes)
    return added


def _troubling(node: Any, makers: dict[str, Any]) -> Iterator[int]:
    """Positions of the inputs that cannot stay as they are."""
    if node.domain not in editing.ONNX_DOMAINS:
        return
    if node.op_type == "Attention" and _origin(node.input[0], makers) == _origin(node.input[1], makers):
        yield 1
    if node.op_type in _RECURRENT:
        for position in _SEQUENCES:
            maker = makers.get(node.input[position]) if position < len(node.input) else None
            if maker is not None and maker.op_type == "Cast":
                yield position


def _origin(name: str, makers: dict[str, Any]) -> str:
    """The tensor that is called so, perhaps through operators that do nothing."""
    while name in makers and makers[name].op_type == "Identity":
        name = str(makers[name].input[0])
    return name
