"""What the inputs of a GraphDef are used for: positions in another tensor, sizes, or data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trtconv.core.input_use import DATA, MOVES, SIZE, Step, Use, uses
from trtconv.sources.tensorflow.frozen_graph import FrozenGraph

_AMONG = {
    "Gather": 1,
    "GatherV2": 1,
    "ResourceGather": 1,
    "GatherNd": 1,
    "ResourceGatherNd": 1,
    "ScatterNd": 0,
    "TensorScatterAdd": 1,
    "TensorScatterSub": 1,
    "TensorScatterUpdate": 1,
    "TensorScatterMax": 1,
    "TensorScatterMin": 1,
    "SparseSegmentSum": 1,
    "SparseSegmentMean": 1,
    "SparseSegmentSqrtN": 1,
    "SparseSegmentSumWithNumSegments": 1,
    "SparseSegmentMeanWithNumSegments": 1,
    "SparseSegmentSqrtNWithNumSegments": 1,
}
"""Operand that counts along the first operand, or along ScatterNd's shape."""

_SIZES = {
    "Reshape": (1,),
    "Fill": (0,),
    "Range": (0, 1, 2),
    "Tile": (1,),
    "Slice": (1, 2),
    "StridedSlice": (1, 2, 3),
    "Pad": (1,),
    "PadV2": (1,),
    "MirrorPad": (1,),
    "ResizeBilinear": (1,),
    "ResizeNearestNeighbor": (1,),
    "ResizeBicubic": (1,),
    "ResizeArea": (1,),
    "TopKV2": (1,),
    "BroadcastTo": (1,),
    "Transpose": (1,),
    "ExpandDims": (1,),
    "Split": (0,),
    "SplitV": (1, 2),
    "LinSpace": (2,),
    "OneHot": (1,),
    "ConcatV2": (-1,),
    "Sum": (1,),
    "Mean": (1,),
    "Max": (1,),
    "Min": (1,),
    "Prod": (1,),
    "All": (1,),
    "Any": (1,),
    "ArgMax": (1,),
    "ArgMin": (1,),
    "Cumsum": (1,),
    "Cumprod": (1,),
    "ReverseV2": (1,),
    "ReverseSequence": (1,),
    "Roll": (1, 2),
    "RandomUniform": (0,),
    "RandomStandardNormal": (0,),
    "RandomUniformInt": (0,),
    "TensorListReserve": (0, 1),
    "SpaceToBatchND": (1, 2),
    "BatchToSpaceND": (1, 2),
    "MatrixBandPart": (1, 2),
    "NonMaxSuppressionV3": (2,),
    "UnsortedSegmentSum": (2,),
    "UnsortedSegmentMax": (2,),
    "UnsortedSegmentMin": (2,),
    "UnsortedSegmentProd": (2,),
    "SegmentSum": (1,),
    "SegmentMax": (1,),
    "SegmentMin": (1,),
    "SegmentMean": (1,),
    "SegmentProd": (1,),
    "TensorListGetItem": (1,),
    "TensorListSetItem": (1,),
    "Case": (0,),
    "StatelessCase": (0,),
}
_MOVES = {
    "Identity",
    "IdentityN",
    "StopGradient",
    "Cast",
    "Reshape",
    "Squeeze",
    "ExpandDims",
    "Transpose",
    "Tile",
    "Slice",
    "StridedSlice",
    "Pack",
    "Unpack",
    "ConcatV2",
    "Concat",
    "Split",
    "SplitV",
    "Add",
    "AddV2",
    "Sub",
    "Mul",
    "Neg",
    "Abs",
    "Pad",
    "PadV2",
    "BroadcastTo",
    "SelectV2",
    "Select",
    "PlaceholderWithDefault",
    "EnsureShape",
    "GatherV2",
    "ReverseV2",
    "TensorListFromTensor",
    "TensorListStack",
    "TensorListGetItem",
    "TensorListSetItem",
    "While",
    "StatelessWhile",
    "If",
    "StatelessIf",
    "Case",
    "StatelessCase",
    "PartitionedCall",
    "StatefulPartitionedCall",
    "Enter",
    "Exit",
    "Merge",
    "Switch",
    "NextIteration",
}
_SKIPPED = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
"""Operands that are not handed on to the functions."""


