"""Layers that go along an axis: sums, largest elements, running sums."""

from __future__ import annotations

import numpy as np

from trtconv.sources.network.emit.site import ELEMENT, INT32, Site

_REDUCE = {"SUM": "ReduceSum", "PROD": "ReduceProd", "MAX": "ReduceMax", "MIN": "ReduceMin", "AVG": "ReduceMean"}


def reduce(site: Site) -> str:
    """``IReduceLayer``."""
    name = site["op"].name
    if name not in _REDUCE:
        raise site.refused(f"operation {name} is none of an axis")
    axes, keep = site.axes(site["axes"]), int(bool(site["keep_dims"]))
    if name == "SUM":  # the one whose axes are an input at this opset
        return site.op("ReduceSum", site.x, site.ints(axes), keepdims=keep)
    return site.op(_REDUCE[name], site.x, axes=axes, keepdims=keep)


def topk(site: Site) -> list[str]:
    """``ITopKLayer``: values in order, and their indices."""
    axes = site.axes(site["axes"])
    if len(axes) != 1:
        raise site.refused(f"takes one axis, {len(axes)} are given")
    if site.has(1):
        count = site.op("Reshape", site.as_int64(1), site.ints([1]))
    else:
        count = site.ints([site["k"]])
    values, indices = site.ops(
        "TopK", [site.x, count], 2, axis=axes[0], largest=int(site["op"].name == "MAX"), sorted=1
    )
    return [values, _as_indices(site, indices)]


def _as_indices(site: Site, name: str) -> str:
    """Indices are INT32 unless the script asks for INT64, which is what ONNX has."""
    kind = site["indices_type"]
    wanted = ELEMENT[kind.name] if kind is not None else INT32
    return site.cast(name, wanted) if wanted == INT32 else name


def cumulative(site: Site) -> str:
    """``ICumulativeLayer``."""
    axis = site.axis(int(site.whole(1, "its axis")))
    return site.op(
        "CumSum",
        site.x,
        site.constant(axis, np.int64),
        exclusive=int(bool(site["exclusive"])),
        reverse=int(bool(site["reverse"])),
    )
