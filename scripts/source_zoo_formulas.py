"""Caffe layers that OpenCV lacks or computes otherwise, in two networks, and what they compute in NumPy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import caffe_networks
import numpy as np
from source_zoo_models import ROOT, Made, Tools, write_observed

sys.path.insert(0, str(ROOT))

from tests.sources.caffe.formulas import pooled_regions

SHAPE = (2, 6, 12, 14)
REGIONS = np.array([[0, 0, 0, 13, 11], [1, 2, 1, 9, 8], [1, 5, 3, 6, 10], [0, 8, 2, 11, 4]], np.float32)
Arrays = Mapping[str, list[Any]]
Formula = Callable[[Any, Any], Any]


def _per_channel(array: Any) -> Any:
    return np.asarray(array, np.float64).reshape(-1, 1, 1)


def _each_channel(x: Any, w: Any) -> Any:
    """Filters of 3 by 3, one per channel, with padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.broadcast_to(_per_channel(w[1]), x.shape).copy()
    for row in range(3):
        for column in range(3):
            y += padded[:, :, row : row + x.shape[2], column : column + x.shape[3]] * w[0][:, :, row, column, None]
    return y


def _spread(x: Any, w: Any) -> Any:
    """A transposed convolution, kernel 3, dilation 2; with a stride as well, TensorRT-RTX builds none."""
    y = np.zeros((x.shape[0], 4, x.shape[2] + 4, x.shape[3] + 4))
    for row in range(3):
        for column in range(3):
            places = (slice(2 * row, 2 * row + x.shape[2]), slice(2 * column, 2 * column + x.shape[3]))
            y[:, :, *places] += np.einsum("nihw,io->nohw", x, w[0][:, :, row, column])
    return y + _per_channel(w[1])


def _among_neighbours(x: Any, _: Any) -> Any:
    """LRN over three channels with k = 2."""
    square = np.pad(x**2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    return x / (2 + 0.3 / 3 * (square[:, :-2] + square[:, 1:-1] + square[:, 2:])) ** 0.6


def _normal(x: Any, w: Any) -> Any:
    scale, shift, mean, variance = map(_per_channel, w)
    return scale * (x - mean) / np.sqrt(variance + 1e-5) + shift


LAYERS: Mapping[str, tuple[str, str, Formula]] = {
    "argmax": ("ArgMax", "argmax_param { axis: 1 }", lambda x, _: x.argmax(1)[:, None]),
    "bn": ("BN", "", _normal),
    "bias": ("Bias", "", lambda x, w: x + _per_channel(w[0])),
    "clip": ("Clip", "clip_param { min: -0.5 max: 1 }", lambda x, _: x.clip(-0.5, 1)),
    "depthwise": ("ConvolutionDepthwise", "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }", _each_channel),
    "spread": ("Deconvolution", "convolution_param { num_output: 4 kernel_size: 3 dilation: 2 }", _spread),
    "product": (
        "InnerProduct",
        "inner_product_param { num_output: 4 transpose: true }",
        lambda x, w: x.reshape(len(x), -1) @ w[0] + w[1],
    ),
    "shrunk": (
        "Interp",
        "interp_param { shrink_factor: 2 pad_beg: 0 pad_end: -1 }",
        lambda x, _: x[:, :, :-1:2, :-1:2],
    ),
    "log": ("Log", "log_param { base: 10 shift: 9 }", lambda x, _: np.log10(9 + x)),
    "lrn": ("LRN", "lrn_param { local_size: 3 alpha: 0.3 beta: 0.6 k: 2 }", _among_neighbours),
    "sum": ("Reduction", "reduction_param { operation: SUMSQ axis: 2 coeff: 2 }", lambda x, _: 2 * (x**2).sum((2, 3))),
    "swish": ("Swish", "swish_param { beta: 2 }", lambda x, _: x / (1 + np.exp(-2 * x))),
    "threshold": ("Threshold", "threshold_param { threshold: 0.2 }", lambda x, _: (x > 0.2) * 1.0),
    "tile": ("Tile", "tile_param { axis: 2 tiles: 2 }", lambda x, _: np.tile(x, (1, 1, 2, 1))),
}
"""Layer -> type, parameters, formula of its input in double precision and its arrays."""


def layers(folder: Path, tools: Tools) -> Made:
    """All of ``LAYERS``, besides Split, Embed and Parameter, each with an output."""
    x = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
    layer, text = caffe_networks.layer, caffe_networks.head("formulas", *SHAPE)
    text += "".join(layer(kind, name, "data", name, more) for name, (kind, more, _) in LAYERS.items())
    text += layer("Split", "split", "data", "first second")
    text += layer("Embed", "embed", "argmax", "embed", "embed_param { input_dim: 6 num_output: 3 }")
    text += layer("Parameter", "learned", "", "learned", "parameter_param { shape { dim: 6 } }")
    text += layer("Bias", "moved", "data learned", "moved")
    arrays = caffe_networks.seeded(_written(folder, text))
    wanted = {name: made(x.astype(np.float64), arrays.get(name)) for name, (_, _, made) in LAYERS.items()}
    wanted |= {"first": x, "second": x, "moved": x + _per_channel(arrays["learned"][0])}
    table, more = arrays["embed"]
    wanted["embed"] = table[wanted["argmax"].astype(int)] + more
    return _made(folder, arrays, {"data": x}, {name: wanted[name] for name in wanted if name != "argmax"})


def regions(folder: Path, tools: Tools) -> Made:
    """ROIPooling, in cells of several sizes."""
    x = np.random.default_rng(4).standard_normal(SHAPE).astype(np.float32)
    head = (
        caffe_networks.head("regions", *SHAPE) + caffe_networks.head("", *REGIONS.shape, blob="rois").partition("\n")[2]
    )
    text = head + caffe_networks.layer(
        "ROIPooling", "cells", "data rois", "cells", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 1 }"
    )
    _written(folder, text)
    return _made(folder, {}, {"data": x, "rois": REGIONS}, {"cells": pooled_regions(x, REGIONS, (3, 2), 1.0)})


def _written(folder: Path, text: str) -> Path:
    (folder / "net.prototxt").write_text(text)
    return folder / "net.prototxt"


def _made(folder: Path, arrays: Arrays, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> Made:
    observed = write_observed(folder / "observed.npz", given, wanted)
    arguments = [str(folder / "net.prototxt")]
    if arrays:
        (folder / "net.caffemodel").write_bytes(caffe_networks.caffemodel(arrays))
        arguments += ["--weights", str(folder / "net.caffemodel")]
    return Made(arguments, (folder / "net.prototxt").read_text().count("layer {"), [observed])
