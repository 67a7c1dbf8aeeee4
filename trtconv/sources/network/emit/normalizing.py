"""Layers that scale what they read: by constants, by its own mean and spread, by its sum."""

from __future__ import annotations

import numpy as np

from trtconv.core.records import Dim
from trtconv.sources.network.emit.site import Site


def scale(site: Site) -> str:
    """``IScaleLayer``: (x scale + shift) ^ power; empty weights are 1, 0 and 1."""
    name = site.x
    for key, op, nothing in (("scale", "Mul", 1), ("shift", "Add", 0), ("power", "Pow", 1)):
        weights = site.array(key)
        if weights.size and not np.all(weights == nothing):
            name = site.op(op, name, site.constant(_shaped(site, weights, key)))
    return name if name != site.x else site.op("Identity", name)


def _shaped(site: Site, weights: np.ndarray, key: str) -> np.ndarray:
    """Weights as they spread over the input."""
    mode = site["mode"].name
    if mode == "UNIFORM":
        return _counted(site, weights, [1], key).reshape(())
    axis = site.default_axis() if site["channel_axis"] is None else site.axis(site["channel_axis"])
    dims = site.known().dims[axis:]
    trailing = (1,) * (site.rank - axis - 1)
    if mode == "CHANNEL":
        return _counted(site, weights, [dims[0]], key).reshape(-1, *trailing)
    return _counted(site, weights, list(dims), key).reshape([d for d in dims if isinstance(d, int)])


def _counted(site: Site, weights: np.ndarray, dims: list[object], key: str) -> np.ndarray:
    sizes = [size for size in dims if isinstance(size, int)]
    if len(sizes) < len(dims):
        raise site.refused("mode ELEMENTWISE or CHANNEL on dimensions that are dynamic", "give the input fixed sizes")
    if weights.size != int(np.prod(sizes)):
        raise site.refused(f"{key} has {weights.size} weights where {' x '.join(map(str, sizes))} are needed")
    return weights


def softmax(site: Site) -> str:
    """``ISoftMaxLayer``."""
    axes = [site.default_axis()] if site["axes"] is None else site.axes(site["axes"])
    if len(axes) != 1:
        raise site.refused(f"takes one axis, {len(axes)} are given")
    return site.op("Softmax", site.x, axis=axes[0])


def lrn(site: Site) -> str:
    """``ILRNLayer``: x / (k + alpha / window * sum of squares) ^ beta, across channels."""
    values = {"alpha": float(site["alpha"]), "beta": float(site["beta"]), "bias": float(site["k"])}
    return site.op("LRN", site.x, size=int(site["window_size"]), **values)


def normalization(site: Site) -> str:
    """``INormalizationLayer``: (x - mean) / sqrt(variance + epsilon) over axes, times scale plus bias."""
    if site.lead:
        raise site.refused("has no meaning in a network with an implicit batch", "set source.implicit_batch to false")
    axes, groups = site.axes(site["axes"]), int(site["num_groups"])
    if groups > 1:
        return _groups(site, axes, groups)
    return _affine(site, _normal(site, site.x, axes, site.known().dims))


def _affine(site: Site, name: str) -> str:
    return site.op("Add", site.op("Mul", name, site.known(1).name), site.known(2).name)


def _normal(site: Site, x: str, axes: list[int], dims: tuple[Dim | None, ...]) -> str:
    """Mean 0 and spread 1: an operator of ONNX where one fits, the formula elsewhere."""
    epsilon, rank = float(site["epsilon"]), len(dims)
    inner = dims[axes[0] :]
    if axes == list(range(axes[0], rank)) and all(isinstance(size, int) for size in inner):
        ones = site.constant(np.ones([size for size in inner if isinstance(size, int)], np.float32))
        return site.op("LayerNormalization", x, ones, axis=axes[0] - rank, epsilon=epsilon)
    if axes == list(range(2, rank)) and isinstance(dims[1], int):
        ones, zeros = site.constant(np.ones(dims[1], np.float32)), site.constant(np.zeros(dims[1], np.float32))
        return site.op("InstanceNormalization", x, ones, zeros, epsilon=epsilon)
    middle = site.op("Sub", x, site.op("ReduceMean", x, axes=axes, keepdims=1))
    variance = site.op("ReduceMean", site.op("Mul", middle, middle), axes=axes, keepdims=1)
    return site.op("Div", middle, site.op("Sqrt", site.op("Add", variance, site.constant(epsilon, np.float32))))


def _groups(site: Site, axes: list[int], groups: int) -> str:
    """Channels in groups, each with its own mean and spread; the axes are those of the image."""
    dims = site.known().dims
    if axes != list(range(2, site.rank)) or not isinstance(dims[1], int) or dims[1] % groups:
        raise site.refused(f"{groups} groups need the axes of the image and a multiple of {groups} channels")
    shape = site.op("Shape", site.x)
    flat = site.op("Reshape", site.x, site.ints([0, groups, -1]))
    ones, zeros = site.constant(np.ones(groups, np.float32)), site.constant(np.zeros(groups, np.float32))
    normal = site.op("InstanceNormalization", flat, ones, zeros, epsilon=float(site["epsilon"]))
    if site["is_v2"]:
        return _affine(site, site.op("Reshape", normal, shape))
    return site.op("Reshape", _per_group(site, normal, groups), shape)


def _per_group(site: Site, normal: str, groups: int) -> str:
    """In the first form of this layer, scale and bias are one number per group."""
    each = [site.op("Reshape", site.known(index).name, site.ints([1, groups, 1])) for index in (1, 2)]
    return site.op("Add", site.op("Mul", normal, each[0]), each[1])
