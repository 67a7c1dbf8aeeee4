"""Pooling with Caffe's sizes, which are rounded up, and its averages."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from trtconv.sources.caffe.context import LayerContext, per_axis
from trtconv.sources.caffe.text import Message


@dataclass(frozen=True)
class _Window:
    """Along one axis.

    Attributes:
        kernel: its size.
        stride: of its moves.
        pad: at both ends.
        beyond: by how much the last window passes the padded end.
    """

    kernel: int
    stride: int
    pad: int
    beyond: int


def pooling(at: LayerContext) -> str | list[str]:
    """Largest value or average of windows; the second top says where in the image each largest value is.

    A window may pass the end by less than its size; Caffe then leaves out what is beyond, and counts padding in
    averages but nothing beyond it.
    """
    given = at.parameters("pooling_param")
    kind = given.choice("pool", ("MAX", "AVE", "STOCHASTIC"))
    if kind == "STOCHASTIC":
        raise at.refusal("draws random numbers", "use MAX or AVE, as for inference")
    if len(at.outputs) > 1 and (kind != "MAX" or given.flag("global_pooling", False)):
        raise at.refusal("has a second top, which windows of largest values have", "correct the prototxt")
    dims = at.shape()
    if len(dims) != 4:
        raise at.refusal(f"reads {list(dims)}; it needs four dimensions", "check the shapes of the inputs")
    if given.flag("global_pooling", False):
        return at.add("GlobalMaxPool" if kind == "MAX" else "GlobalAveragePool", [at.x])
    kernel, stride = per_axis(at, given, "kernel_size", None), per_axis(at, given, "stride", 1)
    pads = per_axis(at, given, "pad", 0)
    if not all(isinstance(dim, int) for dim in dims[2:]):
        return _of_any_size(at, kind, given, kernel, stride, pads)
    windows = [
        _window(at, given, *sizes, padded=any(pads))
        for sizes in zip(at.sizes(dims[2:], "an image"), kernel, stride, pads, strict=True)
    ]
    if len(at.outputs) > 1:
        return [_largest(at, windows), _places(at, windows, at.sizes(dims[2:], "an image"))]
    return _largest(at, windows) if kind == "MAX" else _average(at, windows)


def _rounds_up(given: Message) -> bool:
    """round_mode, or the ceil_mode that forks have."""
    if "ceil_mode" in given:
        return given.flag("ceil_mode", True)
    return given.choice("round_mode", ("CEIL", "FLOOR")) == "CEIL"


def _window(
    at: LayerContext, given: Message, size: int, kernel: int, stride: int, pad: int, *, padded: bool
) -> _Window:
    """O = ceil((n + 2 p - k) / s) + 1; with padding, a last window that would begin beyond n + p is left out."""
    if pad >= kernel:
        raise at.refusal(f"has pad {pad} and kernel {kernel}", "the pad must be smaller than the kernel")
    whole = (size + 2 * pad - kernel) / stride
    count = (math.ceil(whole) if _rounds_up(given) else math.floor(whole)) + 1
    last = (count - 1) * stride
    if last >= size + pad and padded:
        count, last = count - 1, last - stride
    if count < 1 or last >= size + pad:
        raise at.refusal(
            f"has a window without any value (size {size}, kernel {kernel}, stride {stride})",
            "give the inputs another size",
        )
    return _Window(kernel, stride, pad, max(0, last + kernel - size - 2 * pad))


def _largest(at: LayerContext, windows: list[_Window]) -> str:
    begin, end = [one.pad for one in windows], [one.pad + one.beyond for one in windows]
    return at.add("MaxPool", [at.x], **_moves(windows), pads=begin + end)


def _places(at: LayerContext, windows: list[_Window], size: list[int]) -> str:
    """Row times width plus column of each largest value; a pooling of its own, which goes where nothing reads this."""
    begin, end = [one.pad for one in windows], [one.pad + one.beyond for one in windows]
    wishes = [f"{at.layer.name}/again", f"{at.layer.name}/places"]
    index = at.b.several("MaxPool", [at.x], wishes, **_moves(windows), pads=begin + end)[1]
    inside = at.add("Mod", [index, at.constant(np.int64(size[0] * size[1]), "pixels")], "inside")
    return at.b.add("Cast", [inside], at.outputs[1], to=onnx.TensorProto.FLOAT)


def _moves(windows: list[_Window]) -> dict[str, Any]:
    return {"kernel_shape": [one.kernel for one in windows], "strides": [one.stride for one in windows]}


def _average(at: LayerContext, windows: list[_Window]) -> str:
    """ONNX counts all padding or none: where both kinds meet, the one that counts becomes zeros of the image."""
    begin, beyond = [one.pad for one in windows], [one.beyond for one in windows]
    x = at.x
    if any(begin) and any(beyond):
        sides = np.array([0, 0, *begin, 0, 0, *begin], np.int64)
        x, begin = at.add("Pad", [x, at.constant(sides, "sides")], "padded"), [0, 0]
    counted = int(any(begin))
    end = begin if counted else beyond
    return at.add("AveragePool", [x], **_moves(windows), pads=begin + end, count_include_pad=counted)


def _of_any_size(
    at: LayerContext, kind: str, given: Message, kernel: list[int], stride: list[int], pads: list[int]
) -> str:
    """Height or width are dynamic: ONNX's own rounding is Caffe's where nothing is padded and no window is empty."""
    if any(pads) or any(s > k for s, k in zip(stride, kernel, strict=True)):
        what = f"pads, or moves by more than its window, on an image of the dynamic size {list(at.shape()[2:])}"
        raise at.refusal(what, "give the inputs a fixed height and width")
    return at.add(
        "MaxPool" if kind == "MAX" else "AveragePool",
        [at.x],
        kernel_shape=kernel,
        strides=stride,
        ceil_mode=int(_rounds_up(given)),
    )


def region_pooling(at: LayerContext) -> str:
    """ROIPooling: the largest value in each cell of a region (image, x1, y1, x2, y2)."""
    given = at.parameters("roi_pooling_param")
    shape = [given.integer("pooled_h", 0), given.integer("pooled_w", 0)]
    rank = len(at.shape(1))
    rois = at.bottom(1) if rank == 2 else at.add("Reshape", [at.bottom(1), at.constant([-1, 5], "regions")], "rois")
    return at.add("MaxRoiPool", [at.x, rois], pooled_shape=shape, spatial_scale=given.number("spatial_scale", 1.0))


TABLE: dict[str, Callable[[LayerContext], str | list[str]]] = {"Pooling": pooling, "ROIPooling": region_pooling}
