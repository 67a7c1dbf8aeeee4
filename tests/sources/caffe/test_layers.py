"""Every layer type against a formula in NumPy, written from Caffe's documentation of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import caffe_networks
from tests.sources.caffe.formulas import pooled_regions
from tests.sources.caffe.nets import computed, converted, normal, run
from trtconv.core.errors import TrtconvError
from trtconv.graph import clean
from trtconv.sources.caffe import importer, layers, net

X = normal(2, 6, 5, 7)


def close(got: Any, wanted: Any, rtol: float = 1e-5) -> None:
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * max(1e-3, float(np.abs(wanted).max())))


def convolved(
    x: Any, w: Any, b: Any, stride: Any = (1, 1), pad: Any = (0, 0), dilation: int = 1, group: int = 1
) -> Any:
    """One output at a time, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    outs, ins, kh, kw = w.shape
    height, width = (
        (size - dilation * (k - 1) - 1) // s + 1 for size, k, s in zip(x.shape[2:], (kh, kw), stride, strict=True)
    )
    y = np.zeros((len(x), outs, height, width))
    for o in range(outs):
        first = o // (outs // group) * ins
        for i in range(height):
            for j in range(width):
                top, left = i * stride[0], j * stride[1]
                part = x[
                    :,
                    first : first + ins,
                    top : top + dilation * (kh - 1) + 1 : dilation,
                    left : left + dilation * (kw - 1) + 1 : dilation,
                ]
                y[:, o, i, j] = (part * w[o]).sum((1, 2, 3)) + b[o]
    return y


