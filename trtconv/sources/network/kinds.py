"""Kinds of layers: what each is called, which attributes it has, and their defaults (as in TensorRT-RTX 1.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtconv.sources.network.arrays import Dims
from trtconv.sources.network.enums import member

Values = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of layer.

    Attributes:
        interface: its class in the API, ``IConvolutionLayer``.
        label: what the default name of a layer says.
        type: its ``LayerType``.
        defaults: attributes that no argument gives, from those that arguments gave.
        aliases: other names of attributes, ``stride_nd`` for ``stride``.
        outputs: how many.
        undoes: attributes that setting one forgets.
    """

    interface: str
    label: str
    type: str
    defaults: Callable[[Values], Values] = lambda values: {}
    aliases: Mapping[str, str] = field(default_factory=dict)
    outputs: int = 1
    undoes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _window(size: str, *more: str) -> Callable[[Values], Values]:
    """Defaults of a layer with a moving window."""

    def defaults(values: Values) -> Values:
        rank = len(values[size])
        ones, zeros = Dims((1,) * rank), Dims((0,) * rank)
        shared = {"stride": ones, "pre_padding": zeros, "post_padding": zeros, "padding_mode": _ROUND_DOWN}
        return shared | {name: {"dilation": ones, "num_groups": 1}[name] for name in more}

    return defaults


_ROUND_DOWN = member("PaddingMode", "EXPLICIT_ROUND_DOWN")
_ND = {name: name.removesuffix("_nd") for name in ("stride_nd", "dilation_nd", "kernel_size_nd", "window_size_nd")}
_BOTH_ENDS = {"padding": "pre_padding", "padding_nd": "pre_padding"}

_ALPHA_BETA: Mapping[str, tuple[float, float]] = {
    "LEAKY_RELU": (0.01, 0.0),
    "ELU": (1.0, 0.0),
    "SELU": (1.6732632423543772, 1.0507009873554805),
    "SOFTPLUS": (1.0, 1.0),
    "CLIP": (-3.4028234663852886e38, 3.4028234663852886e38),
    "HARD_SIGMOID": (0.2, 0.5),
    "SCALED_TANH": (1.0, 1.0),
    "THRESHOLDED_RELU": (1.0, 0.0),
}


def _activation(values: Values) -> Values:
    alpha, beta = _ALPHA_BETA.get(values["type"].name, (0.0, 0.0))
    return {"alpha": alpha, "beta": beta}


def _given(**defaults: Any) -> Callable[[Values], Values]:
    return lambda values: defaults


def _resize(values: Values) -> Values:
    return {
        "shape": None,
        "scales": None,
        "resize_mode": member("InterpolationMode", "NEAREST"),
        "coordinate_transformation": member("ResizeCoordinateTransformation", "ASYMMETRIC"),
        "selector_for_single_pixel": member("ResizeSelector", "FORMULA"),
        "nearest_rounding": member("ResizeRoundMode", "FLOOR"),
        "cubic_coeff": -0.75,
        "exclude_outside": False,
        "align_corners": False,
    }


_CONVOLUTION = _ND | _BOTH_ENDS | {"nb_groups": "num_groups"}

