"""One small script per method and mode of TensorRT's network API, each with what NumPy says that it computes.

A case is the body of a script: ``network`` has the inputs named in ``inputs`` (as variables too), ``c(array)`` makes a
constant, ``out(tensor)`` marks an output. Explicit batch unless ``implicit``: then shapes are without it, and two
images are given.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.sources.network import formulas as f

IMAGE = (2, 3, 9, 10)


@dataclass(frozen=True)
class Case:
    """A script and its meaning.

    Attributes:
        body: of the script.
        expected: outputs from inputs, in order.
        inputs: shape by name; a second element is a NumPy type other than float32, a third a range of values.
        implicit: whether the network has an implicit batch.
        legacy: whether the body calls what TensorRT 10 and RTX no longer have.
        tolerance: relative.
    """

    body: str
    expected: Callable[..., Any]
    inputs: dict[str, tuple[Any, ...]] = field(default_factory=lambda: {"x": (IMAGE,)})
    implicit: bool = False
    legacy: bool = False
    tolerance: float = 1e-5

    def feeds(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(7)
        return {name: _filled(random, *given) for name, given in self.inputs.items()}

    def script(self) -> str:
        lines = [HEAD.format(flags=0 if self.implicit else EXPLICIT)]
        for name, (shape, *more) in self.inputs.items():
            dims = shape[1:] if self.implicit else shape
            kind = np.dtype(more[0] if more else np.float32).name
            lines.append(f"{name} = network.add_input({name!r}, trt.{kind}, {tuple(dims)})")
        extra = ["builder.max_batch_size = 4"] if self.implicit else []
        return "\n".join([*lines, *extra, self.body.strip(), TAIL])


EXPLICIT = "1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)"
HEAD = """
import numpy as np
import tensorrt as trt

builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
network = builder.create_network({flags})
A, E, U, R, P = trt.ActivationType, trt.ElementWiseOperation, trt.UnaryOperation, trt.ReduceOperation, trt.PoolingType
MODE = trt.PaddingMode