CONVOLUTIONS = {
    "plain": ("kernel_size: 3", (4, 6, 3, 3), {}),
    "stride, pad": ("kernel_size: 3 stride: 2 pad: 1", (4, 6, 3, 3), {"stride": (2, 2), "pad": (1, 1)}),
    "per axis": (
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 1",
        (4, 6, 3, 2),
        {"stride": (2, 1), "pad": (0, 1)},
    ),
    "list": ("kernel_size: 3 kernel_size: 2 pad: 1 pad: 0", (4, 6, 3, 2), {"pad": (1, 0)}),
    "groups": ("kernel_size: 1 group: 2", (4, 3, 1, 1), {"group": 2}),
    "dilated": ("kernel_size: 2 dilation: 3 pad: 2", (4, 6, 2, 2), {"dilation": 3, "pad": (2, 2)}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=list(CONVOLUTIONS))
def test_convolution(tmp_path: Path, case: Any) -> None:
    text, shape, how = case
    w, b = normal(*shape, seed=1), normal(4, seed=2)
    got = computed(tmp_path, "Convolution", f"convolution_param {{ num_output: 4 {text} }}", X, [w, b])
    close(got, convolved(X, w, b, **how))
    without = computed(
        tmp_path, "Convolution", f"convolution_param {{ num_output: 4 {text} bias_term: false }}", X, [w]
    )
    close(without, convolved(X, w, np.zeros(4), **how))


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_depthwise(tmp_path: Path, kind: str) -> None:
    w, b = normal(6, 1, 3, 3), normal(6)
    got = computed(tmp_path, kind, "convolution_param { num_output: 6 kernel_size: 3 pad: 1 }", X, [w, b])
    close(got, convolved(X, w, b, pad=(1, 1), group=6))


def spread(x: Any, w: Any, b: Any, stride: int, pad: int, dilation: int, group: int) -> Any:
    """A transposed convolution: every value of x adds w times itself; weights (inputs, outputs / group, k, k)."""
    ins, outs, k, _ = w.shape
    height, width = (stride * (n - 1) + dilation * (k - 1) + 1 for n in x.shape[2:])
    y = np.zeros((len(x), outs * group, height, width))
    for c in range(ins):
        first = c // (ins // group) * outs
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                rows = slice(i * stride, i * stride + dilation * (k - 1) + 1, dilation)
                columns = slice(j * stride, j * stride + dilation * (k - 1) + 1, dilation)
                y[:, first : first + outs, rows, columns] += x[:, c, i, j, None, None, None] * w[c]
    y += np.reshape(b, (1, -1, 1, 1))
    return y[:, :, pad : height - pad, pad : width - pad]


@pytest.mark.parametrize(
    ("stride", "pad", "dilation", "group"), [(1, 0, 1, 1), (2, 1, 1, 1), (2, 1, 2, 1), (3, 0, 1, 3)]
)
def test_deconvolution(tmp_path: Path, stride: int, pad: int, dilation: int, group: int) -> None:
    w, b = normal(6, 2, 4, 4, seed=1), normal(2 * group, seed=2)
    text = f"num_output: {2 * group} kernel_size: 4 stride: {stride} pad: {pad} dilation: {dilation} group: {group}"
    got = computed(tmp_path, "Deconvolution", f"convolution_param {{ {text} }}", X, [w, b])
    close(got, spread(X, w, b, stride, pad, dilation, group))


@pytest.mark.parametrize("size", [3, 4])
def test_bilinear_deconvolution_has_its_weights_from_the_prototxt(tmp_path: Path, size: int) -> None:
    """A filter that interpolates: within the image, a ramp stays a ramp."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 2, 8, 8)).copy()
    text = f"num_output: 2 group: 2 kernel_size: {size} stride: 2 bias_term: false weight_filler {{ type: 'bilinear' }}"
    got = computed(tmp_path, "Deconvolution", f"convolution_param {{ {text} }}", ramp)
    inner = got[0, 0, 4:-4, 4:-4]
    close(np.diff(inner, axis=1), np.full((inner.shape[0], inner.shape[1] - 1), 0.5))


def pooled(x: Any, kind: str, k: int, s: int, p: int, up: bool = True) -> Any:
    """Caffe's PoolingLayer, one window at a time."""
    sizes = []
    for n in x.shape[2:]:
        out = (math.ceil if up else math.floor)((n + 2 * p - k) / s) + 1
        sizes.append(out - 1 if p and (out - 1) * s >= n + p else out)
    y = np.zeros((*x.shape[:2], *sizes))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            start = [i * s - p, j * s - p]
            end = [min(start[a] + k, x.shape[2 + a] + p) for a in range(2)]
            area = (end[0] - start[0]) * (end[1] - start[1])
            rows, columns = (slice(max(start[a], 0), min(end[a], x.shape[2 + a])) for a in range(2))
            window = x[:, :, rows, columns].astype(np.float64)
            y[:, :, i, j] = window.max((2, 3)) if kind == "MAX" else window.sum((2, 3)) / area
    return y


@pytest.mark.parametrize("kind", ["MAX", "AVE"])
@pytest.mark.parametrize("size", [(5, 7), (6, 6), (8, 9)])
@pytest.mark.parametrize(("k", "s", "p"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 1), (2, 3, 1), (5, 2, 2), (3, 1, 1)])
def test_pooling(tmp_path: Path, kind: str, size: tuple[int, int], k: int, s: int, p: int) -> None:
    x = normal(1, 2, *size)
    text = f"pool: {kind} kernel_size: {k} stride: {s} pad: {p}"
    close(computed(tmp_path, "Pooling", f"pooling_param {{ {text} }}", x), pooled(x, kind, k, s, p))
    for down in ("round_mode: FLOOR", "ceil_mode: false"):
        got = computed(tmp_path, "Pooling", f"pooling_param {{ {text} {down} }}", x)
        close(got, pooled(x, kind, k, s, p, up=False))


def test_pooling_of_everything(tmp_path: Path) -> None:
    got = computed(tmp_path, "Pooling", "pooling_param { global_pooling: true }", X)
    close(got, X.max((2, 3), keepdims=True))
    got = computed(tmp_path, "Pooling", "pooling_param { pool: AVE global_pooling: true }", X)
    close(got, X.mean((2, 3), keepdims=True))


