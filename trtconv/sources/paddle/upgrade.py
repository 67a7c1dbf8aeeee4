"""Operators of Paddle 1.x as those that took their place, which is what paddle2onnx knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from trtconv.sources.paddle.program import (
    BOOLEAN,
    FLOAT,
    FULL,
    HALVES,
    INT,
    INTS,
    STRING,
    Attribute,
    Block,
    Operator,
    Program,
    Variable,
)

_SUCCESSORS = {
    "flatten": "flatten2",
    "reshape": "reshape2",
    "transpose": "transpose2",
    "squeeze": "squeeze2",
    "unsqueeze": "unsqueeze2",
    "sync_batch_norm": "batch_norm",
}
"""Operators that kept their parameters when they got another name."""

_POOL = {
    "adaptive": (BOOLEAN, False),
    "ceil_mode": (BOOLEAN, False),
    "exclusive": (BOOLEAN, True),
    "padding_algorithm": (STRING, "EXPLICIT"),
    "data_format": (STRING, "NCHW"),
}
_CONV = {"padding_algorithm": (STRING, "EXPLICIT"), "data_format": (STRING, "NCHW")}
_BACK = {**_CONV, "output_size": (INTS, ()), "output_padding": (INTS, ())}
_REDUCE = {"in_dtype": (INT, -1), "out_dtype": (INT, -1)}
_RESIZE = {
    "align_mode": (INT, 1),
    "align_corners": (BOOLEAN, True),
    "data_layout": (STRING, "NCHW"),
    "scale": (FLOAT, 0.0),
    "out_h": (INT, 0),
    "out_w": (INT, 0),
    "out_d": (INT, 0),
}

DEFAULTS: Mapping[str, Mapping[str, tuple[int, Any]]] = {
    "softmax": {"axis": (INT, -1)},
    "pool2d": _POOL,
    "pool3d": _POOL,
    "conv2d": _CONV,
    "depthwise_conv2d": _CONV,
    "conv3d": _CONV,
    "conv2d_transpose": _BACK,
    "depthwise_conv2d_transpose": _BACK,
    "batch_norm": {"data_layout": (STRING, "NCHW")},
    "nearest_interp": _RESIZE,
    "bilinear_interp": _RESIZE,
    "scale": {"bias_after_scale": (BOOLEAN, True)},
    "relu6": {"threshold": (FLOAT, 6.0)},
    "yolo_box": {
        "clip_bbox": (BOOLEAN, True),
        "scale_x_y": (FLOAT, 1.0),
        "iou_aware": (BOOLEAN, False),
        "iou_aware_factor": (FLOAT, 0.5),
    },
    "dropout": {"dropout_implementation": (STRING, "downgrade_in_infer")},
    "arg_max": {"keepdims": (BOOLEAN, False), "flatten": (BOOLEAN, False), "dtype": (INT, 3)},
    "prelu": {"data_format": (STRING, "NCHW")},
    **dict.fromkeys(("reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _REDUCE),
}
"""Attributes that an operator has got since 1.0, with the values that mean what it did before."""

LATER: Mapping[str, tuple[int, Any]] = {
    "axis": (INT, -1),
    "data_format": (STRING, "NCHW"),
    "data_layout": (STRING, "NCHW"),
    "adaptive": (BOOLEAN, False),
    "ceil_mode": (BOOLEAN, False),
    "padding_algorithm": (STRING, "EXPLICIT"),
    "exclusive": (BOOLEAN, True),
    "output_size": (INTS, ()),
    "shape": (INTS, ()),
    "align_mode": (INT, 1),
    "bias_after_scale": (BOOLEAN, True),
    "use_cudnn": (BOOLEAN, False),
    "threshold": (FLOAT, 6.0),
}
"""The same by the attribute's name alone, for operators that are not listed and that the converter asks for."""


def upgrade(program: Program) -> Program:
    """The program with operators and attributes of today; one that has them all comes back unchanged in meaning."""
    operators = [_defaults(_RULES.get(op.type, _renamed)(op)) for op in program.main.operators]
    main = program.main
    return Program(
        [Block(main.index, main.parent, dict(main.variables), operators, main.rest), *program.blocks[1:]],
        program.version,
        program.rest,
    )


def full_precision(program: Program) -> Program:
    """Half precision read as float32: precision is chosen later. Other programs come back as they are."""
    if not any(var.dtype in HALVES for block in program.blocks for var in block.variables.values()):
        return program
    for block in program.blocks:
        block.variables = {
            name: replace(var, dtype=FULL.get(var.dtype, var.dtype)) for name, var in block.variables.items()
        }
        for op in block.operators:
            for name in ("dtype", "in_dtype", "out_dtype"):
                kind, value = op.attributes.get(name, (INT, None))
                if kind == INT and value in HALVES:
                    op.attributes[name] = Attribute(INT, FULL[value])
    return program


_COUNTED = {
    "multiclass_nms": ("multiclass_nms3", ("Index", "NmsRoisNum")),
    "multiclass_nms2": ("multiclass_nms3", ("Index", "NmsRoisNum")),
    "generate_proposals": ("generate_proposals", ("RpnRoisNum",)),
}
"""Operators that told how many rows each image has beside their results, and outputs that tell it today."""


def runnable(program: Program) -> Program:
    """The program with operators that Paddle 3 still runs; it computes the same."""
    whole = upgrade(program)
    for place, op in enumerate(whole.main.operators):
        if op.type not in _COUNTED:
            continue
        kind, parameters = _COUNTED[op.type]
        outputs = dict(op.outputs)
        for parameter in parameters:
            name = f"{op.makes()[0]}.{parameter}"
            if parameter not in outputs:
                outputs[parameter] = [name]
                whole.main.variables[name] = Variable(name, dtype=2, shape=(-1, 1))
        whole.main.operators[place] = Operator(kind, op.inputs, outputs, op.attributes)
    return whole


def add(program: Program, op_type: str, name: str) -> bool:
    """Give operators an attribute that they lack, in place; whether there was something to give."""
    added = False
    for op in program.main.operators:
        if op.type == op_type and name not in op.attributes and name in LATER:
            op.attributes[name] = Attribute(*LATER[name])
            added = True
    return added


def _renamed(op: Operator) -> Operator:
    return Operator(_SUCCESSORS.get(op.type, op.type), op.inputs, op.outputs, dict(op.attributes))


def _defaults(op: Operator) -> Operator:
    for name, (kind, value) in DEFAULTS.get(op.type, {}).items():
        op.attributes.setdefault(name, Attribute(kind, value))
    return op


def _flatten_all(op: Operator) -> Operator:
    """``flatten`` at axis 0 makes one row; at others two axes."""
    new = _renamed(op)
    if op.get("axis", 1) != 0:
        return new
    return Operator("reshape2", {"X": op.inputs["X"]}, op.outputs, {"shape": Attribute(INTS, (1, -1))})


_RULES: Mapping[str, Callable[[Operator], Operator]] = {"flatten": _flatten_all, "flatten2": _flatten_all}
