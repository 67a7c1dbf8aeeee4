"""Gelu and its relatives: y = x Phi(x) and what approximates it (arXiv 1606.08415). Same shape and type as x."""

from __future__ import annotations

import math

from trtconv.graph.contrib.site import Site


def gelu(site: Site) -> list[str]:
    """0.5 x (1 + erf(x / sqrt 2))."""
    return [_exact(site, site.needed(0, "input"))]


def bias_gelu(site: Site) -> list[str]:
    """The same of x + b, b along the last axis."""
    return [_exact(site, site.add("Add", site.needed(0, "input"), site.needed(1, "bias")))]


def fast_gelu(site: Site) -> list[str]:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), of x + b where there is a bias."""
    x = site.needed(0, "input")
    x = site.add("Add", x, site.given(1)) if site.given(1) else x
    square = site.add("Mul", x, x)
    root = math.sqrt(2 / math.pi)
    inner = site.add("Mul", square, site.like(0.044715 * root, x))
    angle = site.add("Mul", x, site.add("Add", inner, site.like(root, x)))
    return [_halved(site, x, site.add("Tanh", angle))]


def quick_gelu(site: Site) -> list[str]:
    """Sigmoid(alpha x) times x."""
    x = site.needed(0, "input")
    slope = site.attribute("alpha", 1.702)
    return [site.add("Mul", x, site.add("Sigmoid", site.add("Mul", x, site.like(slope, x))))]


def _exact(site: Site, x: str) -> str:
    return _halved(site, x, site.add("Erf", site.add("Mul", x, site.like(math.sqrt(0.5), x))))


def _halved(site: Site, x: str, sign: str) -> str:
    """0.5 x (1 + s)."""
    return site.add("Mul", site.add("Mul", x, site.like(0.5, x)), site.add("Add", sign, site.like(1.0, x)))