SEGNET = "pooling_param { kernel_size: 2 stride: 2 }"


def test_values_go_back_to_where_pooling_found_them(tmp_path: Path) -> None:
    """SegNet's and ENet's way up; the last row and column are windows that pass the end."""
    x = normal(2, 3, 5, 7)
    for size, shape in (
        ("", (6, 8)),
        ("pad_out_h: true pad_out_w: true", (5, 7)),
        ("upsample_h: 5 upsample_w: 7", (5, 7)),
    ):
        text = caffe_networks.head("segnet", *x.shape) + caffe_networks.layer(
            "Pooling", "pool", "data", "top mask", SEGNET
        )
        text += caffe_networks.layer("Power", "half", "top", "half", "power_param { scale: 0.5 }")
        text += caffe_networks.layer("Upsample", "up", "half mask", "up", f"upsample_param {{ scale: 2 {size} }}")
        wanted, places = np.zeros((2, 3, shape[0] * shape[1])), np.zeros((2, 3, 3, 4))
        for n, c, i, j in np.ndindex(2, 3, 3, 4):
            window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            row, column = np.unravel_index(window.argmax(), window.shape)
            places[n, c, i, j] = (2 * i + row) * 7 + 2 * j + column
            wanted[n, c, int(places[n, c, i, j])] = window.max() / 2
        made = converted(tmp_path, text, outputs=["up", "mask"], shapes={"data": ("batch", 3, 5, 7)})
        found = run(made.model, {"data": x})
        close(found["up"], wanted.reshape(2, 3, *shape))
        close(found["mask"], places)


def test_places_that_nothing_reads_cost_nothing(tmp_path: Path) -> None:
    text = caffe_networks.head("net", 1, 3, 6, 6) + caffe_networks.layer("Pooling", "pool", "data", "top mask", SEGNET)
    made = converted(tmp_path, text, outputs=["top"])
    clean.clean(made.model)
    assert [node.op_type for node in made.model.graph.node] == ["MaxPool"]


def test_inner_product(tmp_path: Path) -> None:
    w, b = normal(4, 210), normal(4)
    flat = X.reshape(2, 210)
    close(computed(tmp_path, "InnerProduct", "inner_product_param { num_output: 4 }", X, [w, b]), flat @ w.T + b)
    text = "inner_product_param { num_output: 4 transpose: true bias_term: false }"
    close(computed(tmp_path, "InnerProduct", text, X, [w.T]), flat @ w.T)
    row, text = normal(4, 7), "inner_product_param { num_output: 4 axis: -1 }"
    for dynamic in (False, True):
        close(computed(tmp_path, "InnerProduct", text, X, [row, b], dynamic=dynamic), X @ row.T + b)


CHANNELS = normal(6, seed=3)
PER_CHANNEL = CHANNELS.reshape(6, 1, 1)
POSITIVE = np.abs(X) + 0.1
SMALL = {"alpha": 0.3, "beta": 0.6}


def across(x: Any, n: int, alpha: float, beta: float, k: float) -> Any:
    square, half = x.astype(np.float64) ** 2, n // 2
    total = [square[:, max(0, c - half) : c + half + 1].sum(1) for c in range(x.shape[1])]
    return x / (k + alpha / n * np.stack(total, 1)) ** beta


def within(x: Any, n: int, alpha: float, beta: float) -> Any:
    half = n // 2
    padded = np.pad(x.astype(np.float64) ** 2, ((0, 0), (0, 0), (half, half), (half, half)))
    mean = sum(padded[:, :, i : i + x.shape[2], j : j + x.shape[3]] for i in range(n) for j in range(n)) / n**2
    return x / (1 + alpha * mean) ** beta


def standard(x: Any, axes: tuple[int, ...], eps: float = 1e-9, divided: bool = True) -> Any:
    centered = x - x.mean(axes, keepdims=True)
    return centered / (np.sqrt((centered**2).mean(axes, keepdims=True)) + eps) if divided else centered


