"""Paddle's layers that paddle2onnx lacks or gets wrong, in ONNX operators; see ``rules``."""

from __future__ import annotations

import math

import numpy as np

from trtconv.sources.paddle.rules import Call, Made


def mean_of_all(call: Call) -> Made:
    """One mean of all values, as Paddle 3 says it: without axes."""
    return {"Out": call.add("ReduceMean", [call.input("X")], "out", keepdims=int(call.get("keepdim", False)))}


def lrn(call: Call) -> Made:
    """Divide by (k + alpha sum of x^2 over n neighbouring channels)^beta; ONNX divides alpha by n, Paddle does not."""
    size = call.get("n", 5)
    return {
        "Out": call.add(
            "LRN",
            [call.input("X")],
            "lrn",
            size=size,
            alpha=call.get("alpha", 1e-4) * size,
            beta=call.get("beta", 0.75),
            bias=call.get("k", 1.0),
        )
    }


def softplus(call: Call) -> Made:
    """log(1 + exp(beta x)) / beta, and x where beta x is above the threshold."""
    x, beta = call.input("X"), float(call.get("beta", 1.0))
    scaled = call.add("Mul", [x, call.constant(beta, "beta")], "scaled")
    curve = call.add("Div", [call.add("Softplus", [scaled], "curve"), call.constant(beta, "beta")], "softplus")
    above = call.add("Greater", [scaled, call.constant(float(call.get("threshold", 20.0)), "threshold")], "above")
    return {"Out": call.add("Where", [above, x, curve], "out")}


def hardtanh(call: Call) -> Made:
    """Within two bounds."""
    bounds = [
        call.constant(np.float32(call.get(name, default)), name) for name, default in (("t_min", -1.0), ("t_max", 1.0))
    ]
    return {"Out": call.add("Clip", [call.input("X"), *bounds], "out")}


def gelu(call: Call) -> Made:
    """The product of x and the normal distribution's function at x, or its approximation by tanh (arXiv 1606.08415)."""
    x, half, one = call.input("X"), call.constant(0.5, "half"), call.constant(1.0, "one")
    if call.get("approximate", False):
        cube = call.add("Mul", [call.add("Mul", [x, x], "square"), x], "cube")
        more = call.add("Mul", [cube, call.constant(0.044715, "cubic")], "more")
        inner = call.add(
            "Mul", [call.add("Add", [x, more], "sum"), call.constant(math.sqrt(2 / math.pi), "scale")], "inner"
        )
        curve = call.add("Tanh", [inner], "curve")
    else:
        curve = call.add("Erf", [call.add("Div", [x, call.constant(math.sqrt(2), "root")], "scaled")], "curve")
    share = call.add("Mul", [call.add("Add", [curve, one], "above"), half], "share")
    return {"Out": call.add("Mul", [x, share], "out")}


def cumsum(call: Call) -> Made:
    """Sums of what comes before, or after."""
    x = call.input("X")
    axis = call.b.value(call.input("Axis")) if call.inputs("Axis") else call.get("axis", -1)
    if axis is None or call.get("flatten", False):
        raise call.refusal("its axis is computed, or all axes count as one")
    flags = {name: int(call.get(name, False)) for name in ("exclusive", "reverse")}
    return {
        "Out": call.add("CumSum", [x, call.constant(np.int64(np.asarray(axis).ravel()[0]), "axis")], "out", **flags)
    }


def nearest(call: Call) -> Made:
    """The nearest neighbour at (i - 1) / (o - 1) of the way, halves rounded up: corners fall on corners."""
    x, target = call.input("X"), [int(call.get(name, 0)) for name in ("out_h", "out_w")]
    if call.inputs("OutSize") or call.inputs("SizeTensor") or call.get("data_layout", "NCHW") != "NCHW":
        raise call.refusal("its size is computed, or channels stand last")
    if min(target) <= 0:
        scale = np.broadcast_to(np.asarray(call.get("scale", 0.0), float).ravel(), 2)
        target = [int(size * factor) for size, factor in zip(call.sizes(x, "its input", (2, 3)), scale, strict=True)]
    ends = [call.constant([at], f"at{at}") for at in (0, 2)]
    kept = call.add("Slice", [call.add("Shape", [x], "shape"), *ends], "images_and_channels")
    sizes = call.add("Concat", [kept, call.constant(target, "target")], "sizes", axis=0)
    return {
        "Out": call.add(
            "Resize",
            [x, "", "", sizes],
            "out",
            mode="nearest",
            nearest_mode="round_prefer_ceil",
            coordinate_transformation_mode="align_corners",
        )
    }


def stanh(call: Call) -> Made:
    """A tanh that is scaled inside and outside."""
    inner = call.add("Mul", [call.input("X"), call.constant(float(call.get("scale_a", 0.67)), "inner")], "scaled")
    curve = call.add("Tanh", [inner], "curve")
    return {"Out": call.add("Mul", [curve, call.constant(float(call.get("scale_b", 1.7159)), "outer")], "out")}


def celu(call: Call) -> Made:
    """ELU that is smooth for every alpha (arXiv 1704.07483)."""
    return {"Out": call.add("Celu", [call.input("X")], "out", alpha=float(call.get("alpha", 1.0)))}


def rrelu(call: Call) -> Made:
    """Leaky ReLU whose slope is random in training, and the middle of its range afterwards."""
    if not call.get("is_test", False):
        raise call.refusal("it draws random slopes, as in training", "export the model in eval mode")
    slope = (call.get("lower", 1 / 8) + call.get("upper", 1 / 3)) / 2
    return {"Out": call.add("LeakyRelu", [call.input("X")], "out", alpha=float(slope))}