def w(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.3


def c(array, dtype=None):
    array = np.ascontiguousarray(np.asarray(array, dtype or np.float32)).reshape(np.shape(array))
    return network.add_constant(array.shape, array).get_output(0)


def out(tensor, name=None):
    tensor.name = name or "out%d" % network.num_outputs
    network.mark_output(tensor)


def add(method, *given, **attributes):
    layer = getattr(network, "add_" + method)(*given)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer.get_output(0)
"""
TAIL = "builder.build_serialized_network(network, builder.create_builder_config())"


def w(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 0.3


def _filled(random, shape, dtype=np.float32, low=None, high=None):
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if kind.kind == "i":
        return random.integers(-9 if low is None else low, 10 if high is None else high, shape).astype(kind)
    if low is not None:
        return random.uniform(low, high, shape).astype(kind)
    return random.standard_normal(shape).astype(kind)


def _pads(mode, n, k, s, b=0, a=0):
    """Padding, by PaddingMode's definition in NvInfer.h: (before, after, windows)."""
    if mode == "EXPLICIT_ROUND_DOWN":
        return b, a, (n + b + a - k) // s + 1
    if mode == "EXPLICIT_ROUND_UP":
        return b, a, -(-(n + b + a - k) // s) + 1
    if mode in ("CAFFE_ROUND_DOWN", "CAFFE_ROUND_UP"):
        up = -(-(n + 2 * b - k) // s) if mode.endswith("UP") else (n + 2 * b - k) // s
        return b, b, up + 1
    total = max((n - 1) // s * s + k - n, 0)
    return (
        (total // 2, total - total // 2, -(-n // s))
        if mode == "SAME_UPPER"
        else (total - total // 2, total // 2, -(-n // s))
    )


def conv_by_mode(x, mode, k, s, b, a):
    sizes = [_pads(mode, n, k, s, b, a) for n in x.shape[2:]]
    grown = [(p, max((o - 1) * s + k - n - p, 0)) for (p, _, o), n in zip(sizes, x.shape[2:], strict=True)]
    return f.convolution(x, w(4, 3, k, k), w(4, seed=2), (s, s), grown)[:, :, : sizes[0][2], : sizes[1][2]]


def pool_by_mode(x, mode, kind, k, s, b, a, count_padding=False):
    sizes = []
    for n in x.shape[2:]:
        p, _, o = _pads(mode, n, k, s, b, a)
        if mode.startswith("CAFFE") and (o - 1) * s >= n + b:
            o -= 1
        sizes.append((p, o, max((o - 1) * s + k - n - p, 0)))
    ends = [(p, e) for p, _, e in sizes]
    return f.pool(x, (k, k), (s, s), kind.lower()[:3], ends, [o for _, o, _ in sizes], count_padding)


CASES: dict[str, Case] = {}

# Convolutions.
CONV = "add('convolution_nd', x, {k}, {size}, w{kernel}, {bias}, {rest})"
for name, (size, kernel, rest, arguments) in {
    "plain": ((3, 3), (4, 3, 3, 3), "", {}),
    "stride and padding": (
        (3, 2),
        (4, 3, 3, 2),
        "stride_nd=(2, 1), padding_nd=(1, 2)",
        {"stride": (2, 1), "pads": ((1, 1), (2, 2))},
    ),
    "dilated": ((3, 3), (4, 3, 3, 3), "dilation_nd=(2, 3)", {"dilation": (2, 3)}),
    "pads at each end": ((3, 3), (4, 3, 3, 3), "pre_padding=(0, 1), post_padding=(2, 0)", {"pads": ((0, 2), (1, 0))}),
    "depthwise": ((3, 3), (6, 1, 3, 3), "num_groups=3", {"groups": 3}),
}.items():
    k = kernel[0]
    CASES[f"convolution, {name}"] = Case(
        f"out({CONV.format(k=k, size=size, kernel=kernel, bias=f'w({k}, seed=2)', rest=rest)})",
        lambda x, kernel=kernel, k=k, arguments=arguments: f.convolution(x, w(*kernel), w(k, seed=2), **arguments),
    )
CASES["convolution, flat kernel, no bias"] = Case(
    "out(add('convolution_nd', x, 4, (3, 3), w(4, 3, 3, 3).reshape(-1), trt.Weights()))\n"
    "out(add('convolution_nd', x, 4, (3, 3), trt.Weights(w(4, 3, 3, 3)), None))\n"
    "out(add('convolution_nd', x, 4, (3, 3), w(4, 3, 3, 3)))",
    lambda x: [f.convolution(x, w(4, 3, 3, 3))] * 3,
)
CASES["convolution, one dimension more"] = Case(
    "out(add('convolution_nd', x, 4, (3, 3), w(4, 3, 3, 3), w(4, seed=2)))",
    lambda x: np.stack([f.convolution(part, w(4, 3, 3, 3), w(4, seed=2)) for part in x]),
    {"x": ((2, 2, 3, 5, 6),)},
)
CASES["convolution, in three dimensions"] = Case(
    "out(add('convolution_nd', x, 2, (2, 1, 1), w(2, 3, 2, 1, 1)))",
    lambda x: (
        np.einsum("ncdhw,kc->nkdhw", x[:, :, :-1], w(2, 3, 2, 1, 1)[:, :, 0, 0, 0])
        + np.einsum("ncdhw,kc->nkdhw", x[:, :, 1:], w(2, 3, 2, 1, 1)[:, :, 1, 0, 0])
    ),
    {"x": ((2, 3, 4, 3, 3),)},
)
for mode, (k, s, b, a) in itertools.product(
    ("EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"), ((3, 2, 0, 0), (2, 3, 1, 0), (1, 2, 0, 0), (4, 3, 0, 1))
):
    CASES[f"convolution, {mode} {k}/{s} {b} {a}"] = Case(
        f"out(add('convolution_nd', x, 4, ({k}, {k}), w(4, 3, {k}, {k}), w(4, seed=2), stride_nd=({s}, {s}), "
        f"pre_padding=({b}, {b}), post_padding=({a}, {a}), padding_mode=MODE.{mode}))",
        lambda x, m=mode, k=k, s=s, b=b, a=a: conv_by_mode(x, m, k, s, b, a),
    )
for name, (rest, arguments) in {
    "plain": ("", {}),
    "stride and padding": ("stride_nd=(2, 3), padding_nd=(1, 0)", {"stride": (2, 3), "crop": ((1, 1), (0, 0))}),
    "pads at each end": (
        "stride_nd=(2, 2), pre_padding=(1, 0), post_padding=(0, 2)",
        {"stride": (2, 2), "crop": ((1, 0), (0, 2))},
    ),
    "SAME_UPPER": ("stride_nd=(2, 2), padding_mode=MODE.SAME_UPPER", {"stride": (2, 2), "crop": ((0, 1), (0, 1))}),
    "SAME_LOWER": ("stride_nd=(2, 2), padding_mode=MODE.SAME_LOWER", {"stride": (2, 2), "crop": ((1, 0), (1, 0))}),
}.items():
    CASES[f"deconvolution, {name}"] = Case(
        f"out(add('deconvolution_nd', x, 4, (3, 3), w(3, 4, 3, 3), w(4, seed=2), {rest}))",
        lambda x, arguments=arguments: f.deconvolution(x, w(3, 4, 3, 3), w(4, seed=2), **arguments),
        {"x": ((2, 3, 4, 5),)},
    )
CASES["deconvolution, groups"] = Case(
    "out(add('deconvolution_nd', x, 6, (2, 2), w(3, 2, 2, 2), None, num_groups=3, stride_nd=(2, 2)))",
    lambda x: f.deconvolution(x, w(3, 2, 2, 2), None, (2, 2), groups=3),
    {"x": ((2, 3, 4, 5),)},
)

# Pooling.
CASES["pooling, stride is 1 unless set"] = Case(
    "out(add('pooling_nd', x, P.MAX, (2, 2)))\nout(add('pooling_nd', x, P.AVERAGE, (3, 2), stride_nd=(2, 1)))",
    lambda x: [f.pool(x, (2, 2), (1, 1), "max"), f.pool(x, (3, 2), (2, 1), "mean")],
)
for name, counted in (("without", False), ("with", True)):  # apart: TensorRT-RTX 1.5 takes both for one layer
    CASES[f"pooling, mean {name} the padding"] = Case(
        "out(add('pooling_nd', x, P.AVERAGE, (3, 3), stride_nd=(2, 2), padding_nd=(1, 1), "
        f"average_count_excludes_padding={not counted}))",
        lambda x, counted=counted: f.pool(x, (3, 3), (2, 2), "mean", ((1, 1), (1, 1)), count_padding=counted),
    )
for mode in ("EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"):
    CASES[f"pooling, mean with the padding, {mode}"] = Case(
        "out(add('pooling_nd', x, P.AVERAGE, (4, 4), stride_nd=(3, 3), post_padding=(1, 1), "
        f"average_count_excludes_padding=False, padding_mode=MODE.{mode}))",
        lambda x, mode=mode: pool_by_mode(x, mode, "AVERAGE", 4, 3, 0, 1, count_padding=True),
    )
CASES["pooling, blend"] = Case(
    "out(add('pooling_nd', x, P.MAX_AVERAGE_BLEND, (2, 2), stride_nd=(2, 2), blend_factor=0.25))",
    lambda x: 0.75 * f.pool(x, (2, 2), (2, 2), "max") + 0.25 * f.pool(x, (2, 2), (2, 2), "mean"),
)
for mode, kind, (k, s, b, a) in itertools.product(
    ("EXPLICIT_ROUND_UP", "SAME_UPPER", "SAME_LOWER"), ("MAX", "AVERAGE"), ((3, 2, 0, 0), (2, 3, 1, 0), (4, 3, 0, 1))
):
    CASES[f"pooling, {kind} {mode} {k}/{s} {b} {a}"] = Case(
        f"out(add('pooling_nd', x, P.{kind}, ({k}, {k}), stride_nd=({s}, {s}), "
        f"pre_padding=({b}, {b}), post_padding=({a}, {a}), padding_mode=MODE.{mode}))",
        lambda x, m=mode, d=kind, k=k, s=s, b=b, a=a: pool_by_mode(x, m, d, k, s, b, a),
    )
for mode, kind in itertools.product(("CAFFE_ROUND_UP", "CAFFE_ROUND_DOWN"), ("MAX", "AVERAGE")):
    CASES[f"pooling, {kind} {mode}"] = Case(
        f"for size in ((3, 2, 1), (2, 2, 1), (2, 3, 1)):\n"
        f"    k, s, p = size\n"
        f"    layer = network.add_pooling(x, P.{kind}, (k, k))\n"
        f"    layer.stride, layer.padding, layer.padding_mode = (s, s), (p, p), MODE.{mode}\n"
        f"    out(layer.get_output(0))",
        lambda x, m=mode, d=kind: [pool_by_mode(x, m, d, k, s, p, p) for k, s, p in ((3, 2, 1), (2, 2, 1), (2, 3, 1))],
        legacy=True,
    )

# Element by element.
ACTIVATIONS: dict[str, tuple[str, Callable[..., Any]]] = {
    "RELU": ("", lambda x: np.maximum(x, 0)),
    "SIGMOID": ("", f.sigmoid),
    "TANH": ("", np.tanh),
    "LEAKY_RELU": ("", lambda x: np.where(x < 0, 0.01 * x, x)),
    "LEAKY_RELU of": ("alpha=0.2", lambda x: np.where(x < 0, 0.2 * x, x)),
    "ELU": ("", lambda x: np.where(x < 0, np.expm1(x), x)),
    "ELU of": ("alpha=0.5", lambda x: np.where(x < 0, 0.5 * np.expm1(x), x)),
    "SELU": ("", lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(x), x)),
    "SELU of": ("alpha=0.7, beta=1.3", lambda x: 1.3 * np.where(x < 0, 0.7 * np.expm1(x), x)),
    "SOFTSIGN": ("", lambda x: x / (1 + abs(x))),
    "SOFTPLUS": ("", lambda x: np.log1p(np.exp(x))),
    "SOFTPLUS of": ("alpha=1.5, beta=2.0", lambda x: 1.5 * np.log1p(np.exp(2 * x))),
    "CLIP": ("", lambda x: x),
    "CLIP of": ("alpha=-0.5, beta=0.25", lambda x: np.clip(x, -0.5, 0.25)),
    "HARD_SIGMOID": ("", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    "HARD_SIGMOID of": ("alpha=0.7, beta=0.3", lambda x: np.clip(0.7 * x + 0.3, 0, 1)),
    "SCALED_TANH": ("", np.tanh),
    "SCALED_TANH of": ("alpha=1.7, beta=0.6", lambda x: 1.7 * np.tanh(0.6 * x)),
    "THRESHOLDED_RELU": ("", lambda x: np.where(x > 1, x, 0)),
    "THRESHOLDED_RELU of": ("alpha=0.3", lambda x: np.where(x > 0.3, x, 0)),
    "GELU_ERF": ("", lambda x: 0.5 * x * (1 + f.erf(x / np.sqrt(2)))),
    "GELU_TANH": ("", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
}
for name, (rest, formula) in ACTIVATIONS.items():
    CASES[f"activation, {name}"] = Case(f"out(add('activation', x, A.{name.split()[0]}, {rest}))", formula)
UNARY: dict[str, tuple[Callable[..., Any], float, float]] = {
    "EXP": (np.exp, -2, 2),
    "LOG": (np.log, 0.1, 3),
    "SQRT": (np.sqrt, 0, 3),
    "RECIP": (lambda x: 1 / x, 0.3, 3),
    "ABS": (np.abs, -2, 2),
    "NEG": (np.negative, -2, 2),
    "SIN": (np.sin, -4, 4),
    "COS": (np.cos, -4, 4),
    "TAN": (np.tan, -1.2, 1.2),
    "SINH": (np.sinh, -2, 2),
    "COSH": (np.cosh, -2, 2),
    "ASIN": (np.arcsin, -0.9, 0.9),
    "ACOS": (np.arccos, -0.9, 0.9),
    "ATAN": (np.arctan, -3, 3),
    "ASINH": (np.arcsinh, -3, 3),
    "ACOSH": (np.arccosh, 1.1, 3),
    "ATANH": (np.arctanh, -0.9, 0.9),
    "CEIL": (np.ceil, -3, 3),
    "FLOOR": (np.floor, -3, 3),
    "ERF": (f.erf, -2, 2),
    "SIGN": (np.sign, -1, 1),
    "ROUND": (np.round, -3, 3),
}
for name, (formula, low, high) in UNARY.items():
    CASES[f"unary, {name}"] = Case(
        f"out(add('unary', x, U.{name}))", formula, {"x": (IMAGE, np.float32, low, high)}, tolerance=1e-5
    )
CASES["unary, halves are rounded to even"] = Case(
    "out(add('unary', add('elementwise', x, c([[0.5]]), E.PROD), U.ROUND))",
    lambda x: np.round(x * 0.5),
    {"x": ((4, 5), np.float32, -9, 9)},
)
CASES["unary, NOT"] = Case("out(add('unary', x, U.NOT))", np.logical_not, {"x": ((4, 5), bool)})
CASES["unary, ISINF and ISNAN"] = Case(
    "x = add('unary', x, U.SIGN)\ny = add('elementwise', y, c(np.zeros((1, 1))), E.PROD)\n"
    "q = add('elementwise', add('activation', x, A.RELU), y, E.DIV)\nout(add('unary', q, U.ISINF))\n"
    "out(add('unary', q, U.ISNAN))",
    lambda x, y: [x > 0, x <= 0],
    {"x": ((4, 30),), "y": ((4, 30),)},
)
BINARY: dict[str, Callable[..., Any]] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": np.divide,
    "FLOOR_DIV": np.floor_divide,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}
for name, formula in BINARY.items():
    CASES[f"elementwise, {name}"] = Case(
        f"out(add('elementwise', x, y, E.{name}))", formula, {"x": (IMAGE,), "y": ((1, 3, 1, 10), np.float32, 0.3, 2)}
    )
CASES["elementwise, POW"] = Case(
    "out(add('elementwise', x, y, E.POW))",
    np.power,
    {"x": (IMAGE, np.float32, 0.2, 3), "y": ((1, 3, 1, 10), np.float32, -2, 2)},
)
CASES["elementwise, of integers"] = Case(
    "\n".join(
        f"out(add('elementwise', x, y, E.{name}))" for name in ("SUM", "PROD", "FLOOR_DIV", "DIV", "MAX", "EQUAL")
    ),
    lambda x, y: [x + y, x * y, x // y, np.trunc(x / y), np.maximum(x, y), x == y],
    {"x": ((6, 7), np.int32), "y": ((6, 1), np.int32, 1, 5)},
)
CASES["elementwise, floor division by negative integers"] = Case(
    "out(add('elementwise', x, y, E.FLOOR_DIV))",
    lambda x, y: x // y,
    {"x": ((6, 7), np.int32), "y": ((6, 7), np.int32, -5, 0)},
)
CASES["elementwise, of truth values"] = Case(
    "\n".join(f"out(add('elementwise', x, y, E.{name}))" for name in ("AND", "OR", "XOR")),
    lambda x, y: [x & y, x | y, x ^ y],
    {"x": ((4, 5), bool), "y": ((4, 1), bool)},
)
CASES["select"] = Case(
    "out(add('select', m, x, y))", np.where, {"m": (IMAGE, bool), "x": (IMAGE,), "y": ((1, 3, 1, 1),)}
)
CASES["parametric relu"] = Case(
    "out(add('parametric_relu', x, c(w(1, 3, 1, 1))))", lambda x: np.where(x < 0, x * w(1, 3, 1, 1), x)
)
CASES["identity"] = Case("out(add('identity', x))", lambda x: x)
CASES["convolution, bias that is an empty array"] = Case(
    "out(add('convolution_nd', x, 4, (3, 3), trt.Weights(w(4, 3, 3, 3)), np.empty(0, np.float32)))",
    lambda x: f.convolution(x, w(4, 3, 3, 3)),
    legacy=True,
)
CASES["identity with an output type"] = Case(
    "layer = network.add_identity(x)\nlayer.set_output_type(0, trt.int32)\nout(layer.get_output(0))\n",
    lambda x: np.trunc(x).astype(np.int32),
    {"x": (IMAGE, np.float32, -3, 3)},
    legacy=True,
)
CASES["cast"] = Case(
    "out(add('cast', x, trt.int32))\nout(add('cast', add('cast', x, trt.int32), trt.float32))\n"
    "out(add('cast', x, trt.bool))",
    lambda x: [np.trunc(x).astype(np.int32), np.trunc(x), x != 0],
    {"x": (IMAGE, np.float32, -3, 3)},
)
CASES["cast to half and back"] = Case(
    "out(add('cast', add('cast', x, trt.float16), trt.float32))", lambda x: x, tolerance=1e-3
)
CASES["quantize and dequantize"] = Case(
    "s = c(np.float32(0.05))\nq = network.add_quantize(x, s, trt.int8)\n"
    "out(network.add_dequantize(q.get_output(0), s, trt.float32).get_output(0))\n"
    "t = c([0.02, 0.05, 0.1])\nq = network.add_quantize(x, t, trt.int8)\nq.axis = 1\n"
    "d = network.add_dequantize(q.get_output(0), t, trt.float32)\nd.axis = 1\nout(d.get_output(0))",
    lambda x: [
        np.clip(np.round(x / s), -128, 127) * s
        for s in (np.float32(0.05), np.float32([0.02, 0.05, 0.1])[:, None, None])
    ],
)

# Scaling and normalizing.
for mode, shape in (("UNIFORM", (1,)), ("CHANNEL", (3,)), ("ELEMENTWISE", (3, 9, 10))):
    CASES[f"scale, {mode}"] = Case(
        f"out(add('scale', x, trt.ScaleMode.{mode}, w{(*shape,)} + 2, "
        f"abs(w(*{shape}, seed=2)), abs(w(*{shape}, seed=3))))",
        lambda x, s=shape: np.power(x * g(abs(w(*s, seed=2))) + g(w(*s) + 2), g(abs(w(*s, seed=3)))),
        {"x": (IMAGE, np.float32, 0, 2)},
    )
CASES["scale, weights left out"] = Case(
    "S = trt.ScaleMode.CHANNEL\nout(add('scale', x, S, w(3)))\n"
    "out(add('scale', x, S, trt.Weights(), w(3), trt.Weights()))\n"
    "out(add('scale', x, S, None, None, None))",
    lambda x: [x + g(w(3)), x * g(w(3)), x],
)
CASES["scale, channels of another axis"] = Case(
    "out(add('scale_nd', x, trt.ScaleMode.CHANNEL, w(9), w(9, seed=2), None, 2))\n"
    "out(add('scale_nd', x, trt.ScaleMode.ELEMENTWISE, w(9, 10), None, None, 2))",
    lambda x: [x * w(9, seed=2)[:, None] + w(9)[:, None], x + w(9, 10)],
)
CASES["scale, five dimensions"] = Case(
    "out(add('scale', x, trt.ScaleMode.CHANNEL, w(4)))", lambda x: x + g(w(4)), {"x": ((2, 3, 4, 5, 6),)}
)
for shape, axis in (((2, 3, 4, 5), 1), ((3, 4, 5), 0), ((4, 5), 0), ((2, 3, 4, 5, 6), 2)):
    CASES[f"softmax, {len(shape)} dimensions"] = Case(
        "out(add('softmax', x))\nout(add('softmax', x, axes=1 << (len(x.shape) - 1)))",
        lambda x, axis=axis: [f.softmax(x, axis), f.softmax(x, -1)],
        {"x": (shape,)},
    )
CASES["lrn"] = Case(
    "out(add('lrn', x, 5, 1e-1, 0.75, 2.0))", lambda x: f.lrn(x, 5, 0.1, 0.75, 2.0), {"x": ((2, 7, 4, 5),)}
)
CASES["normalization, of the image"] = Case(
    "out(add('normalization', x, c(w(1, 3, 1, 1)), c(w(1, 3, 1, 1, seed=2)), 0b1100))",
    lambda x: f.normal(x, (2, 3)) * w(1, 3, 1, 1) + w(1, 3, 1, 1, seed=2),
)
CASES["normalization, of the last axis"] = Case(
    "out(add('normalization', x, c(w(1, 1, 8)), c(w(1, 1, 8, seed=2)), 0b100, epsilon=1e-2))",
    lambda x: f.normal(x, (2,), 1e-2) * w(1, 1, 8) + w(1, 1, 8, seed=2),
    {"x": ((2, 5, 8),)},
)
CASES["normalization, of an axis in the middle"] = Case(
    "out(add('normalization', x, c(w(1, 5, 1)), c(w(1, 5, 1, seed=2)), 0b010))",
    lambda x: f.normal(x, (1,)) * w(1, 5, 1) + w(1, 5, 1, seed=2),
    {"x": ((2, 5, 8),)},
)


def group_normal(x, groups):
    return f.normal(x.reshape(x.shape[0], groups, -1), (2,)).reshape(x.shape)


CASES["normalization, of groups"] = Case(
    "out(add('normalization', x, c(w(1, 2, 1, 1)), c(w(1, 2, 1, 1, seed=2)), 0b1100, num_groups=2))",
    lambda x: group_normal(x, 2) * w(1, 2, 1, 1).repeat(3, 1) + w(1, 2, 1, 1, seed=2).repeat(3, 1),
    {"x": ((2, 6, 4, 5),)},
)
CASES["normalization of groups, second form"] = Case(
    "out(add('normalization_v2', x, c(w(1, 6, 1, 1)), c(w(1, 6, 1, 1, seed=2)), 0b1100, num_groups=2))",
    lambda x: group_normal(x, 2) * w(1, 6, 1, 1) + w(1, 6, 1, 1, seed=2),
    {"x": ((2, 6, 4, 5),)},
)


def g(weights):
    """Weights of channels as they spread over an image."""
    return weights.reshape(-1, 1, 1) if weights.ndim == 1 and weights.size > 1 else weights


# Products.
MATRIX = "M = trt.MatrixOperation\n"
CASES["matrix multiply"] = Case(
    MATRIX
    + "out(add('matrix_multiply', x, M.NONE, y, M.NONE))\nout(add('matrix_multiply', y, M.TRANSPOSE, x, M.TRANSPOSE))",
    lambda x, y: [x @ y, np.swapaxes(x @ y, 1, 2)],
    {"x": ((4, 3, 5),), "y": ((1, 5, 6),)},
)
CASES["matrix multiply, vectors"] = Case(
    MATRIX
    + "out(add('matrix_multiply', m, M.NONE, v, M.VECTOR))\nout(add('matrix_multiply', v, M.VECTOR, m, M.TRANSPOSE))\n"
    "out(add('matrix_multiply', v, M.VECTOR, v, M.VECTOR))",
    lambda m, v: [m @ v, v @ m.T, v @ v],
    {"m": ((4, 5),), "v": ((5,),)},
)
CASES["matrix multiply, as version 5 had it"] = Case(
    "out(add('matrix_multiply', x, False, y, True))",
    lambda x, y: x @ y.T,
    {"x": ((4, 5),), "y": ((6, 5),)},
    legacy=True,
)
CASES["einsum"] = Case(
    "out(add('einsum', [x, y], 'bij, kj -> bki'))",
    lambda x, y: np.einsum("bij,kj->bki", x, y),
    {"x": ((2, 3, 4),), "y": ((5, 4),)},
)
CASES["fully connected"] = Case(
    "out(add('fully_connected', x, 7, w(7, 60), w(7, seed=2)))",
    lambda x: (x.reshape(2, -1) @ w(7, 60).T + w(7, seed=2))[..., None, None],
    {"x": ((2, 3, 4, 5),)},
    legacy=True,
)
CASES["fully connected, five dimensions"] = Case(
    "out(add('fully_connected', x, 7, w(7, 12)))",
    lambda x: (x.reshape(2, 5, -1) @ w(7, 12).T)[..., None, None],
    {"x": ((2, 5, 12, 1, 1),)},
    legacy=True,
)

# Along an axis.
for name, formula in {"SUM": np.sum, "PROD": np.prod, "MAX": np.max, "MIN": np.min, "AVG": np.mean}.items():
    CASES[f"reduce, {name}"] = Case(
        f"out(add('reduce', x, R.{name}, 0b1100, True))\nout(add('reduce', x, R.{name}, 0b0010, False))",
        lambda x, formula=formula: [formula(x, (2, 3), keepdims=True), formula(x, 1)],
        {"x": ((2, 3, 4, 5),)},
    )


def topk(x, k, axis, sign):
    order = np.take(np.argsort(-sign * x, axis, kind="stable"), range(k), axis)
    return [np.take_along_axis(x, order, axis), order]


CASES["topk"] = Case(
    "T = trt.TopKOperation\n"
    "for layer in (network.add_topk(x, T.MAX, 3, 1 << 2), network.add_topk(x, T.MIN, 2, 1 << 1)):\n"
    "    out(layer.get_output(0))\n    out(layer.get_output(1))",
    lambda x: [*topk(x, 3, 2, 1), *topk(x, 2, 1, -1)],
)
CASES["cumulative"] = Case(
    "S = trt.CumulativeOperation.SUM\n"
    "out(add('cumulative', x, c(np.int32(2), np.int32), S, False, False))\n"
    "out(add('cumulative', x, c(np.int32(1), np.int32), S, True, False))\n"
    "out(add('cumulative', x, c(np.int32(1), np.int32), S, False, True))",
    lambda x: [np.cumsum(x, 2), np.cumsum(x, 1) - x, np.flip(np.cumsum(np.flip(x, 1), 1), 1)],
)

# Arranging.
CASES["concatenation"] = Case(
    "out(add('concatenation', [x, y]))\nout(add('concatenation', [x, x], axis=3))",
    lambda x, y: [np.concatenate([x, y], 1), np.concatenate([x, x], 3)],
    {"x": (IMAGE,), "y": ((2, 2, 9, 10),)},
)
CASES["constant"] = Case(
    "out(add('elementwise', x, c(w(1, 3, 9, 10)), E.SUM))\nout(add('identity', c(w(3, 2))))",
    lambda x: [x + w(1, 3, 9, 10), w(3, 2)],
)
CASES["shuffle"] = Case(
    "out(add('shuffle', x, first_transpose=(0, 2, 3, 1), reshape_dims=(0, -1, 3), second_transpose=(0, 2, 1)))\n"
    "out(add('shuffle', x, reshape_dims=(0, 0, -1)))\nout(add('shuffle', x, second_transpose=(3, 1, 2, 0)))\n"
    "out(add('shuffle', x))",
    lambda x: [
        x.transpose(0, 2, 3, 1).reshape(2, -1, 3).transpose(0, 2, 1),
        x.reshape(2, 3, -1),
        x.transpose(3, 1, 2, 0),
        x,
    ],
)
CASES["shuffle to a shape that is computed"] = Case(
    "layer = network.add_shuffle(y)\nlayer.set_input(1, add('shape', x))\nout(layer.get_output(0))",
    lambda x, y: y.reshape(x.shape),
    {"x": ((2, 3, 4),), "y": ((4, 6),)},
)
CASES["shape"] = Case("out(add('shape', x))", lambda x: np.array(x.shape))
CASES["squeeze and unsqueeze"] = Case(
    "out(add('squeeze', x, c(np.array([0, 2]), np.int64)))\nout(add('unsqueeze', x, c(np.array([1, 3]), np.int64)))",
    lambda x: [x[0, :, 0], x[:, None, :, None]],
    {"x": ((1, 3, 1, 5),)},
)
CASES["slice"] = Case(
    "out(add('slice', x, (0, 1, 2, 3), (2, 2, 3, 2), (1, 1, 2, 3)))\n"
    "out(add('slice', x, (1, 2, 8, 0), (2, 3, 9, 10), (-1, -1, -1, 1)))\n"
    "out(add('slice', x, (0, 2, 6, 0), (1, 2, 3, 4), (1, -2, -3, 2)))",
    lambda x: [x[:, 1:3, 2:7:2, 3:7:3], x[::-1, ::-1, ::-1], x[:1, 2::-2, 6::-3, 0:8:2]],
)
BORDER = "S = trt.SampleMode\nout(add('slice', x, (0, 0, -2, 3), (2, 3, 14, 9), (1, 1, 1, 1), mode=S.{}))"
for mode, numpy_mode in {"WRAP": "wrap", "CLAMP": "edge", "REFLECT": "reflect", "FILL": "constant"}.items():
    CASES[f"slice, {mode}"] = Case(
        BORDER.format(mode), lambda x, mode=numpy_mode: np.pad(x, ((0, 0), (0, 0), (2, 3), (0, 2)), mode)[:, :, :, 3:12]
    )
CASES["slice, filled with a value"] = Case(
    "layer = network.add_slice(x, (0, 0, -2, -1), (2, 3, 6, 6), (1, 1, 2, 2))\nlayer.mode = trt.SampleMode.FILL\n"
    "layer.set_input(4, c(np.float32(1.5)))\nout(layer.get_output(0))",
    lambda x: np.pad(x, ((0, 0), (0, 0), (2, 5), (1, 5)), constant_values=1.5)[:, :, :12:2, :12:2],
)
CASES["slice by what is computed"] = Case(
    "layer = network.add_slice(x, (0, 1, 0, 0), (0, 0, 0, 0), (1, 1, 1, 2))\n"
    "layer.set_input(2, add('shape', y))\nout(layer.get_output(0))",
    lambda x, y: x[:, 1:3, :4, 0:10:2],
    {"x": (IMAGE,), "y": ((2, 2, 4, 5),)},
)
CASES["padding"] = Case(
    "out(add('padding_nd', x, (1, 0), (2, 3)))\nout(add('padding_nd', x, (1, -1), (0, 2)))\n"
    "out(add('padding_nd', x, (-2, -1), (-1, 0)))",
    lambda x: [
        np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3))),
        np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 2)))[:, :, :, 1:],
        x[:, :, 2:-1, 1:],
    ],
)
CASES["fill"] = Case(
    "layer = network.add_fill((6,), trt.FillOperation.LINSPACE)\nlayer.alpha, layer.beta = 1.5, 0.25\n"
    "out(add('elementwise', x, layer.get_output(0), E.SUM))",
    lambda x: x + 1.5 + 0.25 * np.arange(6),
    {"x": ((6,),)},
)
CASES["fill, in two dimensions"] = Case(
    "layer = network.add_fill((4, 3), trt.FillOperation.LINSPACE)\nlayer.set_input(1, c(np.float32(0.5)))\n"
    "layer.set_input(2, c([2.0, 0.25]))\nout(add('elementwise', x, layer.get_output(0), E.SUM))",
    lambda x: x + 0.5 + 2 * np.arange(4)[:, None] + 0.25 * np.arange(3),
    {"x": ((4, 3),)},
)

# By index.
CASES["gather"] = Case(
    "i = c([[2, 0], [1, 1]], np.int32)\nout(add('gather', x, i, 1))\nout(add('gather', x, i, 3))\n"
    "out(add('gather', x, c(np.int32(2), np.int32), 2))",
    lambda x: [np.take(x, [[2, 0], [1, 1]], 1), np.take(x, [[2, 0], [1, 1]], 3), x[:, :, 2]],
)
CASES["gather, by indices that are an input"] = Case(
    "out(add('gather', x, i, 0))", lambda x, i: x[i], {"x": ((6, 5),), "i": ((3, 2), np.int32, 0, 6)}
)
CASES["gather, dimensions shared"] = Case(
    "out(add('gather', x, i, 1, num_elementwise_dims=1))\nout(add('gather', x, j, 2, num_elementwise_dims=1))",
    lambda x, i, j: [np.stack([a[b] for a, b in zip(x, i)]), np.stack([a[:, b] for a, b in zip(x, j)])],  # noqa: B905
    {"x": ((2, 4, 5),), "i": ((2, 3), np.int32, 0, 4), "j": ((2, 3, 2), np.int32, 0, 5)},
)
CASES["gather, elements"] = Case(
    "layer = network.add_gather_v2(x, i, trt.GatherMode.ELEMENT)\nlayer.axis = 1\nout(layer.get_output(0))",
    lambda x, i: np.take_along_axis(x, i, 1),
    {"x": ((2, 4, 5),), "i": ((2, 3, 5), np.int32, 0, 4)},
)
CASES["gather, by places"] = Case(
    "out(add('gather_v2', x, i, trt.GatherMode.ND))",
    lambda x, i: x[i[:, 0], i[:, 1]],
    {"x": ((4, 4, 5),), "i": ((3, 2), np.int32, 0, 4)},
)


def scattered(x, u):
    y = x.copy()
    y[[2, 0]] = u
    return y


CASES["scatter, by places"] = Case(
    "out(add('scatter', x, c([[2], [0]], np.int32), u, trt.ScatterMode.ND))",
    scattered,
    {"x": ((4, 5),), "u": ((2, 5),)},
)
CASES["scatter, elements"] = Case(
    "layer = network.add_scatter(x, c([[3, 0, 1, 2, 3]], np.int32), u, trt.ScatterMode.ELEMENT)\nlayer.axis = 0\n"
    "out(layer.get_output(0))",
    lambda x, u: np.where(np.arange(4)[:, None] == np.array([3, 0, 1, 2, 3]), u, x),
    {"x": ((4, 5),), "u": ((1, 5),)},
)
CASES["one hot"] = Case(
    "out(add('one_hot', i, c([-1.0, 2.0]), c(np.int32(4), np.int32), -1))\n"
    "out(add('one_hot', i, c([-1.0, 2.0]), c(np.int32(4), np.int32), 0))",
    lambda i: [np.where(np.eye(4)[i] > 0, 2, -1), np.moveaxis(np.where(np.eye(4)[i] > 0, 2, -1), -1, 0)],
    {"i": ((2, 3), np.int32, 0, 4)},
)
CASES["non zero"] = Case("out(add('non_zero', x))", lambda x: np.array(np.nonzero(x)), {"x": ((3, 4), np.int32, 0, 2)})
CASES["nms"] = Case(
    "o = add('elementwise', b, c(np.zeros((1, 1, 4))), E.SUM)\n"
    "far = add('elementwise', o, c([[[0.0, 0.0, 0.6, 0.6]]]), E.SUM)\n"
    "layer = network.add_nms(far, s, c(np.int32(4), np.int32))\nlayer.set_input(3, c(np.float32(0.4)))\n"
    "layer.set_input(4, c(np.float32(0.2)))\nout(layer.get_output(0))\nout(layer.get_output(1))",
    lambda b, s: [
        f.nms(np.concatenate([b[..., :2], b[..., 2:] + np.float32(0.6)], -1), s, 4, 0.4, 0.2),
        np.array(len(f.nms(np.concatenate([b[..., :2], b[..., 2:] + np.float32(0.6)], -1), s, 4, 0.4, 0.2))),
    ],
    {"b": ((2, 12, 4), np.float32, 0, 0.5), "s": ((2, 12, 3), np.float32, 0, 1)},
)
CASES["nms, all thresholds left out"] = Case(
    "far = add('elementwise', b, c([[[0.9, 0.9]]]), E.SUM)\n"
    "boxes = add('concatenation', [b, far], axis=2)\n"
    "out(network.add_nms(boxes, s, c(np.int32(9), np.int32)).get_output(0))",
    lambda b, s: f.nms(np.concatenate([b, b + np.float32(0.9)], -1), s, 9, 0.0, 0.0),
    {"b": ((1, 8, 2), np.float32, 0, 2.5), "s": ((1, 8, 2), np.float32, -0.5, 1)},
)
CASES["reverse sequence"] = Case(
    "out(add('reverse_sequence', x, c([1, 3, 2], np.int32)))",
    lambda x: np.stack([np.concatenate([x[:n, b][::-1], x[n:, b]]) for b, n in enumerate((1, 3, 2))], 1),
    {"x": ((4, 3, 2),)},
)

# Between elements.
RESIZE = "I, C, N = trt.InterpolationMode, trt.ResizeCoordinateTransformation, trt.ResizeRoundMode\n"
NEAREST = {
    "FLOOR": lambda c: [(int(np.floor(c)), 1.0)],
    "CEIL": lambda c: [(int(np.ceil(c)), 1.0)],
    "HALF_UP": lambda c: [(int(np.floor(c + 0.5)), 1.0)],
    "HALF_DOWN": lambda c: [(int(np.ceil(c - 0.5)), 1.0)],
}
CASES["resize, nearest to a shape"] = Case(
    "out(add('resize', x, shape=(2, 3, 18, 15)))", lambda x: f.resize(x, (18, 15), f.asymmetric, NEAREST["FLOOR"])
)
for rounding, pick in NEAREST.items():
    CASES[f"resize, nearest {rounding}"] = Case(
        RESIZE + f"out(add('resize', x, shape=(2, 3, 18, 25), coordinate_transformation=C.HALF_PIXEL, "
        f"nearest_rounding=N.{rounding}))",
        lambda x, pick=pick: f.resize(x, (18, 25), f.half_pixel, pick),
    )
for name, place in {"HALF_PIXEL": f.half_pixel, "ASYMMETRIC": f.asymmetric, "ALIGN_CORNERS": f.align_corners}.items():
    CASES[f"resize, linear {name}"] = Case(
        RESIZE
        + f"out(add('resize', x, resize_mode=I.LINEAR, shape=(2, 3, 14, 7), coordinate_transformation=C.{name}))",
        lambda x, place=place: f.resize(x, (14, 7), place, f.linear),
    )
CASES["resize, linear by scales"] = Case(
    RESIZE
    + "out(add('resize', x, resize_mode=I.LINEAR, scales=(1, 1, 1.5, 2.3), coordinate_transformation=C.HALF_PIXEL))",
    lambda x: f.resize(x, (13, 23), f.half_pixel, f.linear, (1.5, 2.3)),
)
CASES["resize, cubic"] = Case(
    RESIZE + "out(add('resize', x, resize_mode=I.CUBIC, shape=(2, 3, 18, 15), coordinate_transformation=C.HALF_PIXEL))",
    lambda x: f.resize(x, (18, 15), f.half_pixel, f.cubic),
)
CASES["resize, scales after a shape"] = Case(
    "out(add('resize', x, shape=(2, 3, 18, 15), scales=(1, 1, 2, 2)))",
    lambda x: f.resize(x, (18, 20), f.asymmetric, NEAREST["FLOOR"]),
)
CASES["resize, places by scales that were set before the shape"] = Case(
    "out(add('resize', x, scales=(1, 1, 1.45, 1.5), shape=(2, 3, 13, 15)))",
    lambda x: f.resize(x, (13, 15), f.asymmetric, NEAREST["FLOOR"], (1.45, 1.5)),
)
CASES["resize, neither"] = Case("out(add('resize', x))", lambda x: x)
CASES["resize to a shape that is computed"] = Case(
    RESIZE + "layer = network.add_resize(x)\nlayer.set_input(1, add('shape', y))\nlayer.resize_mode = I.LINEAR\n"
    "layer.coordinate_transformation = C.HALF_PIXEL\nout(layer.get_output(0))",
    lambda x, y: f.resize(x, (12, 5), f.half_pixel, f.linear),
    {"x": (IMAGE,), "y": ((2, 3, 12, 5),)},
)
GRID = {"x": ((2, 3, 5, 6),), "g": ((2, 4, 3, 2), np.float32, -1.3, 1.3)}
CASES["grid sample"] = Case("out(add('grid_sample', x, g))", lambda x, g: f.grid_sample(x, g), GRID)
CASES["grid sample, other modes"] = Case(
    "out(add('grid_sample', x, g, align_corners=True, sample_mode=trt.SampleMode.CLAMP))\n"
    "out(add('grid_sample', x, g, interpolation_mode=trt.InterpolationMode.NEAREST))",
    lambda x, g: [f.grid_sample(x, g, border=True, align=True), f.grid_sample(x, g, nearest=True)],
    GRID,
)

# An implicit batch: the same methods, with shapes, axes and masks that leave the batch out.
PLAIN = {"x": (IMAGE,)}
IMPLICIT: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    "convolution": (
        "l = network.add_convolution(x, 4, (3, 3), w(4, 3, 3, 3), w(4, seed=2))\nl.stride, l.padding = (2, 2), (1, 1)\n"
        "out(l.get_output(0))",
        lambda x: f.convolution(x, w(4, 3, 3, 3), w(4, seed=2), (2, 2), ((1, 1), (1, 1))),
        PLAIN,
    ),
    "deconvolution": (
        "l = network.add_deconvolution(x, 2, (2, 2), w(3, 2, 2, 2), w(2, seed=2))\n"
        "l.stride = (2, 2)\nout(l.get_output(0))",
        lambda x: f.deconvolution(x, w(3, 2, 2, 2), w(2, seed=2), (2, 2)),
        {"x": ((2, 3, 4, 5),)},
    ),
    "pooling": (
        "l = network.add_pooling(x, P.AVERAGE, (3, 3))\nl.stride, l.padding = (2, 2), (1, 1)\nout(l.get_output(0))",
        lambda x: f.pool(x, (3, 3), (2, 2), "mean", ((1, 1), (1, 1))),
        PLAIN,
    ),
    "fully connected": (
        "out(add('fully_connected', x, 7, w(7, 270), w(7, seed=2)))",
        lambda x: (x.reshape(2, -1) @ w(7, 270).T + w(7, seed=2))[..., None, None],
        PLAIN,
    ),
    "scale": (
        "S = trt.ScaleMode\nout(add('scale', x, S.CHANNEL, w(3), w(3, seed=2)))\n"
        "out(add('scale', x, S.ELEMENTWISE, w(3, 9, 10)))",
        lambda x: [x * g(w(3, seed=2)) + g(w(3)), x + w(3, 9, 10)],
        PLAIN,
    ),
    "softmax": (
        "out(add('softmax', x))\nout(add('softmax', x, axes=1 << 2))",
        lambda x: [f.softmax(x, 1), f.softmax(x, 3)],
        PLAIN,
    ),
    "elementwise with a constant": (
        "out(add('elementwise', x, c(w(3, 1, 1)), E.SUM))\nout(add('elementwise', c(w(3, 9, 10)), x, E.SUB))",
        lambda x: [x + w(3, 1, 1), w(3, 9, 10) - x],
        PLAIN,
    ),
    "concatenation with a constant": (
        "out(add('concatenation', [x, c(w(2, 9, 10))]))\nout(add('concatenation', [x, x], axis=2))",
        lambda x: [np.concatenate([x, np.stack([w(2, 9, 10)] * 2)], 1), np.concatenate([x, x], 3)],
        PLAIN,
    ),
    "matrix multiply": (
        MATRIX + "out(add('matrix_multiply', x, M.NONE, c(w(5, 6)), M.NONE))\n"
        "out(add('matrix_multiply', c(w(4, 3)), M.NONE, x, M.NONE))",
        lambda x: [x @ w(5, 6), w(4, 3) @ x],
        {"x": ((2, 3, 5),)},
    ),
    "shuffle": (
        "out(add('shuffle', x, first_transpose=(1, 2, 0), reshape_dims=(-1, 3), second_transpose=(1, 0)))\n"
        "out(add('shuffle', x, reshape_dims=(0, -1)))",
        lambda x: [x.transpose(0, 2, 3, 1).reshape(2, -1, 3).transpose(0, 2, 1), x.reshape(2, 3, -1)],
        PLAIN,
    ),
    "slice": ("out(add('slice', x, (1, 2, 3), (2, 3, 2), (1, 2, 3)))", lambda x: x[:, 1:3, 2:7:2, 3:7:3], PLAIN),
    "reduce and topk": (
        "out(add('reduce', x, R.AVG, 0b110, False))\n"
        "out(network.add_topk(x, trt.TopKOperation.MAX, 3, 1 << 0).get_output(1))",
        lambda x: [x.mean((2, 3)), topk(x, 3, 1, 1)[1]],
        PLAIN,
    ),
    "padding": (
        "l = network.add_padding(x, (1, 2), (0, 1))\nout(l.get_output(0))",
        lambda x: np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1))),
        PLAIN,
    ),
    "gather": (
        "out(add('gather', x, c([2, 0], np.int32), 0))\nout(add('gather', c(w(6, 5)), i, 0))",
        lambda x, i: [x[:, [2, 0]], w(6, 5)[i]],
        {"x": (IMAGE,), "i": ((2, 4), np.int32, 0, 6)},
    ),
    "resize": (
        RESIZE
        + "out(add('resize', x, shape=(3, 18, 15)))\nout(add('resize', x, scales=(1, 2, 2), resize_mode=I.LINEAR))",
        lambda x: [
            f.resize(x, (18, 15), f.asymmetric, NEAREST["FLOOR"]),
            f.resize(x, (18, 20), f.asymmetric, f.linear, (2, 2)),
        ],
        PLAIN,
    ),
    "parametric relu, unary, lrn, select": (
        "out(add('parametric_relu', x, c(w(3, 1, 1))))\nout(add('unary', x, U.ABS))\n"
        "out(add('lrn', x, 3, 0.1, 0.75, 1.0))\n"
        "out(add('select', add('elementwise', x, c(np.zeros((1, 1, 1))), E.GREATER), x, c(w(3, 9, 10))))",
        lambda x: [
            np.where(x < 0, x * w(3, 1, 1), x),
            abs(x),
            f.lrn(x, 3, 0.1, 0.75, 1.0),
            np.where(x > 0, x, w(3, 9, 10)),
        ],
        PLAIN,
    ),
}
for name, (body, formula, inputs) in IMPLICIT.items():
    CASES[f"implicit batch, {name}"] = Case(body, formula, inputs, implicit=True, legacy=True)
