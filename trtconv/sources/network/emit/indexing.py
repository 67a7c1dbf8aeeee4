"""Layers that pick elements by index, or tell the indices of elements."""

from __future__ import annotations

import numpy as np

from trtconv.sources.network.emit.site import ELEMENT, INT32, INT64, Site


def gather(site: Site) -> str:
    """``IGatherLayer`` in its three modes."""
    mode = site["mode"].name
    shared = site["num_elementwise_dims"]
    if mode == "ELEMENT":
        return site.op(
            "GatherElements", site.aligned(0), site.aligned(1), axis=site.axis(site["axis"], site.aligned_rank(0))
        )
    if mode == "ND":
        _explicit(site)
        return site.op("GatherND", site.x, site.as_int64(1), batch_dims=int(shared or 0))
    return _by_index(site, int(shared or 0))


def _by_index(site: Site, shared: int) -> str:
    data, indices = site.known(0), site.known(1)
    if site.lead and indices.batched and not data.batched:
        if site["axis"]:
            raise site.refused("indices with a batch along another axis than the first of a constant")
        return site.op("Gather", data.name, indices.name, axis=0)
    if site.lead and indices.batched:
        shared = 1  # an implicit batch picks from its own data
    axis = site.axis(site["axis"], data.rank)
    if not shared:
        return site.op("Gather", data.name, indices.name, axis=axis)
    return _with_shared(site, axis, shared)


def _with_shared(site: Site, axis: int, shared: int) -> str:
    """Gather where the first dimensions of data and indices are the same ones."""
    data, indices = site.known(0), site.known(1)
    if not shared <= axis:
        raise site.refused(f"axis {axis} is among the {shared} dimensions that data and indices share")
    order = [*range(shared), axis, *(a for a in range(shared, data.rank) if a != axis)]
    moved = data.name if order == list(range(data.rank)) else site.op("Transpose", data.name, perm=order)
    picked = site.op("GatherND", moved, site.op("Unsqueeze", site.as_int64(1), site.ints([-1])), batch_dims=shared)
    # Shared dimensions, those of the indices, those of the data: the ones before the axis go before the indices'.
    own, before = indices.rank - shared, axis - shared
    total = shared + own + data.rank - shared - 1
    back = [*range(shared), *range(shared + own, shared + own + before), *range(shared, shared + own)]
    back += range(shared + own + before, total)
    return picked if back == list(range(total)) else site.op("Transpose", picked, perm=back)


def _explicit(site: Site) -> None:
    if site.lead:
        raise site.refused("has no meaning in a network with an implicit batch", "set source.implicit_batch to false")


def scatter(site: Site) -> str:
    """``IScatterLayer`` in its two modes."""
    _explicit(site)
    names = [site.known(0).name, site.as_int64(1), site.known(2).name]
    if site["mode"].name == "ND":
        return site.op("ScatterND", *names)
    return site.op("ScatterElements", *names, axis=site.axis(site["axis"]))


def one_hot(site: Site) -> str:
    """``IOneHotLayer``: indices, the values for off and on, and how many."""
    rank = site.known(0).rank + 1
    names = [site.known(0).name, site.known(2).name, site.known(1).name]
    return site.op("OneHot", *names, axis=site.axis(site["axis"], rank))


def non_zero(site: Site) -> str:
    """``INonZeroLayer``."""
    _explicit(site)
    return _indices(site, site.op("NonZero", site.x))


def _indices(site: Site, name: str) -> str:
    kind = site["indices_type"]
    wanted = ELEMENT[kind.name] if kind is not None else INT32
    return name if wanted == INT64 else site.cast(name, wanted)


def nms(site: Site) -> list[str]:
    """``INMSLayer``: boxes N, S, (1,) 4 and scores N, S, C; the selection, and how many it is."""
    _explicit(site)
    boxes, scores = site.known(0), site.known(1)
    if boxes.rank == 4 and boxes.dims[2] != 1:
        raise site.refused("boxes for each class", "ONNX has one box for all classes: give boxes of three dimensions")
    limit = site["topk_box_limit"]
    if limit is not None and not (isinstance(scores.dims[1], int) and scores.dims[1] <= limit):
        raise site.refused(
            f"topk_box_limit {limit}, fewer than there are boxes", "ONNX has no such limit: leave it out"
        )
    corners = boxes.name if boxes.rank == 3 else site.op("Squeeze", boxes.name, site.ints([2]))
    count = site.op("Reshape", site.as_int64(2), site.ints([1]))
    thresholds = [_number(site, index) for index in (3, 4)]
    turned = site.op("Transpose", scores.name, perm=[0, 2, 1])
    centers = int(site["bounding_box_format"].name == "CENTER_SIZES")
    chosen = site.op("NonMaxSuppression", corners, turned, count, *thresholds, center_point_box=centers)
    found = site.op("Gather", site.op("Shape", chosen), site.constant(0, np.int64), axis=0)
    return [_indices(site, chosen), _indices(site, found)]


def _number(site: Site, index: int) -> str:
    """A threshold; 0 where there is none."""
    if not site.has(index):
        return site.constant(np.zeros(1, np.float32))
    return site.op("Reshape", site.known(index).name, site.ints([1]))


def reverse_sequence(site: Site) -> str:
    """``IReverseSequenceLayer``."""
    _explicit(site)
    batch, time = (int(site[name]) for name in ("batch_axis", "sequence_axis"))
    if {batch, time} != {0, 1}:
        raise site.refused(f"axes {batch} and {time}: ONNX has the first two only", "move them there with shuffles")
    return site.op("ReverseSequence", site.x, site.as_int64(1), batch_axis=batch, time_axis=time)
