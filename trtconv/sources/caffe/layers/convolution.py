"""Convolution, deconvolution, inner products and embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from trtconv.sources.caffe.context import LayerContext, per_axis
from trtconv.sources.caffe.text import Message


def convolution(at: LayerContext) -> str:
    """Convolution: weights (outputs, inputs / group, kernel...); sizes are rounded down."""
    given, channels, rank = _spatial(at)
    depthwise = at.layer.type != "Convolution"
    group = channels if depthwise else given.integer("group", 1)
    outputs = _outputs(at, given, group, channels)
    kernel = per_axis(at, given, "kernel_size", None, rank)
    weight = at.array(0, (outputs, channels // group, *kernel), "weights")
    return _convolved(at, "Conv", given, weight, outputs, group)


def deconvolution(at: LayerContext) -> str:
    """Transposed convolution: weights (inputs, outputs / group, kernel...); size s (n - 1) + d (k - 1) + 1 - 2 p."""
    given, channels, rank = _spatial(at)
    group = given.integer("group", 1)
    outputs = _outputs(at, given, group, channels)
    shape = (channels, outputs // group, *per_axis(at, given, "kernel_size", None, rank))
    generated = at.blobs is not None and not at.blobs and given.message("weight_filler").text("type") == "bilinear"
    weight = bilinear(shape) if generated else at.array(0, shape, "weights")
    return _convolved(at, "ConvTranspose", given, weight, outputs, group)


def _spatial(at: LayerContext) -> tuple[Message, int, int]:
    """Parameters, number of channels and of spatial dimensions."""
    given, dims = at.parameters("convolution_param"), at.shape()
    if at.axis(given.integer("axis", 1), len(dims)) != 1:
        raise at.refusal("has another axis than 1", "permute its bottom so that channels are axis 1")
    if len(dims) < 3:
        raise at.refusal(f"reads {list(dims)}, which has no spatial dimensions", "check the shapes of the inputs")
    return given, at.sizes(dims[1:2], "channels")[0], len(dims) - 2


def _outputs(at: LayerContext, given: Message, group: int, channels: int) -> int:
    outputs = given.integer("num_output", 0)
    if outputs < 1 or group < 1 or channels % group or outputs % group:
        raise at.refusal(f"makes {outputs} channels of {channels} in {group} groups", "correct num_output and group")
    return outputs


def _convolved(at: LayerContext, op: str, given: Message, weight: Any, outputs: int, group: int) -> str:
    rank = weight.ndim - 2
    pads = per_axis(at, given, "pad", 0, rank)
    inputs = [at.x, at.constant(weight, "weight")]
    if given.flag("bias_term", True):
        inputs.append(at.constant(_bias(at, given, outputs), "bias"))
    return at.add(
        op,
        inputs,
        kernel_shape=list(weight.shape[2:]),
        strides=per_axis(at, given, "stride", 1, rank),
        pads=pads * 2,
        dilations=per_axis(at, given, "dilation", 1, rank),
        group=group,
    )


def _bias(at: LayerContext, given: Message, size: int) -> Any:
    """Of layers whose weights come from a filler, the bias does too."""
    if at.blobs is None or at.blobs:
        return at.array(1, (size,), "bias")
    return np.full(size, given.message("bias_filler").number("value", 0), np.float32)


def bilinear(shape: tuple[int, ...]) -> Any:
    """Caffe's BilinearFiller: w = (1 - |x / f - c|) (1 - |y / f - c|), f = ceil(k / 2), c = (k - 1) / 2 f."""
    size = shape[-1]
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(size) / factor - center)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def inner_product(at: LayerContext) -> str:
    """Y = x W^T + b over all axes from ``axis`` on: (..., K) becomes (..., N)."""
    given, dims = at.parameters("inner_product_param"), at.shape()
    axis = at.axis(given.integer("axis", 1), len(dims))
    inner = math.prod(at.sizes(dims[axis:], "what is multiplied"))
    outputs = given.integer("num_output", 0)
    transposed = given.flag("transpose", False)
    weight = at.array(0, (inner, outputs) if transposed else (outputs, inner), "weights")
    flat = at.x if (len(dims), axis) == (2, 1) else at.add("Flatten", [at.x], "flat", axis=axis)
    inputs = [flat, at.constant(weight, "weight")]
    if given.flag("bias_term", True):
        inputs.append(at.constant(at.array(1, (outputs,), "bias"), "bias"))
    if axis == 1:
        return at.add("Gemm", inputs, transB=int(not transposed))
    product = at.add("Gemm", inputs, "product", transB=int(not transposed))
    return at.add("Reshape", [product, at.target((*dims[:axis], outputs), "shape", ())])


def embed(at: LayerContext) -> str:
    """Row x of a table [input_dim, num_output], plus bias."""
    given = at.parameters("embed_param")
    shape = given.integer("input_dim", 0), given.integer("num_output", 0)
    index = at.add("Cast", [at.x], "index", to=TensorProto.INT64)
    table = at.constant(at.array(0, shape, "table"), "table")
    if not given.flag("bias_term", True):
        return at.add("Gather", [table, index], axis=0)
    row = at.add("Gather", [table, index], "row", axis=0)
    return at.add("Add", [row, at.constant(at.array(1, shape[1:], "bias"), "bias")])


TABLE: dict[str, Callable[[LayerContext], str]] = {
    "Convolution": convolution,
    "ConvolutionDepthwise": convolution,
    "DepthwiseConvolution": convolution,
    "Deconvolution": deconvolution,
    "InnerProduct": inner_product,
    "Embed": embed,
}

TRAINED = frozenset(TABLE)