def soft(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


SINGLE: dict[str, tuple[str, str, Any, Any, list[Any]]] = {
    "ReLU": ("ReLU", "", X, np.maximum(X, 0), []),
    "leaky": ("ReLU", "relu_param { negative_slope: 0.1 }", X, np.where(X > 0, X, X * 0.1), []),
    "ReLU6": ("ReLU6", "", 5 * X, np.clip(5 * X, 0, 6), []),
    "PReLU": ("PReLU", "", X, np.where(X > 0, X, X * PER_CHANNEL), [CHANNELS]),
    "PReLU shared": ("PReLU", "prelu_param { channel_shared: true }", X, np.where(X > 0, X, X / 4), [np.full(1, 0.25)]),
    "PReLU flat": (
        "PReLU",
        "",
        X[:, :, 0, 0],
        np.where(X[:, :, 0, 0] > 0, X[:, :, 0, 0], X[:, :, 0, 0] * CHANNELS),
        [CHANNELS],
    ),
    "ELU": ("ELU", "elu_param { alpha: 0.5 }", X, np.where(X > 0, X, 0.5 * (np.exp(X) - 1)), []),
    "Sigmoid": ("Sigmoid", "", X, 1 / (1 + np.exp(-X)), []),
    "TanH": ("TanH", "", X, np.tanh(X), []),
    "AbsVal": ("AbsVal", "", X, np.abs(X), []),
    "BNLL": ("BNLL", "", X, np.log1p(np.exp(X)), []),
    "Dropout": ("Dropout", "dropout_param { dropout_ratio: 0.5 }", X, X, []),
    "Clip": ("Clip", "clip_param { min: -0.5 max: 1 }", X, np.clip(X, -0.5, 1), []),
    "Swish": ("Swish", "swish_param { beta: 2 }", X, X / (1 + np.exp(-2 * X)), []),
    "Threshold": ("Threshold", "threshold_param { threshold: 0.2 }", X, (X > 0.2).astype(float), []),
    "Power": ("Power", "power_param { power: 2 scale: 0.5 shift: 1 }", X, (1 + 0.5 * X) ** 2, []),
    "Power of nothing": ("Power", "", X, X, []),
    "Exp": ("Exp", "", X, np.exp(X), []),
    "Exp base": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }", X, 2 ** (1 + 0.5 * X), []),
    "Log": ("Log", "log_param { shift: 2 scale: 3 }", POSITIVE, np.log(2 + 3 * POSITIVE), []),
    "Log base": ("Log", "log_param { base: 10 }", POSITIVE, np.log10(POSITIVE), []),
    "Scale": ("Scale", "", X, X * PER_CHANNEL, [CHANNELS]),
    "Scale bias": ("Scale", "scale_param { bias_term: true }", X, X * PER_CHANNEL + 1, [CHANNELS, np.ones(6)]),
    "Scale axes": ("Scale", "scale_param { axis: 2 num_axes: 2 }", X, X * X[0, 0], [X[0, 0]]),
    "Scale rest": ("Scale", "scale_param { axis: -2 num_axes: -1 }", X, X * X[0, 0], [X[0, 0]]),
    "Scale scalar": ("Scale", "scale_param { num_axes: 0 }", X, X * 3, [np.full((), 3.0)]),
    "Bias": ("Bias", "", X, X + PER_CHANNEL, [CHANNELS]),
    "BatchNorm": (
        "BatchNorm",
        "batch_norm_param { eps: 0.1 }",
        X,
        (X - PER_CHANNEL / 4) / np.sqrt(PER_CHANNEL**2 / 4 + 0.1),
        [CHANNELS, CHANNELS**2, np.full(1, 4.0)],
    ),
    "BatchNorm without samples": ("BatchNorm", "", X, X / np.sqrt(1e-5), [CHANNELS, CHANNELS**2, np.zeros(1)]),
    "BN": (
        "BN",
        "",
        X,
        PER_CHANNEL * (X - 1) / np.sqrt(0.5 + 1e-5) + 2,
        [CHANNELS.reshape(1, 6, 1, 1), np.full((1, 6, 1, 1), 2), np.ones((1, 6, 1, 1)), np.full((1, 6, 1, 1), 0.5)],
    ),
    "LRN": ("LRN", "lrn_param { local_size: 3 alpha: 0.3 beta: 0.6 k: 2 }", X, across(X, 3, **SMALL, k=2), []),
    "LRN within": (
        "LRN",
        "lrn_param { local_size: 3 alpha: 0.3 beta: 0.6 k: 2 norm_region: WITHIN_CHANNEL }",
        X,
        within(X, 3, **SMALL),
        [],
    ),
    "MVN": ("MVN", "", X, standard(X, (2, 3)), []),
    "MVN all": ("MVN", "mvn_param { across_channels: true eps: 0.5 }", X, standard(X, (1, 2, 3), 0.5), []),
    "MVN mean": ("MVN", "mvn_param { normalize_variance: false }", X, standard(X, (2, 3), divided=False), []),
    "Normalize": ("Normalize", "", X, 3 * X / np.sqrt((X**2).sum((1, 2, 3), keepdims=True) + 1e-10), [np.full(1, 3.0)]),
    "Normalize channels": (
        "Normalize",
        "norm_param { across_spatial: false channel_shared: false eps: 1 }",
        X,
        PER_CHANNEL * X / np.sqrt((X**2).sum(1, keepdims=True) + 1),
        [CHANNELS],
    ),
    "Softmax": ("Softmax", "", X, soft(X, 1), []),
    "Softmax axis": ("Softmax", "softmax_param { axis: -1 }", X, soft(X, 3), []),
    "Flatten": ("Flatten", "", X, X.reshape(2, 210), []),
    "Flatten some": ("Flatten", "flatten_param { axis: 1 end_axis: -2 }", X, X.reshape(2, 30, 7), []),
    "Reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", X, X.reshape(2, 2, 105), []),
    "Reshape span": (
        "Reshape",
        "reshape_param { shape { dim: 3 dim: -1 } axis: 1 num_axes: 1 }",
        X,
        X.reshape(2, 3, 2, 5, 7),
        [],
    ),
    "Reshape at the end": (
        "Reshape",
        "reshape_param { shape { dim: 1 dim: 1 } axis: -1 }",
        X,
        X.reshape(2, 6, 5, 7, 1, 1),
        [],
    ),
    "Permute": ("Permute", "permute_param { order: 0 order: 2 }", X, X.transpose(0, 2, 1, 3), []),
    "Tile": ("Tile", "tile_param { axis: -1 tiles: 3 }", X, np.tile(X, (1, 1, 1, 3)), []),
    "Upsample": ("Upsample", "upsample_param { scale: 3 }", X, X.repeat(3, 2).repeat(3, 3), []),
    "ShuffleChannel": ("ShuffleChannel", "shuffle_channel_param { group: 3 }", X, X[:, [0, 2, 4, 1, 3, 5]], []),
    "sum": ("Reduction", "reduction_param { axis: 1 }", X, X.sum((1, 2, 3)), []),
    "asum": ("Reduction", "reduction_param { operation: ASUM axis: 2 coeff: 2 }", X, 2 * np.abs(X).sum((2, 3)), []),
    "sumsq": ("Reduction", "reduction_param { operation: SUMSQ axis: -1 }", X, (X**2).sum(3), []),
    "mean": ("Reduction", "reduction_param { operation: MEAN }", X, X.mean(), []),
}


