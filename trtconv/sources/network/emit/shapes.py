"""Layers that arrange elements without computing: constants, shuffles, concatenations, dimensions of 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtconv.sources.network.emit.site import BOOL, ELEMENT, FLOAT, INT64, Site


def constant(site: Site) -> str:
    """``IConstantLayer``."""
    array, dims = site.array("weights"), tuple(site["shape"])
    if array.size != int(np.prod(dims)):
        raise site.refused(f"{array.size} weights do not fill {list(dims)}")
    return site.constant(array.reshape(dims))


def concatenation(site: Site) -> str:
    """``IConcatenationLayer``; a constant beside tensors with a batch is repeated for each of it."""
    axis = site.default_axis() if site["axis"] is None else site.axis(site["axis"], site.aligned_rank(0))
    names = [_for_each(site, index) for index in range(len(site.ins))]
    dtypes = {site.known(index).dtype for index in range(len(site.ins))}
    if len(dtypes) > 1 and dtypes <= {INT64, ELEMENT["INT32"]}:
        names = [site.cast(name, INT64) for name in names]
    return site.op("Concat", *names, axis=axis)


def _for_each(site: Site, index: int) -> str:
    one = site.known(index)
    if not site.lead or one.batched:
        return one.name
    batched = next(other for other in site.ins if other is not None and other.batched)
    batch = site.op("Slice", site.op("Shape", batched.name), site.ints([0]), site.ints([1]))
    shape = site.op("Concat", batch, site.ints([1] * one.rank), axis=0)
    return site.op("Expand", site.aligned(index), shape)


def shuffle(site: Site) -> str:
    """``IShuffleLayer``: transpose, reshape, transpose."""
    name = _transposed(site, site.x, site["first_transpose"], site.rank)
    rank = site.rank
    if site.has(1):
        name, rank = _reshaped_as(site, name)
    elif site["reshape_dims"] is not None:
        dims = list(site["reshape_dims"])
        rank = len(dims) + site.lead
        name = _reshaped(site, name, dims)
    name = _transposed(site, name, site["second_transpose"], rank)
    return name if name != site.x else site.op("Identity", name)


def _transposed(site: Site, name: str, given: Sequence[int] | None, rank: int) -> str:
    if given is None:
        return name
    order = [*range(site.lead), *(axis + site.lead for axis in given[: rank - site.lead])]
    if sorted(order) != list(range(rank)):
        raise site.refused(f"{tuple(given)} is no order of {rank - site.lead} dimensions")
    return name if order == list(range(rank)) else site.op("Transpose", name, perm=order)


def _reshaped(site: Site, name: str, dims: list[int]) -> str:
    """0 copies a dimension and -1 is what remains, as in ONNX; the batch of an implicit-batch network stays."""
    zeros_copy = bool(site["zero_is_placeholder"])
    if zeros_copy or 0 not in dims:
        return site.op("Reshape", name, site.ints([0] * site.lead + dims))
    if site.lead:
        raise site.refused("dimensions of size 0 in a network with an implicit batch")
    return site.op("Reshape", name, site.ints(dims), allowzero=1)


def _reshaped_as(site: Site, name: str) -> tuple[str, int]:
    """By a shape that is computed."""
    one = site.known(1)
    if one.rank != 1 or not isinstance(one.dims[0], int):
        raise site.refused("the number of dimensions that it is given is not known")
    shape = site.as_int64(1)
    if site.lead:
        shape = site.op("Concat", site.ints([0]), shape, axis=0)
    zeros = {} if site["zero_is_placeholder"] else {"allowzero": 1}
    return site.op("Reshape", name, shape, **zeros), one.dims[0] + site.lead


def squeeze(site: Site) -> str:
    """``ISqueezeLayer``."""
    if not site.has(1):
        return site.op("Squeeze", site.x)
    return site.op("Squeeze", site.x, site.ints([site.axis(axis) for axis in site.whole(1, "its axes").reshape(-1)]))


def unsqueeze(site: Site) -> str:
    """``IUnsqueezeLayer``."""
    axes = site.whole(1, "its axes").reshape(-1)
    rank = site.rank + len(axes)
    return site.op("Unsqueeze", site.x, site.ints([site.axis(axis, rank) for axis in axes]))


def shape(site: Site) -> str:
    """``IShapeLayer``; INT32 up to version 9."""
    if site.known().batched:
        raise site.refused("has no meaning in a network with an implicit batch", "set source.implicit_batch to false")
    name = site.op("Shape", site.x)
    return name if site.shape_type == INT64 else site.cast(name, site.shape_type)


def fill(site: Site) -> str:
    """``IFillLayer``: evenly spaced or random numbers."""
    dtype = ELEMENT[site["to_type"].name] if site["to_type"] is not None else FLOAT
    operation = site["operation"].name
    if operation == "LINSPACE":
        return site.cast(_spaced(site), dtype) if dtype != FLOAT else _spaced(site)
    if site.ins or dtype == BOOL:
        raise site.refused("random numbers of a shape that is computed")
    dims, alpha, beta = list(site["shape"]), float(site["alpha"]), float(site["beta"])
    if operation == "RANDOM_UNIFORM":
        return site.op("RandomUniform", shape=dims, low=alpha, high=beta)
    return site.op("RandomNormal", shape=dims, mean=alpha, scale=beta)


def _spaced(site: Site) -> str:
    """Alpha, plus beta for every step; inputs 0, 1 and 2 stand for shape, alpha and beta."""
    if site.has(0):
        if site.known(0).dims != (1,):
            raise site.refused("evenly spaced numbers of a computed shape have one dimension")
        count = site.op("Squeeze", site.as_int64(0), site.ints([0]))
        numbers = site.op("Range", site.constant(0, np.int64), count, site.constant(1, np.int64))
        start, delta = _number(site, 1, "alpha"), _number(site, 2, "beta")
        return site.op("Add", site.op("Mul", site.cast(numbers, FLOAT), delta), start)
    dims = tuple(site["shape"])
    first = float(site.whole(1, "alpha")) if site.has(1) else float(site["alpha"])
    steps = np.atleast_1d(site.whole(2, "beta") if site.has(2) else np.asarray(site["beta"]))
    if steps.size != len(dims):
        raise site.refused(f"evenly spaced numbers in {len(dims)} dimensions need a step for each")
    total = np.full(dims, first, np.float64)
    for axis, step in enumerate(steps):
        total += np.arange(dims[axis]).reshape([-1 if a == axis else 1 for a in range(len(dims))]) * float(step)
    return site.constant(total.astype(np.float32))


def _number(site: Site, index: int, name: str) -> str:
    return site.cast(site.known(index).name, FLOAT) if site.has(index) else site.constant(site[name], np.float32)
