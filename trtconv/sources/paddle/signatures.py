"""Parameters of PIR operators, which are told by their place, under the names that older programs give them."""

from __future__ import annotations

from collections.abc import Mapping

from trtconv.sources.paddle.program import Operator

_ONE = (("X",), ("Out",))

SIGNATURES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "softplus": _ONE,
    "hardtanh": _ONE,
    "prior_box": (("Input", "Image"), ("Boxes", "Variances")),
    "box_coder": (("PriorBox", "PriorBoxVar", "TargetBox"), ("OutputBox",)),
    "box_clip": (("Input", "ImInfo"), ("Output",)),
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
    if op.type not in SIGNATURES or not all(key.isdigit() for key in [*op.inputs, *op.outputs]):
        return op
    inputs, outputs = SIGNATURES[op.type]
    return Operator(
        op.type,
        {inputs[int(key)]: names for key, names in op.inputs.items()},
        {outputs[int(key)]: names for key, names in op.outputs.items()},
        op.attributes,
    )
