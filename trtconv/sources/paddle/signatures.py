"""Parameters of PIR operators, which are told by their place, under the names that older programs give them."""

from __future__ import annotations

from collections.abc import Mapping

from trtconv.sources.paddle.program import Operator

_ONE = (("X",), ("Out",))
"""Of operators that are not listed."""

SIGNATURES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cumsum": (("X", "Axis"), ("Out",)),
    "conv2d_transpose": (("Input", "Filter", "OutputSize"), ("Output",)),
    "depthwise_conv2d_transpose": (("Input", "Filter", "OutputSize"), ("Output",)),
    "max_pool2d_with_index": (("X",), ("Out", "Mask")),
    "pool2d": (("X", "KSize"), ("Out",)),
    "prior_box": (("Input", "Image"), ("Boxes", "Variances")),
    "box_coder": (("PriorBox", "PriorBoxVar", "TargetBox"), ("OutputBox",)),
    "multiclass_nms3": (("BBoxes", "Scores", "RoisNum"), ("Out", "Index", "NmsRoisNum")),
    "generate_proposals": (
        ("Scores", "BboxDeltas", "ImShape", "Anchors", "Variances"),
        ("RpnRois", "RpnRoiProbs", "RpnRoisNum"),
    ),
    "distribute_fpn_proposals": (("FpnRois", "RoisNum"), ("MultiFpnRois", "MultiLevelRoIsNum", "RestoreIndex")),
    "roi_align": (("X", "ROIs", "RoisNum"), ("Out",)),
    "roi_pool": (("X", "ROIs", "RoisNum"), ("Out", "Argmax")),
}
"""Inputs and outputs in the order of Paddle 3's operator definitions (``ops.yaml``)."""


def named(op: Operator) -> Operator:
    """The operator with named parameters; one of an older program has them already."""
    if not all(key.isdigit() for key in [*op.inputs, *op.outputs]):
        return op
    inputs, outputs = SIGNATURES.get(op.type, _ONE)
    return Operator(op.type, _by_name(op.inputs, inputs), _by_name(op.outputs, outputs), op.attributes)


def _by_name(places: Mapping[str, list[str]], names: tuple[str, ...]) -> dict[str, list[str]]:
    return {names[int(key)]: variables for key, variables in places.items() if int(key) < len(names)}
