"""Rotary position embedding (arXiv 2104.09864) with tables of cosines and sines, as ONNX Runtime has it."""

from __future__ import annotations

from trtconv.graph.contrib.site import NotExpressible, Site


def rotary_embedding(site: Site) -> list[str]:
    """Inputs: x [batch, sequence, hidden] or [batch, heads, sequence, size], positions, tables.

    Raises:
        NotExpressible: packed batches, a factor, a size of heads that nothing says.
    """
    if site.attribute("is_packed_batching", 0):
        raise NotExpressible("is_packed_batching is set")
    if site.attribute("scale", 1.0) != 1.0:
        raise NotExpressible("scale is not 1")
    x, cosines, sines = site.needed(0, "input"), site.needed(2, "cos_cache"), site.needed(3, "sin_cache")
    flat = site.rank(x) == 3
    heads = _split_heads(site, x, cosines) if flat else site.add("Transpose", x, perm=[0, 2, 1, 3])
    positions = _positions(site, site.needed(1, "position_ids"), heads)
    turned = rotate(site, heads, positions, (cosines, sines), bool(site.attribute("interleaved", 0)))
    return [site.join_last(turned) if flat else site.add("Transpose", turned, perm=[0, 2, 1, 3])]


def _split_heads(site: Site, x: str, cosines: str) -> str:
    """[batch, sequence, heads, size]."""
    count = site.attribute("num_heads", 0)
    if count:
        return site.split_last(x, count)
    return site.reshape(x, 0, 0, -1, 2 * site.known_size(cosines, 1, "cos_cache"))


def _positions(site: Site, given: str, heads: str) -> str:
    """int64 [batch or 1, sequence]; one number is that of the first."""
    if site.rank(given) == 2:
        return given
    return site.unsqueeze(site.add("Add", site.count(site.size(heads, 1)), given), 0)


def rotate(site: Site, x: str, positions: str, tables: tuple[str, str], interleaved: bool) -> str:
    """Turn pairs of the last axis by the angles of their positions; what is beyond the tables' width stays.

    Args:
        site: the node.
        x: [batch, sequence, heads, size].
        positions: [batch or 1, sequence].
        tables: cosines and sines, [positions, width / 2].
        interleaved: whether pairs are neighbours (0, 1), (2, 3), ... or half of the width apart.
    """
    half, size = site.known_size(tables[0], 1, "cos_cache"), site.known_size(x, 3, "a head")
    cosine, sine = (site.unsqueeze(site.add("Gather", table, positions, axis=0), 2) for table in tables)
    rest = site.slice(x, 2 * half, size, 3) if 2 * half < size else ""
    turning = site.slice(x, 0, 2 * half, 3) if rest else x
    if interleaved:
        pairs = site.reshape(turning, 0, 0, 0, half, 2)
        first, second = (site.reshape(site.slice(pairs, i, i + 1, 4), 0, 0, 0, half) for i in (0, 1))
    else:
        first, second = site.slice(turning, 0, half, 3), site.slice(turning, half, 2 * half, 3)
    left = site.add("Sub", site.add("Mul", first, cosine), site.add("Mul", second, sine))
    right = site.add("Add", site.add("Mul", second, cosine), site.add("Mul", first, sine))
    if interleaved:
        stacked = site.add("Concat", site.unsqueeze(left, 4), site.unsqueeze(right, 4), axis=4)
        turned = site.reshape(stacked, 0, 0, 0, 2 * half)
    else:
        turned = site.add("Concat", left, right, axis=3)
    return site.add("Concat", turned, rest, axis=3) if rest else turned
