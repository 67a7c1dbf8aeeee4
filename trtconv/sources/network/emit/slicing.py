"""Layers that cut pieces out of a tensor, or put a border around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtconv.sources.network.emit.site import BOOL, FLOAT, Site

_BEFORE_ALL = np.iinfo(np.int64).min + 1


def slice_(site: Site) -> str:
    """``ISliceLayer``: start, size and stride per dimension; inputs 1 to 3 stand for them, 4 is what fills."""
    if site.has(5):
        raise site.refused("axes that are an input")
    axes = [site.axis(axis) for axis in site["axes"]] if site["axes"] is not None else list(range(site.lead, site.rank))
    mode = site["mode"].name
    parts = [_constant(site, index, name) for index, name in ((1, "start"), (2, "shape"), (3, "stride"))]
    if any(part is None for part in parts):
        return _computed(site, axes, mode)
    start, size, stride = ([int(number) for number in part] for part in parts if part is not None)
    if not len(start) == len(size) == len(stride) == len(axes):
        raise site.refused(f"start, shape and stride are for {len(start)} dimensions, it has {len(axes)}")
    if mode != "STRICT_BOUNDS":
        return _beyond(site, axes, mode, start, size, stride)
    ends = [_end(*three) for three in zip(start, size, stride, strict=True)]
    return site.op("Slice", site.x, site.ints(start), site.ints(ends), site.ints(axes), site.ints(stride))


def _constant(site: Site, index: int, name: str) -> Sequence[int] | None:
    """What is given as a constant, in either way; None: it is computed."""
    if site.has(index):
        value = site.known(index).value
        return None if value is None else [int(number) for number in np.asarray(value).reshape(-1)]
    return tuple(site[name])


def _end(start: int, size: int, stride: int) -> int:
    """Where ONNX stops: backwards past the first element there is no number but a huge negative one."""
    end = start + size * stride
    return _BEFORE_ALL if end < 0 else end


def _computed(site: Site, axes: list[int], mode: str) -> str:
    if mode != "STRICT_BOUNDS":
        raise site.refused(f"mode {mode} with a start or shape that is computed")
    stride = _constant(site, 3, "stride")
    if stride is None or any(number < 0 for number in stride):
        raise site.refused("strides that are computed or negative, with a start or shape that is computed")
    start, size = (
        site.as_int64(i) if site.has(i) else site.ints(site[name]) for i, name in ((1, "start"), (2, "shape"))
    )
    step = site.ints(stride)
    end = site.op("Add", start, site.op("Mul", size, step))
    return site.op("Slice", site.x, start, end, site.ints(axes), step)


def _beyond(site: Site, axes: list[int], mode: str, start: list[int], size: list[int], stride: list[int]) -> str:
    """Modes that read outside of the tensor: the elements of every axis are gathered by index."""
    name, inside = site.x, None
    dims = site.known().dims
    for axis, first, count, step in zip(axes, start, size, stride, strict=True):
        length = dims[axis]
        if not isinstance(length, int):
            raise site.refused(f"mode {mode} needs the size of dimension {axis}, which is dynamic")
        wanted = first + np.arange(count) * step
        if not np.array_equal(wanted, np.arange(length)):
            name = site.op("Gather", name, site.ints(_folded(wanted, length, mode)), axis=axis)
        within = ((wanted >= 0) & (wanted < length)).reshape([-1 if a == axis else 1 for a in range(site.rank)])
        inside = within if inside is None else inside & within
    if mode != "FILL" or inside is None or inside.all():
        return name if name != site.x else site.op("Identity", name)
    return site.op("Where", site.constant(inside, np.bool_), name, _filling(site))


def _folded(wanted: np.ndarray, length: int, mode: str) -> list[int]:
    """Indices inside of a dimension, by NvInfer.h, SampleMode."""
    if mode == "WRAP":
        return [int(index) % length for index in wanted]
    if mode == "REFLECT" and length > 1:
        turn = 2 * (length - 1)
        return [min(int(index) % turn, turn - int(index) % turn) for index in wanted]
    return [min(max(int(index), 0), length - 1) for index in wanted]


def _filling(site: Site) -> str:
    if site.has(4):
        return site.known(4).name
    dtype = {FLOAT: np.float32, BOOL: np.bool_}.get(site.known().dtype)
    if dtype is None:
        return site.cast(site.constant(0, np.int64), site.known().dtype)
    return site.constant(0, dtype)


def padding(site: Site) -> str:
    """``IPaddingLayer``: zeros around the last two dimensions; a negative number cuts off instead."""
    before, after = tuple(site["pre_padding"]), tuple(site["post_padding"])
    if len(before) > site.rank - site.lead:
        raise site.refused(f"pads {len(before)} dimensions of {site.rank - site.lead}")
    outer = site.rank - len(before)
    name = site.x
    if any(size > 0 for size in (*before, *after)):
        ends = [[0] * outer + [max(size, 0) for size in side] for side in (before, after)]
        name = site.op("Pad", name, site.ints(ends[0] + ends[1]))
    if any(size < 0 for size in (*before, *after)):
        starts = [max(-size, 0) for size in before]
        stops = [size if size < 0 else np.iinfo(np.int64).max for size in after]
        name = site.op("Slice", name, site.ints(starts), site.ints(stops), site.ints(range(outer, site.rank)))
    return name if name != site.x else site.op("Identity", name)
