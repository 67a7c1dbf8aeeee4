"""Operators of TensorFlow that tf2onnx lacks, or turns into something that computes other numbers.

They are in its own form of an extension: a function of its graph and of a node, which puts ONNX nodes in the node's
place. What each operator computes is TensorFlow's documentation of ``tf.raw_ops``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from trtconv.adapters.tf2onnx_bits import SIGNED, UNSIGNED, invert, shift
from trtconv.adapters.tf2onnx_place import Place

_WIDE = {TensorProto.INT32, TensorProto.INT64}
"""Integers that every runtime computes with; narrower ones are widened."""


Handler = Callable[[Place], None]


def _erfc(at: Place) -> None:
    """1 - erf(x); Keras writes the exact GELU with it."""
    at.finish(at.make("Sub", at.constant(1, at.dtype), at.make("Erf", at.inputs[0])))


def _log1p(at: Place) -> None:
    at.finish(at.make("Log", at.make("Add", at.inputs[0], at.constant(1, at.dtype))))


def _expm1(at: Place) -> None:
    at.finish(at.make("Sub", at.make("Exp", at.inputs[0]), at.constant(1, at.dtype)))


def _rank(at: Place) -> None:
    """The number of dimensions where only the data tells it."""
    at.finish(at.make("Cast", at.make("Size", at.make("Shape", at.inputs[0])), to=at.dtype))


def _l2_loss(at: Place) -> None:
    at.finish(at.make("Mul", at.make("ReduceSumSquare", at.inputs[0], keepdims=0), at.constant(0.5, at.dtype)))


def _floor_div(at: Place) -> None:
    """The quotient rounded down: ONNX's Div of integers rounds towards zero, one too high where signs differ."""
    left, right = at.inputs
    quotient = at.make("Div", left, right)
    if at.dtype not in SIGNED | UNSIGNED:
        at.finish(at.make("Floor", quotient))
        return
    if at.dtype in UNSIGNED or (_is_positive(at.graph, left) and _is_positive(at.graph, right)):
        at.finish(quotient)
        return
    wide = at.dtype if at.dtype in _WIDE else TensorProto.INT32
    left, right = at.cast(left, wide), at.cast(right, wide)
    quotient = at.make("Div", left, right)
    back = at.make("Mul", quotient, right)
    divisor = at.value(1)
    if divisor is not None and (divisor > 0).all():
        above = at.make("Less", left, back)
    else:
        above = at.make("Not", at.make("Equal", at.make("Sub", left, back), at.make("Mod", left, right)))
    at.finish(at.cast(at.make("Sub", quotient, at.make("Cast", above, to=wide)), at.dtype))


def _floor_mod(at: Place) -> None:
    """What is left of the quotient rounded down: ONNX's Mod for integers."""
    left, right = at.inputs
    if at.dtype in SIGNED | UNSIGNED:
        at.finish(at.make("Mod", left, right))
        return
    whole = at.make("Floor", at.make("Div", left, right))
    at.finish(at.make("Sub", left, at.make("Mul", whole, right)))


def _truncate_mod(at: Place) -> None:
    at.finish(at.make("Mod", *at.inputs, fmod=1))


_MOVES = {
    "Cast",
    "Slice",
    "StridedSlice",
    "Gather",
    "GatherV2",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Identity",
    "ExpandDims",
}
_GROWS = {"Add", "AddV2", "Mul", "Concat", "ConcatV2", "Pack", "Max", "Maximum", "ReduceProd", "Prod"}


def _is_positive(graph: Any, name: str, depth: int = 12) -> bool:
    """Whether a tensor is never negative, because it is made of sizes: shape arithmetic needs no more than Div."""
    maker = graph.get_node_by_output(name)
    if maker is None or depth == 0:
        return False
    if maker.is_const():
        values = np.asarray(maker.get_tensor_value(as_list=False))
        return bool(values.dtype.kind in "iu" and (values >= 0).all())
    if maker.type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
        return True
    followed = maker.input[:1] if maker.type in _MOVES else maker.input if maker.type in _GROWS else []
    return bool(followed) and all(_is_positive(graph, read, depth - 1) for read in followed)


def _scatter_nd(at: Place) -> None:
    """TensorFlow adds what goes to the same place; ONNX keeps one unless it is told to add, from opset 16 on."""
    indices, updates, shape = at.inputs
    known = at.value(0)
    unique = known is not None and len(np.unique(known.reshape(-1, known.shape[-1]), axis=0)) == known[..., 0].size
    if not unique and at.graph.opset < 16:
        raise at.refuse(
            "it adds updates with the same indices, which ONNX does from opset 16 on only", "choose convert.opset: 17"
        )
    dtype = TensorProto.INT32 if at.dtype == TensorProto.BOOL else at.dtype
    zero = at.make("Expand", at.constant(0, dtype), at.cast(shape, TensorProto.INT64))
    reduction: dict[str, Any] = {} if unique else {"reduction": "add"}
    added = at.make("ScatterND", zero, at.cast(indices, TensorProto.INT64), at.cast(updates, dtype), **reduction)
    at.finish(at.cast(added, at.dtype))


