"""ResNet-50 as typed FP16 ONNX with seeded random weights: the network that GPU figures are quoted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Inner width and number of bottleneck blocks, He et al. 2015, table 1."""

IMAGE = (3, 224, 224)
CLASSES = 1000


def write(path: Path) -> Path:
    """Write the model: FP32 input ``x`` [batch, 3, 224, 224] and output ``y`` [batch, 1000], FP16 between.

    Batch normalization is folded, as ``convert`` folds it: a convolution with a bias. Weights are He-normal; the last
    convolution of a block is scaled down so that FP16 holds the sums of the residual branches.
    """
    net = _Net()
    net.node("Cast", ["x"], "half", to=TensorProto.FLOAT16)
    last = net.conv("half", "stem", 3, 64, 7, stride=2)
    last = net.node("MaxPool", [last], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate(STAGES):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            last = _bottleneck(net, last, f"s{stage}b{block}", channels, width, stride)
            channels = 4 * width
    last = net.node("GlobalAveragePool", [last], "mean")
    last = net.node("Flatten", [last], "flat")
    net.weight("fc.w", (channels, CLASSES), channels)
    net.weight("fc.b", (CLASSES,), channels)
    net.node("Gemm", [last, "fc.w", "fc.b"], "scores")
    net.node("Cast", ["scores"], "y", to=TensorProto.FLOAT)
    net.save(path)
    return path


def images(count: int, seed: int = 1) -> np.ndarray:
    """Random samples."""
    return np.random.default_rng(seed).standard_normal((count, *IMAGE), np.float32)


def _bottleneck(net: _Net, source: str, name: str, channels: int, width: int, stride: int) -> str:
    shortcut = source
    if channels != 4 * width:
        shortcut = net.conv(source, f"{name}.down", channels, 4 * width, 1, stride=stride, relu=False)
    last = net.conv(source, f"{name}.a", channels, width, 1)
    last = net.conv(last, f"{name}.b", width, width, 3, stride=stride)
    last = net.conv(last, f"{name}.c", width, 4 * width, 1, relu=False, scale=0.2)
    total = net.node("Add", [last, shortcut], f"{name}.sum")
    return net.node("Relu", [total], f"{name}.out")


class _Net:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, shape: tuple[int, ...], fan_in: int, scale: float = 1.0) -> None:
        values = self.rng.standard_normal(shape, np.float32) * np.float32(scale * np.sqrt(2 / fan_in))
        self.weights.append(numpy_helper.from_array(values.astype(np.float16), name))

    def conv(
        self,
        source: str,
        name: str,
        channels: int,
        width: int,
        size: int,
        *,
        stride: int = 1,
        relu: bool = True,
        scale: float = 1.0,
    ) -> str:
        self.weight(f"{name}.w", (width, channels, size, size), channels * size * size, scale)
        self.weight(f"{name}.b", (width,), channels * size * size)
        self.node("Conv", [source, f"{name}.w", f"{name}.b"], name, strides=[stride, stride], pads=[size // 2] * 4)
        return self.node("Relu", [name], f"{name}.relu") if relu else name

    def save(self, path: Path) -> None:
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *IMAGE]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES]),
        ]
        graph = helper.make_graph(self.nodes, "resnet50", ends[:1], ends[1:], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
