"""Padding said in numbers: ``auto_pad`` is deprecated in ONNX, and no runtime on the CPU takes it with dilations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import helper

from trtconv.graph import editing, fold

_PADDED = {"Conv", "MaxPool", "AveragePool", "LpPool"}


def say_pads(model: onnx.ModelProto) -> bool:
    """Replace ``auto_pad`` by ``pads``, in place, where the sizes are known or do not matter, as at a stride of 1.

    On an axis of size n, SAME gives ceil(n / stride) results, which need
    max((ceil(n / stride) - 1) stride + (kernel - 1) dilation + 1 - n, 0) pixels, the odd one at the end for SAME_UPPER
    and at the beginning for SAME_LOWER.
    """
    dims = fold.known_dims(model.graph) | {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    changed = False
    for node in model.graph.node:
        if node.op_type in _PADDED and node.domain in editing.ONNX_DOMAINS:
            pads = _pads(node, dims)
            if pads is not None:
                kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads")]
                del node.attribute[:]
                node.attribute.extend([*kept, helper.make_attribute("pads", pads)])
                changed = True
    return changed


def _pads(node: Any, dims: Any) -> list[int] | None:
    """The beginnings of all axes, then their ends; None where they are said already or cannot be known."""
    mode = editing.attribute(node, "auto_pad", b"NOTSET")
    kernel = editing.attribute(node, "kernel_shape", None) or (dims.get(node.input[1]) or ())[2:]
    if mode not in (b"SAME_UPPER", b"SAME_LOWER") or not kernel or not all(isinstance(k, int) for k in kernel):
        return None
    ones = [1] * len(kernel)
    strides, dilations = (editing.attribute(node, name, ones) for name in ("strides", "dilations"))
    sizes = (dims.get(node.input[0]) or ())[2:] or [None] * len(kernel)
    missing = [_missing(*axis) for axis in zip(sizes, kernel, strides, dilations, strict=True)]
    if None in missing:
        return None
    return _halves([number for number in missing if number is not None], upper=mode == b"SAME_UPPER")


def _missing(size: Any, kernel: int, stride: int, dilation: int) -> int | None:
    reach = (kernel - 1) * dilation + 1
    if stride == 1:
        return reach - 1
    return max((-(-size // stride) - 1) * stride + reach - size, 0) if isinstance(size, int) else None


def _halves(missing: Sequence[int], *, upper: bool) -> list[int]:
    small, large = [number // 2 for number in missing], [number - number // 2 for number in missing]
    return [*small, *large] if upper else [*large, *small]
