"""GroupQueryAttention: several heads of queries share one of keys and values (arXiv 2305.13245), with a cache.

B batch, S new tokens, P cached ones, N heads of queries, G of keys and values, H size of a head. The cache grows: what
goes out has P + S tokens. ONNX Runtime can also write into a cache of a fixed size, which no operator of ONNX does.
"""

from __future__ import annotations

import math

from onnx import TensorProto

from trtconv.graph.contrib.attention import join_heads
from trtconv.graph.contrib.rotary import rotate
from trtconv.graph.contrib.site import NotExpressible, Site

_MASKED = -30000.0  # its exponential is zero beside any score, and it is a number in float16 too
_UNREAD = {11: "head_sink", 12: "k_scale", 13: "v_scale", 14: "q_norm_weight", 15: "k_norm_weight"}
_PLAIN = {"k_quant_type": b"NONE", "v_quant_type": b"NONE", "smooth_softmax": 0, "qk_output": 0, "causal": 1}


def grouped_attention(site: Site) -> list[str]:
    """Inputs: query [B, S, N H] or all three in one, key, value, two caches [B, G, P, H], lengths - 1 [B], tables."""
    _refuse(site)
    heads, groups = site.attribute("num_heads"), site.attribute("kv_num_heads")
    query, key, value = _three(site, heads, groups)
    _require_growing(site, query)
    before = _cached(site, query)
    places = site.count(site.size(query, 1))  # 0 .. S - 1
    positions = site.add("Add", site.unsqueeze(before, 1), places)  # [B, S]
    if site.attribute("do_rotary", 0):
        tables = site.needed(7, "cos_cache"), site.needed(8, "sin_cache")
        turned, neighbours = site.given(9) or positions, bool(site.attribute("rotary_interleaved", 0))
        query, key = (rotate(site, x, turned, tables, neighbours) for x in (query, key))
    key, value = (_grown(site, past, new, before) for past, new in ((site.given(3), key), (site.given(4), value)))
    return [_attend(site, query, key, value, positions), key, value]


def _refuse(site: Site) -> None:
    site.refuse(_UNREAD)
    site.refuse_outputs({3: "output_qk"})
    other = [name for name, usual in _PLAIN.items() if site.attribute(name, usual) not in (usual, -1)]
    if other:
        raise NotExpressible(f"{other[0]} is {site.attribute(other[0])!r}")


def _require_growing(site: Site, query: str) -> None:
    """Fail on a cache of fixed size, and say what cannot be seen.

    Raises:
        NotExpressible: the total that is said is not that of cache and new tokens.
    """
    if not site.given(3):
        return
    total, sizes = site.value(6), (site.shape(site.given(3))[2], site.shape(query)[1])
    if total is None or not all(isinstance(size, int) for size in sizes):
        site.notes.append("its cache is taken to grow by the new tokens; one of a fixed size needs a plugin")
    elif int(total) != sum(int(size or 0) for size in sizes):
        raise NotExpressible(f"its cache does not grow: {sizes[0]} tokens and {sizes[1]} more are {int(total)}")


def _three(site: Site, heads: int, groups: int) -> tuple[str, str, str]:
    """Query, key and value as [B, S, heads, H]."""
    query, key, value = site.needed(0, "query"), site.given(1), site.given(2)
    if not key:
        size = site.known_size(query, 2, "its hidden state") // (heads + 2 * groups)
        query, key, value = site.split(query, [heads * size, groups * size, groups * size], 2)
    parts = ((query, heads), (key, groups), (value, groups))
    query, key, value = (site.split_last(tensor, count) for tensor, count in parts)
    return query, key, value


def _cached(site: Site, query: str) -> str:
    """int64 [B]: tokens of each sequence that the cache holds."""
    ends = site.cast(site.needed(5, "seqlens_k"), TensorProto.INT64)
    ends = site.reshape(ends, -1)
    zeros = site.add("Sub", ends, ends)
    if not site.given(3):
        return zeros
    count = site.add("Sub", site.add("Add", ends, site.integers(1)), site.size(query, 1))
    return site.add("Min", site.add("Max", count, zeros), site.size(site.given(3), 2))


def _grown(site: Site, past: str, new: str, before: str) -> str:
    """[B, G, P + S, H]: the new tokens behind those of the cache that count, and zeros behind them."""
    if not past:
        return site.add("Transpose", new, perm=[0, 2, 1, 3])
    both = site.add("Concat", site.add("Transpose", past, perm=[0, 2, 1, 3]), new, axis=1)
    length = site.size(both, 1)
    places, held = site.unsqueeze(site.count(length), 0), site.unsqueeze(before, 1)
    moved = site.add("Add", site.add("Sub", places, held), site.size(past, 2))
    last = site.add("Sub", length, site.integers(1))
    chosen = site.add("Where", site.add("Less", places, held), places, site.add("Min", moved, last))
    found = site.add("GatherND", both, site.unsqueeze(chosen, 2), batch_dims=1)
    ends = site.add("Add", held, site.size(new, 1))
    kept = site.add("Where", site.unsqueeze(site.add("Less", places, ends), 2, 3), found, site.like(0.0, found))
    return site.add("Transpose", kept, perm=[0, 2, 1, 3])


def _attend(site: Site, query: str, key: str, value: str, positions: str) -> str:
    """[B, S, N H]; the heads of a group stand one below the other, so that keys need not be repeated."""
    heads, groups = site.attribute("num_heads"), site.attribute("kv_num_heads")
    size = site.known_size(query, 3, "a head")
    scale = site.attribute("scale", 0.0) or 1 / math.sqrt(size)
    query = site.add("Mul", site.add("Transpose", query, perm=[0, 2, 1, 3]), site.like(scale, query))
    stacked = site.reshape(query, 0, groups, -1, size)
    scores = site.add("MatMul", stacked, site.add("Transpose", key, perm=[0, 1, 3, 2]))
    count = site.size(key, 2)
    scores = site.reshape(scores, site.size(query, 0), heads, site.size(query, 2), count)
    if cap := site.attribute("softcap", 0.0):
        bend = site.add("Tanh", site.add("Div", scores, site.like(cap, scores)))
        scores = site.add("Mul", bend, site.like(cap, bend))
    scores = site.add("Add", scores, site.given(10)) if site.given(10) else scores
    scores = site.add("Where", _seen(site, positions, count), scores, site.like(_MASKED, scores))
    shares = site.reshape(site.add("Softmax", scores, axis=-1), site.size(query, 0), groups, -1, count)
    found = site.reshape(site.add("MatMul", shares, value), site.size(query, 0), heads, site.size(query, 2), size)
    return join_heads(site, found)


def _seen(site: Site, positions: str, count: str) -> str:
    """Boolean [B, 1, S, P + S]: keys up to the query's own, and not farther back than the window."""
    rows, keys = site.unsqueeze(positions, 1, 3), site.count(count)
    seen = site.add("LessOrEqual", keys, rows)
    window = site.attribute("local_window_size", -1)
    if window > 0:
        seen = site.add("And", seen, site.add("Greater", keys, site.add("Sub", rows, site.integers(window))))
    return seen
