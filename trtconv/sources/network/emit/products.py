"""Layers that multiply matrices."""

from __future__ import annotations

import numpy as np

from trtconv.sources.network.emit.site import Site
from trtconv.sources.network.enums import Member
from trtconv.sources.network.methods import MATRIX


def fully_connected(site: Site) -> str:
    """``IFullyConnectedLayer`` (until 9): the last three dimensions are one vector; the result ends in K, 1, 1."""
    outputs, kernel = int(site["num_output_channels"]), site.array("kernel")
    if site.rank - site.lead < 3:
        raise site.refused(f"needs three dimensions behind the batch, its input has {site.rank - site.lead}")
    if not outputs or not kernel.size or kernel.size % outputs:
        raise site.refused(f"its kernel has {kernel.size} weights, no multiple of {outputs} outputs")
    columns = kernel.size // outputs
    axis = site.rank - 3
    dims = site.known().dims[axis:]
    fixed = [dim for dim in dims if isinstance(dim, int)]
    if len(fixed) == 3 and int(np.prod(fixed)) != columns:
        raise site.refused(f"its kernel is for {columns} inputs, it is given {dims}")
    weights = site.constant(kernel.reshape(outputs, columns))
    bias = site.array("bias")
    inputs = [site.op("Flatten", site.x, axis=axis), weights]
    inputs += [site.constant(bias.reshape(outputs))] if bias.size else []
    flat = site.op("Gemm", *inputs, transB=1)
    if axis == 1:
        return site.op("Unsqueeze", flat, site.ints([2, 3]))
    leading = site.op("Slice", site.op("Shape", site.x), site.ints([0]), site.ints([axis]))
    return site.op("Reshape", flat, site.op("Concat", leading, site.ints([outputs, 1, 1]), axis=0))


def matrix_multiply(site: Site) -> str:
    """``IMatrixMultiplyLayer``."""
    left, right = _operation(site["op0"]), _operation(site["op1"])
    first, second = site.aligned(0), site.aligned(1)
    first = _turned(site, first, left, 0, -2)
    second = _turned(site, second, right, 1, -1)
    _same_ranks(site, left, right)
    product = site.op("MatMul", first, second)
    # A vector on the left loses the last but one dimension of the product, one on the right the last.
    gone = ([-2] if left == "VECTOR" else []) + ([-1] if right == "VECTOR" else [])
    return site.op("Squeeze", product, site.ints(gone)) if gone else product


def _operation(given: Member | bool) -> str:
    return MATRIX[bool(given)].name if isinstance(given, (bool, np.bool_)) else given.name


def _turned(site: Site, name: str, operation: str, index: int, axis: int) -> str:
    rank = site.aligned_rank(index)
    if operation == "VECTOR":
        return site.op("Unsqueeze", name, site.ints([axis]))
    if operation == "TRANSPOSE":
        return site.op("Transpose", name, perm=[*range(rank - 2), rank - 1, rank - 2])
    return name


def _same_ranks(site: Site, left: str, right: str) -> None:
    """Vectors have one dimension less than matrices; else the numbers must be equal."""
    ranks = [site.aligned_rank(index) + (kind == "VECTOR") for index, kind in enumerate((left, right))]
    if ranks[0] != ranks[1] or ranks[0] < 2:
        raise site.refused(
            f"its inputs have {site.aligned_rank(0)} and {site.aligned_rank(1)} dimensions, which TensorRT refuses too",
            "give both the same number, with a shuffle",
        )


def einsum(site: Site) -> str:
    """``IEinsumLayer``."""
    if site.lead:
        raise site.refused("has no meaning in a network with an implicit batch", "set source.implicit_batch to false")
    names = [site.known(index).name for index in range(len(site.ins))]
    return site.op("Einsum", *names, equation=site["equation"].replace(" ", ""))