@pytest.mark.parametrize(("opset", "dynamic"), [(13, False), (18, True)])  # the other tests have 17
@pytest.mark.parametrize("case", SINGLE.values(), ids=list(SINGLE))
def test_one_bottom(tmp_path: Path, case: Any, opset: int, dynamic: bool) -> None:
    kind, text, x, wanted, arrays = case
    close(computed(tmp_path, kind, text, x.astype(np.float32), arrays, opset=opset, dynamic=dynamic), wanted)


Z = normal(2, 6, 5, 7, seed=9)

SEVERAL: dict[str, tuple[str, str, dict[str, Any], Any, list[Any]]] = {
    "product": ("Eltwise", "eltwise_param { operation: PROD }", {"x": X, "z": Z}, X * Z, []),
    "sum": ("Eltwise", "", {"x": X, "z": Z, "w": X}, 2 * X + Z, []),
    "weighted": ("Eltwise", "eltwise_param { coeff: 1 coeff: -0.5 }", {"x": X, "z": Z}, X - 0.5 * Z, []),
    "largest": ("Eltwise", "eltwise_param { operation: MAX }", {"x": X, "z": Z}, np.maximum(X, Z), []),
    "Concat": ("Concat", "", {"x": X, "z": Z[:, :2]}, np.concatenate([X, Z[:, :2]], 1), []),
    "Concat axis": ("Concat", "concat_param { axis: -1 }", {"x": X, "z": Z}, np.concatenate([X, Z], 3), []),
    "Concat old": ("Concat", "concat_param { concat_dim: 2 }", {"x": X, "z": Z}, np.concatenate([X, Z], 2), []),
    "Crop": ("Crop", "crop_param { offset: 1 offset: 2 }", {"x": X, "z": Z[:1, :1, :3, :4]}, X[:, :, 1:4, 2:6], []),
    "Crop channels": (
        "Crop",
        "crop_param { axis: 1 offset: 1 }",
        {"x": X, "z": Z[:, :3, :2, :2]},
        X[:, 1:4, 1:3, 1:3],
        [],
    ),
    "Scale by": ("Scale", "scale_param { axis: 0 }", {"x": X, "z": Z[:, :, 0, 0]}, X * Z[:, :, :1, :1], []),
    "Scale by, bias": (
        "Scale",
        "scale_param { axis: 0 bias_term: true }",
        {"x": X, "z": Z[:, 0, 0, 0]},
        X * Z[:, :1, :1, :1] + np.array([1, 2]).reshape(2, 1, 1, 1),
        [np.array([1, 2])],
    ),
    "Axpy": ("Axpy", "", {"a": Z[:, :, :1, :1], "x": X, "z": Z}, Z[:, :, :1, :1] * X + Z, []),
    "Axpy flat": ("Axpy", "", {"a": Z[:, :, 0, 0], "x": X, "z": Z}, Z[:, :, :1, :1] * X + Z, []),
    "Bias by": ("Bias", "bias_param { axis: 2 }", {"x": X, "z": Z[0, 0]}, X + Z[0, 0], []),
}


