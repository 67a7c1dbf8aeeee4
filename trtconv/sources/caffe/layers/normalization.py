"""Layers that bring values to a common size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from trtconv.sources.caffe.context import LayerContext


def local_response(at: LayerContext) -> str:
    """LRN over neighbouring channels or within a channel.

    Across: x / (k + alpha / n sum(x^2))^beta. Within: x / (1 + alpha avg(x^2))^beta, padding counted, k not used.
    """
    given = at.parameters("lrn_param")
    size, alpha, beta = given.integer("local_size", 5), given.number("alpha", 1), given.number("beta", 0.75)
    if size % 2 == 0:
        raise at.refusal(f"has the even local_size {size}", "Caffe takes odd ones only")
    if given.choice("norm_region", ("ACROSS_CHANNELS", "WITHIN_CHANNEL")) == "ACROSS_CHANNELS":
        return at.add("LRN", [at.x], size=size, alpha=alpha, beta=beta, bias=given.number("k", 1))
    square = at.add("Mul", [at.x, at.x], "square")
    mean = at.add(
        "AveragePool", [square], "mean", kernel_shape=[size] * 2, pads=[(size - 1) // 2] * 4, count_include_pad=1
    )
    scaled = at.add("Mul", [mean, at.constant(np.float32(alpha), "alpha")], "scaled")
    shifted = at.add("Add", [scaled, at.constant(np.float32(1), "one")], "shifted")
    return at.add("Div", [at.x, at.add("Pow", [shifted, at.constant(np.float32(beta), "beta")], "power")])


def batch_norm(at: LayerContext) -> str:
    """(x - mean) / sqrt(var + eps); the third array divides the other two."""
    given = at.parameters("batch_norm_param")
    if not given.flag("use_global_stats", True):
        raise at.refusal(
            "takes mean and variance of the batch (use_global_stats: false)",
            "leave use_global_stats out, as for inference",
        )
    channels = _channels(at)
    mean, variance = at.array(0, (channels,), "mean"), at.array(1, (channels,), "variance")
    factor = float(at.array(2, (1,), "factor")[0])
    inverse = np.float32(1 / factor if factor else 0)
    neutral = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return _normalized(at, [*neutral, mean * inverse, variance * inverse], given.number("eps", 1e-5))


def _channels(at: LayerContext) -> int:
    dims = at.shape()
    return at.sizes(dims[1:2], "channels")[0] if len(dims) > 1 else 1


def _normalized(at: LayerContext, arrays: Sequence[Any], eps: float) -> str:
    names = [
        at.constant(value, name) for value, name in zip(arrays, ("scale", "shift", "mean", "variance"), strict=True)
    ]
    return at.add("BatchNormalization", [at.x, *names], epsilon=eps)


def segnet_norm(at: LayerContext) -> str:
    """BN of forks: arrays slope, bias, mean, variance."""
    shape = (_channels(at),)
    names = ("slope", "bias", "mean", "variance")
    arrays = [at.array(place, shape, name) for place, name in enumerate(names)]
    return _normalized(at, arrays, at.parameters("bn_param").number("eps", 1e-5))


def normalize(at: LayerContext) -> str:
    """SSD's layer: x / sqrt(sum(x^2) + eps) over the channels or all of an image, times a scale."""
    given, dims = at.parameters("norm_param"), at.shape()
    axes = list(range(1, len(dims))) if given.flag("across_spatial", True) else [1]
    square = at.add("Mul", [at.x, at.x], "square")
    total = at.add("ReduceSum", [square, at.constant(axes, "axes")], "sum", keepdims=1)
    above = at.add("Add", [total, at.constant(np.float32(given.number("eps", 1e-10)), "eps")], "above_zero")
    unit = at.add("Div", [at.x, at.add("Sqrt", [above], "norm")], "unit")
    size = 1 if given.flag("channel_shared", True) else _channels(at)
    scale = at.array(0, (size,), "scale").reshape(size, *[1] * (len(dims) - 2))
    return at.add("Mul", [unit, at.constant(scale, "scale")])


def mean_variance(at: LayerContext) -> str:
    """MVN: (x - mean) / (sqrt(var) + eps) per channel, or over all channels."""
    given, dims = at.parameters("mvn_param"), at.shape()
    axes = list(range(1 if given.flag("across_channels", False) else 2, len(dims)))
    mean = at.mean(at.x, axes, "mean")
    if not given.flag("normalize_variance", True):
        return at.add("Sub", [at.x, mean])
    centered = at.add("Sub", [at.x, mean], "centered")
    square = at.add("Mul", [centered, centered], "square")
    deviation = at.add("Sqrt", [at.mean(square, axes, "variance")], "deviation")
    eps = at.constant(np.float32(given.number("eps", 1e-9)), "eps")
    return at.add("Div", [centered, at.add("Add", [deviation, eps], "above_zero")])


def softmax(at: LayerContext) -> str:
    """Softmax along an axis."""
    axis = at.axis(at.parameters("softmax_param").integer("axis", 1), len(at.shape()))
    return at.add("Softmax", [at.x], axis=axis)


TABLE: dict[str, Callable[[LayerContext], str]] = {
    "LRN": local_response,
    "BatchNorm": batch_norm,
    "BN": segnet_norm,
    "Normalize": normalize,
    "MVN": mean_variance,
    "Softmax": softmax,
}

TRAINED = frozenset({"BatchNorm", "BN", "Normalize"})