def input_uses(frozen: FrozenGraph) -> dict[str, Use]:
    """What each input is used for, in the graph and in its functions."""
    tensors = {endpoint.tensor.removesuffix(":0"): endpoint.name for endpoint in frozen.inputs}
    functions = {function.signature.name: function for function in frozen.graph.library.function}
    found = uses(tensors, _steps(frozen.graph.node, "", functions))
    return {tensors[tensor]: use for tensor, use in found.items()}


def _steps(nodes: Iterable[Any], scope: str, functions: Mapping[str, Any]) -> Iterator[Step]:
    """Of a graph, then of all functions; in a function every tensor's name begins with the function's."""
    table = {node.name: node for node in nodes}
    for node in table.values():
        inputs = tuple(_tensor(scope, name) for name in node.input if not name.startswith("^"))
        skipped = _SKIPPED.get(node.op, 0)
        hands: dict[int, tuple[str, ...]] = {}
        for function in (functions[name] for name in _called(node) if name in functions):
            for place, argument in enumerate(function.signature.input_arg):
                hands[place + skipped] = (
                    *hands.get(place + skipped, ()),
                    _tensor(function.signature.name, argument.name),
                )
        yield Step(inputs, (_tensor(scope, node.name),), _rule(node, table), hands)
    if not scope:
        for name, function in functions.items():
            yield from _steps(function.node_def, name, functions)


def _tensor(scope: str, name: str) -> str:
    """All outputs of a node count as one."""
    return f"{scope}/{name.partition(':')[0]}" if scope else name.partition(":")[0]


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)


def _rule(node: Any, table: Mapping[str, Any]) -> Any:
    op, count = node.op, len([name for name in node.input if not name.startswith("^")])

    def use(place: int) -> Use:
        if _AMONG.get(op) == place:
            return Use("position", _positions(node, table))
        if op == "OneHot" and place == 0:
            return Use("position", next(iter(_values(node.input[1], table)), 0), below=True, above=True)
        if op.startswith("UnsortedSegment") and place == 1:
            return Use("position", next(iter(_values(node.input[2], table)), 0), below=True)
        if op in ("LeftShift", "RightShift") and place == 1:
            return Use("position", 8)
        if op == "SparseSoftmaxCrossEntropyWithLogits" and place == 1:
            return Use("position", 2)
        if place in _SIZES.get(op, ()) or place - count in _SIZES.get(op, ()):
            return SIZE
        return MOVES if op in _MOVES else DATA

    return use


def _positions(node: Any, table: Mapping[str, Any]) -> int:
    """How many positions there are on the axis that an index counts along; 0 where that is not known."""
    if node.op == "ScatterNd":
        return min(_values(node.input[2], table), default=0)
    sizes = _shape(node.input[0], table)
    axis = (_values(node.input[2], table) or (0,))[0] if node.op == "GatherV2" else 0
    if node.op in ("GatherNd", "ResourceGatherNd") or node.op.startswith("TensorScatter"):
        return min(sizes, default=0)
    return sizes[axis] if -len(sizes) <= axis < len(sizes) else 0


def _source(name: str, table: Mapping[str, Any]) -> Any:
    """The node behind copies."""
    node = table.get(name.partition(":")[0])
    while node is not None and node.op in ("Identity", "ReadVariableOp", "Enter") and node.input:
        node = table.get(node.input[0].partition(":")[0])
    return node


def _shape(name: str, table: Mapping[str, Any]) -> tuple[int, ...]:
    node = _source(name, table)
    if node is None or node.op not in ("Const", "Placeholder"):
        return ()
    shape = node.attr["value"].tensor.tensor_shape if node.op == "Const" else node.attr["shape"].shape
    return tuple(max(dim.size, 0) for dim in shape.dim)


def _values(name: str, table: Mapping[str, Any]) -> tuple[int, ...]:
    """The integers of a small constant; empty for anything else."""
    node = _source(name, table)
    if node is None or node.op != "Const":
        return ()
    from tensorflow import make_ndarray

    tensor = node.attr["value"].tensor
    if len(tensor.tensor_shape.dim) > 1 or any(dim.size > 64 for dim in tensor.tensor_shape.dim):
        return ()
    array = make_ndarray(tensor)
    return tuple(int(value) for value in array.reshape(-1)) if array.dtype.kind in "iu" else ()