KINDS: Mapping[str, Kind] = {
    "activation": Kind("IActivationLayer", "Activation", "ACTIVATION", _activation),
    "assertion": Kind("IAssertionLayer", "Assertion", "ASSERTION", outputs=0),
    "cast": Kind("ICastLayer", "Cast", "CAST"),
    "concatenation": Kind("IConcatenationLayer", "Concatenation", "CONCATENATION", _given(axis=None)),
    "constant": Kind("IConstantLayer", "Constant", "CONSTANT"),
    "convolution": Kind(
        "IConvolutionLayer",
        "Convolution",
        "CONVOLUTION",
        _window("kernel_size", "dilation", "num_groups"),
        _CONVOLUTION,
    ),
    "cumulative": Kind("ICumulativeLayer", "Cumulative", "CUMULATIVE"),
    "deconvolution": Kind(
        "IDeconvolutionLayer",
        "Deconvolution",
        "DECONVOLUTION",
        _window("kernel_size", "dilation", "num_groups"),
        _CONVOLUTION,
    ),
    "dequantize": Kind("IDequantizeLayer", "Dequantize", "DEQUANTIZE", _given(axis=-1)),
    "einsum": Kind("IEinsumLayer", "Einsum", "EINSUM"),
    "elementwise": Kind("IElementWiseLayer", "ElementWise", "ELEMENTWISE"),
    "fill": Kind("IFillLayer", "Fill", "FILL", _given(alpha=0.0, beta=1.0, is_alpha_beta_int64=False)),
    "fully_connected": Kind("IFullyConnectedLayer", "Fully Connected", "FULLY_CONNECTED"),
    "gather": Kind(
        "IGatherLayer",
        "Gather",
        "GATHER",
        _given(axis=0, num_elementwise_dims=None, mode=member("GatherMode", "DEFAULT")),
    ),
    "grid_sample": Kind(
        "IGridSampleLayer",
        "GridSample",
        "GRID_SAMPLE",
        _given(
            align_corners=False,
            interpolation_mode=member("InterpolationMode", "LINEAR"),
            sample_mode=member("SampleMode", "FILL"),
        ),
    ),
    "identity": Kind("IIdentityLayer", "Identity", "IDENTITY"),
    "lrn": Kind("ILRNLayer", "LRN", "LRN"),
    "matrix_multiply": Kind(
        "IMatrixMultiplyLayer", "Matrix Multiply", "MATRIX_MULTIPLY", aliases={"transpose0": "op0", "transpose1": "op1"}
    ),
    "nms": Kind(
        "INMSLayer",
        "NMS",
        "NMS",
        _given(bounding_box_format=member("BoundingBoxFormat", "CORNER_PAIRS"), topk_box_limit=None),
        outputs=2,
    ),
    "non_zero": Kind("INonZeroLayer", "NonZero", "NON_ZERO"),
    "normalization": Kind(
        "INormalizationLayer",
        "Normalization",
        "NORMALIZATION",
        _given(epsilon=1e-5, num_groups=1, compute_precision=None),
    ),
    "one_hot": Kind("IOneHotLayer", "OneHot", "ONE_HOT"),
    "padding": Kind(
        "IPaddingLayer",
        "Padding",
        "PADDING",
        aliases={f"{end}_padding_nd": f"{end}_padding" for end in ("pre", "post")},
    ),
    "parametric_relu": Kind("IParametricReLULayer", "Parametric ReLU", "PARAMETRIC_RELU"),
    "pooling": Kind(
        "IPoolingLayer",
        "Pooling",
        "POOLING",
        lambda values: _window("window_size")(values) | {"average_count_excludes_padding": True, "blend_factor": 0.0},
        _ND | _BOTH_ENDS,
    ),
    "quantize": Kind("IQuantizeLayer", "Quantize", "QUANTIZE", _given(axis=-1)),
    "reduce": Kind("IReduceLayer", "Reduce", "REDUCE", aliases={"keepdims": "keep_dims"}),
    "resize": Kind("IResizeLayer", "Resize", "RESIZE", _resize, undoes={"scales": ("shape",)}),
    "reverse_sequence": Kind(
        "IReverseSequenceLayer", "ReverseSequence", "REVERSE_SEQUENCE", _given(batch_axis=1, sequence_axis=0)
    ),
    "scale": Kind("IScaleLayer", "Scale", "SCALE"),
    "scatter": Kind("IScatterLayer", "Scatter", "SCATTER", _given(axis=0)),
    "select": Kind("ISelectLayer", "Select", "SELECT"),
    "shape": Kind("IShapeLayer", "Shape", "SHAPE"),
    "shuffle": Kind(
        "IShuffleLayer",
        "Shuffle",
        "SHUFFLE",
        _given(first_transpose=None, reshape_dims=None, second_transpose=None, zero_is_placeholder=True),
    ),
    "slice": Kind("ISliceLayer", "Slice", "SLICE", _given(mode=member("SampleMode", "STRICT_BOUNDS"), axes=None)),
    "softmax": Kind("ISoftMaxLayer", "Softmax", "SOFTMAX", _given(axes=None)),
    "squeeze": Kind("ISqueezeLayer", "Squeeze", "SQUEEZE"),
    "topk": Kind("ITopKLayer", "TopK", "TOPK", outputs=2),
    "unary": Kind("IUnaryLayer", "Unary", "UNARY"),
    "unsqueeze": Kind("IUnsqueezeLayer", "Unsqueeze", "UNSQUEEZE"),
}
"""By the name that ``emit`` has for it, too."""

SHARED = ("name", "precision", "metadata", "num_ranks")
"""Attributes of every layer; the precision that a script wants of one layer is told, not kept."""