def _one_hot(at: Place) -> None:
    """Is the index the position on the new axis? Indices outside are off; ONNX's OneHot counts negative ones back."""
    indices, depth, on, off = at.inputs
    rank = at.graph.get_rank(indices)
    if rank is None:
        raise at.refuse(
            "the number of dimensions of its indices is not known", "give the inputs their shapes (--input)"
        )
    axis = at.node.get_attr_value("axis", -1)
    axis = rank if axis < 0 else axis
    size = at.value(1)
    if size is not None:
        positions = at.constant(np.arange(int(size)))
    else:
        end = at.make("Reshape", at.cast(depth, TensorProto.INT64), at.constant(np.zeros(0)))
        positions = at.make("Range", at.constant(0), end, at.constant(1))
    positions = at.make("Reshape", positions, at.constant([-1] + [1] * (rank - axis)))
    spread = at.make("Unsqueeze", at.cast(indices, TensorProto.INT64), at.constant([axis]))
    hot = at.make("Equal", spread, positions)
    if at.dtype == TensorProto.BOOL:  # no runtime has to have Where for it
        on, off = at.cast(on, TensorProto.INT32), at.cast(off, TensorProto.INT32)
    at.finish(at.cast(at.make("Where", hot, on, off), at.dtype))


def _top_k(at: Place) -> None:
    """Integers stay integers: as float32, which tf2onnx makes of them, neighbours above 2^24 are the same number."""
    values = at.inputs[0]
    given = at.graph.get_dtype(values)
    wide = given
    if given in SIGNED | UNSIGNED:
        wide = given if given in _WIDE else TensorProto.INT64 if given == TensorProto.UINT32 else TensorProto.INT32
    elif given != TensorProto.DOUBLE:
        wide = TensorProto.FLOAT
    count = at.make("Reshape", at.cast(at.inputs[1], TensorProto.INT64), at.constant([1]))
    best, places = at.make("TopK", at.cast(values, wide), count, outputs=2)
    at.finish(
        at.make("Cast", best, to=given) if wide != given else best,
        at.make("Cast", places, to=at.graph.get_dtype(at.node.output[1])),
    )


def _adjust_saturation(at: Place) -> None:
    """Distances from the brightest channel grow by the factor, at most to where the darkest channel is 0.

    That is TensorFlow's way through hue, saturation and value, in which hue and value stay: the saturation
    s = (v - min) / v becomes min(s * factor, 1), and every channel keeps its share of the distance v - min.
    """
    image, factor = at.inputs
    value = _reduced(at, "ReduceMax", image)
    chroma = at.make("Sub", value, _reduced(at, "ReduceMin", image))
    zero, one = at.constant(0, at.dtype), at.constant(1, at.dtype)
    gray = at.make("LessOrEqual", chroma, zero)
    largest = at.make("Div", value, at.make("Where", gray, one, chroma))
    grown = at.make("Min", largest, at.make("Reshape", factor, at.constant([-1])))
    ratio = at.make("Where", at.make("Less", value, zero), zero, grown)
    at.finish(at.make("Sub", value, at.make("Mul", at.make("Sub", value, image), ratio)))


def _reduced(at: Place, op: str, name: str) -> str:
    """Over the last axis; where the axes are said changed with opset 18."""
    from tf2onnx.graph_builder import GraphBuilder

    return str(GraphBuilder(at.graph)._make_reduce_op(op, 18, {"data": name, "axes": [-1], "keepdims": 1}))


def _roll(at: Place) -> None:
    """Position i comes from (i - shift) modulo the size, on every axis named."""
    source, shift, _ = at.inputs
    axes = at.value(2)
    if axes is None:
        raise at.refuse("its axes are not constant", "end the model before it (convert.outputs)")
    shift = at.make("Reshape", at.cast(shift, TensorProto.INT64), at.constant([-1]))
    for position, axis in enumerate(np.atleast_1d(axes)):
        size = at.make("Gather", at.make("Shape", source), at.constant(int(axis)))
        steps = at.make("Range", at.constant(0), size, at.constant(1))
        moved = at.make("Sub", steps, at.make("Gather", shift, at.constant([position])))
        source = at.make("Gather", source, at.make("Mod", moved, size), axis=int(axis))
    at.finish(source)


