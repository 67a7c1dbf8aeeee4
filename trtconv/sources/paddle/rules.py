"""Operators that paddle2onnx does not convert, or converts to something else, in ONNX operators of our own.

A rule gets a ``Call`` and returns what the operator's outputs become: parameter -> tensor, or tensors where a parameter
has several. Outputs that a rule does not make must not be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtconv.core.errors import ConversionError
from trtconv.core.lazy import resolve
from trtconv.graph.building import Builder
from trtconv.sources.paddle.padding import Padding
from trtconv.sources.paddle.program import Operator

Made = Mapping[str, str | Sequence[str]]

_DETECTION = "trtconv.sources.paddle.rules_detection"
_REGIONS = "trtconv.sources.paddle.rules_regions"

RULES: Mapping[str, str] = {
    "lrn": "trtconv.sources.paddle.rules:lrn",
    "softplus": "trtconv.sources.paddle.rules:softplus",
    "hardtanh": "trtconv.sources.paddle.rules:hardtanh",
    "gelu": "trtconv.sources.paddle.rules:gelu",
    "cumsum": "trtconv.sources.paddle.rules:cumsum",
    "nearest_interp": "trtconv.sources.paddle.rules:nearest",
    "nearest_interp_v2": "trtconv.sources.paddle.rules:nearest",
    "stanh": "trtconv.sources.paddle.rules:stanh",
    "celu": "trtconv.sources.paddle.rules:celu",
    "rrelu": "trtconv.sources.paddle.rules:rrelu",
    "shuffle_channel": "trtconv.sources.paddle.rules:shuffle_channel",
    "pool2d": "trtconv.sources.paddle.rules:adaptive_pool2d",
    "pad2d": "trtconv.sources.paddle.rules:pad2d",
    "maxout": "trtconv.sources.paddle.rules:maxout",
    "prior_box": f"{_DETECTION}:prior_box",
    "anchor_generator": f"{_DETECTION}:anchor_generator",
    "box_coder": f"{_DETECTION}:box_coder",
    "box_clip": f"{_DETECTION}:box_clip",
    "multiclass_nms": f"{_DETECTION}:multiclass_nms",
    "multiclass_nms2": f"{_DETECTION}:multiclass_nms",
    "multiclass_nms3": f"{_DETECTION}:multiclass_nms",
    "generate_proposals": f"{_REGIONS}:generate_proposals",
    "generate_proposals_v2": f"{_REGIONS}:generate_proposals",
    "distribute_fpn_proposals": f"{_REGIONS}:distribute_fpn_proposals",
    "roi_align": f"{_REGIONS}:roi_align",
    "roi_pool": f"{_REGIONS}:roi_pool",
}
"""Rows: (Call) -> Made. They come before what paddle2onnx has of the same name: its hardtanh computes something else,
its softplus knows one beta, its gelu is never the approximation, its adaptive pooling takes bins of one size only, its
cumsum knows no reverse, its nearest neighbour is another where corners are aligned, and its suppression makes outputs
of unknown size."""

ONLY: Mapping[str, Callable[[Operator], bool]] = {
    "pool2d": lambda op: bool(op.get("adaptive", False)),
    "cumsum": lambda op: bool(op.get("exclusive", False) or op.get("reverse", False)),
    "nearest_interp": lambda op: bool(op.get("align_corners", False)),
    "nearest_interp_v2": lambda op: bool(op.get("align_corners", False)),
}
"""Operators for which a rule is not always needed, and when it is."""


def has_rule(op: Operator) -> bool:
    """Whether an operator is made by a rule."""
    return op.type in RULES and (op.type not in ONLY or ONLY[op.type](op))


class Refused(ConversionError):
    """An operator that a rule cannot express.

    Attributes:
        makes: its first output.
    """

    def __init__(self, op: Operator, why: str, hint: str = "") -> None:
        self.makes = next(iter(op.makes()), "")
        super().__init__(
            f"operator {op.type} that makes {self.makes!r}: {why}",
            hint=hint or "end the model before it: convert.outputs",
        )


@dataclass
class Call:
    """An operator that is being lowered.

    Attributes:
        b: where its nodes go.
        op: the operator.
        tensors: tensor of each variable that it reads.
        name: what names of its nodes begin with.
        padded: variables with a fixed number of rows per image, made by this or earlier operators.
    """

    b: Builder
    op: Operator
    tensors: Mapping[str, str]
    name: str
    padded: dict[str, Padding]

    def inputs(self, parameter: str) -> list[str]:
        """The tensors of a parameter; none where it is left out."""
        return [self.tensors[name] for name in self.op.inputs.get(parameter, ()) if name in self.tensors]

    def input(self, parameter: str) -> str:
        """The tensor of a parameter that must be there.

        Raises:
            ConversionError: it is not.
        """
        found = self.inputs(parameter)
        if not found:
            raise self.refusal(f"it has no {parameter}")
        return found[0]

    def get(self, name: str, default: Any) -> Any:
        """The value of an attribute."""
        return self.op.get(name, default)

    def constant(self, values: Any, wish: str) -> str:
        """A constant under a name of this operator."""
        return self.b.constant(values, f"{self.name}/{wish}")

    def add(self, onnx_op: str, inputs: Sequence[str], wish: str, **attributes: Any) -> str:
        """A node under a name of this operator."""
        return self.b.add(onnx_op, inputs, f"{self.name}/{wish}", **attributes)

    def sizes(self, tensor: str, what: str, axes: Sequence[int]) -> list[int]:
        """Sizes of a tensor that must be known.

        Raises:
            ConversionError: one is not.
        """
        shape = self.b.shape(tensor)
        found = [shape[axis] for axis in axes if axis < len(shape)]
        if len(found) < len(axes) or not all(isinstance(size, int) for size in found):
            raise self.refusal(
                f"the size of {what} is not known ({list(shape)})",
                "give the inputs fixed shapes: --input NAME:N,C,H,W, inputs.NAME.shape",
            )
        return [int(size or 0) for size in found]

    def pad(self, parameter: str, padding: Padding) -> None:
        """Tell how many rows an output has."""
        self.padded |= dict.fromkeys(self.op.outputs.get(parameter, ()), padding)

    def per_image(self, tensor: str) -> int:
        """Rows per image of a tensor that holds the regions of all images.

        Raises:
            ConversionError: not known.
        """
        rows = {one.rows for one in self.padded.values() if one.fill is None and not one.of}
        first = self.b.shape(tensor)[0]
        if len(rows) == 1 and not (isinstance(first, int) and first % min(rows)):
            return rows.pop()
        return self.sizes(tensor, "the number of regions of one image", (0,))[0]

    def refusal(self, why: str, hint: str = "") -> Refused:
        """An error about this operator."""
        return Refused(self.op, why, hint)


def apply(call: Call) -> dict[str, str]:
    """Run the rule of an operator; which tensor each variable becomes."""
    made: Made = resolve(RULES[call.op.type])(call)
    found: dict[str, str] = {}
    for parameter, tensors in made.items():
        given = [tensors] if isinstance(tensors, str) else list(tensors)
        found |= dict(zip(call.op.outputs.get(parameter, ()), given, strict=False))
    return found


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
    """The mean, or largest, of bins from floor(i n / o) to ceil((i + 1) n / o), which need not have one size."""
    x = call.input("X")
    asked = call.b.value(call.input("KSize")) if call.inputs("KSize") else call.get("ksize", ())
    if asked is None or call.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        raise call.refusal("its bins are computed, or channels stand last")
    largest, bins = call.get("pooling_type", "avg") == "max", [int(count) for count in np.asarray(asked).ravel()]
    if bins == [1, 1]:
        return {"Out": call.add("GlobalMaxPool" if largest else "GlobalAveragePool", [x], "out")}
    sizes = call.sizes(x, "its input", (2, 3))
    if not any(size % count for size, count in zip(sizes, bins, strict=True)):
        window = [size // count for size, count in zip(sizes, bins, strict=True)]
        return {
            "Out": call.add("MaxPool" if largest else "AveragePool", [x], "out", kernel_shape=window, strides=window)
        }
    for axis, size, count in zip((2, 3), sizes, bins, strict=True):
        parts = []
        for place in range(count):
            ends = [
                call.constant([at], f"at{at}") for at in (place * size // count, -(-(place + 1) * size // count), axis)
            ]
            part = call.add("Slice", [x, *ends], f"bin{axis}_{place}")
            parts.append(
                call.add("ReduceMax" if largest else "ReduceMean", [part], f"pooled{axis}_{place}", axes=[axis])
            )
        x = call.add("Concat", parts, f"pooled{axis}", axis=axis)
    return {"Out": x}


def maxout(call: Call) -> Made:
    """The largest of each group of neighbouring channels."""
    x, groups, axis = call.input("X"), int(call.get("groups", 2)), int(call.get("axis", 1))
    shape = call.sizes(x, "its input", range(1, len(call.b.shape(x))))
    axis += len(shape) + 1 if axis < 0 else 0
    apart = [-1, *shape]
    apart[axis : axis + 1] = [shape[axis - 1] // groups, groups]
    split = call.add("Reshape", [x, call.constant(apart, "apart")], "groups")
    return {"Out": call.add("ReduceMax", [split], "out", axes=[axis + 1], keepdims=0)}