def shuffle_channel(call: Call) -> Made:
    """Channels of groups in turns."""
    x, groups = call.input("X"), int(call.get("group", 1))
    channels, height, width = call.sizes(x, "its input", (1, 2, 3))
    apart = call.constant([-1, groups, channels // groups, height, width], "apart")
    turned = call.add("Transpose", [call.add("Reshape", [x, apart], "groups")], "turned", perm=[0, 2, 1, 3, 4])
    return {"Out": call.add("Reshape", [turned, call.constant([-1, channels, height, width], "shape")], "out")}


def pad2d(call: Call) -> Made:
    """Borders of height and width: top, bottom, left, right."""
    if call.inputs("Paddings") or call.get("data_format", "NCHW") != "NCHW":
        raise call.refusal("its borders are computed, or channels stand last")
    top, bottom, left, right = call.get("paddings", (0, 0, 0, 0))
    pads = call.constant([0, 0, top, left, 0, 0, bottom, right], "pads")
    mode = call.get("mode", "constant")
    value = [call.constant(float(call.get("pad_value", 0.0)), "value")] if mode == "constant" else []
    return {"Out": call.add("Pad", [call.input("X"), pads, *value], "out", mode=mode)}


def adaptive_pool2d(call: Call) -> Made:
    """The mean, or largest, of bins from floor(i n / o) to ceil((i + 1) n / o), which need not have one size.

    An axis with -1 bins stays as it is; that, and one bin, need no known size.
    """
    x = call.input("X")
    asked = (
        call.b.value(call.input("KSize")) if call.inputs("KSize") else call.get("ksize", call.get("kernel_size", ()))
    )
    if asked is None or call.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise call.refusal("its bins are computed, or channels stand last")
    kind = "max" if call.op.type == "max_pool2d_with_index" else call.get("pooling_type", "avg")
    largest, bins = kind == "max", [int(count) for count in np.asarray(asked).ravel()]
    if bins == [1, 1]:
        return {"Out": call.add("GlobalMaxPool" if largest else "GlobalAveragePool", [x], "out")}
    told = [axis for axis, count in zip((2, 3), bins, strict=True) if count not in (-1, 1)]
    sizes = dict(zip(told, call.sizes(x, "its input", told), strict=True))
    if len(told) == 2 and not any(sizes[axis] % count for axis, count in zip(told, bins, strict=True)):
        window = [sizes[axis] // count for axis, count in zip(told, bins, strict=True)]
        return {
            "Out": call.add("MaxPool" if largest else "AveragePool", [x], "out", kernel_shape=window, strides=window)
        }
    for axis, count in zip((2, 3), bins, strict=True):
        if count != -1:
            x = _in_bins(call, x, axis, count, sizes.get(axis, 0), "ReduceMax" if largest else "ReduceMean")
    return {"Out": x}


def _in_bins(call: Call, x: str, axis: int, count: int, size: int, reduce: str) -> str:
    """Bins along one axis."""
    if count == 1:
        return call.add(reduce, [x], f"pooled{axis}", axes=[axis])
    parts = []
    for place in range(count):
        ends = [call.constant([at], f"at{at}") for at in (place * size // count, -(-(place + 1) * size // count), axis)]
        part = call.add("Slice", [x, *ends], f"bin{axis}_{place}")
        parts.append(call.add(reduce, [part], f"pooled{axis}_{place}", axes=[axis]))
    return call.add("Concat", parts, f"pooled{axis}", axis=axis)


def transposed_convolution(call: Call) -> Made:
    """A transposed convolution whose size is named: of the sizes that its stride allows, the padding decides one."""
    x, kernel = call.input("Input"), call.input("Filter")
    named = call.b.value(call.input("OutputSize")) if call.inputs("OutputSize") else call.get("output_size", ())
    if (
        named is None
        or call.get("padding_algorithm", "EXPLICIT") != "EXPLICIT"
        or call.get("data_format", "NCHW") != "NCHW"
    ):
        raise call.refusal("its size is computed, its padding has a name, or channels stand last")
    strides, dilations = list(call.get("strides", (1, 1))), list(call.get("dilations", (1, 1)))
    pads = list(call.get("paddings", (0, 0)))
    top, bottom, left, right = pads if len(pads) == 4 else (pads[0], pads[0], pads[1], pads[1])
    extra = list(call.get("output_padding", ())) or [0, 0]
    if len(named):
        windows = zip(
            call.sizes(x, "its input", (2, 3)),
            strides,
            dilations,
            call.b.shape(kernel)[2:],
            (top + bottom, left + right),
            strict=True,
        )
        least = [
            (size - 1) * stride + dilation * (int(window or 0) - 1) + 1 - pad
            for size, stride, dilation, window, pad in windows
        ]
        extra = [int(size) - smallest for size, smallest in zip(named, least, strict=True)]
    return {
        "Output": call.add(
            "ConvTranspose",
            [x, kernel],
            "out",
            strides=strides,
            dilations=dilations,
            group=int(call.get("groups", 1)),
            pads=[top, left, bottom, right],
            output_padding=extra,
        )
    }


def maxout(call: Call) -> Made:
    """The largest of each group of neighbouring channels."""
    x, groups, axis = call.input("X"), int(call.get("groups", 2)), int(call.get("axis", 1))
    shape = call.sizes(x, "its input", range(1, len(call.b.shape(x))))
    axis += len(shape) + 1 if axis < 0 else 0
    apart = [-1, *shape]
    apart[axis : axis + 1] = [shape[axis - 1] // groups, groups]
    split = call.add("Reshape", [x, call.constant(apart, "apart")], "groups")
    return {"Out": call.add("ReduceMax", [split], "out", axes=[axis + 1], keepdims=0)}
