"""Operators that paddle2onnx does not convert, or converts to something else, in ONNX operators of our own.

A rule gets a ``Call`` and returns what the operator's outputs become: parameter -> tensor, or tensors where a parameter
has several. Outputs that a rule does not make must not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trtconv.core.errors import ConversionError
from trtconv.core.lazy import resolve
from trtconv.graph.building import Builder
from trtconv.sources.paddle.padding import Padding
from trtconv.sources.paddle.program import Operator

Made = Mapping[str, str | Sequence[str]]

_LAYERS = "trtconv.sources.paddle.rules_layers"
_DETECTION = "trtconv.sources.paddle.rules_detection"
_REGIONS = "trtconv.sources.paddle.rules_regions"

RULES: Mapping[str, str] = {
    "lrn": f"{_LAYERS}:lrn",
    "softplus": f"{_LAYERS}:softplus",
    "hardtanh": f"{_LAYERS}:hardtanh",
    "gelu": f"{_LAYERS}:gelu",
    "cumsum": f"{_LAYERS}:cumsum",
    "mean": f"{_LAYERS}:mean_of_all",
    "nearest_interp": f"{_LAYERS}:nearest",
    "nearest_interp_v2": f"{_LAYERS}:nearest",
    "stanh": f"{_LAYERS}:stanh",
    "celu": f"{_LAYERS}:celu",
    "rrelu": f"{_LAYERS}:rrelu",
    "shuffle_channel": f"{_LAYERS}:shuffle_channel",
    "pool2d": f"{_LAYERS}:adaptive_pool2d",
    "max_pool2d_with_index": f"{_LAYERS}:adaptive_pool2d",
    "conv2d_transpose": f"{_LAYERS}:transposed_convolution",
    "depthwise_conv2d_transpose": f"{_LAYERS}:transposed_convolution",
    "pad2d": f"{_LAYERS}:pad2d",
    "maxout": f"{_LAYERS}:maxout",
    "prior_box": f"{_DETECTION}:prior_box",
    "density_prior_box": f"{_DETECTION}:density_prior_box",
    "anchor_generator": f"{_DETECTION}:anchor_generator",
    "box_coder": f"{_DETECTION}:box_coder",
    "multiclass_nms": f"{_DETECTION}:multiclass_nms",
    "multiclass_nms2": f"{_DETECTION}:multiclass_nms",
    "multiclass_nms3": f"{_DETECTION}:multiclass_nms",
    "generate_proposals": f"{_REGIONS}:generate_proposals",
    "generate_proposals_v2": f"{_REGIONS}:generate_proposals",
    "collect_fpn_proposals": f"{_REGIONS}:collect_fpn_proposals",
    "distribute_fpn_proposals": f"{_REGIONS}:distribute_fpn_proposals",
    "box_clip": f"{_REGIONS}:box_clip",
    "roi_align": f"{_REGIONS}:roi_align",
    "roi_pool": f"{_REGIONS}:roi_pool",
}
"""Rows: (Call) -> Made. They come before what paddle2onnx has of the same name: its hardtanh computes something else,
its softplus knows one beta, its gelu is never the approximation, its adaptive pooling takes bins of one size only, its
cumsum knows no reverse, its mean no mean of all, its nearest neighbour is another where corners are aligned, its
transposed convolution heeds no size, and its suppression makes outputs of unknown size."""


def _names_its_size(op: Operator) -> bool:
    """In Paddle 3 by its third input."""
    return bool(op.get("output_size", ()) or "2" in op.inputs)


ONLY: Mapping[str, Callable[[Operator], bool]] = {
    "pool2d": lambda op: bool(op.get("adaptive", False)),
    "max_pool2d_with_index": lambda op: bool(op.get("adaptive", False)),
    "conv2d_transpose": _names_its_size,
    "depthwise_conv2d_transpose": _names_its_size,
    "cumsum": lambda op: bool(op.get("exclusive", False) or op.get("reverse", False)),
    "mean": lambda op: "0" in op.inputs and not op.get("axis", ()),
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

    def all_rows(self, of: str, rows: int) -> int:
        """How many rows all images of a tensor [image, ...] have together; -1 where their number is not known."""
        images = self.b.shape(of)[0]
        return images * rows if isinstance(images, int) else -1

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
