"""From recorded layers to ONNX: one function per kind of layer, in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trtconv.core.lazy import resolve
from trtconv.sources.network.emit.site import ELEMENT, FLOAT, Site
from trtconv.sources.network.enums import Member

_HERE = "trtconv.sources.network.emit"
EMITTERS: Mapping[str, str] = {
    "activation": f"{_HERE}.pointwise:activation",
    "assertion": f"{_HERE}.pointwise:assertion",
    "cast": f"{_HERE}.pointwise:cast",
    "concatenation": f"{_HERE}.shapes:concatenation",
    "constant": f"{_HERE}.shapes:constant",
    "convolution": f"{_HERE}.windows:convolution",
    "cumulative": f"{_HERE}.reductions:cumulative",
    "deconvolution": f"{_HERE}.windows:deconvolution",
    "dequantize": f"{_HERE}.pointwise:dequantize",
    "einsum": f"{_HERE}.products:einsum",
    "elementwise": f"{_HERE}.pointwise:elementwise",
    "fill": f"{_HERE}.shapes:fill",
    "fully_connected": f"{_HERE}.products:fully_connected",
    "gather": f"{_HERE}.indexing:gather",
    "grid_sample": f"{_HERE}.resampling:grid_sample",
    "identity": f"{_HERE}.pointwise:identity",
    "lrn": f"{_HERE}.normalizing:lrn",
    "matrix_multiply": f"{_HERE}.products:matrix_multiply",
    "nms": f"{_HERE}.indexing:nms",
    "non_zero": f"{_HERE}.indexing:non_zero",
    "normalization": f"{_HERE}.normalizing:normalization",
    "one_hot": f"{_HERE}.indexing:one_hot",
    "padding": f"{_HERE}.slicing:padding",
    "parametric_relu": f"{_HERE}.pointwise:parametric_relu",
    "pooling": f"{_HERE}.windows:pooling",
    "quantize": f"{_HERE}.pointwise:quantize",
    "reduce": f"{_HERE}.reductions:reduce",
    "resize": f"{_HERE}.resampling:resize",
    "reverse_sequence": f"{_HERE}.indexing:reverse_sequence",
    "scale": f"{_HERE}.normalizing:scale",
    "scatter": f"{_HERE}.indexing:scatter",
    "select": f"{_HERE}.pointwise:select",
    "shape": f"{_HERE}.shapes:shape",
    "shuffle": f"{_HERE}.shapes:shuffle",
    "slice": f"{_HERE}.slicing:slice_",
    "softmax": f"{_HERE}.normalizing:softmax",
    "squeeze": f"{_HERE}.shapes:squeeze",
    "topk": f"{_HERE}.reductions:topk",
    "unary": f"{_HERE}.pointwise:unary",
    "unsqueeze": f"{_HERE}.shapes:unsqueeze",
}
"""Row: ``function(site) -> names of the outputs``, one or a list."""


def emit(site: Site) -> list[str]:
    """Add a layer's nodes to a site.

    Returns:
        The names of its outputs, in order.

    Raises:
        Refused: something that ONNX, or this line, does not have; it names the layer and its line.
    """
    names: Any = resolve(EMITTERS[site.layer.kind_name])(site)
    return [names] if isinstance(names, str) else list(names)


def retyped(site: Site, name: str, dtype: Member) -> str:
    """An output whose type the script set; between floating-point types nothing is converted: all are FP32."""
    if dtype.name not in ELEMENT:
        raise site.refused(f"output type {dtype.name} is none that ONNX models here have")
    wanted = ELEMENT[dtype.name]
    quantizing = site.layer.kind_name in ("quantize", "dequantize")
    return name if (wanted == FLOAT and _floats(site, name)) or quantizing else site.cast(name, wanted)


def _floats(site: Site, name: str) -> bool:
    """Whether a result is FP32 already: made by nothing but its input, or by arithmetic on floating point."""
    return all(one is None or one.dtype == FLOAT for one in site.ins) and bool(site.ins)
