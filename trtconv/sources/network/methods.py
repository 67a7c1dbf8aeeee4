"""The methods that add layers: which kind each makes, and its parameters as TensorRT 3 to 11 name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trtconv.sources.network.enums import member


@dataclass(frozen=True)
class Method:
    """How a call becomes a layer.

    Attributes:
        kind: row of ``kinds.KINDS``.
        parameters: in order; ``@`` marks a tensor, ``@@`` a list of tensors, ``=`` an optional one.
        values: attributes that follow from the method itself.
    """

    kind: str
    parameters: str
    values: Mapping[str, Any] = field(default_factory=dict)


_KERNEL = "kernel_size kernel bias="
_SCALE = "@input mode shift= scale= power="

METHODS: Mapping[str, Method] = {
    "add_activation": Method("activation", "@input type"),
    "add_assertion": Method("assertion", "@condition message"),
    "add_cast": Method("cast", "@input to_type"),
    "add_concatenation": Method("concatenation", "@@inputs"),
    "add_constant": Method("constant", "shape weights"),
    "add_convolution": Method("convolution", f"@input num_output_maps {_KERNEL}"),
    "add_convolution_nd": Method("convolution", f"@input num_output_maps {_KERNEL}"),
    "add_cumulative": Method("cumulative", "@input @axis op exclusive reverse"),
    "add_deconvolution": Method("deconvolution", f"@input num_output_maps {_KERNEL}"),
    "add_deconvolution_nd": Method("deconvolution", f"@input num_output_maps {_KERNEL}"),
    "add_dequantize": Method("dequantize", "@input @scale to_type="),
    "add_einsum": Method("einsum", "@@inputs equation"),
    "add_elementwise": Method("elementwise", "@input1 @input2 op"),
    "add_fill": Method("fill", "shape operation to_type="),
    "add_fully_connected": Method("fully_connected", "@input num_output_channels kernel bias="),
    "add_gather": Method("gather", "@input @indices axis"),
    "add_gather_v2": Method("gather", "@input @indices mode"),
    "add_grid_sample": Method("grid_sample", "@input @grid"),
    "add_identity": Method("identity", "@input"),
    "add_lrn": Method("lrn", "@input window_size alpha beta k"),
    "add_matrix_multiply": Method("matrix_multiply", "@input0 op0 @input1 op1"),
    "add_matrix_multiply_deprecated": Method("matrix_multiply", "@input0 op0 @input1 op1"),
    "add_nms": Method("nms", "@boxes @scores @max_output_boxes_per_class indices_type="),
    "add_non_zero": Method("non_zero", "@input indices_type="),
    "add_normalization": Method("normalization", "@input @scale @bias axes", {"is_v2": False}),
    "add_normalization_v2": Method("normalization", "@input @scale @bias axes", {"is_v2": True}),
    "add_one_hot": Method("one_hot", "@indices @values @depth axis"),
    "add_padding": Method("padding", "@input pre_padding post_padding"),
    "add_padding_nd": Method("padding", "@input pre_padding post_padding"),
    "add_parametric_relu": Method("parametric_relu", "@input @slopes"),
    "add_pooling": Method("pooling", "@input type window_size"),
    "add_pooling_nd": Method("pooling", "@input type window_size"),
    "add_quantize": Method("quantize", "@input @scale to_type="),
    "add_reduce": Method("reduce", "@input op axes keep_dims"),
    "add_resize": Method("resize", "@input"),
    "add_reverse_sequence": Method("reverse_sequence", "@input @sequence_lens"),
    "add_scale": Method("scale", _SCALE, {"channel_axis": None}),
    "add_scale_nd": Method("scale", f"{_SCALE} channel_axis="),
    "add_scatter": Method("scatter", "@data @indices @updates mode"),
    "add_select": Method("select", "@condition @then_input @else_input"),
    "add_shape": Method("shape", "@input"),
    "add_shuffle": Method("shuffle", "@input"),
    "add_slice": Method("slice", "@input start shape stride"),
    "add_softmax": Method("softmax", "@input"),
    "add_squeeze": Method("squeeze", "@input @axes="),
    "add_topk": Method("topk", "@input op k axes indices_type="),
    "add_unary": Method("unary", "@input op"),
    "add_unsqueeze": Method("unsqueeze", "@input @axes"),
}

NAMES: Mapping[str, str] = {
    "kernel_shape": "kernel_size",
    "kernel_weights": "kernel",
    "bias_weights": "bias",
    "nb_output_maps": "num_output_maps",
    "nb_outputs": "num_output_channels",
    "num_outputs": "num_output_channels",
    "output_type": "to_type",
    "op": "operation",
    "window": "window_size",
    "axesMask": "axes",
    "axes_mask": "axes",
    "reduceAxes": "axes",
    "keepDimensions": "keep_dims",
    "pre_padding_nd": "pre_padding",
    "post_padding_nd": "post_padding",
}
"""Spellings that scripts use for keyword arguments, where a method has no parameter of that name itself."""

REFUSED: Mapping[str, str] = {
    "add_plugin": "a plugin",
    "add_plugin_ext": "a plugin",
    "add_plugin_v2": "a plugin",
    "add_plugin_v3": "a plugin",
    "add_loop": "a loop",
    "add_if_conditional": "a conditional",
    "add_rnn": "an RNN layer",
    "add_rnn_v2": "an RNN layer",
    "add_ragged_softmax": "a ragged softmax",
    "add_rotary_embedding": "a rotary embedding",
    "add_attention": "an attention layer",
    "add_attention_v2": "an attention layer",
    "add_moe": "a mixture of experts",
    "add_kv_cache_update": "a cache of keys and values",
    "add_dist_collective": "a collective operation",
    "add_dynamic_quantize": "a dynamic quantization",
    "add_dynamic_quantize_v2": "a dynamic quantization",
}
"""Methods whose layers have no counterpart among ONNX operators, or none that is built here; and what each adds."""


@dataclass(frozen=True)
class Bound:
    """The arguments of a call, sorted.

    Attributes:
        tensors: inputs in order; None where an optional one was left out.
        values: attributes by name.
    """

    tensors: tuple[Any, ...]
    values: dict[str, Any]


def bind(name: str, given: tuple[Any, ...], named: Mapping[str, Any]) -> Bound:
    """Sort the arguments of a call by what the method calls them.

    Raises:
        TypeError: too many, too few, or none of that name, as Python says it.
    """
    method = METHODS[name]
    words = method.parameters.split()
    keys = [word.strip("@=") for word in words]
    if len(given) > len(words):
        raise TypeError(f"{name}() takes {len(words)} arguments, {len(given)} were given")
    found = dict(zip(keys, given, strict=False))
    for key, value in named.items():
        known = key if key in keys else NAMES.get(key, key)
        if known not in keys:
            raise TypeError(f"{name}() has no parameter {key!r}; it has {', '.join(keys)}")
        if known in found:
            raise TypeError(f"{name}() got {key!r} twice")
        found[known] = value
    return _sorted(name, words, found)


def _sorted(name: str, words: list[str], found: Mapping[str, Any]) -> Bound:
    missing = [word.strip("@") for word in words if not word.endswith("=") and word.strip("@") not in found]
    if missing:
        raise TypeError(f"{name}() misses {', '.join(missing)}")
    tensors: list[Any] = []
    values = dict(METHODS[name].values)
    for word in words:
        key, value = word.strip("@="), found.get(word.strip("@="))
        if word.startswith("@@"):
            tensors += list(value or ())
        elif word.startswith("@"):
            tensors.append(value)
        else:
            values[key] = value
    while tensors and tensors[-1] is None:
        tensors.pop()
    return Bound(tuple(tensors), values)


MATRIX = {False: member("MatrixOperation", "NONE"), True: member("MatrixOperation", "TRANSPOSE")}
"""What the booleans of version 5 mean."""