@pytest.mark.parametrize("case", SEVERAL.values(), ids=list(SEVERAL))
def test_several_bottoms(tmp_path: Path, case: Any) -> None:
    kind, text, feeds, wanted, arrays = case
    close(computed(tmp_path, kind, text, feeds, arrays), wanted)
    if len({len(array) for array in feeds.values()}) == 1 and not arrays:  # which would be as long as the batch
        close(computed(tmp_path, kind, text, feeds, arrays, dynamic=True), wanted)


@pytest.mark.parametrize(
    ("text", "ends"),
    [("slice_point: 1 slice_point: 4", [1, 4]), ("axis: 1", [2, 4]), ("axis: -3", [2, 4]), ("slice_dim: 1", [2, 4])],
)
def test_slice(tmp_path: Path, text: str, ends: list[int]) -> None:
    got = computed(tmp_path, "Slice", f"slice_param {{ {text} }}", X, tops="a b c")
    for part, wanted in zip(got, np.split(X, ends, 1), strict=True):
        close(part, wanted)
    for opset in (13, 18):
        assert len(computed(tmp_path, "Slice", f"slice_param {{ {text} }}", X, tops="a b c", opset=opset)) == 3


def test_split(tmp_path: Path) -> None:
    for part in computed(tmp_path, "Split", "", X, tops="a b"):
        close(part, X)


