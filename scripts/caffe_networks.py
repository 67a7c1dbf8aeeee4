#!/usr/bin/env python3
"""Caffe networks with weights from a seed: for the source zoo, for configs/caffe.yaml, and for tests.

Prototxts come from a file or from a function here; a caffemodel of any of Caffe's formats is written for them.

    python scripts/caffe_networks.py [--output build/caffe]    a small network and samples for it
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trtconv.core.protobuf_wire import encoded, message
from trtconv.sources.caffe import importer, net

Arrays = Mapping[str, Sequence[Any]]

LAYER_FIELDS = {"v2": (100, 1, 7), "v1": (2, 4, 6), "v0": (1, 1, 50)}
"""Fields of the layer in the file, and of name and blobs in the layer; in the first format it lies in one more."""


def caffemodel(arrays: Arrays, form: str = "v2", data: str = "float", legacy: bool = False) -> bytes:
    """A trained network as Caffe writes it: names and arrays only.

    Args:
        arrays: by layer.
        form: v2, v1 or v0.
        data: float, float in single numbers (``unpacked``), double or half.
        legacy: four sizes per array instead of its shape.
    """
    number, name, blobs = LAYER_FIELDS[form]
    parts = [*message(1, [b"net"])]
    for label, values in arrays.items():
        inner = [*message(name, [label.encode()])]
        for value in values:
            inner += message(blobs, [blob(np.asarray(value, np.float32), data, legacy)])
        layer = message(number, inner)
        parts += message(2, layer) if form == "v0" else layer
    return b"".join(parts)


def blob(array: Any, data: str, legacy: bool) -> bytes:
    """A BlobProto."""
    if legacy:
        sizes = [1] * (4 - array.ndim) + list(array.shape)
        head = b"".join(encoded(field << 3) + encoded(size) for field, size in enumerate(sizes, 1))
    else:
        head = b"".join(message(7, message(1, [b"".join(map(encoded, array.shape))])))
    if data == "unpacked":
        return head + b"".join(encoded(5 << 3 | 5) + value.tobytes() for value in array.ravel())
    if data == "half":
        return head + encoded(10 << 3) + encoded(2) + b"".join(message(12, [array.astype("<f2").tobytes()]))
    field, kind = (8, "<f8") if data == "double" else (5, "<f4")
    return head + b"".join(message(field, [array.astype(kind).tobytes()]))


def seeded(prototxt: Path, shapes: Mapping[str, tuple[int, ...]] | None = None, seed: int = 0) -> dict[str, list[Any]]:
    """Arrays for every layer of a network that keep its values at about one size, whatever its depth."""
    random = np.random.default_rng(seed)
    made = importer.outline(net.read(prototxt, shapes))
    kinds = {layer.name: layer.type for layer in made.layers}
    return {name: _arrays(kinds[name], wanted, random) for name, wanted in made.arrays.items()}


def _arrays(kind: str, shapes: Sequence[tuple[int, ...]], random: np.random.Generator) -> list[Any]:
    def uniform(low: float, high: float, shape: tuple[int, ...]) -> Any:
        return random.uniform(low, high, shape).astype(np.float32)

    if kind == "BatchNorm":
        return [uniform(-0.1, 0.1, shapes[0]), uniform(0.5, 1.5, shapes[1]), np.ones(1, np.float32)]
    if kind == "BN":
        ranges = ((0.5, 1.2), (-0.1, 0.1), (-0.1, 0.1), (0.5, 1.5))
        return [uniform(*span, shape) for span, shape in zip(ranges, shapes, strict=True)]
    if kind in ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "Deconvolution", "InnerProduct"):
        fan = math.prod(shapes[0][1:])
        weights = random.standard_normal(shapes[0], np.float32) * np.float32(math.sqrt(2 / fan))
        return [weights, *(random.normal(0, 0.05, shape).astype(np.float32) for shape in shapes[1:])]
    first = uniform(0.05, 0.3, shapes[0]) if kind == "PReLU" else uniform(0.5, 1.2, shapes[0])
    return [first, *(random.normal(0, 0.05, shape).astype(np.float32) for shape in shapes[1:])]


def write(folder: Path, name: str, prototxt: str, seed: int = 0, arrays: Arrays | None = None) -> tuple[Path, Path]:
    """A prototxt and its caffemodel, with weights from a seed unless arrays are given."""
    folder.mkdir(parents=True, exist_ok=True)
    text, weights = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    text.write_text(prototxt)
    weights.write_bytes(caffemodel(seeded(text, seed=seed) if arrays is None else arrays))
    return text, weights


def layer(kind: str, name: str, bottoms: str, tops: str, parameters: str = "") -> str:
    """A layer of a prototxt; bottoms and tops are separated by spaces."""
    ends = [f'bottom: "{blob}"' for blob in bottoms.split()] + [f'top: "{blob}"' for blob in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(ends)} {parameters} }}\n'


def head(name: str, *dims: int, blob: str = "data") -> str:
    """The beginning of a prototxt with one input."""
    sizes = " ".join(f"dim: {size}" for size in dims)
    return f'name: "{name}"\n' + layer("Input", blob, "", blob, f"input_param {{ shape {{ {sizes} }} }}")


def conv(name: str, bottom: str, outputs: int, kernel: int, more: str = "", relu: bool = True) -> str:
    """A convolution, with ReLU in place."""
    made = layer(
        "Convolution", name, bottom, name, f"convolution_param {{ num_output: {outputs} kernel_size: {kernel} {more} }}"
    )
    return made + (layer("ReLU", f"{name}_relu", name, name) if relu else "")


def pool(name: str, bottom: str, kernel: int, stride: int, kind: str = "MAX") -> str:
    """Pooling."""
    return layer(
        "Pooling", name, bottom, name, f"pooling_param {{ pool: {kind} kernel_size: {kernel} stride: {stride} }}"
    )


def dense(name: str, bottom: str, outputs: int) -> str:
    """An inner product."""
    return layer("InnerProduct", name, bottom, name, f"inner_product_param {{ num_output: {outputs} }}")


def squeezenet(size: int = 227) -> str:
    """SqueezeNet 1.1 (arXiv 1602.07360)."""

    def fire(number: int, bottom: str, squeezed: int, expanded: int) -> str:
        name = f"fire{number}"
        parts = [
            conv(f"{name}/squeeze1x1", bottom, squeezed, 1),
            conv(f"{name}/expand1x1", f"{name}/squeeze1x1", expanded, 1),
            conv(f"{name}/expand3x3", f"{name}/squeeze1x1", expanded, 3, "pad: 1"),
            layer("Concat", f"{name}/concat", f"{name}/expand1x1 {name}/expand3x3", f"{name}/concat"),
        ]
        return "".join(parts)

    text = (
        head("SqueezeNet", 1, 3, size, size) + conv("conv1", "data", 64, 3, "stride: 2") + pool("pool1", "conv1", 3, 2)
    )
    text += fire(2, "pool1", 16, 64) + fire(3, "fire2/concat", 16, 64) + pool("pool3", "fire3/concat", 3, 2)
    text += fire(4, "pool3", 32, 128) + fire(5, "fire4/concat", 32, 128) + pool("pool5", "fire5/concat", 3, 2)
    for number, bottom, width in (
        (6, "pool5", 48),
        (7, "fire6/concat", 48),
        (8, "fire7/concat", 64),
        (9, "fire8/concat", 64),
    ):
        text += fire(number, bottom, width, 4 * width)
    text += layer("Dropout", "drop9", "fire9/concat", "fire9/concat") + conv("conv10", "fire9/concat", 1000, 1)
    text += layer("Pooling", "pool10", "conv10", "pool10", "pooling_param { pool: AVE global_pooling: true }")
    return text + layer("Softmax", "prob", "pool10", "prob")


def vgg16(size: int = 224) -> str:
    """VGG-16 (arXiv 1409.1556): 138 million parameters, 550 MB."""
    text, bottom = head("VGG16", 1, 3, size, size), "data"
    for stage, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for number in range(1, count + 1):
            text += conv(f"conv{stage}_{number}", bottom, width, 3, "pad: 1")
            bottom = f"conv{stage}_{number}"
        text += pool(f"pool{stage}", bottom, 2, 2)
        bottom = f"pool{stage}"
    for name, outputs in (("fc6", 4096), ("fc7", 4096)):
        text += dense(name, bottom, outputs) + layer("ReLU", f"relu_{name}", name, name)
        text += layer("Dropout", f"drop_{name}", name, name)
        bottom = name
    return text + dense("fc8", bottom, 1000) + layer("Softmax", "prob", "fc8", "prob")


def dilated_fcn(size: int = 97) -> str:
    """A fully convolutional network: dilated layers, a skip, two deconvolutions and crops, as FCN-16s is built."""
    text = head("fcn", 1, 3, size, size)
    text += conv("conv1", "data", 16, 3, "pad: 12") + pool("pool1", "conv1", 2, 2)
    text += conv("conv2", "pool1", 24, 3, "pad: 1") + pool("pool2", "conv2", 2, 2)
    text += conv("conv3", "pool2", 32, 3, "pad: 1") + pool("pool3", "conv3", 2, 2)
    text += conv("conv4", "pool3", 48, 3, "pad: 2 dilation: 2") + conv("conv5", "conv4", 48, 3, "pad: 4 dilation: 4")
    text += conv("score", "conv5", 21, 1, relu=False) + conv("score_pool2", "pool2", 21, 1, relu=False)
    text += layer(
        "Deconvolution",
        "up2",
        "score",
        "up2",
        "convolution_param { num_output: 21 kernel_size: 4 stride: 2 bias_term: false }",
    )
    text += layer("Crop", "crop2", "up2 score_pool2", "crop2", "crop_param { axis: 2 offset: 1 }")
    text += layer("Eltwise", "sum2", "crop2 score_pool2", "sum2", "eltwise_param { operation: SUM }")
    grouped = "num_output: 21 kernel_size: 8 stride: 4 group: 21 bias_term: false"
    text += layer("Deconvolution", "up", "sum2", "up", f"convolution_param {{ {grouped} }}")
    text += layer("Crop", "crop", "up data", "crop", "crop_param { axis: 2 offset: 13 }")
    return text + layer("Softmax", "prob", "crop", "prob")


def prelu_net(size: int = 48) -> str:
    """Strided convolutions with PReLU in place, BatchNorm with Scale, and a slope shared by all channels."""
    text, bottom = head("prelu", 2, 3, size, size), "data"
    for number, width in enumerate((16, 32, 64), 1):
        name = f"conv{number}"
        text += conv(name, bottom, width, 3, "pad: 1 stride: 2 bias_term: false", relu=False)
        text += layer("BatchNorm", f"bn{number}", name, name)
        text += layer("Scale", f"scale{number}", name, name, "scale_param { bias_term: true }")
        text += layer("PReLU", f"prelu{number}", name, name)
        bottom = name
    text += dense("embedding", bottom, 64) + layer(
        "PReLU", "prelu_shared", "embedding", "embedding", "prelu_param { channel_shared: true }"
    )
    return text + dense("logits", "embedding", 10)


def feeds(prototxt: Path, seed: int = 1) -> dict[str, Any]:
    """Standard normal numbers for the inputs of a network."""
    random = np.random.default_rng(seed)
    shapes: Iterable[Any] = ((one.name, one.shape) for one in net.read(prototxt).inputs)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes}


def main() -> None:
    """Write what configs/caffe.yaml needs: deploy.prototxt, net.caffemodel, and samples."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("build/caffe"))
    folder = parser.parse_args().output
    prototxt, weights = write(folder, "deploy", prelu_net())
    weights.rename(folder / "net.caffemodel")
    random = np.random.default_rng(2)
    for name, count in (("calibration", 64), ("heldout", 32)):
        np.savez(folder / f"{name}.npz", data=random.standard_normal((count, 3, 48, 48)).astype(np.float32))
    print(f"{prototxt}, {folder / 'net.caffemodel'}, calibration.npz and heldout.npz are written")


if __name__ == "__main__":
    main()
