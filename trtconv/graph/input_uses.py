"""What the inputs of an ONNX model are used for: positions in another tensor, sizes, or data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import onnx

from trtconv.core.input_use import DATA, MOVES, SIZE, Step, Use, uses
from trtconv.graph import editing, fold

_POSITIONS = {"Gather": 1, "GatherElements": 1, "GatherND": 1, "ScatterElements": 1, "ScatterND": 1, "Scatter": 1}
_SIZES = {
    "Reshape": (1,),
    "Expand": (1,),
    "ConstantOfShape": (0,),
    "Tile": (1,),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "TopK": (1,),
    "Range": (0, 1, 2),
    "Loop": (0,),
    "OneHot": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Split": (1,),
    "CumSum": (1,),
    "Trilu": (1,),
    "NonMaxSuppression": (2,),
    "LSTM": (4,),
    "GRU": (4,),
    "RNN": (4,),
    "ReduceSum": (1,),
    "ReduceMean": (1,),
    "ReduceMax": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReverseSequence": (1,),
    "MaxUnpool": (1, 2),
    "CenterCropPad": (1,),
    "STFT": (1, 3),
    "DFT": (1,),
    "Col2Im": (1, 2),
}
_MOVES = {
    "Cast": (0,),
    "Identity": (0,),
    "Reshape": (0,),
    "Squeeze": (0,),
    "Unsqueeze": (0,),
    "Transpose": (0,),
    "Flatten": (0,),
    "Expand": (0,),
    "Slice": (0,),
    "Gather": (0,),
    "Tile": (0,),
    "Split": (0,),
    "Where": (1, 2),
    "Add": (0, 1),
    "Sub": (0, 1),
    "Mul": (0, 1),
    "Neg": (0,),
    "Abs": (0,),
    "Pad": (0,),
    "ScatterND": (0, 2),
    "Concat": None,
    "DepthToSpace": (0,),
}


def input_uses(model: onnx.ModelProto) -> dict[str, Use]:
    """What each input is used for, in the model and in its branches and loops."""
    dims: dict[str, Any] = {}
    for graph in editing.graphs(model.graph):
        dims |= fold.known_dims(graph) | {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    constants = {tensor.name: tensor for graph in editing.graphs(model.graph) for tensor in graph.initializer}
    return uses([value.name for value in model.graph.input], _steps(model.graph, dims, constants))


def _steps(graph: Any, dims: Mapping[str, Any], constants: Mapping[str, Any]) -> Iterator[Step]:
    makers = {name: node for _, node in editing.walk(graph) for name in node.output}
    for _, node in editing.walk(graph):
        hands: dict[int, tuple[str, ...]] = {}
        skipped = 2 if node.op_type == "Loop" else 0  # a loop's body gets its count and its condition anew
        for body in editing.bodies(node) if node.op_type in ("Loop", "Scan") else ():
            for place, value in enumerate(body.input):
                if place >= skipped:
                    hands[place] = (*hands.get(place, ()), value.name)
        yield Step(tuple(node.input), tuple(node.output), _rule(node, dims, constants, makers), hands)


def _rule(node: Any, dims: Mapping[str, Any], constants: Mapping[str, Any], makers: Mapping[str, Any]) -> Any:
    op = node.op_type

    def use(place: int) -> Use:
        if _POSITIONS.get(op) == place:
            return Use("position", _positions(node, dims), below=True)
        if op == "OneHot" and place == 0:
            depth = constants.get(node.input[1])
            return Use("position", int(editing.array(depth).item()) if depth is not None else 0, below=True, above=True)
        if op == "Slice" and place == 1 and (starts := _starts(node, dims, constants, makers)):
            return Use("position", starts)
        if op == "BitShift" and place == 1:
            return Use("position", 8)
        if place in _SIZES.get(op, ()):
            return SIZE
        moved = _MOVES.get(op, ())
        if op in ("Loop", "Scan", "If"):
            return MOVES
        return MOVES if moved is None or place in moved else DATA

    return use


def _starts(node: Any, dims: Mapping[str, Any], constants: Mapping[str, Any], makers: Mapping[str, Any]) -> int:
    """At how many positions a slice of known size can begin on each of its axes; 0 where that is not known.

    Its end is its start and a constant size, added up.
    """
    end, data = makers.get(node.input[2]), dims.get(node.input[0])
    if end is None or end.op_type != "Add" or node.input[1] not in end.input or not data:
        return 0
    size = next((constants[name] for name in end.input if name in constants), None)
    axes = constants.get(node.input[3]) if len(node.input) > 3 else None
    if size is None or (len(node.input) > 3 and axes is None):
        return 0
    sizes = editing.array(size).reshape(-1)
    places = range(len(sizes)) if axes is None else editing.array(axes).reshape(-1)
    found = [(data[axis], int(wanted)) for axis, wanted in zip(places, sizes, strict=False)]
    known = all(isinstance(before, int) and 0 <= wanted <= before for before, wanted in found)
    return min((before - wanted + 1 for before, wanted in found), default=0) if known else 0


def _positions(node: Any, dims: Mapping[str, Any]) -> int:
    """How many positions there are on the axis that an index counts along; 0 where that is not known."""
    data = dims.get(node.input[0])
    if not data:
        return 0
    if node.op_type in ("GatherND", "ScatterND"):
        index = dims.get(node.input[1]) or (1,)
        last = index[-1] if isinstance(index[-1], int) else len(data)
        start = editing.attribute(node, "batch_dims", 0)
        sizes = data[start : start + last]
        return min(sizes) if sizes and all(isinstance(size, int) for size in sizes) else 0
    axis = editing.attribute(node, "axis", 0)
    size = data[axis] if -len(data) <= axis < len(data) else None
    return size if isinstance(size, int) else 0
