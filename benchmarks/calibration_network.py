"""A network of ResNet50's shape with seeded FP32 weights and images for it, made without any framework."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))
"""Blocks, inner channels and stride of each stage; a block's output has four times its inner channels."""


class _Graph:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], f"{output}_{op}", **attributes))
        return output

    def conv(self, x: str, ins: int, outs: int, kernel: int, stride: int, name: str, gain: float = 1.0) -> str:
        """A convolution with its bias, as folded batch normalization leaves it; He-normal weights."""
        deviation = gain * np.sqrt(2 / (ins * kernel * kernel))
        weight = self.constant(f"{name}_w", self.random.normal(0, deviation, (outs, ins, kernel, kernel)))
        bias = self.constant(f"{name}_b", self.random.normal(0, 0.1, outs))
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self.node("Conv", [x, weight, bias], name, **shape)

    def relu(self, x: str) -> str:
        return self.node("Relu", [x], f"{x}_relu")

    def block(self, x: str, ins: int, inner: int, stride: int, name: str, *, project: bool) -> str:
        """Reduce, convolve, expand, add the skip branch; the expansion is damped so that depth adds little."""
        outs = 4 * inner
        y = self.relu(self.conv(x, ins, inner, 1, 1, f"{name}_1"))
        y = self.relu(self.conv(y, inner, inner, 3, stride, f"{name}_2"))
        y = self.conv(y, inner, outs, 1, 1, f"{name}_3", gain=0.3)
        skip = self.conv(x, ins, outs, 1, stride, f"{name}_skip", gain=0.7) if project else x
        return self.relu(self.node("Add", [y, skip], f"{name}_sum"))


def resnet50(seed: int = 0, opset: int = 17) -> onnx.ModelProto:
    """Input ``image`` [batch, 3, 224, 224], output ``logits`` [batch, 1000]; 25.5 million weights."""
    graph = _Graph(seed)
    x = graph.relu(graph.conv("image", 3, 64, 7, 2, "stem"))
    x = graph.node("MaxPool", [x], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, inner, stride) in enumerate(STAGES, start=1):
        for block in range(blocks):
            first = block == 0
            x = graph.block(x, channels, inner, stride if first else 1, f"s{stage}b{block}", project=first)
            channels = 4 * inner
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "mean")], "features")
    weight = graph.constant("fc_w", graph.random.normal(0, 0.02, (channels, 1000)))
    graph.node("Gemm", [x, weight, graph.constant("fc_b", np.zeros(1000))], "logits")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 224, 224])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1000])
    made = helper.make_graph(graph.nodes, "resnet50", [image], [logits], graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def images(count: int, seed: int = 1) -> Iterator[np.ndarray]:
    """``count`` arrays [3, 224, 224] float32: noise in squares of 8 pixels, so that neighbours resemble each other."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        coarse = random.normal(size=(3, 28, 28))
        fine = random.normal(0, 0.2, (3, 224, 224))
        yield (np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2) + fine).astype(np.float32)


def write_images(path: Path, count: int, seed: int = 1) -> None:
    """The same as one .npy, written without holding them all."""
    out = np.lib.format.open_memmap(path, "w+", np.float32, (count, 3, 224, 224))
    for position, image in enumerate(images(count, seed)):
        out[position] = image
    out.flush()
