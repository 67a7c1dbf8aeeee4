"""Layers that work element by element."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import TensorProto

from trtconv.sources.network.emit.site import ELEMENT, FLOAT, INT32, INT64, Site

_PLAIN = {"RELU": "Relu", "SIGMOID": "Sigmoid", "TANH": "Tanh", "SOFTSIGN": "Softsign"}
_PARAMETRIC: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "LEAKY_RELU": ("LeakyRelu", ("alpha",)),
    "ELU": ("Elu", ("alpha",)),
    "THRESHOLDED_RELU": ("ThresholdedRelu", ("alpha",)),
    "HARD_SIGMOID": ("HardSigmoid", ("alpha", "beta")),
}


def activation(site: Site) -> str:
    """``IActivationLayer``; formulas as in NvInfer.h, ActivationType."""
    name = site["type"].name
    if name in _PLAIN:
        return site.op(_PLAIN[name], site.x)
    if name in _PARAMETRIC:
        op, names = _PARAMETRIC[name]
        return site.op(op, site.x, **{key: float(site[key]) for key in names})
    return _FORMULAS[name](site, site.x, float(site["alpha"]), float(site["beta"]))


def _selu(site: Site, x: str, alpha: float, beta: float) -> str:
    return site.op("Selu", x, alpha=alpha, gamma=beta)


def _clip(site: Site, x: str, alpha: float, beta: float) -> str:
    return site.op("Clip", x, site.constant(alpha, np.float32), site.constant(beta, np.float32))


def _softplus(site: Site, x: str, alpha: float, beta: float) -> str:
    inner = x if beta == 1 else _times(site, x, beta)
    return _times(site, site.op("Softplus", inner), alpha)


def _scaled_tanh(site: Site, x: str, alpha: float, beta: float) -> str:
    return _times(site, site.op("Tanh", _times(site, x, beta)), alpha)


def _gelu_erf(site: Site, x: str, alpha: float, beta: float) -> str:
    """0.5 x (1 + erf(x / sqrt 2))."""
    erf = site.op("Erf", _times(site, x, 0.5**0.5))
    return _times(site, site.op("Mul", x, _plus(site, erf, 1.0)), 0.5)


def _gelu_tanh(site: Site, x: str, alpha: float, beta: float) -> str:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    cube = site.op("Mul", site.op("Mul", x, x), x)
    inner = _times(site, site.op("Add", x, _times(site, cube, 0.044715)), (2 / np.pi) ** 0.5)
    return _times(site, site.op("Mul", x, _plus(site, site.op("Tanh", inner), 1.0)), 0.5)


def _times(site: Site, x: str, factor: float) -> str:
    return x if factor == 1 else site.op("Mul", x, site.constant(factor, np.float32))


def _plus(site: Site, x: str, term: float) -> str:
    return site.op("Add", x, site.constant(term, np.float32))


_FORMULAS: Mapping[str, Callable[[Site, str, float, float], str]] = {
    "SELU": _selu,
    "CLIP": _clip,
    "SOFTPLUS": _softplus,
    "SCALED_TANH": _scaled_tanh,
    "GELU_ERF": _gelu_erf,
    "GELU_TANH": _gelu_tanh,
}

_UNARY = {"RECIP": "Reciprocal", "ISINF": "IsInf", "ISNAN": "IsNaN"}


def unary(site: Site) -> str:
    """``IUnaryLayer``."""
    name = site["op"].name
    return site.op(_UNARY.get(name, name.capitalize()), site.x)


_BINARY = {
    "SUM": "Add",
    "PROD": "Mul",
    "MAX": "Max",
    "MIN": "Min",
    "SUB": "Sub",
    "DIV": "Div",
    "POW": "Pow",
    "EQUAL": "Equal",
    "GREATER": "Greater",
    "LESS": "Less",
    "AND": "And",
    "OR": "Or",
    "XOR": "Xor",
}


def elementwise(site: Site) -> str:
    """``IElementWiseLayer``: ranks must be equal, dimensions of 1 are repeated."""
    _same_ranks(site, (0, 1))
    left, right = _alike(site, (0, 1))
    name = site["op"].name
    if name != "FLOOR_DIV":
        return site.op(_BINARY[name], left, right)
    if site.known().dtype == FLOAT:
        return site.op("Floor", site.op("Div", left, right))
    return _floor_division(site, left, right)


def _floor_division(site: Site, left: str, right: str) -> str:
    """Of integers: ONNX divides towards zero, so 1 is taken off where the remainder has the other sign."""
    quotient = site.op("Div", left, right)
    rest = site.op("Sub", left, site.op("Mul", quotient, right))
    dtype = INT64 if INT64 in (site.known(0).dtype, site.known(1).dtype) else site.known(0).dtype
    zero = site.constant(0, np.int64 if dtype == INT64 else np.int32)
    signs = site.op("Xor", site.op("Less", rest, zero), site.op("Less", right, zero))
    off = site.op("And", signs, site.op("Not", site.op("Equal", rest, zero)))
    return site.op("Sub", quotient, site.cast(off, dtype))


def _same_ranks(site: Site, indexes: tuple[int, ...]) -> None:
    ranks = [site.aligned_rank(index) for index in indexes]
    if len(set(ranks)) > 1:
        shown = " and ".join(str([d if d is not None else -1 for d in site.known(index).dims]) for index in indexes)
        raise site.refused(
            f"its inputs have different numbers of dimensions ({shown}), which TensorRT refuses too",
            "give both the same number, with a shuffle or dimensions of 1",
        )


def _alike(site: Site, indexes: tuple[int, ...]) -> list[str]:
    """Inputs in one type: shapes were INT32 up to version 9 and are INT64 since."""
    names = [site.aligned(index) for index in indexes]
    dtypes = [site.known(index).dtype for index in indexes]
    if set(dtypes) == {INT32, INT64}:
        return [name if dtype == INT64 else site.cast(name, INT64) for name, dtype in zip(names, dtypes, strict=True)]
    return names


def select(site: Site) -> str:
    """``ISelectLayer``."""
    _same_ranks(site, (0, 1, 2))
    return site.op("Where", site.aligned(0), *_alike(site, (1, 2)))


def parametric_relu(site: Site) -> str:
    """``IParametricReLULayer``."""
    _same_ranks(site, (0, 1))
    return site.op("PRelu", site.x, site.aligned(1))


def identity(site: Site) -> str:
    """``IIdentityLayer``; with an output type it was the cast of versions before 8.6."""
    return site.x if site.layer.output_types else site.op("Identity", site.x)


def cast(site: Site) -> str:
    """``ICastLayer``; between floating-point types nothing is converted: all are FP32."""
    name = site["to_type"].name
    if name not in ELEMENT:
        raise site.refused(f"type {name} is none that ONNX models here have")
    wanted, has = ELEMENT[name], site.known().dtype
    return site.x if wanted == has == FLOAT else site.cast(site.x, wanted)


def assertion(site: Site) -> list[str]:
    """``IAssertionLayer``: computes nothing."""
    return []


def quantize(site: Site) -> str:
    """``IQuantizeLayer`` to INT8."""
    kind = site["to_type"]
    if kind is not None and kind.name != "INT8":
        raise site.refused(f"quantizes to {kind.name}; only INT8 is", "lower the FP32 model to that precision instead")
    return site.op("QuantizeLinear", site.x, *_scale(site), **_axis(site))


def dequantize(site: Site) -> str:
    """``IDequantizeLayer``."""
    if site.known().dtype != TensorProto.INT8:
        raise site.refused("reads something else than INT8")
    return site.op("DequantizeLinear", site.x, *_scale(site), **_axis(site))


def _scale(site: Site) -> tuple[str, str]:
    """Scale and a zero point of the same shape; a scale of one element counts as one number."""
    one = site.known(1)
    if one.value is not None and one.value.size == 1:
        return site.constant(one.value.reshape(()), np.float32), site.constant(0, np.int8)
    if one.rank == 0:
        return one.name, site.constant(0, np.int8)
    size = one.dims[0]
    if one.rank != 1 or not isinstance(size, int):
        raise site.refused(f"its scale has {one.rank} dimensions; one number, or one per channel, is")
    return one.name, site.constant(np.zeros(size, np.int8))


def _axis(site: Site) -> dict[str, int]:
    one = site.known(1)
    single = one.rank == 0 or (one.value is not None and one.value.size == 1)
    return {} if single else {"axis": site.axis(1 if site["axis"] is None or site["axis"] < 0 else site["axis"])}
