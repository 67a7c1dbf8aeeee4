"""Uses of every TensorFlow operator that tf2onnx knows, as small functions whose inputs say what may go into them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 6
"""Sets of inputs per case: ordinary, ties, wide, angles, all at their ends, all the same."""


@dataclass(frozen=True)
class Given:
    """An input of a case.

    Attributes:
        dtype: of NumPy.
        shape: None for a dimension that is free in the signature and 3 in the values.
        low: smallest value; None: what the type holds, or for floats the wide ranges of the draws.
        high: largest value, itself included.
        fixed: the values, where only some make sense.
    """

    dtype: str
    shape: tuple[int | None, ...]
    low: float | None = None
    high: float | None = None
    fixed: Any = None

    def array(self, random: np.random.Generator, draw: int) -> np.ndarray:
        """The values of one draw."""
        shape = tuple(3 if size is None else size for size in self.shape)
        if self.fixed is not None:
            return np.broadcast_to(np.array(self.fixed, self.dtype), shape).copy()
        if self.dtype == "bool":
            return np.asarray(random.integers(0, 2, shape) if draw < 4 else np.full(shape, draw == 4), bool)
        if np.dtype(self.dtype).kind in "iu":
            return self._integers(random, draw, shape)
        return np.asarray(self._floats(random, draw, shape), self.dtype)

    def _integers(self, random: np.random.Generator, draw: int, shape: tuple[int, ...]) -> np.ndarray:
        limits = np.iinfo(self.dtype)
        low = int(limits.min if self.low is None else self.low)
        high = int(limits.max if self.high is None else self.high)
        if draw < 2 and self.low is None:
            low, high = max(low, -9), min(high, 9)
        values = random.integers(low, high, shape, self.dtype, endpoint=True)
        if draw == 1:
            values = values[..., :1].repeat(shape[-1], -1) if shape else values
        if draw >= 4:
            ends = np.array([low, high] if draw == 4 else [high, high], self.dtype)
            values = np.resize(ends, shape)
        return np.asarray(values, self.dtype)

    def _floats(self, random: np.random.Generator, draw: int, shape: tuple[int, ...]) -> np.ndarray:
        if self.low is not None and self.high is not None:
            values = random.uniform(self.low, self.high, shape)
            return np.resize([self.low, self.high], shape) if draw == 4 else values
        normal = random.standard_normal(shape)
        if draw == 1:
            return np.asarray(random.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0], shape))
        if draw == 2:
            return np.asarray(normal * 10 ** random.uniform(-3, 3, shape))
        if draw == 3:
            return np.asarray(random.uniform(-30, 30, shape))
        return (
            np.resize([-2.5, -0.5, 0.0, 0.5, 1.5, 2.5], shape) if draw == 4 else np.ones(shape) if draw == 5 else normal
        )


@dataclass(frozen=True)
class Case:
    """One use of an operator.

    Attributes:
        op: of TensorFlow.
        variant: what is special about this use.
        call: the function, given TensorFlow and the tensors.
        inputs: by name.
        random: whether the outputs are random numbers, of which only the shapes can be compared.
        layer: makes the layer that ``call`` calls, given Keras; None: it is no layer.
        keras: the package.
        lite: ``float`` or ``int8``: through a file of TensorFlow Lite, whose operator ``op`` names.
    """

    op: str
    variant: str
    call: Callable[..., Any]
    inputs: Mapping[str, Given]
    random: bool = False
    layer: Callable[[Any], Any] | None = None
    keras: str = ""
    lite: str = ""

    @property
    def name(self) -> str:
        """Unique, and usable as a file name."""
        return f"{self.op}.{self.variant}" if self.variant else self.op

    def draws(self) -> list[dict[str, np.ndarray]]:
        """Inputs to compare on."""
        random = np.random.default_rng(7)
        return [{name: given.array(random, draw) for name, given in self.inputs.items()} for draw in range(DRAWS)]


CASES: list[Case] = []


def add(op: str, call: Callable[..., Any], *inputs: Given, variant: str = "", random: bool = False) -> None:
    """Put a case into the list; its inputs are called a, b, c, ..."""
    CASES.append(Case(op, variant, call, dict(zip("abcdefgh", inputs, strict=False)), random))


def f(*shape: int | None, low: float | None = None, high: float | None = None, dtype: str = "float32") -> Given:
    """Floating-point numbers."""
    return Given(dtype, shape or (None, 4), low, high)


def i(*shape: int | None, low: int | None = None, high: int | None = None, dtype: str = "int32") -> Given:
    """Integers; without bounds over the whole range of their type."""
    return Given(dtype, shape or (None, 4), low, high)


def b(*shape: int | None) -> Given:
    """Truth values."""
    return Given("bool", shape or (None, 4))


def v(values: Any, dtype: str = "int32") -> Given:
    """Fixed values that the graph gets at run time."""
    return Given(dtype, np.shape(values), fixed=values)


def _unary() -> None:
    domains = {
        "Acos": (-1, 1),
        "Acosh": (1, 50),
        "Asin": (-1, 1),
        "Atanh": (-0.99, 0.99),
        "Log": (1e-30, 1e3),
        "Rsqrt": (1e-6, 1e3),
        "Sqrt": (0, 1e3),
        "Log1p": (-0.99, 1e3),
        "Tan": (-1.5, 1.5),
        "Sinh": (-20, 20),
        "Cosh": (-20, 20),
        "Exp": (-80, 80),
        "Expm1": (-80, 80),
    }
    names = (
        "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Erfc Exp Expm1 Floor Log Log1p Neg Reciprocal "
        "Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Square Tan Tanh ZerosLike "
        "OnesLike StopGradient Identity"
    )
    for name in names.split():
        low, high = domains.get(name, (None, None))
        key = {
            "StopGradient": "input",
            "Identity": "input",
            "Relu": "features",
            "Relu6": "features",
            "Elu": "features",
            "Selu": "features",
            "Softplus": "features",
            "Softsign": "features",
        }.get(name, "x")
        raw = {"StopGradient": "StopGradient"}.get(name, name)
        add(name, lambda tf, a, raw=raw, key=key: getattr(tf.raw_ops, raw)(**{key: a}), f(low=low, high=high))
    for name in ("Abs", "Neg", "Sign", "Square", "OnesLike", "ZerosLike"):
        for dtype in ("int32", "int64"):
            add(
                name,
                lambda tf, a, name=name: getattr(tf.raw_ops, name)(x=a),
                i(low=-46340, high=46340, dtype=dtype),
                variant=dtype,
            )
    add("Abs", lambda tf, a: tf.abs(a), i(dtype="int32", low=-(2**31) + 1), variant="wide")
    for name in ("IsFinite", "IsInf", "IsNan"):
        add(name, lambda tf, a, name=name: getattr(tf.raw_ops, name)(x=tf.math.log(a)), f(low=-1, high=1))
    add("LeakyRelu", lambda tf, a: tf.nn.leaky_relu(a, 0.3), f())
    add("CheckNumerics", lambda tf, a: tf.debugging.check_numerics(a, "m"), f())
    for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"):
        add("Invert", lambda tf, a: tf.bitwise.invert(a), i(dtype=dtype), variant=dtype)
    add("LogicalNot", lambda tf, a: tf.logical_not(a), b())
    add("L2Loss", lambda tf, a: tf.nn.l2_loss(a), f())
    add("Softmax", lambda tf, a: tf.nn.softmax(a), f(None, 5))
    add("Softmax", lambda tf, a: tf.nn.softmax(a, 1), f(None, 5, 3), variant="axis")
    add("LogSoftmax", lambda tf, a: tf.nn.log_softmax(a), f(None, 5))
    add("FakeQuantWithMinMaxArgs", lambda tf, a: tf.quantization.fake_quant_with_min_max_args(a, -4, 4), f())
    add("FakeQuantWithMinMaxVars", lambda tf, a: tf.quantization.fake_quant_with_min_max_vars(a, -3.0, 5.0), f())


def _cast() -> None:
    kinds = ("float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
    for source in kinds:
        given = (
            f(dtype=source, low=-100, high=100)
            if source.startswith("float")
            else b()
            if source == "bool"
            else (i(dtype=source))
        )
        for target in kinds:
            if target == source or (source.startswith("float") and target == "uint8"):
                continue
            add("Cast", lambda tf, a, target=target: tf.cast(a, target), given, variant=f"{source}-{target}")
    add("Cast", lambda tf, a: tf.cast(a, "uint8"), f(low=0, high=255), variant="float32-uint8")
    add("Cast", lambda tf, a: tf.cast(a, "int32"), i(dtype="uint32", low=0, high=9), variant="uint32-int32")


def _binary() -> None:
    for name in (
        "Add",
        "AddV2",
        "Sub",
        "Mul",
        "RealDiv",
        "DivNoNan",
        "Maximum",
        "Minimum",
        "SquaredDifference",
        "Atan2",
        "FloorDiv",
        "FloorMod",
        "Div",
    ):
        low, high = (0.5, 3) if name in ("RealDiv", "Div", "FloorDiv", "FloorMod") else (None, None)
        keys = ("y", "x") if name == "Atan2" else ("x", "y")
        add(
            name,
            lambda tf, a, c, name=name, keys=keys: getattr(tf.raw_ops, name)(**dict(zip(keys, (a, c)))),  # noqa: B905
            f(),
            f(None, 4, low=low, high=high),
        )
    for name in ("FloorDiv", "FloorMod"):
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
            f(),
            f(None, 4, low=-3, high=-0.5),
            variant="negative divisor",
        )
        for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype, low=-100 if dtype[0] == "i" else 0, high=100),
                i(dtype=dtype, low=1, high=9),
                variant=dtype,
            )
            if dtype[0] == "i":
                add(
                    name,
                    lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                    i(dtype=dtype, low=-100, high=100),
                    i(dtype=dtype, low=-9, high=-1),
                    variant=f"{dtype} negative",
                )
        add(
            name,
            lambda tf, a, name=name: getattr(tf.raw_ops, name)(x=a, y=tf.constant(7)),
            i(low=-(2**31) + 1),
            variant="wide by constant",
        )
    for name in ("TruncateDiv", "Div", "TruncateMod"):
        for dtype in ("int32", "int64"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype, low=-100, high=100),
                i(dtype=dtype, low=-9, high=-1),
                variant=dtype,
            )
    add("DivNoNan", lambda tf, a: tf.math.divide_no_nan(1.0, a), f(), variant="zeros")
    for name in ("Add", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference"):
        for dtype in ("int32", "int64"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype),
                i(dtype=dtype),
                variant=dtype,
            )
    add("Pow", lambda tf, a, c: tf.pow(a, c), f(low=0, high=4), f(low=-2, high=3))
    add("Pow", lambda tf, a, c: tf.pow(a, c), f(low=-3, high=3), v(3.0, "float32"), variant="negative cube")
    add("Pow", lambda tf, a, c: tf.pow(a, c), i(low=-9, high=9), i(low=0, high=5), variant="int32")
    for name in ("Less", "LessEqual", "Greater", "GreaterEqual", "Equal", "NotEqual"):
        add(name, lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c), f(), f())
        for dtype in ("int32", "int64", "uint8", "int8"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype),
                i(dtype=dtype),
                variant=dtype,
            )
    for name in ("Equal", "NotEqual"):
        add(name, lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c), b(), b(), variant="bool")
    for name in ("LogicalAnd", "LogicalOr"):
        add(name, lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c), b(), b())
    for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        for dtype in ("int32", "uint8", "int64"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype),
                i(dtype=dtype),
                variant=dtype,
            )
    for name in ("LeftShift", "RightShift"):
        for dtype in ("int32", "uint8", "int64", "uint32"):
            add(
                name,
                lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
                i(dtype=dtype),
                i(dtype=dtype, low=0, high=7),
                variant=dtype,
            )
    for name in ("LeftShift", "RightShift"):
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c),
            i(dtype="int64"),
            i(dtype="int64", low=0, high=63),
            variant="int64 far",
        )
    add("AddN", lambda tf, a, c: tf.add_n([a, c, a]), f(), f())
    add("BiasAdd", lambda tf, a: tf.nn.bias_add(a, [1.0, 2.0, 3.0, 4.0]), f())
    add("BiasAdd", lambda tf, a: tf.nn.bias_add(a, [1.0, 2.0], "NCHW"), f(None, 2, 3, 3), variant="NCHW")
    add("BiasAddV1", lambda tf, a: tf.raw_ops.BiasAddV1(value=a, bias=[1.0, 2.0, 3.0, 4.0]), f())
    add("ClipByValue", lambda tf, a: tf.raw_ops.ClipByValue(t=a, clip_value_min=-1.0, clip_value_max=2.0), f())
    add("ClipByValue", lambda tf, a: tf.clip_by_value(a, -5, 7), i(), variant="int32")
    add("AdjustContrastv2", lambda tf, a: tf.image.adjust_contrast(a, 2.0), f(None, 4, 4, 3))
    add("AdjustSaturation", lambda tf, a: tf.image.adjust_saturation(a, 1.5), f(None, 4, 4, 3, low=0, high=1))
    add("AdjustHue", lambda tf, a: tf.image.adjust_hue(a, 0.2), f(None, 4, 4, 3, low=0, high=1))
    add(
        "SoftmaxCrossEntropyWithLogits",
        lambda tf, a, c: tf.nn.softmax_cross_entropy_with_logits(c, a),
        f(None, 5),
        f(None, 5, low=0, high=1),
    )
    add(
        "SparseSoftmaxCrossEntropyWithLogits",
        lambda tf, a, c: tf.nn.sparse_softmax_cross_entropy_with_logits(c, a),
        f(None, 5),
        i(None, low=0, high=4),
    )
    add("Prelu", lambda tf, a: tf.nn.relu(a) - 0.2 * tf.nn.relu(-a), f())


def _reductions() -> None:
    for name in ("Max", "Min", "Mean", "Prod", "Sum"):
        raw = {"Max": "max", "Min": "min", "Mean": "mean", "Prod": "prod", "Sum": "sum"}[name]
        call = lambda tf, a, raw=raw, **o: getattr(tf, f"reduce_{raw}")(a, **o)  # noqa: E731
        add(name, lambda tf, a, call=call: call(tf, a, axis=1), f(None, 4, 3))
        add(name, lambda tf, a, call=call: call(tf, a, axis=[0, -1], keepdims=True), f(None, 4, 3), variant="axes")
        add(name, lambda tf, a, call=call: call(tf, a), f(None, 4, 3), variant="all")
        add(
            name,
            lambda tf, a, c, raw=raw: getattr(tf, f"reduce_{raw}")(a, c),
            f(None, 4, 3),
            v([1]),
            variant="axis at run time",
        )
        add(name, lambda tf, a, call=call: call(tf, a, axis=1), i(None, 4, low=-9, high=9), variant="int32")
    for name in ("All", "Any"):
        add(name, lambda tf, a, name=name: getattr(tf, f"reduce_{name.lower()}")(a, 1), b())
        add(name, lambda tf, a, name=name: getattr(tf, f"reduce_{name.lower()}")(a), b(), variant="all")
    for name in ("ArgMax", "ArgMin"):
        add(name, lambda tf, a, name=name: getattr(tf, name.lower())(a, 1), f(None, 6))
        add(name, lambda tf, a, name=name: getattr(tf, name.lower())(a, 0, "int32"), f(None, 6), variant="int32 axis 0")
        add(name, lambda tf, a, name=name: getattr(tf, name.lower())(a, -1), i(None, 6), variant="integers")
    add("Cumsum", lambda tf, a: tf.cumsum(a, 1), f())
    add("Cumsum", lambda tf, a: tf.cumsum(a, 1, exclusive=True, reverse=True), f(), variant="exclusive reverse")
    add("Cumsum", lambda tf, a: tf.cumsum(a, -1), i(low=-99, high=99), variant="int32")
    add("Cumprod", lambda tf, a: tf.math.cumprod(a, 1), f(low=-2, high=2))
    add(
        "Cumprod",
        lambda tf, a: tf.math.cumprod(a, 1, exclusive=True, reverse=True),
        f(low=-2, high=2),
        variant="exclusive reverse",
    )
    for k in (1, 3):
        add("TopKV2", lambda tf, a, k=k: list(tf.math.top_k(a, k)), f(None, 6), variant=f"k={k}")
    add("TopKV2", lambda tf, a: list(tf.math.top_k(a, 4)), i(None, 6), variant="int32")
    add("TopKV2", lambda tf, a, c: list(tf.math.top_k(a, c)), f(None, 6), v(2), variant="k at run time")
    for name in ("SegmentMax", "SegmentMean", "SegmentMin", "SegmentProd", "SegmentSum"):
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(data=a, segment_ids=c),
            f(6, 3),
            v([0, 0, 1, 3, 3, 3]),
        )
    for name in ("UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "UnsortedSegmentSum"):
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(data=a, segment_ids=c, num_segments=4),
            f(6, 3),
            i(6, low=0, high=3),
        )
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(data=a, segment_ids=c, num_segments=4),
            f(6, 3),
            i(6, low=-1, high=3),
            variant="dropped",
        )
    for name in ("SparseSegmentMean", "SparseSegmentSqrtN", "SparseSegmentSum"):
        raw = name
        add(
            name,
            lambda tf, a, c, d, raw=raw: getattr(tf.raw_ops, raw)(data=a, indices=c, segment_ids=d),
            f(5, 3),
            i(4, low=0, high=4),
            v([0, 0, 1, 2]),
        )
        add(
            f"{name}WithNumSegments",
            lambda tf, a, c, d, raw=raw: getattr(tf.raw_ops, f"{raw}WithNumSegments")(
                data=a, indices=c, segment_ids=d, num_segments=4
            ),
            f(5, 3),
            i(4, low=0, high=4),
            v([0, 0, 1, 3]),
        )
    add(
        "Bincount",
        lambda tf, a: tf.raw_ops.Bincount(arr=a, size=5, weights=tf.constant([], tf.int32)),
        i(8, low=0, high=7),
    )
    add(
        "DenseBincount",
        lambda tf, a: tf.raw_ops.DenseBincount(input=a, size=5, weights=tf.constant([], tf.float32)),
        i(8, low=0, high=7),
    )


def _linear() -> None:
    add("MatMul", lambda tf, a, c: a @ c, f(None, 4), f(4, 3))
    add(
        "MatMul",
        lambda tf, a, c: tf.matmul(a, c, transpose_a=True, transpose_b=True),
        f(4, None),
        f(3, 4),
        variant="transposed",
    )
    add(
        "MatMul",
        lambda tf, a, c: tf.matmul(a, c),
        i(None, 4, low=-99, high=99),
        i(4, 3, low=-99, high=99),
        variant="int32",
    )
    for name in ("BatchMatMul", "BatchMatMulV2"):
        add(name, lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c), f(2, None, 4), f(2, 4, 3))
        add(
            name,
            lambda tf, a, c, name=name: getattr(tf.raw_ops, name)(x=a, y=c, adj_x=True, adj_y=True),
            f(2, 4, None),
            f(2, 3, 4),
            variant="adjoint",
        )
    add("BatchMatMulV3", lambda tf, a, c: tf.raw_ops.BatchMatMulV3(x=a, y=c, Tout=tf.float32), f(2, None, 4), f(4, 3))
    for equation, left, right in (
        ("ij,jk->ik", (None, 4), (4, 3)),
        ("bij,bkj->bik", (2, 3, 4), (2, 5, 4)),
        ("abc,cde->abde", (2, 3, 4), (4, 5, 2)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("...i,ij->...j", (None, 2, 4), (4, 3)),
        ("ij,ij->", (3, 4), (3, 4)),
    ):
        add("Einsum", lambda tf, a, c, e=equation: tf.einsum(e, a, c), f(*left), f(*right), variant=equation)
    add("Einsum", lambda tf, a: tf.einsum("ii->i", a), f(4, 4), variant="ii->i")
    add("MatrixDeterminant", lambda tf, a: tf.linalg.det(a), f(2, 3, 3, low=-1, high=1))
    add("MatrixBandPart", lambda tf, a: tf.linalg.band_part(a, 1, 2), f(2, 4, 5))
    add("MatrixBandPart", lambda tf, a: tf.linalg.band_part(a, -1, 0), f(2, 4, 4), variant="lower triangle")
    add("MatrixBandPart", lambda tf, a: tf.linalg.band_part(a, 0, -1), f(None, 4, 4), variant="upper triangle")
    add("MatrixBandPart", lambda tf, a: tf.linalg.band_part(a, 1, 1), i(2, 4, 5), variant="int32")
    add("MatrixDiag", lambda tf, a: tf.raw_ops.MatrixDiag(diagonal=a), f(2, 4))
    add("MatrixDiag", lambda tf, a: tf.raw_ops.MatrixDiag(diagonal=a), f(None, 4), variant="batch")
    add(
        "MatrixDiagV2",
        lambda tf, a: tf.raw_ops.MatrixDiagV2(diagonal=a, k=1, num_rows=-1, num_cols=-1, padding_value=0.5),
        f(2, 3),
    )
    add("MatrixDiagV3", lambda tf, a: tf.linalg.diag(a), f(2, 3))
    add("MatrixDiagV3", lambda tf, a: tf.linalg.diag(a, k=-1), f(None, 3), variant="batch below")
    add("MatrixDiagV3", lambda tf, a: tf.linalg.diag(a, k=(-1, 1)), f(2, 3, 3), variant="band")
    add("MatrixDiagPart", lambda tf, a: tf.raw_ops.MatrixDiagPart(input=a), f(2, 3, 4))
    add("MatrixDiagPartV2", lambda tf, a: tf.raw_ops.MatrixDiagPartV2(input=a, k=0, padding_value=0.0), f(2, 3, 4))
    add("MatrixDiagPartV3", lambda tf, a: tf.linalg.diag_part(a), f(2, 3, 4))
    add("MatrixDiagPartV3", lambda tf, a: tf.linalg.diag_part(a, k=(-1, 1)), f(2, 4, 4), variant="band")
    add("MatrixSetDiagV3", lambda tf, a, c: tf.linalg.set_diag(a, c), f(2, 3, 4), f(2, 3))
    add("InvertPermutation", lambda tf, a: tf.math.invert_permutation(a), v([2, 0, 3, 1]))
    for name, low in (("FFT", 8), ("RFFT", 8), ("RFFT2D", 8)):
        call = {
            "FFT": lambda tf, a: tf.abs(tf.signal.fft(tf.cast(a, tf.complex64))),
            "RFFT": lambda tf, a: tf.abs(tf.signal.rfft(a)),
            "RFFT2D": lambda tf, a: tf.abs(tf.signal.rfft2d(a)),
        }[name]
        add(name, call, f(*((2, low) if name != "RFFT2D" else (2, 4, low))))
    add("RFFT", lambda tf, a: tf.abs(tf.signal.rfft(a)), f(None, 8), variant="batch")
    add("ComplexAbs", lambda tf, a: tf.abs(tf.signal.rfft(a, [16])), f(1, 16))


def _images() -> None:
    image, kernel = f(None, 8, 8, 3), f(3, 3, 3, 4)
    for padding in ("SAME", "VALID"):
        for strides, dilations in ((1, 1), (2, 1), (1, 2)):
            variant = f"{padding} s{strides} d{dilations}"
            add(
                "Conv2D",
                lambda tf, a, c, p=padding, s=strides, d=dilations: tf.nn.conv2d(a, c, s, p, dilations=d),
                image,
                kernel,
                variant=variant,
            )
            add(
                "DepthwiseConv2dNative",
                lambda tf, a, c, p=padding, s=strides, d=dilations: tf.nn.depthwise_conv2d(
                    a, c, [1, s, s, 1], p, dilations=[d, d]
                ),
                image,
                f(3, 3, 3, 2),
                variant=variant,
            )
        add(
            "Conv2DBackpropInput",
            lambda tf, a, c, p=padding: tf.nn.conv2d_transpose(
                a, c, [3, 16, 16, 4] if p == "SAME" else [3, 17, 17, 4], 2, p
            ),
            f(3, 8, 8, 3),
            f(3, 3, 4, 3),
            variant=padding,
        )
        add(
            "Conv3D",
            lambda tf, a, c, p=padding: tf.nn.conv3d(a, c, [1, 1, 1, 1, 1], p),
            f(None, 4, 4, 4, 2),
            f(2, 2, 2, 2, 3),
            variant=padding,
        )
        for pool in ("AvgPool", "MaxPool"):
            call = {"AvgPool": "avg_pool2d", "MaxPool": "max_pool2d"}[pool]
            for size in ((2, 2), (3, 2), (3, 1)):
                add(
                    pool,
                    lambda tf, a, call=call, p=padding, s=size: getattr(tf.nn, call)(a, s[0], s[1], p),
                    f(None, 7, 7, 3),
                    variant=f"{padding} {size[0]}/{size[1]}",
                )
            add(
                f"{pool}3D",
                lambda tf, a, pool=pool, p=padding: getattr(tf.nn, f"{pool[:3].lower()}_pool3d")(a, 2, 2, p),
                f(None, 5, 5, 5, 2),
                variant=padding,
            )
        add(
            "MaxPoolWithArgmax",
            lambda tf, a, p=padding: list(tf.nn.max_pool_with_argmax(a, 2, 2, p)),
            f(1, 6, 6, 3),
            variant=padding,
        )
        add(
            "ExtractImagePatches",
            lambda tf, a, p=padding: tf.image.extract_patches(a, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], p),
            f(2, 8, 8, 3),
            variant=padding,
        )
    add(
        "ExtractImagePatches",
        lambda tf, a: tf.image.extract_patches(a, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"),
        f(None, 8, 8, 3),
        variant="batch",
    )
    add(
        "Conv2D",
        lambda tf, a, c: tf.nn.conv2d(a, c, 1, "SAME", dilations=3),
        f(None, None, None, 3),
        kernel,
        variant="dilated free size",
    )
    add(
        "Conv2D",
        lambda tf, a, c: tf.nn.conv2d(a, c, 2, "SAME"),
        f(None, None, None, 3),
        kernel,
        variant="strided free size",
    )
    add(
        "Conv2D",
        lambda tf, a, c: tf.nn.conv2d(a, c, 1, [[0, 0], [1, 2], [0, 1], [0, 0]]),
        image,
        kernel,
        variant="explicit",
    )
    add("Conv2D", lambda tf, a, c: tf.nn.conv2d(a, c, 1, "SAME"), f(None, 8, 8, 6), kernel, variant="groups")
    add("Conv1D", lambda tf, a, c: tf.nn.conv1d(a, c, 1, "SAME"), f(None, 8, 3), f(3, 3, 4))
    add(
        "Conv3DBackpropInputV2",
        lambda tf, a, c: tf.nn.conv3d_transpose(a, c, [2, 8, 8, 8, 3], 2),
        f(2, 4, 4, 4, 2),
        f(2, 2, 2, 3, 2),
    )
    add(
        "MaxPoolV2",
        lambda tf, a: tf.raw_ops.MaxPoolV2(input=a, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID"),
        f(None, 6, 6, 3),
    )
    add("LRN", lambda tf, a: tf.nn.local_response_normalization(a, 2, 1.0, 0.5, 0.75), f(None, 4, 4, 6))
    for name in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"):
        add(
            name,
            lambda tf, a, name=name: getattr(tf.raw_ops, name)(
                x=a,
                scale=[1.0, 2.0, 0.5],
                offset=[0.0, 1.0, 2.0],
                mean=[0.1, 0.2, 0.3],
                variance=[1.0, 2.0, 3.0],
                is_training=False,
                epsilon=0.001,
            )[0],
            f(None, 4, 4, 3),
        )
    add(
        "FusedBatchNormV3",
        lambda tf, a: tf.raw_ops.FusedBatchNormV3(
            x=a, scale=[1.0, 2.0, 0.5], offset=[0.0, 1.0, 2.0], mean=[], variance=[], is_training=True
        )[0],
        f(None, 4, 4, 3),
        variant="training",
    )
    for size, label in (((16, 16), "up"), ((5, 6), "down"), ((12, 20), "fraction")):
        for method, name in (
            ("bilinear", "ResizeBilinear"),
            ("nearest", "ResizeNearestNeighbor"),
            ("bicubic", "ResizeBicubic"),
            ("area", "ResizeArea"),
        ):
            add(name, lambda tf, a, s=size, m=method: tf.image.resize(a, s, m), f(None, 8, 8, 3), variant=label)
        for raw in ("ResizeBilinear", "ResizeNearestNeighbor"):
            for corners in (True, False):
                add(
                    raw,
                    lambda tf, a, raw=raw, s=size, c=corners: getattr(tf.raw_ops, raw)(
                        images=a, size=s, align_corners=c
                    ),
                    f(None, 8, 8, 3),
                    variant=f"{label} {'corners' if corners else 'old'}",
                )
    add(
        "ResizeBilinear",
        lambda tf, a, c: tf.image.resize(a, c),
        f(None, 8, 8, 3),
        v([12, 10]),
        variant="size at run time",
    )
    add(
        "CropAndResize",
        lambda tf, a: tf.image.crop_and_resize(a, [[0.1, 0.2, 0.8, 0.9], [0.0, 0.0, 1.0, 1.0]], [0, 1], [4, 4]),
        f(2, 8, 8, 3),
    )
    add("DepthToSpace", lambda tf, a: tf.nn.depth_to_space(a, 2), f(None, 4, 4, 8))
    add("SpaceToDepth", lambda tf, a: tf.nn.space_to_depth(a, 2), f(None, 4, 4, 2))
    add("DepthToSpace", lambda tf, a: tf.nn.depth_to_space(a, 2), f(None, None, None, 8), variant="free size")
    add("SpaceToBatchND", lambda tf, a: tf.space_to_batch_nd(a, [2, 2], [[0, 0], [0, 0]]), f(2, 4, 4, 3))
    add(
        "SpaceToBatchND",
        lambda tf, a: tf.space_to_batch_nd(a, [2, 2], [[1, 1], [0, 2]]),
        f(2, 4, 4, 3),
        variant="padded",
    )
    add("BatchToSpaceND", lambda tf, a: tf.batch_to_space(a, [2, 2], [[0, 1], [1, 0]]), f(8, 4, 4, 3))
    box, score = f(9, 4, low=0, high=1), f(9, low=0, high=1)
    add("NonMaxSuppressionV3", lambda tf, a, c: tf.image.non_max_suppression(a, c, 4), box, score)
    add(
        "NonMaxSuppressionV2",
        lambda tf, a, c: tf.raw_ops.NonMaxSuppressionV2(boxes=a, scores=c, max_output_size=4, iou_threshold=0.5),
        box,
        score,
    )
    add(
        "NonMaxSuppressionV4",
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
        box,
        score,
    )
    add("NonMaxSuppressionV5", lambda tf, a, c: list(tf.image.non_max_suppression_with_scores(a, c, 4)), box, score)
    add(
        "CombinedNonMaxSuppression",
        lambda tf, a, c: list(tf.image.combined_non_max_suppression(a, c, 3, 4)),
        f(1, 9, 1, 4, low=0, high=1),
        f(1, 9, 2, low=0, high=1),
    )


def _moving() -> None:
    add("Gather", lambda tf, a, c: tf.raw_ops.Gather(params=a, indices=c), f(5, 3), i(None, low=0, high=4))
    add("GatherV2", lambda tf, a, c: tf.gather(a, c), f(5, 3), i(None, 2, low=0, high=4))
    add("GatherV2", lambda tf, a, c: tf.gather(a, c, axis=1), f(None, 5, 3), i(2, low=0, high=4), variant="axis 1")
    add(
        "GatherV2",
        lambda tf, a, c: tf.gather(a, c, batch_dims=1),
        f(3, 5, 2),
        i(3, 2, low=0, high=4),
        variant="batch_dims",
    )
    add(
        "GatherV2",
        lambda tf, a, c: tf.gather(a, c, axis=2, batch_dims=1),
        f(3, 2, 5),
        i(3, 2, low=0, high=4),
        variant="batch_dims axis 2",
    )
    add("GatherNd", lambda tf, a, c: tf.gather_nd(a, c), f(4, 5, 2), i(None, 2, low=0, high=3))
    add(
        "GatherNd",
        lambda tf, a, c: tf.gather_nd(a, c, batch_dims=1),
        f(3, 5, 2),
        i(3, 2, 1, low=0, high=4),
        variant="batch_dims",
    )
    add("ScatterNd", lambda tf, a, c: tf.scatter_nd(a, c, [5]), i(None, 1, low=0, high=4), f(None))
    add(
        "ScatterNd", lambda tf, a, c: tf.scatter_nd(a, c, [4, 3]), i(None, 1, low=0, high=3), f(None, 3), variant="rows"
    )
    for dtype in ("int32", "int64"):
        add(
            "ScatterNd",
            lambda tf, a, c: tf.scatter_nd(a, c, [5]),
            i(None, 1, low=0, high=4),
            i(None, low=-99, high=99, dtype=dtype),
            variant=dtype,
        )
    add("ScatterNd", lambda tf, a, c: tf.scatter_nd(a, c, [5]), i(None, 1, low=0, high=4), b(None), variant="bool")
    for name in ("Add", "Sub", "Update", "Max", "Min"):
        indices = v([[1], [3], [0]]) if name == "Update" else i(3, 1, low=0, high=4)
        add(
            f"TensorScatter{name}",
            lambda tf, a, c, d, name=name: getattr(tf.raw_ops, f"TensorScatter{name}")(tensor=a, indices=c, updates=d),
            f(5),
            indices,
            f(3),
        )
    add(
        "SparseToDense",
        lambda tf, a, c: tf.raw_ops.SparseToDense(
            sparse_indices=a, output_shape=[6], sparse_values=c, default_value=0.5, validate_indices=False
        ),
        v([1, 3, 4]),
        f(3),
    )
    for dtype in ("float32", "int32", "bool"):
        on, off = (True, False) if dtype == "bool" else (5, -1)
        add(
            "OneHot",
            lambda tf, a, t=dtype, on=on, off=off: tf.one_hot(a, 4, on, off, dtype=t),
            i(None, low=0, high=3),
            variant=dtype,
        )
    add("OneHot", lambda tf, a: tf.one_hot(a, 4), i(None, low=-6, high=6), variant="outside")
    add("OneHot", lambda tf, a: tf.one_hot(a, 4), i(None, low=-6, high=6, dtype="int64"), variant="int64 outside")
    add("OneHot", lambda tf, a: tf.one_hot(a, 4), i(None, 3, dtype="uint8"), variant="uint8 outside")
    add("OneHot", lambda tf, a: tf.one_hot(a, 4, axis=0), i(None, 3, low=-2, high=5), variant="axis 0")
    add("OneHot", lambda tf, a, c: tf.one_hot(a, c), i(None, low=-2, high=5), v(4), variant="depth at run time")
    add("Concat", lambda tf, a, c: tf.raw_ops.Concat(concat_dim=1, values=[a, c]), f(), f(None, 2))
    add("ConcatV2", lambda tf, a, c: tf.concat([a, c], -1), f(), f(None, 2))
    add("Pack", lambda tf, a, c: tf.stack([a, c], 1), f(), f())
    add("Unpack", lambda tf, a: tf.unstack(a, axis=1), f(None, 3))
    add("Split", lambda tf, a: tf.split(a, 2, 1), f())
    add("SplitV", lambda tf, a: tf.split(a, [1, -1, 2], 1), f(None, 6))
    add("Slice", lambda tf, a: tf.slice(a, [0, 1], [-1, 2]), f())
    add("Slice", lambda tf, a, c: tf.slice(a, c, [2, 2]), f(4, 4), v([1, 1]), variant="begin at run time")
    for text, call in {
        "1:3": lambda a: a[:, 1:3],
        "neg": lambda a: a[:, -3:-1],
        "::2": lambda a: a[:, ::2],
        "::-1": lambda a: a[:, ::-1],
        "int": lambda a: a[:, 1],
        "new": lambda a: a[:, None, 1:],
        "...": lambda a: a[..., -1:],
        "3:0:-1": lambda a: a[:, 3:0:-1],
    }.items():
        add("StridedSlice", lambda tf, a, call=call: call(a), f(None, 5, 2), variant=text)
    add("StridedSlice", lambda tf, a, c: a[:, c:], f(None, 5), v(2), variant="at run time")
    add("StridedSlice", lambda tf, a, c: a[c], f(5, 3), v(-2), variant="negative index")
    add("Reshape", lambda tf, a: tf.reshape(a, [-1, 2]), f())
    add("Reshape", lambda tf, a, c: tf.reshape(a, c), f(3, 4), v([2, 6]), variant="at run time")
    add("ExpandDims", lambda tf, a: tf.expand_dims(a, 1), f())
    sizes = Given("int32", (None,), fixed=[3, 1, 4])  # as many as at run time
    add("Rank", lambda tf, a, s: tf.rank(tf.reshape(a, s)) + 1, f(), sizes)
    add("Squeeze", lambda tf, a: tf.squeeze(a, [1]), f(None, 1, 4))
    add("Squeeze", lambda tf, a: tf.squeeze(a), f(1, 3, 1, 4), variant="all")
    add("Squeeze", lambda tf, a: tf.squeeze(a), f(None, 1, 4), variant="all of a free batch")
    add("Flatten", lambda tf, a: tf.reshape(a, [tf.shape(a)[0], -1]), f(None, 3, 4))
    add("Transpose", lambda tf, a: tf.transpose(a, [2, 0, 1]), f(None, 3, 4))
    add("Transpose", lambda tf, a, c: tf.transpose(a, c), f(2, 3, 4), v([2, 0, 1]), variant="at run time")
    add("Tile", lambda tf, a: tf.tile(a, [2, 3]), f())
    add("Tile", lambda tf, a, c: tf.tile(a, c), f(), v([2, 3]), variant="at run time")
    add("BroadcastTo", lambda tf, a: tf.broadcast_to(a, [2, 3, 4]), f(3, 4))
    add("Fill", lambda tf, a, c: tf.fill(c, a), Given("float32", ()), v([2, 3]))
    add("EnsureShape", lambda tf, a: tf.ensure_shape(a, [None, 4]), f())
    add("Pad", lambda tf, a: tf.pad(a, [[0, 0], [1, 2]]), f())
    add("Pad", lambda tf, a: tf.pad(a, [[0, 0], [1, 2]]), i(), variant="int32")
    add("Pad", lambda tf, a, c: tf.pad(a, c), f(), v([[0, 1], [1, 2]]), variant="at run time")
    add("PadV2", lambda tf, a: tf.pad(a, [[0, 0], [1, 2]], constant_values=3.5), f())
    for mode in ("REFLECT", "SYMMETRIC"):
        add("MirrorPad", lambda tf, a, mode=mode: tf.pad(a, [[0, 0], [1, 2]], mode), f(), variant=mode)
    add("ReverseV2", lambda tf, a: tf.reverse(a, [1]), f())
    add("ReverseV2", lambda tf, a: tf.reverse(a, [0, 2]), f(None, 3, 4), variant="axes")
    add("ReverseSequence", lambda tf, a, c: tf.reverse_sequence(a, c, 1, 0), f(3, 5, 2), i(3, low=1, high=5))
    add(
        "ReverseSequence",
        lambda tf, a, c: tf.reverse_sequence(a, c, 1, 0),
        f(3, 5, 2),
        i(3, low=0, high=5),
        variant="empty",
    )
    add("Roll", lambda tf, a: tf.roll(a, [1], [1]), f())
    add("Roll", lambda tf, a: tf.roll(a, [-7, 2], [1, 0]), f(), variant="negative")
    add("Select", lambda tf, a, c, d: tf.raw_ops.Select(condition=a, x=c, y=d), b(), f(), f())
    add("Select", lambda tf, a, c, d: tf.raw_ops.Select(condition=a, x=c, y=d), b(None), f(), f(), variant="rows")
    add("SelectV2", lambda tf, a, c, d: tf.where(a, c, d), b(), f(), f())
    add("SelectV2", lambda tf, a, c, d: tf.where(a, c, d), b(), i(), i(), variant="int32")
    add("Where", lambda tf, a: tf.where(a), b())
    add("Where", lambda tf, a: tf.where(tf.greater(a, 0)), f(), variant="greater")
    add("Where", lambda tf, a: tf.boolean_mask(a, a > 0), f(None), variant="boolean_mask")
    add("DynamicPartition", lambda tf, a, c: tf.dynamic_partition(a, c, 3), f(6, 2), i(6, low=0, high=2))
    add("DynamicStitch", lambda tf, a, c: tf.dynamic_stitch([[0, 2], [1, 3]], [a, c]), f(2, 3), f(2, 3))
    add(
        "ParallelDynamicStitch",
        lambda tf, a, c: tf.raw_ops.ParallelDynamicStitch(indices=[[0, 2], [1, 3]], data=[a, c]),
        f(2, 3),
        f(2, 3),
    )
    add("Shape", lambda tf, a: tf.shape(a), f())
    add("Shape", lambda tf, a: tf.shape(a, tf.int64), f(), variant="int64")
    add("Size", lambda tf, a: tf.size(a), f())
    add("Range", lambda tf, a: tf.range(tf.shape(a)[0]), f())
    add("Range", lambda tf, a: tf.range(0.0, 2.0, 0.25) + a[:, :1], f(), variant="float")
    add("Range", lambda tf, a, c: tf.range(a, c, 3), v(-4), v(9), variant="at run time")
    add("Unique", lambda tf, a: list(tf.unique(a)), i(8, low=-4, high=4))
    add("UniqueWithCounts", lambda tf, a: list(tf.unique_with_counts(a)), i(8, low=-4, high=4))
    add("IdentityN", lambda tf, a, c: tf.identity_n([a, c]), f(), f())
    add("PlaceholderWithDefault", lambda tf, a: tf.raw_ops.PlaceholderWithDefault(input=a, shape=[None, 4]) * 2.0, f())
    add("AsString", lambda tf, a: tf.strings.to_number(tf.strings.as_string(a)), i(low=-99, high=99))
    add(
        "DenseToDenseSetOperation",
        lambda tf, a, c: tf.sparse.to_dense(tf.sets.difference(a, c)),
        v([[1, 2, 3], [4, 5, 6]]),
        v([[2, 9, 9], [4, 6, 9]]),
    )
    add("RaggedRange", lambda tf, a: tf.ragged.range(a).flat_values, v([2, 0, 3]))
    add("RaggedTensorToTensor", lambda tf, a: tf.RaggedTensor.from_row_splits(a, [0, 2, 2, 6]).to_tensor(), f(6))
    add(
        "RaggedGather",
        lambda tf, a, c: tf.gather(tf.RaggedTensor.from_row_splits(a, [0, 2, 3, 6]), c).to_tensor(),
        f(6),
        i(2, low=0, high=2),
    )
    add(
        "RaggedTensorToSparse",
        lambda tf, a: tf.sparse.to_dense(tf.RaggedTensor.from_row_splits(a, [0, 2, 2, 6]).to_sparse()),
        f(6),
    )
    add(
        "SparseReshape",
        lambda tf, a: tf.sparse.reshape(tf.SparseTensor([[0, 1], [1, 2]], a, [2, 3]), [3, 2]).indices,
        f(2),
    )
    add(
        "SparseFillEmptyRows",
        lambda tf, a: list(
            tf.raw_ops.SparseFillEmptyRows(indices=[[0, 1], [2, 0]], values=a, dense_shape=[4, 3], default_value=0.5)
        )[:3],
        f(2),
    )
    add("CTCGreedyDecoder", lambda tf, a: tf.sparse.to_dense(tf.nn.ctc_greedy_decoder(a, [4, 4])[0][0]), f(4, 2, 5))


def _control() -> None:
    add("If", lambda tf, a: tf.cond(tf.reduce_sum(a) > 0, lambda: a * 2, lambda: a - 1), f())
    add("While", lambda tf, a: tf.while_loop(lambda n, x: n < 3, lambda n, x: (n + 1, x * 0.5 + 1), [0, a])[1], f())
    add(
        "While",
        lambda tf, a: tf.while_loop(lambda x: tf.reduce_sum(x) < 50, lambda x: [x * 2 + 1], [tf.abs(a)]),
        f(None),
        variant="until a sum",
    )
    add("StatelessIf", lambda tf, a, c: tf.cond(c, lambda: tf.sin(a), lambda: tf.cos(a)), f(), Given("bool", ()))
    add(
        "If",
        lambda tf, a: tf.cond(tf.reduce_sum(a) > 0, lambda: tf.cond(a[0, 0] > 0, lambda: a, lambda: -a), lambda: a - 1),
        f(),
        variant="in if",
    )
    add(
        "If",
        lambda tf, a: tf.while_loop(
            lambda n, x: n < 3,
            lambda n, x: (n + 1, tf.cond(tf.reduce_sum(x) > 0, lambda: x * 0.5, lambda: x + 1)),
            [0, a],
        )[1],
        f(),
        variant="in loop",
    )
    add(
        "If",
        lambda tf, a: tf.while_loop(
            lambda n, x: n < 2,
            lambda n, x: (
                n + 1,
                tf.cond(
                    tf.reduce_sum(x) > 0,
                    lambda: tf.while_loop(lambda m, z: m < 2, lambda m, z: (m + 1, z * 0.5), [0, x])[1],
                    lambda: x + 1,
                ),
            ),
            [0, a],
        )[1],
        f(),
        variant="loop in if in loop",
    )
    add(
        "While",
        lambda tf, a: tf.while_loop(
            lambda n, x: n < 2,
            lambda n, x: (n + 1, tf.while_loop(lambda m, z: m < 2, lambda m, z: (m + 1, z * 0.5 + 1), [0, x])[1]),
            [0, a],
        )[1],
        f(),
        variant="in loop",
    )
    add(
        "If",
        lambda tf, a, c: tf.case([(c < 1, lambda: a), (c < 2, lambda: a * 2)], default=lambda: a - 1),
        f(),
        Given("int32", (), 0, 2),
        variant="case",
    )
    add(
        "If",
        lambda tf, a, c: tf.cond(
            c < 2,
            lambda: tf.cond(c < 1, lambda: tf.cond(a[0, 0] > 0, lambda: a, lambda: -a), lambda: a * 3),
            lambda: a - 1,
        ),
        f(),
        Given("int32", (), 0, 2),
        variant="three deep",
    )
    add(
        "Case",
        lambda tf, a, c: tf.switch_case(c, [lambda: a, lambda: a * 2, lambda: a - 1]),
        f(),
        Given("int32", (), 0, 2),
    )
    add(
        "Case",
        lambda tf, a, c: tf.cond(
            tf.reduce_sum(a) > 0, lambda: tf.switch_case(c, [lambda: a, lambda: a * 2]), lambda: a - 1
        ),
        f(),
        Given("int32", (), 0, 1),
        variant="in if",
    )
    add(
        "LSTMBlockCell",
        lambda tf, a, c, d: list(
            tf.raw_ops.LSTMBlockCell(
                x=a,
                cs_prev=c,
                h_prev=d,
                w=tf.reshape(tf.sin(tf.range(112.0)), [7, 16]),
                wci=[0.0] * 4,
                wcf=[0.0] * 4,
                wco=[0.0] * 4,
                b=tf.cos(tf.range(16.0)),
                forget_bias=1.0,
                cell_clip=-1.0,
            )
        ),
        f(2, 3),
        f(2, 4),
        f(2, 4),
    )
    add("TensorListStack", lambda tf, a: tf.map_fn(lambda x: x * 2 + 1, a), f(), variant="map_fn")
    add("TensorListStack", lambda tf, a: tf.scan(lambda s, x: s + x, a), f(), variant="scan")
    add("TensorListGetItem", lambda tf, a: tf.foldl(lambda s, x: s * 0.5 + x, a), f(), variant="foldl")


def _random() -> None:
    for op, call in {
        "RandomUniform": lambda tf, a: tf.random.uniform(tf.shape(a)) + a,
        "RandomUniformInt": lambda tf, a: tf.random.uniform(tf.shape(a), 0, 9, tf.int32),
        "RandomStandardNormal": lambda tf, a: tf.random.normal(tf.shape(a)) + a,
        "RandomShuffle": lambda tf, a: tf.random.shuffle(a),
        "Multinomial": lambda tf, a: tf.random.categorical(a, 3),
        "TruncatedNormal": lambda tf, a: tf.random.truncated_normal(tf.shape(a)) + a,
        "RandomGamma": lambda tf, a: tf.random.gamma(tf.shape(a), 2.0) + a,
        "StatelessRandomUniformV2": lambda tf, a: tf.random.stateless_uniform(tf.shape(a), [1, 2]) + a,
        "StatelessRandomNormalV2": lambda tf, a: tf.random.stateless_normal(tf.shape(a), [1, 2]) + a,
    }.items():
        add(op, call, f(), random=True)


for part in (_unary, _cast, _binary, _reductions, _linear, _images, _moving, _control, _random):
    part()
