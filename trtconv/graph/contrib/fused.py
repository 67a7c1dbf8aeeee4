"""What ONNX Runtime's optimizer joins: products and convolutions with what is done to their result."""

from __future__ import annotations

from typing import Any

from onnx import helper

from trtconv.graph.contrib.site import NotExpressible, Site

_PARAMETERS = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
_PLAIN = ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign")


def fused_matmul(site: Site) -> list[str]:
    """Alpha A B, either with its last two dimensions exchanged."""
    if site.attribute("transBatchA", 0) or site.attribute("transBatchB", 0):
        raise NotExpressible("it moves dimensions of the batch (transBatchA, transBatchB)")
    sides = []
    for position, name in enumerate(("transA", "transB")):
        tensor = site.needed(position, "factor")
        rank = site.rank(tensor)
        if site.attribute(name, 0) and rank > 1:
            tensor = site.add("Transpose", tensor, perm=[*range(rank - 2), rank - 1, rank - 2])
        sides.append(tensor)
    product, alpha = site.add("MatMul", *sides), site.attribute("alpha", 1.0)
    return [product if alpha == 1.0 else site.add("Mul", product, site.like(alpha, product))]


def fused_conv(site: Site) -> list[str]:
    """Activation of Conv(x, w, b) + z."""
    mine = {"activation", "activation_params"}
    own = {item.name: helper.get_attribute_value(item) for item in site.node.attribute if item.name not in mine}
    inputs = [site.needed(0, "input"), site.needed(1, "weights"), *filter(None, [site.given(2)])]
    made = site.b.add("Conv", inputs, "Conv", **own)
    made = site.add("Add", made, site.given(3)) if site.given(3) else made
    return [_activated(site, made, list(site.attribute("activation_params", [])))]


def fused_gemm(site: Site) -> list[str]:
    """Activation of Gemm(a, b, c)."""
    own = {name: site.attribute(name) for name in ("alpha", "beta", "transA", "transB")}
    inputs = [site.needed(0, "input"), site.needed(1, "weights"), *filter(None, [site.given(2)])]
    made = site.b.add("Gemm", inputs, "Gemm", **{name: value for name, value in own.items() if value is not None})
    kind = _activation(site)
    given = [site.attribute(f"activation_{name}") for name in _PARAMETERS.get(kind, ())]
    return [_activated(site, made, [value for value in given if value is not None])]


def _activation(site: Site) -> str:
    return bytes(site.attribute("activation", b"")).decode()


def _activated(site: Site, x: str, given: list[Any]) -> str:
    kind = _activation(site)
    if not kind:
        return x
    if kind == "Clip":
        low, high = given
        return site.add("Clip", x, site.like(low, x), site.like(high, x))
    if kind not in _PLAIN and kind not in _PARAMETERS:
        raise NotExpressible(f"its activation is {kind}")
    return site.add(kind, x, **dict(zip(_PARAMETERS.get(kind, ()), given, strict=False)))
