"""Attention of several heads: softmax(Q K^T / sqrt(size) + masks) V (arXiv 1706.03762), as ONNX Runtime's operators.

B batch, S queries, T keys (P of the cache, then new ones), N heads, H size of a head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from trtconv.graph.contrib.site import NotExpressible, Site

_MASKED = -10000.0


def multi_head(site: Site) -> list[str]:
    """Inputs: query, key, value [B, length, N H], bias, mask of keys, attention bias, cached keys and values."""
    site.refuse({8: "past_sequence_length", 9: "cache_indirection"})
    site.refuse_outputs({3: "qk"})
    heads = site.attribute("num_heads")
    tensors = [site.needed(i, f"{what} of its own") for i, what in enumerate(("query", "key", "value"))]
    if any(site.rank(tensor) != 3 for tensor in tensors):
        raise NotExpressible("its keys and values are packed")
    if site.given(3):
        widths = [site.known_size(tensor, 2, "its hidden state") for tensor in tensors]
        biases = site.split(site.given(3), widths, 0)
        tensors = [site.add("Add", tensor, bias) for tensor, bias in zip(tensors, biases, strict=True)]
    query, key, value = (split_heads(site, tensor, heads) for tensor in tensors)
    key, value = (
        site.add("Concat", past, new, axis=2) if past else new
        for past, new in ((site.given(6), key), (site.given(7), value))
    )
    masks = [site.given(5)] if site.given(5) else []
    if site.given(4):
        masks.append(_mask(site, site.given(4), query))
    if site.attribute("unidirectional", 0):
        masks.append(_causal(site, query, key))
    return [attend(site, query, key, value, masks), key, value]


def packed(site: Site) -> list[str]:
    """Inputs: x [B, S, D], weights [D, 3 N H] and bias of queries, keys and values, mask, cache [2, B, N, P, H]."""
    site.refuse({6: "past_sequence_length"})
    if site.attribute("do_rotary", 0) or site.attribute("past_present_share_buffer", 0):
        raise NotExpressible("do_rotary or past_present_share_buffer is set")
    heads, x, weights = site.attribute("num_heads"), site.needed(0, "input"), site.needed(1, "weights")
    total = site.known_size(weights, 1, "its weights")
    sizes = list(site.attribute("qkv_hidden_sizes") or [total // 3] * 3)
    projected = site.add("MatMul", x, weights)
    projected = site.add("Add", projected, site.given(2)) if site.given(2) else projected
    query, key, value = (split_heads(site, part, heads) for part in site.split(projected, sizes, 2))
    if site.given(4):
        pasts = [site.add("Squeeze", past, site.integers(0)) for past in site.split(site.given(4), [1, 1], 0)]
        key, value = (site.add("Concat", p, n, axis=2) for p, n in zip(pasts, (key, value), strict=True))
    masks = [site.given(5)] if site.given(5) else []
    if site.given(3):
        masks.append(_mask(site, site.given(3), query, key))
    if site.attribute("unidirectional", 0):
        masks.append(_causal(site, query, key))
    output = attend(site, query, key, value, masks)
    if len(site.node.output) < 2 or not site.node.output[1]:
        return [output]
    return [output, site.add("Concat", site.unsqueeze(key, 0), site.unsqueeze(value, 0), axis=0)]


def split_heads(site: Site, x: str, heads: int) -> str:
    """[B, length, N H] to [B, N, length, H]."""
    return site.add("Transpose", site.split_last(x, heads), perm=[0, 2, 1, 3])


def attend(site: Site, query: str, key: str, value: str, masks: Sequence[str]) -> str:
    """[B, S, N H] from heads apart; masks are added to the products."""
    scale = site.attribute("scale", 0.0) or 1 / math.sqrt(site.known_size(query, 3, "a head"))
    turned = site.add("Transpose", key, perm=[0, 1, 3, 2])
    scores = site.add("MatMul", site.add("Mul", query, site.like(scale, query)), turned)
    for mask in masks:
        scores = site.add("Add", scores, mask)
    return join_heads(site, site.add("MatMul", site.add("Softmax", scores, axis=-1), value))


def join_heads(site: Site, x: str) -> str:
    """[B, N, length, H] to [B, length, N H]."""
    return site.join_last(site.add("Transpose", x, perm=[0, 2, 1, 3]))


def _mask(site: Site, mask: str, query: str, key: str = "") -> str:
    """What to add: 0 where the mask is not 0, else ``mask_filter_value``.

    Raises:
        NotExpressible: positions instead of a mask, in a form that has several meanings.
    """
    if site.rank(mask) == 1:
        if not key or site.shape(mask)[0] != site.shape(query)[0] or site.shape(mask)[0] is None:
            raise NotExpressible("its mask holds positions, in a form that only their number would tell")
        places = site.count(site.size(key, 2))
        kept = site.add("Less", places, site.unsqueeze(site.cast(mask, TensorProto.INT64), 1))
    elif site.rank(mask) in (2, 3):
        kept = site.add("Greater", mask, site.like(0, mask))
    else:
        raise NotExpressible("its mask has four dimensions")
    kept = site.unsqueeze(kept, 1, 2) if site.rank(kept) == 2 else site.unsqueeze(kept, 1)
    return _added(site, kept, query)


def _causal(site: Site, query: str, key: str) -> str:
    """[S, T]: a query sees the keys of the cache and those up to its own."""
    count = site.size(key, 2)
    first = site.add("Squeeze", site.add("Sub", count, site.size(query, 2)), site.integers(0))
    rows = site.unsqueeze(site.count(site.size(query, 2), first), 1)
    return _added(site, site.add("LessOrEqual", site.count(count), rows), query)


def _added(site: Site, kept: str, query: str) -> str:
    low = site.attribute("mask_filter_value", _MASKED)
    limit = float(np.finfo(np.float16).min)  # enough for a softmax, and a number in every type
    return site.add("Where", kept, site.like(0.0, query), site.like(max(low, limit), query))