def test_embed(tmp_path: Path) -> None:
    table, index = normal(5, 3), np.array([[0, 4], [2, 2]], np.float32)
    got = computed(tmp_path, "Embed", "embed_param { input_dim: 5 num_output: 3 }", index, [table, np.ones(3)])
    close(got, table[index.astype(int)] + 1)


def resized(x: Any, height: int, width: int) -> Any:
    """Bilinear, corners stay corners."""
    rows, columns = (np.linspace(0, n - 1, size) for n, size in zip(x.shape[2:], (height, width), strict=True))
    top, left = np.minimum(rows.astype(int), x.shape[2] - 2), np.minimum(columns.astype(int), x.shape[3] - 2)
    down, right = (rows - top)[:, None], columns - left
    upper = x[:, :, top][..., left] * (1 - right) + x[:, :, top][..., left + 1] * right
    lower = x[:, :, top + 1][..., left] * (1 - right) + x[:, :, top + 1][..., left + 1] * right
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize(
    ("text", "x", "size"),
    [
        ("height: 9 width: 4", X, (9, 4)),
        ("zoom_factor: 3", X, (13, 19)),
        ("shrink_factor: 2", X, (3, 4)),
        ("shrink_factor: 2 zoom_factor: 2", X, (5, 7)),
        ("height: 4 width: 4 shrink_factor: 2 zoom_factor: 2", X, (4, 4)),
    ],
)
def test_interp(tmp_path: Path, text: str, x: Any, size: tuple[int, int]) -> None:
    close(computed(tmp_path, "Interp", f"interp_param {{ {text} }}", x), resized(x, *size))


def test_interp_crops_first(tmp_path: Path) -> None:
    got = computed(tmp_path, "Interp", "interp_param { height: 6 width: 6 pad_beg: -1 pad_end: -2 }", X)
    close(got, resized(X[:, :, 1:-2, 1:-2], 6, 6))


TIED = np.array([[3, 5, 5, 1], [2, 2, 0, 2]], np.float32)


def test_largest_of_equal_values_is_the_last(tmp_path: Path) -> None:
    got = computed(tmp_path, "ArgMax", "", TIED)
    close(got, np.array([2, 3]).reshape(2, 1, 1))
    got = computed(tmp_path, "ArgMax", "argmax_param { top_k: 2 out_max_val: true }", TIED)
    close(got, np.array([[[2, 1], [5, 5]], [[3, 1], [2, 2]]]))


def test_largest_along_an_axis(tmp_path: Path) -> None:
    got = computed(tmp_path, "ArgMax", "argmax_param { axis: 1 }", X)
    close(got, X.argmax(1)[:, None])
    got = computed(tmp_path, "ArgMax", "argmax_param { axis: -1 top_k: 2 out_max_val: true }", X)
    close(got, np.sort(X, 3)[..., :-3:-1])


def test_largest_of_an_image(tmp_path: Path) -> None:
    got = computed(tmp_path, "ArgMax", "", X)
    close(got, X.reshape(2, -1).argmax(1).reshape(2, 1, 1, 1))


def test_region_pooling(tmp_path: Path) -> None:
    regions = np.array([[0, 0, 0, 6, 4], [1, 1, 1, 4, 3]], np.float32)
    got = computed(
        tmp_path, "ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 spatial_scale: 1 }", {"x": X, "z": regions}
    )
    close(got, np.stack([X[0].max((1, 2)), X[1, :, 1:4, 1:5].max((1, 2))])[..., None, None])


