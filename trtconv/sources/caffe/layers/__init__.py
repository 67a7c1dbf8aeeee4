"""Caffe's layers as ONNX operators: a table per kind, layer type -> function.

Each function takes a ``LayerContext``, adds nodes, and returns the tensors of the layer's tops. What the parameters
mean and their defaults are those of caffe.proto, or of the fork that has the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trtconv.sources.caffe.context import LayerContext
from trtconv.sources.caffe.layers import (
    arrangement,
    convolution,
    detection,
    elementwise,
    normalization,
    pooling,
    reduction,
)

Conversion = Callable[[LayerContext], "str | list[str]"]

TABLE: Mapping[str, Conversion] = {
    **convolution.TABLE,
    **pooling.TABLE,
    **elementwise.TABLE,
    **normalization.TABLE,
    **arrangement.TABLE,
    **reduction.TABLE,
    **detection.TABLE,
}
"""Every layer type that can be converted."""

TRAINED: frozenset[str] = convolution.TRAINED | elementwise.TRAINED | normalization.TRAINED | reduction.TRAINED
"""Those that may have arrays in the caffemodel."""

REFUSED: Mapping[str, str] = {
    "Python": "it runs a Python module that is not part of the file",
    "RNN": "recurrent layers are networks of their own inside Caffe",
    "LSTM": "recurrent layers are networks of their own inside Caffe",
    "Recurrent": "recurrent layers are networks of their own inside Caffe",
    "Im2col": "it only helps Caffe to compute convolutions",
    "SPP": "its windows depend on the size of the image in a way of its own",
    "Filter": "the size of its result depends on values",
}
"""Layers that are known and cannot be converted, with the reason."""
