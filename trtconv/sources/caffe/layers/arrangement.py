"""Layers that move, cut or join values without computing any; and resizing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx

from trtconv.graph.building import Shape
from trtconv.sources.caffe.context import LayerContext
from trtconv.sources.caffe.text import Message


def split(at: LayerContext) -> list[str]:
    """The same tensor under other names."""
    return [at.b.add("Identity", [at.x], name, label=at.layer.name) for name in at.outputs]


def concat(at: LayerContext) -> str:
    """Bottoms one behind the other."""
    axis = _axis(at, "concat_param", "concat_dim")
    return at.add("Concat", list(at.inputs), axis=axis) if len(at.inputs) > 1 else at.add("Identity", [at.x])


def _axis(at: LayerContext, key: str, old: str) -> int:
    given = at.parameters(key)
    return at.axis(given.integer("axis", given.integer(old, 1)), len(at.shape()))


def slice_(at: LayerContext) -> list[str]:
    """Parts along an axis, cut at points or of equal sizes."""
    axis, count = _axis(at, "slice_param", "slice_dim"), len(at.outputs)
    size = at.sizes(at.shape()[axis : axis + 1], "the axis that is cut")[0]
    points = at.parameters("slice_param").integers("slice_point")
    if not points and size % count:
        raise at.refusal(f"cuts {size} into {count} equal parts", "give slice_point")
    ends = [*points, size] if points else [size // count * place for place in range(1, count + 1)]
    parts = np.diff([0, *ends])
    if len(parts) != count or min(parts) < 1:
        raise at.refusal(f"cuts {size} at {points} for {count} tops", "correct slice_point")
    if count == 1:
        return [at.add("Identity", [at.x])]
    sizes = at.constant(parts.astype(np.int64), "parts")
    return at.b.several("Split", [at.x, sizes], at.outputs, at.layer.name, axis=axis)


def flatten(at: LayerContext) -> str:
    """The axes from ``axis`` to ``end_axis`` become one."""
    given, dims = at.parameters("flatten_param"), at.shape()
    start, end = (at.axis(given.integer(name, default), len(dims)) for name, default in (("axis", 1), ("end_axis", -1)))
    if (start, end) == (1, len(dims) - 1):
        return at.add("Flatten", [at.x], axis=1)
    return _reshaped(at, (*dims[:start], _product(dims[start : end + 1]), *dims[end + 1 :]))


def _product(dims: Shape) -> int | None:
    sizes = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(sizes) if len(sizes) == len(dims) else None


def _reshaped(at: LayerContext, dims: Shape) -> str:
    return at.add("Reshape", [at.x, at.target(dims, "shape", at.shape())])


def reshape(at: LayerContext) -> str:
    """Other dimensions in place of ``num_axes`` from ``axis`` on; 0 keeps one, -1 is the rest."""
    given, dims = at.parameters("reshape_param"), at.shape()
    wanted, rank = given.message("shape").integers("dim"), len(dims)
    start = given.integer("axis", 0)
    start = at.axis(start + rank + 1 if start < 0 else start, rank, rank)
    count = given.integer("num_axes", -1)
    end = rank if count == -1 else start + count
    if end > rank:
        raise at.refusal(f"replaces {count} axes from {start} on, and its bottom has {rank}", "correct num_axes")
    kept = [_kept(at, dims, start + place) if size == 0 else size for place, size in enumerate(wanted)]
    target = [None if size == -1 else size for size in kept]
    known = [dim for dim in target if isinstance(dim, int)]
    span = _product(dims[start:end])
    rest = math.prod(known)
    if span is None or len(known) < len(target) - (None in target):
        return _reshaped(at, (*dims[:start], *target, *dims[end:]))
    if (None in target and (not rest or span % rest)) or (None not in target and span != rest):
        raise at.refusal(f"makes {wanted} of {list(dims)}", "correct reshape_param, or the shapes of the inputs")
    target = [span // rest if size is None else size for size in target]
    return _reshaped(at, (*dims[:start], *target, *dims[end:]))


def _kept(at: LayerContext, dims: Shape, place: int) -> int | str | None:
    if place >= len(dims):
        raise at.refusal("keeps a dimension (dim: 0) that its bottom does not have", "correct reshape_param")
    return dims[place]


def permute(at: LayerContext) -> str:
    """Axes in another order; those that are not named follow in their own."""
    order = at.parameters("permute_param").integers("order")
    rank = len(at.shape())
    order += [axis for axis in range(rank) if axis not in order]
    if sorted(order) != list(range(rank)):
        raise at.refusal(f"has the order {order} for {rank} dimensions", "name each axis once")
    return at.add("Transpose", [at.x], perm=order)


def tile(at: LayerContext) -> str:
    """A tensor several times along an axis."""
    given, rank = at.parameters("tile_param"), len(at.shape())
    repeats = np.ones(rank, np.int64)
    repeats[at.axis(given.integer("axis", 1), rank)] = given.integer("tiles", 1)
    return at.add("Tile", [at.x, at.constant(repeats, "repeats")])


def crop(at: LayerContext) -> str:
    """The part at an offset that has the second bottom's size, from ``axis`` on."""
    given, dims = at.parameters("crop_param"), at.shape()
    axis = at.axis(given.integer("axis", 2), len(dims))
    sizes = at.sizes(at.shape(1)[axis:], "a second bottom")
    offsets = given.integers("offset") or [0]
    offsets = offsets * len(sizes) if len(offsets) == 1 else offsets
    whole = at.sizes(dims[axis:], "what is cropped")
    ends = [offset + size for offset, size in zip(offsets, sizes, strict=False)]
    if len(offsets) != len(sizes) or any(end > size for end, size in zip(ends, whole, strict=True)):
        raise at.refusal(f"crops {sizes} at {offsets} out of {whole}", "correct its offset")
    axes = list(range(axis, len(dims)))
    return _part(at, at.x, offsets, ends, axes, "")