@pytest.mark.parametrize("cells", [(1, 1), (3, 2), (2, 5), (7, 7)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_region_pooling_in_cells(tmp_path: Path, cells: tuple[int, int], scale: float) -> None:
    """Also cells smaller than a value, and regions that pass the end of the image."""
    x, random = normal(2, 3, 11, 13), np.random.default_rng(5)
    low = random.integers(0, 16, (8, 2))
    ends = np.concatenate([low, low + random.integers(0, 16, (8, 2))], 1)
    regions = np.concatenate([random.integers(0, 2, (8, 1)), ends], 1).astype(np.float32)
    text = f"roi_pooling_param {{ pooled_h: {cells[0]} pooled_w: {cells[1]} spatial_scale: {scale} }}"
    close(computed(tmp_path, "ROIPooling", text, {"x": x, "z": regions}), pooled_regions(x, regions, cells, scale))


REFUSED = {
    "second top": ("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", X, "y mask", "second top"),
    "factor": ("Upsample", "upsample_param { scale: 0 }", X, "y", "scale 0"),
    "random": ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }", X, "y", "random"),
    "empty window": (
        "Pooling",
        "pooling_param { kernel_size: 1 stride: 3 }",
        normal(1, 1, 5, 5),
        "y",
        "without any value",
    ),
    "batch statistics": ("BatchNorm", "batch_norm_param { use_global_stats: false }", X, "y", "of the batch"),
    "even LRN": ("LRN", "lrn_param { local_size: 4 }", X, "y", "even"),
    "axis": ("Softmax", "softmax_param { axis: 4 }", X, "y", "axis 4"),
    "parts": ("Slice", "", X, "a b c d", "equal parts"),
    "elements": ("Reshape", "reshape_param { shape { dim: 0 dim: 4 } }", X, "y", "makes"),
    "rest": ("Reshape", "reshape_param { shape { dim: -1 dim: 4 } }", X[:1, :1], "y", "makes"),
    "kind of pool": ("Pooling", "pooling_param { pool: MEAN kernel_size: 2 }", X, "y", "MAX, AVE, STOCHASTIC"),
    "size beyond any memory": (
        "InnerProduct",
        "inner_product_param { num_output: 99999999999 }",
        X,
        "y",
        "has weights",
    ),
    "endless number": ("Pooling", "pooling_param { kernel_size: inf }", X, "y", "kernel_size"),
    "base": ("Log", "log_param { base: 1 }", X, "y", "base 1"),
    "base below 0": ("Exp", "exp_param { base: -2 }", X, "y", "base -2"),
    "endless box": ("PriorBox", "prior_box_param { min_size: inf img_size: 9 }", X, "y", "has sizes"),
    "flat box": ("PriorBox", "prior_box_param { min_size: 1 aspect_ratio: 0 img_size: 9 }", X, "y", "has sizes"),
    "kernel": ("Pooling", "", X, "y", "kernel_size missing"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_refused(tmp_path: Path, case: Any) -> None:
    kind, text, x, tops, said = case
    arrays = [CHANNELS, CHANNELS, np.ones(1)] if kind in ("BatchNorm", "InnerProduct") else []
    with pytest.raises(TrtconvError, match=said) as error:
        computed(tmp_path, kind, text, x, arrays, tops)
    assert error.value.exit_code == 3
    assert error.value.hint


@pytest.mark.parametrize("kind", sorted(layers.TABLE.keys() - {"Parameter"}))  # which reads nothing
def test_a_layer_without_bottoms_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Whatever the type: a network of it alone ends with words, and never with a traceback."""
    with pytest.raises(TrtconvError) as error:
        importer.outline(net.read(written(tmp_path, caffe_networks.layer(kind, "alone", "", "y"))))
    assert "'alone'" in error.value.message
    assert error.value.hint


@pytest.mark.parametrize("kind", ["Crop", "PriorBox", "ROIPooling", "DetectionOutput"])
def test_a_layer_with_too_few_bottoms(tmp_path: Path, kind: str) -> None:
    text = caffe_networks.head("few", 1, 3, 8, 8) + caffe_networks.layer(kind, "alone", "data", "y")
    with pytest.raises(TrtconvError, match="'alone'"):
        importer.outline(net.read(written(tmp_path, text)))


def written(folder: Path, text: str) -> Path:
    (folder / "net.prototxt").write_text(text)
    return folder / "net.prototxt"