def _image_patches(at: Place) -> None:
    """A convolution per channel with a kernel for every place in the patch, which picks it."""
    kernel, strides, rates = (at.node.get_attr_value(name)[1:3] for name in ("ksizes", "strides", "rates"))
    channels = (at.graph.get_shape(at.inputs[0]) or [-1])[-1]
    if channels < 0:
        raise at.refuse("the number of channels is not known", "give the input its shape (--input)")
    count = kernel[0] * kernel[1]
    picks = np.tile(np.eye(count).reshape(count, 1, *kernel), (channels, 1, 1, 1))
    padding = at.node.get_attr_str("padding")
    source = at.cast(at.inputs[0], TensorProto.FLOAT)
    found = at.make(
        "Conv",
        at.make("Transpose", source, perm=[0, 3, 1, 2]),
        at.constant(picks, np.float32),
        group=channels,
        kernel_shape=kernel,
        strides=strides,
        dilations=rates,
        auto_pad="SAME_UPPER" if padding == "SAME" else "VALID",
    )
    last = at.make("Transpose", found, perm=[0, 2, 3, 1])
    apart = at.make("Reshape", last, at.constant([0, 0, 0, channels, count]))
    turned = at.make("Transpose", apart, perm=[0, 1, 2, 4, 3])
    at.finish(at.cast(at.make("Reshape", turned, at.constant([0, 0, 0, channels * count])), at.dtype))