def _part(at: LayerContext, x: str, starts: list[int], ends: list[int], axes: list[int], part: str) -> str:
    names = {"starts": starts, "ends": ends, "axes": axes}
    return at.add("Slice", [x, *(at.constant(value, f"{part}{name}") for name, value in names.items())], part)


def interp(at: LayerContext) -> str:
    """Bilinear resizing in which corners stay corners."""
    given, dims = at.parameters("interp_param"), at.shape()
    height, width = at.sizes(dims[2:], "an image")
    cut = [-given.integer("pad_beg", 0), -given.integer("pad_end", 0)]
    if min(cut) < 0:
        raise at.refusal("pads (pad_beg and pad_end above 0)", "pads of 0 or less crop, others are not known")
    x = at.x
    if any(cut):
        ends = [height - cut[1], width - cut[1]]
        x, height, width = _part(at, x, [cut[0]] * 2, ends, [2, 3], "crop"), height - sum(cut), width - sum(cut)
    sizes = _resized(at, given, height, width)
    return at.add(
        "Resize",
        [x, "", "", _with_batch(at, dims, sizes)],
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


def _resized(at: LayerContext, given: Message, height: int, width: int) -> list[int]:
    """Height and width that result; s shrinks (n - 1) / s + 1, z zooms n + (n - 1) (z - 1)."""
    shrink, zoom = given.integer("shrink_factor", 1), given.integer("zoom_factor", 1)
    factors = ("shrink_factor" in given) + ("zoom_factor" in given)
    if factors != 1 and "height" in given and "width" in given:
        return [given.integer("height", 0), given.integer("width", 0)]
    if not factors:
        raise at.refusal("says no size", "give height and width, zoom_factor or shrink_factor")
    small = [(size - 1) // shrink + 1 for size in (height, width)]
    return [size + (size - 1) * (zoom - 1) for size in small]


def _with_batch(at: LayerContext, dims: Shape, sizes: list[int]) -> str:
    if all(isinstance(dim, int) for dim in dims[:2]):
        return at.constant(np.array([*dims[:2], *sizes], np.int64), "sizes")
    shape = at.add("Shape", [at.x], "shape")
    outer = at.add("Slice", [shape, at.constant([0], "from"), at.constant([2], "to")], "outer")
    return at.add("Concat", [outer, at.constant(sizes, "inner")], "sizes", axis=0)


def upsample(at: LayerContext) -> str:
    """Every value in a square of its own (YOLO's forks); with a second bottom, where a pooling found it (SegNet's)."""
    given = at.parameters("upsample_param")
    factor = given.integer("scale", 2)
    if factor < 1:
        raise at.refusal(f"has scale {factor}", "correct the prototxt")
    if len(at.inputs) > 1:
        return _put_back(at, given, factor)
    scales = at.constant(np.array([1, 1, factor, factor], np.float32), "scales")
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return at.add("Resize", [at.x, "", scales], **how)


def _put_back(at: LayerContext, given: Message, factor: int) -> str:
    """Values at the places that the second bottom names, in an image of zeros."""
    dims = at.shape()
    if dims[1:] != at.shape(1)[1:]:
        raise at.refusal(f"reads {list(dims)}, and places {list(at.shape(1))}", "give it those of as many values")
    channels, height, width = at.sizes(dims[1:], "an image")
    tall = given.integer("upsample_h", factor * height - int(given.flag("pad_out_h", False)))
    wide = given.integer("upsample_w", factor * width - int(given.flag("pad_out_w", False)))
    flat = at.constant([0, channels, height * width], "flat")
    values, places = (at.add("Reshape", [at.bottom(place), flat], f"row{place}") for place in range(2))
    places = at.add("Cast", [places], "places", to=onnx.TensorProto.INT64)
    outer = at.add(
        "Slice", [at.add("Shape", [values], "shape"), at.constant([0], "from"), at.constant([2], "to")], "outer"
    )
    size = at.add("Concat", [outer, at.constant([tall * wide], "pixels")], "size", axis=0)
    zeros = at.add("Expand", [at.constant(np.float32(0), "zero"), size], "zeros")
    filled = at.add("ScatterElements", [zeros, places, values], "filled", axis=2)
    return at.add("Reshape", [filled, at.constant([0, channels, tall, wide], "image")])


def shuffle_channel(at: LayerContext) -> str:
    """Channels of g groups in turns: [g, c / g] transposed."""
    dims, group = at.shape(), at.parameters("shuffle_channel_param").integer("group", 1)
    channels = at.sizes(dims[1:2], "channels")[0]
    if channels % group:
        raise at.refusal(f"shuffles {channels} channels in {group} groups", "correct group")
    image = at.sizes(dims[2:], "an image")
    apart = at.add("Reshape", [at.x, at.constant([0, group, channels // group, *image], "apart_shape")], "apart")
    order = [0, 2, 1, *range(3, len(dims) + 1)]
    turned = at.add("Transpose", [apart], "turned", perm=order)
    return at.add("Reshape", [turned, at.constant([0, channels, *image], "shape")])


TABLE: dict[str, Callable[[LayerContext], str | list[str]]] = {
    "Split": split,
    "Concat": concat,
    "Slice": slice_,
    "Flatten": flatten,
    "Reshape": reshape,
    "Permute": permute,
    "Tile": tile,
    "Crop": crop,
    "Interp": interp,
    "Upsample": upsample,
    "ShuffleChannel": shuffle_channel,
}
