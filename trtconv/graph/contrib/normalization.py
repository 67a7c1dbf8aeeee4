"""Normalizations over the last axis with what ONNX Runtime fuses into them: a sum before, tables looked up before."""

from __future__ import annotations

from onnx import TensorProto

from trtconv.graph.contrib.site import NotExpressible, Site

_SKIP_OUTPUTS = {1: "mean", 2: "inv_std_var"}


def skip_layer_norm(site: Site) -> list[str]:
    """Layer norm of input + skip + bias, and that sum: inputs input, skip, gamma, beta, bias."""
    site.refuse_outputs(_SKIP_OUTPUTS)
    total = _sum(site, 4)
    done = _layer_norm(site, total, site.needed(2, "gamma"), site.given(3), site.attribute("epsilon", 1e-12))
    return [done, "", "", total]


def skip_rms_norm(site: Site) -> list[str]:
    """The same with the root mean square, without beta: inputs input, skip, gamma, bias."""
    site.refuse_outputs(_SKIP_OUTPUTS)
    total = _sum(site, 3)
    return [_rms_norm(site, total, site.needed(2, "gamma"), site.attribute("epsilon", 1e-12)), "", "", total]


def rms_norm(site: Site) -> list[str]:
    """Root mean square norm: gamma x / sqrt(mean x^2 + epsilon) (arXiv 1910.07467).

    Raises:
        NotExpressible: over more than the last axis.
    """
    site.refuse_outputs({1: "inv_std_var"})
    x = site.needed(0, "input")
    if site.attribute("axis", -1) not in (-1, site.rank(x) - 1):
        raise NotExpressible(f"its axis is {site.attribute('axis', -1)}, not the last")
    return [_rms_norm(site, x, site.needed(1, "scale"), site.attribute("epsilon", 1e-5))]


def _sum(site: Site, bias: int) -> str:
    total = site.add("Add", site.needed(0, "input"), site.needed(1, "skip"))
    return site.add("Add", total, site.given(bias)) if site.given(bias) else total


def _layer_norm(site: Site, x: str, gamma: str, beta: str, epsilon: float) -> str:
    return site.add("LayerNormalization", x, gamma, *filter(None, [beta]), axis=-1, epsilon=epsilon)


def _rms_norm(site: Site, x: str, gamma: str, epsilon: float) -> str:
    """Computed in float32, as ONNX Runtime does: squares of float16 overflow from 256 on."""
    wide = site.wide(x)
    mean = site.reduce_mean(site.add("Mul", wide, wide))
    root = site.add("Sqrt", site.add("Add", mean, site.like(epsilon, mean)))
    return site.add("Mul", site.cast(site.add("Div", wide, root), site.b.dtype(x)), gamma)


def embed_layer_norm(site: Site) -> list[str]:
    """Layer norm of word, position and segment embeddings of BERT (arXiv 1810.04805), and their sum.

    Inputs: ids [batch, sequence], segments or none, word, position and segment tables, gamma, beta, mask, positions.
    """
    ids, word = site.needed(0, "input_ids"), site.needed(2, "word_embedding")
    total = site.add("Add", site.add("Gather", word, ids, axis=0), _positions(site, ids))
    if site.given(1):
        total = site.add("Add", total, site.add("Gather", site.needed(4, "segment_embedding"), site.given(1), axis=0))
    gamma, beta, epsilon = site.needed(5, "gamma"), site.needed(6, "beta"), site.attribute("epsilon", 1e-12)
    done = _layer_norm(site, total, gamma, beta, epsilon)
    return [done, _lengths(site, ids) if len(site.node.output) > 1 and site.node.output[1] else "", total]


def _positions(site: Site, ids: str) -> str:
    table = site.needed(3, "position_embedding")
    if site.given(8):
        return site.add("Gather", table, site.given(8), axis=0)
    return site.unsqueeze(site.add("Gather", table, site.count(site.size(ids, 1)), axis=0), 0)


def _lengths(site: Site, ids: str) -> str:
    """int32 [batch]: ones in the mask of each row; zeros without a mask."""
    mask = site.given(7)
    if mask:
        ones = site.add("Equal", mask, site.like(1, mask))
        return site.add("ReduceSum", site.cast(ones, TensorProto.INT32), site.integers(1), keepdims=0)
    zero = site.cast(site.number(0), TensorProto.INT32)
    return site.add("Expand", zero, site.size(ids, 0))