def _real_spectrum(at: Place) -> None:
    """Two multiplications by matrices of cosines and sines; the real part comes first on a new first axis.

    That is how tf2onnx writes complex numbers: what reads them has to know, so other readers are refused.
    """
    readers = at.graph.find_output_consumers(at.node.output[0])
    if others := {node.type for node in readers} - {"ComplexAbs", "Real", "Imag"}:
        raise at.refuse(
            f"its complex result goes to {', '.join(sorted(others))}", "take its absolute value, or its two parts"
        )
    given = at.graph.get_shape(at.inputs[0])
    length, size = at.value(1), (given or [-1])[-1]
    if length is None or size < 0:
        raise at.refuse("its length is not known", "give the input its shape (--input)")
    used = min(int(length[0]), size)
    source = at.make("Slice", at.inputs[0], at.constant([0]), at.constant([used]), at.constant([-1]))
    angles = -2j * np.pi * np.outer(np.arange(used), np.arange(length[0] // 2 + 1)) / length[0]
    dtype = at.graph.get_dtype(at.inputs[0])
    parts = [at.make("MatMul", source, at.constant(part(np.exp(angles)), dtype)) for part in (np.real, np.imag)]
    both = at.make("Concat", *(at.make("Unsqueeze", part, at.constant([0])) for part in parts), axis=0)
    shape = [*given[:-1], int(length[0]) // 2 + 1]  # what tf2onnx says of a graph of TensorFlow Lite lacks dimensions
    at.graph.set_dtype(at.node.output[0], dtype)
    at.graph.set_shape(at.node.output[0], [2, *shape])
    for reader in readers:
        at.graph.set_shape(reader.output[0], shape)
    at.finish(both)


def _part(position: int) -> Handler:
    def take(at: Place) -> None:
        at.finish(at.make("Gather", at.inputs[0], at.constant(position), axis=0))

    return take


def _resize_area(at: Place) -> None:
    """The mean over what an output pixel covers: a matrix of shares per direction."""
    target, shape = at.value(1), at.graph.get_shape(at.inputs[0])
    if target is None or shape is None or min(shape[1:3]) < 0 or at.node.get_attr_value("align_corners"):
        raise at.refuse(
            "resizing by area needs sizes that are known, and no align_corners", "give the input its shape (--input)"
        )
    image = at.cast(at.inputs[0], TensorProto.FLOAT)
    rows, columns = (
        at.constant(_shares(int(after), before), np.float32) for after, before in zip(target, shape[1:3], strict=True)
    )
    across = at.make("Transpose", at.make("MatMul", columns, image), perm=[0, 2, 1, 3])
    at.finish(at.make("Transpose", at.make("MatMul", rows, across), perm=[0, 2, 1, 3]))


def _shares(after: int, before: int) -> np.ndarray:
    """[after, before]: how much of an output pixel each input pixel covers."""
    edges = np.arange(after + 1) * (before / after)
    low, high = edges[:-1, None], edges[1:, None]
    pixels = np.arange(before)[None]
    covered = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
    return np.asarray(covered / covered.sum(1, keepdims=True))


def _invert_permutation(at: Place) -> None:
    """Sorting a permutation undoes it."""
    numbers = at.cast(at.inputs[0], TensorProto.INT64)
    _, order = at.make("TopK", numbers, at.make("Shape", numbers), outputs=2, axis=0, largest=0)
    at.finish(at.make("Cast", order, to=at.dtype))


def _segments(at: Place) -> None:
    """tf2onnx's own way, without what it gets wrong: segments that nothing falls into, and numbers that are dropped.

    Empty segments have the value that TensorFlow documents, and negative numbers of an unsorted segment go into one
    more segment, which is cut off.
    """
    from tf2onnx.onnx_opset.reduction import SegmentSum

    graph, kind = at.graph, at.node.type
    unsorted, result = kind.startswith("Unsorted"), at.node.output[0]
    tail = graph.insert_new_node_on_output("Identity", result, name=f"{at.node.name}_segments")
    graph.copy_dtype(result, tail.output[0])
    graph.copy_shape(result, tail.output[0])
    made = result
    if unsorted:
        count = at.cast(at.inputs[2], TensorProto.INT64)
        numbers = at.cast(at.inputs[1], TensorProto.INT64)
        dropped = at.make("Less", numbers, at.constant(0))
        graph.replace_input(at.node, at.inputs[1], at.make("Where", dropped, count, numbers), 1)
        graph.replace_input(at.node, at.inputs[2], at.make("Add", count, at.constant(1)), 2)
        end = at.make("Reshape", count, at.constant([1]))
        made = at.make("Slice", result, at.constant([0]), end, at.constant([0]))
    empty = _EMPTY.get(kind)
    if empty is not None and at.dtype not in SIGNED | UNSIGNED:
        limits = np.finfo(np.float16 if at.dtype == TensorProto.FLOAT16 else np.float32)
        value = {"lowest": limits.min, "highest": limits.max}.get(empty, 0.0)
        unfilled = at.make("IsInf" if kind.endswith(("Max", "Min")) else "IsNaN", made)
        made = at.make("Where", unfilled, at.constant(value, at.dtype), made)
    graph.replace_input(tail, result, made, 0)
    SegmentSum.version_13(graph, at.node)


_EMPTY = {
    "UnsortedSegmentMax": "lowest",
    "UnsortedSegmentMin": "highest",
    "SegmentMax": "0",
    "SegmentMin": "0",
    "SegmentMean": "0",
    "SparseSegmentMean": "0",
    "SparseSegmentSqrtN": "0",
}


def _fill_empty_rows(at: Place) -> None:
    """tf2onnx's own way, then sorted by rows as TensorFlow's result is."""
    from tf2onnx.onnx_opset.tensor import SparseFillEmptyRows

    graph = at.graph
    tails = [
        graph.insert_new_node_on_output("Identity", name, name=f"{at.node.name}_sorted{position}")
        for position, name in enumerate(at.node.output[:2])
    ]
    places, values = at.node.output[:2]
    first = at.make("Gather", places, at.constant(0), axis=1)
    _, order = at.make("TopK", first, at.make("Shape", first), outputs=2, axis=0, largest=0)
    for tail, name in zip(tails, (places, values), strict=True):
        graph.copy_dtype(name, tail.output[0])
        graph.replace_input(tail, name, at.make("Gather", name, order, axis=0), 0)
    SparseFillEmptyRows.any_version(13, graph, at.node)


_TABLE: Mapping[str, Handler] = {
    "AdjustSaturation": _adjust_saturation,
    "Erfc": _erfc,
    "Expm1": _expm1,
    "ExtractImagePatches": _image_patches,
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Imag": _part(1),
    "Invert": invert,
    "InvertPermutation": _invert_permutation,
    "L2Loss": _l2_loss,
    "Log1p": _log1p,
    "LeftShift": shift,
    "OneHot": _one_hot,
    "Rank": _rank,
    "RFFT": _real_spectrum,
    "Real": _part(0),
    "ResizeArea": _resize_area,
    "RightShift": shift,
    "Roll": _roll,
    "ScatterNd": _scatter_nd,
    "SparseFillEmptyRows": _fill_empty_rows,
    "TopKV2": _top_k,
    "TruncateMod": _truncate_mod,
    **dict.fromkeys((*_EMPTY, "UnsortedSegmentProd", "UnsortedSegmentSum"), _segments),
}


def handlers() -> dict[str, tuple[Any, Sequence[Any]]]:
    """The table in the form that tf2onnx takes: (function, arguments) by operator."""
    return {op: (_called(handler), []) for op, handler in _TABLE.items()}


def _called(handler: Handler) -> Callable[[Any, Any, str, Any], None]:
    return lambda graph, node, _name, _arguments: handler(Place(graph, node))
