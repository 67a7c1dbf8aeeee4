"""Uses of every TensorFlow Lite operator that tf2onnx knows: of TensorFlow's that become one, and some of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from operator_cases import CASES as NATIVE
from operator_cases import Case, Given, b, f, i, v

_SAME = """
Abs AddN ArgMax ArgMin Atan2 BatchToSpaceND BitwiseXor BroadcastTo Cast Ceil ComplexAbs Cos Cumsum DepthToSpace Div
Elu Equal Exp ExpandDims Fill Floor FloorDiv FloorMod GatherNd Greater GreaterEqual If LeakyRelu Less LessEqual Log
LogSoftmax LogicalAnd LogicalNot LogicalOr Maximum Mean Minimum MirrorPad Mul Multinomial Neg NonMaxSuppressionV4
NonMaxSuppressionV5 NotEqual OneHot Pack Pad PadV2 Pow RandomStandardNormal RandomUniform Range Relu Relu6 Reshape
ResizeBilinear ResizeNearestNeighbor ReverseSequence ReverseV2 RightShift Round Rsqrt ScatterNd SegmentSum SelectV2
Select Shape Sign Sin Slice Softmax SpaceToBatchND SpaceToDepth SparseToDense Split SplitV Sqrt Square
SquaredDifference Squeeze StridedSlice Sub Sum Tanh Tile TopKV2 Transpose Unique Unpack UnsortedSegmentMax
UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum Where While ZerosLike
"""
_OTHER = {
    "Add": "ADD",
    "AddV2": "ADD",
    "All": "REDUCE_ALL",
    "Any": "REDUCE_ANY",
    "AvgPool": "AVERAGE_POOL_2D",
    "BatchMatMulV2": "BATCH_MATMUL",
    "ConcatV2": "CONCATENATION",
    "Conv2D": "CONV_2D",
    "Conv2DBackpropInput": "TRANSPOSE_CONV",
    "Conv3D": "CONV_3D",
    "Conv3DBackpropInputV2": "CONV_3D_TRANSPOSE",
    "DepthwiseConv2dNative": "DEPTHWISE_CONV_2D",
    "GatherV2": "GATHER",
    "LRN": "LOCAL_RESPONSE_NORMALIZATION",
    "MatMul": "FULLY_CONNECTED",
    "MatrixDiagV3": "MATRIX_DIAG",
    "MatrixSetDiagV3": "MATRIX_SET_DIAG",
    "Max": "REDUCE_MAX",
    "MaxPool": "MAX_POOL_2D",
    "Min": "REDUCE_MIN",
    "Prod": "REDUCE_PROD",
    "RFFT2D": "RFFT2D",
    "RealDiv": "DIV",
    "Sigmoid": "LOGISTIC",
}

CASES: list[Case] = []


def _name(op: str) -> str:
    """GatherNd -> GATHER_ND, TopKV2 -> TOPK_V2."""
    special = {"TopKV2": "TOPK_V2", "ReverseV2": "REVERSE_V2", "SelectV2": "SELECT_V2", "PadV2": "PADV2"}
    special |= {"AddN": "ADD_N", "SplitV": "SPLIT_V", "BatchToSpaceND": "BATCH_TO_SPACE_ND"}
    special |= {"SpaceToBatchND": "SPACE_TO_BATCH_ND", "Relu6": "RELU6", "Atan2": "ATAN2"}
    special |= {f"NonMaxSuppressionV{n}": f"NON_MAX_SUPPRESSION_V{n}" for n in (4, 5)}
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in op).upper().lstrip("_")
    return special.get(op, words)


def add(op: str, call: Callable[..., Any], *inputs: Given, variant: str = "", lite: str = "float") -> None:
    """Put a case into the list, unless one of its name is there already."""
    case = Case(f"TFL_{op}", variant, call, dict(zip("abcdefgh", inputs, strict=False)), lite=lite)
    if all(case.name != other.name for other in CASES):
        CASES.append(case)


def _taken() -> None:
    """Cases of TensorFlow whose operator has a counterpart."""
    table = {op: _name(op) for op in _SAME.split()} | _OTHER
    for case in NATIVE:
        if case.op in table and case.layer is None and case.op not in _OWN_INPUTS:
            made = replace(case, op=f"TFL_{table[case.op]}", lite="float")
            if all(made.name != other.name for other in CASES):
                CASES.append(made)


_OWN_INPUTS = {"NonMaxSuppressionV4", "NonMaxSuppressionV5", "SegmentSum"}
"""Whose cases need inputs that this format takes: scores that all differ, segments without a gap."""


def _own() -> None:
    """What only TensorFlow Lite has, mostly of patterns that its converter knows."""
    image = f(2, 8, 8, 3)
    add("HARD_SWISH", lambda tf, a: a * tf.nn.relu6(a + 3.0) / 6.0, f())
    add("L2_NORMALIZATION", lambda tf, a: tf.nn.l2_normalize(a, -1), f(None, 5))
    slopes = [[[0.1, 0.2, 0.3]]]
    add("PRELU", lambda tf, a: tf.nn.relu(a) + (-tf.constant(slopes)) * tf.nn.relu(-a), image)
    add("GELU", lambda tf, a: tf.nn.gelu(a), f())
    add("GELU", lambda tf, a: tf.nn.gelu(a, approximate=True), f(), variant="approximate")
    sizes = Given("int32", (None,), fixed=[3, 1, 4])  # as many as at run time
    add("RANK", lambda tf, a, s: tf.rank(tf.reshape(a, s)) + tf.constant(1), f(), sizes)
    add("SQUEEZE", lambda tf, a, s: tf.squeeze(tf.reshape(a, s)), f(), sizes, variant="rank at run time")
    add("SQUEEZE", lambda tf, a, s: tf.squeeze(tf.reshape(a, s), [1]), f(), sizes, variant="axis")
    add("FULLY_CONNECTED", lambda tf, a, c: tf.matmul(a, c, transpose_b=True), f(3, 4), f(5, 4), variant="transposed")
    ends = v(1.5, "float32"), v(7.0, "float32")
    add("RANGE", lambda tf, a, c: tf.range(a, c, tf.constant(0.75)), *ends, variant="float ends")
    add("LOGISTIC", lambda tf, a: tf.sigmoid(a), f())
    add("RELU", lambda tf, a: tf.nn.relu(a), f())
    add("ADD", lambda tf, a, c: tf.nn.relu(a + c), f(), f(), variant="fused relu")
    add("ADD", lambda tf, a, c: tf.nn.relu6(a + c), f(), f(None, 1), variant="fused relu6, broadcast")
    add("MUL", lambda tf, a, c: tf.tanh(a * c), f(), f(), variant="tanh")
    add(
        "CONV_2D",
        lambda tf, a: tf.nn.relu(tf.nn.conv2d(a, _weights(tf, 3, 3, 3, 4), 1, "SAME") + 0.5),
        image,
        variant="fused",
    )
    add(
        "CONV_2D",
        lambda tf, a: tf.nn.conv2d(a, _weights(tf, 3, 3, 3, 4), 1, "VALID", dilations=2),
        image,
        variant="dilated, fixed weights",
    )
    add(
        "DEPTHWISE_CONV_2D",
        lambda tf, a: tf.nn.depthwise_conv2d(a, _weights(tf, 3, 3, 3, 2), [1, 2, 2, 1], "SAME"),
        image,
        variant="fixed weights",
    )
    add(
        "TRANSPOSE_CONV",
        lambda tf, a: tf.nn.conv2d_transpose(a, _weights(tf, 3, 3, 4, 3), [2, 16, 16, 4], 2),
        image,
        variant="fixed weights",
    )
    add(
        "CONV_3D",
        lambda tf, a: tf.nn.conv3d(a, _weights(tf, 2, 2, 2, 2, 3), [1] * 5, "SAME"),
        f(2, 4, 4, 4, 2),
        variant="fixed weights",
    )
    add("FULLY_CONNECTED", lambda tf, a: tf.nn.relu(a @ _weights(tf, 4, 3) + [0.1, 0.2, 0.3]), f(), variant="fused")
    add("BATCH_MATMUL", lambda tf, a, c: tf.matmul(a, c, adjoint_b=True), f(2, 3, 4), f(2, 5, 4), variant="adjoint")
    add("MATRIX_DIAG", lambda tf, a: tf.linalg.diag(a), f(2, 3), variant="fixed batch")
    add("CUMSUM", lambda tf, a: tf.cumsum(a, 0, reverse=True), f(), variant="reverse")
    add("SPLIT_V", lambda tf, a: tf.split(a, [1, 2, 3], -1), f(2, 6), variant="last axis")
    add("GATHER", lambda tf, a, c: tf.gather(a, c, axis=-1), f(3, 5), i(2, low=0, high=4), variant="last axis")
    add(
        "SPARSE_TO_DENSE",
        lambda tf, a: tf.sparse.to_dense(tf.SparseTensor([[0, 1], [2, 3]], a, [3, 4])),
        f(2),
        variant="matrix",
    )
    add("SELECT", lambda tf, a, c, d: tf.raw_ops.Select(condition=a, x=c, y=d), b(3), f(3, 4), f(3, 4), variant="rows")
    add("WHERE", lambda tf, a: tf.where(a), b(3, 4), variant="fixed")
    add("RESIZE_BILINEAR", lambda tf, a: tf.image.resize(a, [16, 12]), image, variant="half pixels")
    add("STRIDED_SLICE", lambda tf, a: a[::2, 1:, :-1], f(4, 5, 6), variant="three axes")
    corners = [[0.1 * (k % 4), 0.15 * (k % 3), 0.1 * (k % 4) + 0.4, 0.15 * (k % 3) + 0.5] for k in range(9)]
    boxes = v(corners, "float32")  # none without an area, whose overlap is not defined
    scores = v([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6], "float32")
    add(
        "NON_MAX_SUPPRESSION_V5",
        lambda tf, a, c: list(tf.image.non_max_suppression_with_scores(a, c, 4)),
        boxes,
        scores,
    )
    add("SEGMENT_SUM", lambda tf, a, c: tf.math.segment_sum(a, c), f(6, 3), v([0, 0, 1, 1, 2, 2]))
    add(
        "NON_MAX_SUPPRESSION_V4",
        lambda tf, a, c: list(
            tf.raw_ops.NonMaxSuppressionV4(
                boxes=a,
                scores=c,
                max_output_size=4,
                iou_threshold=0.5,
                score_threshold=0.1,
                pad_to_max_output_size=True,
            )
        ),
        boxes,
        scores,
        variant="padded",
    )
    add("SHAPE", lambda tf, a: tf.shape(a), f(None, None, 3), variant="free")
    add("RESHAPE", lambda tf, a: tf.reshape(a, [tf.shape(a)[0], -1]), f(None, 2, 3), variant="batch")
    add("CAST", lambda tf, a: tf.cast(a, "float32"), v([1, -2, 300]), variant="of integers")
    add("RFFT2D", lambda tf, a: tf.abs(tf.signal.rfft2d(a)), f(2, 4, 8), variant="fixed")


def _weights(tf: Any, *shape: int) -> Any:
    """The same numbers every time."""
    return tf.reshape(tf.sin(tf.range(1.0, 1 + float(_product(shape)))), shape)


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _quantized() -> None:
    """Arithmetic on int8 that a converter quantized by these very draws."""
    image = f(2, 8, 8, 3, low=-1, high=1)
    for op, call, given in (
        ("QUANTIZE", lambda tf, a: tf.nn.relu(a @ _weights(tf, 4, 3)), f(3, 4, low=-1, high=1)),
        ("DEQUANTIZE", lambda tf, a: tf.nn.conv2d(a, _weights(tf, 3, 3, 3, 4), 1, "SAME"), image),
        ("CONV_2D", lambda tf, a: tf.nn.relu6(tf.nn.conv2d(a, _weights(tf, 3, 3, 3, 4), 2, "SAME")), image),
        ("AVERAGE_POOL_2D", lambda tf, a: tf.nn.avg_pool2d(a, 2, 2, "VALID"), image),
        ("SOFTMAX", lambda tf, a: tf.nn.softmax(a @ _weights(tf, 4, 3)), f(3, 4, low=-1, high=1)),
        ("LOGISTIC", lambda tf, a: tf.sigmoid(a @ _weights(tf, 4, 3)), f(3, 4, low=-1, high=1)),
        ("TANH", lambda tf, a: tf.tanh(a @ _weights(tf, 4, 3)), f(3, 4, low=-1, high=1)),
        ("MEAN", lambda tf, a: tf.reduce_mean(a, [1, 2]), image),
        ("ADD", lambda tf, a: a + tf.nn.conv2d(a, _weights(tf, 1, 1, 3, 3), 1, "SAME"), image),
        ("CONCATENATION", lambda tf, a: tf.concat([a, tf.nn.relu(a)], -1), image),
        ("PAD", lambda tf, a: tf.pad(a, [[0, 0], [1, 2], [1, 0], [0, 0]]), image),
        ("HARD_SWISH", lambda tf, a: a * tf.nn.relu6(a + 3.0) / 6.0, image),
    ):
        add(op, call, given, variant="int8", lite="int8")


for part in (_taken, _own, _quantized):
    part()
