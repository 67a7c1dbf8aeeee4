"""A Caffe network as OpenCV has to be told it: phases applied, no layers in place, defaults that differ spelt out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trtconv.sources.caffe import text
from trtconv.sources.caffe.importer import Imported
from trtconv.sources.caffe.layers.detection import CODES
from trtconv.sources.caffe.net import Layer, needed
from trtconv.sources.caffe.text import Message, Word

_UNKNOWN = frozenset(
    {"Bias", "ArgMax", "Reduction", "Threshold", "BN", "Clip", "Tile", "Embed", "Parameter", "Axpy", "Upsample"}
)
"""Layers that OpenCV does not have."""


def doubt(layer: Layer) -> str:
    """Why OpenCV does not compute a layer as Caffe does; empty where it does."""
    if layer.type in _UNKNOWN:
        return "which it does not have"
    rule = _DOUBTS.get(layer.type)
    return rule(layer.message) if rule else ""


def _doubt(key: str, said: Callable[[Message], bool], why: str) -> Callable[[Message], str]:
    return lambda message: why if said(message.message(key)) else ""


def _priors_lose_fractions(given: Message) -> bool:
    return any(size % 1 for key in ("min_size", "max_size") for size in given.numbers(key))


def _boxes_by_size_or_encoded(given: Message) -> bool:
    return (
        given.flag("variance_encoded_in_target", False) or given.choice("code_type", CODES, "CORNER") == "CORNER_SIZE"
    )


def _interp_is_more_than_size(given: Message) -> bool:
    return "shrink_factor" in given or any(given.integer(key, 0) for key in ("pad_beg", "pad_end"))


_DOUBTS: Mapping[str, Callable[[Message], str]] = {
    "InnerProduct": _doubt("inner_product_param", lambda m: m.flag("transpose", False), "whose transpose it ignores"),
    "LRN": _doubt("lrn_param", lambda m: m.number("k", 1) != 1, "whose k it ignores"),
    "Deconvolution": _doubt(
        "convolution_param", lambda m: max(m.integers("dilation"), default=1) > 1, "whose dilation it takes otherwise"
    ),
    "PriorBox": _doubt("prior_box_param", _priors_lose_fractions, "whose sizes lose their fractions in Caffe only"),
    "Interp": _doubt("interp_param", _interp_is_more_than_size, "whose shrinking and cropping it does not know"),
    "Scale": _doubt("scale_param", lambda m: m.integer("num_axes", 1) == 0, "whose single factor it does not know"),
    "Normalize": _doubt(
        "norm_param",
        lambda m: m.flag("across_spatial", True) and not m.flag("channel_shared", True),
        "whose factors per channel it does not take",
    ),
    "MVN": _doubt("mvn_param", lambda m: m.number("eps", 1e-9) > 1e-6, "whose eps it adds elsewhere"),
    "DetectionOutput": _doubt("detection_output_param", _boxes_by_size_or_encoded, "whose code it does not know"),
    "Swish": _doubt("swish_param", lambda m: m.number("beta", 1) != 1, "whose beta it ignores"),
    "Log": _doubt("log_param", lambda m: bool(m.values), "whose parameters it ignores"),
}


def write(made: Imported, blobs: Sequence[str]) -> tuple[str, dict[str, tuple[str, int]]]:
    """The part of a network that some blobs need, as text; and for each, its layer and which top it is.

    Every layer makes a blob of its own, called like the layer: OpenCV calls some layers after what they make.
    """
    net = Message()
    for name, shape in made.inputs.items():
        net.add("input", name)
        net.add("input_shape", Message(0, {"dim": [dim if isinstance(dim, int) else 1 for dim in shape]}))
    current = {name: name for name in made.inputs}
    places: dict[str, tuple[str, int]] = {}
    for layer in needed(made.layers, blobs):
        tops = [layer.name if len(layer.tops) == 1 else f"{layer.name}.{place}" for place in range(len(layer.tops))]
        net.add("layer", _layer(layer, [current[name] for name in layer.bottoms], tops, made.shapes[layer.name]))
        current.update(zip(layer.tops, tops, strict=True))
        places.update({top: (layer.name, place) for place, top in enumerate(layer.tops)})
    return text.write(net), {blob: places[blob] for blob in blobs}


def _layer(layer: Layer, bottoms: list[str], tops: list[str], shapes: Sequence[Any]) -> Message:
    left = (
        "name",
        "type",
        "bottom",
        "top",
        "include",
        "exclude",
        "param",
        "phase",
        "blobs_lr",
        "weight_decay",
        "propagate_down",
        "loss_weight",
    )
    values = {key: list(given) for key, given in layer.message.values.items() if key not in left}
    kind = "Convolution" if layer.type in ("DepthwiseConvolution", "ConvolutionDepthwise") else layer.type
    told = Message(layer.message.line)
    for key, given in (("name", [layer.name]), ("type", [kind]), ("bottom", bottoms), ("top", tops)):
        told.add(key, *given)
    told.values.update(values)
    key = _KEYS.get(layer.type, "")
    if key:
        told.values[key] = [_spelt(layer, Message(0, dict(layer.message.message(key).values)), shapes, len(tops))]
    return told


def _spelt(layer: Layer, given: Message, shapes: Sequence[Any], tops: int) -> Message:
    """Parameters with what Caffe takes where they say nothing, and axes counted from the first."""
    for name, values in _DEFAULTS.get(layer.type, {}).items():
        given.values.setdefault(name, list(values))
    axis = given.integer("axis", 0)
    if axis < 0 and shapes:
        given.values["axis"] = [axis + len(shapes[0]) + (layer.type == "Reshape")]
    if layer.type in _SPELT:
        _SPELT[layer.type](given, shapes, tops)
    return given


def _spell_detections(given: Message, _: Sequence[Any], __: int) -> None:
    nms = Message(0, dict(given.message("nms_param").values))
    nms.values.setdefault("nms_threshold", [0.3])
    given.values["nms_param"] = [nms]


def _spell_pooling(given: Message, _: Sequence[Any], __: int) -> None:
    """``round_mode`` is an error to it, ``ceil_mode`` is not."""
    if given.values.pop("round_mode", [Word("CEIL")])[-1] in ("FLOOR", 1):
        given.values["ceil_mode"] = [Word("false")]


def _spell_order(given: Message, shapes: Sequence[Any], _: int) -> None:
    order = given.integers("order")
    given.values["order"] = [*order, *(axis for axis in range(len(shapes[0])) if axis not in order)]


def _spell_group(given: Message, shapes: Sequence[Any], _: int) -> None:
    given.values["group"] = [shapes[0][1]]


def _spell_parts(given: Message, shapes: Sequence[Any], count: int) -> None:
    """Equal parts are told by their ends."""
    axis = given.integer("axis", given.integer("slice_dim", 1))
    if "slice_point" not in given and count > 1:
        size = shapes[0][axis] // count
        given.values["slice_point"] = [size * place for place in range(1, count)]


_KEYS: Mapping[str, str] = {
    "PriorBox": "prior_box_param",
    "Pooling": "pooling_param",
    "Permute": "permute_param",
    "Slice": "slice_param",
    "DepthwiseConvolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "LRN": "lrn_param",
    "DetectionOutput": "detection_output_param",
    "Scale": "scale_param",
    "Reshape": "reshape_param",
    "InnerProduct": "inner_product_param",
    "Softmax": "softmax_param",
    "Concat": "concat_param",
    "Crop": "crop_param",
}
"""Where the parameters of layers stand of which more has to be told than the prototxt says."""

_SPELT: Mapping[str, Callable[[Message, Sequence[Any], int], None]] = {
    "Pooling": _spell_pooling,
    "Permute": _spell_order,
    "Slice": _spell_parts,
    "DepthwiseConvolution": _spell_group,
    "ConvolutionDepthwise": _spell_group,
    "DetectionOutput": _spell_detections,
}

_NO, _YES = Word("false"), Word("true")
_DEFAULTS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "PriorBox": {"clip": [_NO], "variance": [0.1], "flip": [_YES]},
    "LRN": {"local_size": [5], "alpha": [1.0], "beta": [0.75]},
    "DetectionOutput": {
        "share_location": [_YES],
        "background_label_id": [0],
        "keep_top_k": [-1],
        "confidence_threshold": [-3e38],
        "code_type": [Word("CORNER")],
    },
}
"""Defaults of Caffe where OpenCV has others, or none."""
