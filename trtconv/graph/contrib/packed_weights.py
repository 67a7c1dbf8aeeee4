"""MatMulNBits: a matrix of 2, 4 or 8 bits in blocks with a scale each (onnxruntime, docs/ContribOperators.md)."""

from __future__ import annotations

import numpy as np

from trtconv.graph.contrib.site import NotExpressible, Site

_BITS = (2, 4, 8)
_INT8_ACTIVATIONS = 4


def matmul_bits(site: Site) -> list[str]:
    """A [..., K] times W [K, N], W unpacked to A's type: (q - zero) scale, a block of K at a time; plus a bias.

    Raises:
        NotExpressible: computed weights, other numbers of bits, weights packed for one processor.
    """
    if site.attribute("weight_prepacked", 0):
        raise NotExpressible("its weights are packed for one processor (weight_prepacked)")
    if site.attribute("accuracy_level", 0) == _INT8_ACTIVATIONS:
        site.inexact(2e-2, "with accuracy_level 4 rounds its input to INT8")
    weight = _weight(site)
    product = site.add("MatMul", site.needed(0, "input"), site.like(weight, site.node.input[0]))
    return [site.add("Add", product, site.given(5)) if site.given(5) else product]


def _weight(site: Site) -> np.ndarray:
    """float32 [K, N]."""
    bits, block = site.attribute("bits", 4), site.attribute("block_size")
    rows, columns = site.attribute("K"), site.attribute("N")
    if bits not in _BITS:
        raise NotExpressible(f"its weights have {bits} bits")
    blocks = -(-rows // block)
    packed = site.constant(1, "weights B").reshape(columns, blocks, -1)
    values = _unpacked(packed, bits)[..., :block].astype(np.float32)
    scales = site.constant(2, "scales").astype(np.float32).reshape(columns, blocks)
    zeros = _zeros(site, columns, blocks, bits)
    if site.given(4):  # the block of each row, where rows are out of order
        order = site.constant(4, "g_idx").astype(np.int64)
        flat = values.reshape(columns, -1)[:, :rows]
        return np.ascontiguousarray(((flat - zeros[:, order]) * scales[:, order]).T)
    whole = (values - zeros[..., None]) * scales[..., None]
    return np.ascontiguousarray(whole.reshape(columns, -1)[:, :rows].T)


def _zeros(site: Site, columns: int, blocks: int, bits: int) -> np.ndarray:
    """float32 [N, blocks]; packed as the weights are, or numbers of their own."""
    if not site.given(3):
        return np.full((columns, blocks), float(1 << (bits - 1)), np.float32)
    held = site.constant(3, "zero_points")
    if held.dtype != np.uint8:
        return held.astype(np.float32).reshape(columns, blocks)
    return _unpacked(held.reshape(columns, -1), bits)[..., :blocks].astype(np.float32)


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """The numbers in the last axis of bytes, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    parts = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return parts.reshape(*packed.shape[:-1], -1)
