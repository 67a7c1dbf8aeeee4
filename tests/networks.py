"""Small ONNX models made on the spot, and ways to run them that do not go through trtconv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, np.ndarray]


def constant(values: Any, name: str) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def value(name: str, shape: Sequence[int | str] | None = None, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Mapping[str, Any] | None = None,
    opset: int = 17,
    check: bool = True,
) -> Any:
    made = [constant(values, name) for name, values in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), made)
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if check:
        onnx.checker.check_model(result, full_check=True)
    return result


def node(op: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    """``node("Add", "a b", "c")``; a ``-`` stands for an input left out."""
    given = ["" if one == "-" else one for one in inputs.split()]
    return helper.make_node(op, given, outputs.split(), name or f"{op}_{outputs.split()[0]}", **attributes)


def perceptron(width: int = 64, hidden: int = 128, seed: int = 3) -> Any:
    """``x`` [batch, width] through three matrices, one of them beside a skip, to ``y`` [batch, 32]."""
    random = np.random.default_rng(seed)
    shapes = {"first": (width, hidden), "second": (hidden, hidden), "last": (hidden, 32)}
    constants = {
        name: random.normal(0, 1 / np.sqrt(shape[0]), shape).astype(np.float32) for name, shape in shapes.items()
    }
    constants["bias"] = random.normal(0, 0.1, 32).astype(np.float32)
    nodes = [
        node("MatMul", "x first", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "b second", "c"),
        node("Add", "c b", "d"),
        node("Relu", "d", "e"),
        node("Gemm", "e last bias", "y"),
    ]
    return model(nodes, [value("x", ["batch", width])], [value("y", ["batch", 32])], constants)


def residual_cnn(seed: int = 0, width: int = 16, blocks: int = 2) -> Any:
    """NHWC input ``image`` [batch, 8, 8, 1] through Transpose, Conv, residual blocks and pooling to ``probability``.

    Every second block halves the image with a Conv on its skip branch. Weights are He-normal and seeded.
    """
    random = np.random.default_rng(seed)
    constants: Arrays = {}
    nodes = [node("Transpose", "image", "nchw", perm=[0, 3, 1, 2])]

    def conv(x: str, ins: int, outs: int, kernel: int, stride: int, name: str) -> str:
        deviation = np.sqrt(2 / (ins * kernel * kernel))
        constants[f"{name}_w"] = random.normal(0, deviation, (outs, ins, kernel, kernel)).astype(np.float32)
        constants[f"{name}_b"] = random.normal(0, 0.1, outs).astype(np.float32)
        pads = [kernel // 2] * 4
        nodes.append(
            node(
                "Conv",
                f"{x} {name}_w {name}_b",
                name,
                f"{name}_conv",
                kernel_shape=[kernel] * 2,
                strides=[stride] * 2,
                pads=pads,
            )
        )
        return name

    def relu(x: str) -> str:
        nodes.append(node("Relu", x, f"{x}_relu"))
        return f"{x}_relu"

    x, channels = relu(conv("nchw", 1, width, 3, 1, "stem")), width
    for number in range(blocks):
        wider, stride = (channels * 2, 2) if number % 2 else (channels, 1)
        main = relu(conv(x, channels, wider, 3, stride, f"block{number}_first"))
        main = conv(main, wider, wider, 3, 1, f"block{number}_second")
        skip = conv(x, channels, wider, 1, stride, f"block{number}_skip") if number % 2 else x
        nodes.append(node("Add", f"{main} {skip}", f"block{number}_sum", f"block{number}_add"))
        x, channels = relu(f"block{number}_sum"), wider
    constants["head_w"] = (random.normal(size=(channels, 32)) / np.sqrt(channels)).astype(np.float32)
    constants["head_b"] = random.normal(size=32).astype(np.float32)
    nodes += [
        node("GlobalAveragePool", x, "pooled"),
        node("Flatten", "pooled", "flat"),
        node("MatMul", "flat head_w", "dense", "head"),
        node("Add", "dense head_b", "logits", "head_bias"),
        node("Softmax", "logits", "probability"),
    ]
    return model(
        nodes,
        [value("image", ["batch", 8, 8, 1])],
        [value("probability", ["batch", 32]), value("logits", ["batch", 32])],
        constants,
    )


def encoder(width: int = 64, heads: int = 4, tokens: int = 16, seed: int = 5) -> Any:
    """``x`` [batch, tokens, width] through one layer of a transformer (attention, then two matrices) to ``y``."""
    random, size = np.random.default_rng(seed), width // heads
    constants: Arrays = {
        "apart": np.array([0, tokens, heads, size]),
        "flat": np.array([0, tokens, width]),
        "scale": np.float32(1 / np.sqrt(size)),
        "gain": np.ones(width, np.float32),
        "shift": np.zeros(width, np.float32),
    }
    nodes = []

    def dense(x: str, name: str, ins: int, outs: int) -> str:
        constants[f"{name}_w"] = random.normal(0, 1 / np.sqrt(ins), (ins, outs)).astype(np.float32)
        nodes.append(node("MatMul", f"{x} {name}_w", name))
        return name

    for name, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [
            node("Reshape", f"{dense('x', name, width, width)} apart", f"{name}_apart"),
            node("Transpose", f"{name}_apart", f"{name}_heads", perm=order),
        ]
    nodes += [
        node("MatMul", "q_heads k_heads", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Softmax", "scaled", "weights", axis=-1),
        node("MatMul", "weights v_heads", "mixed"),
        node("Transpose", "mixed", "together", perm=[0, 2, 1, 3]),
        node("Reshape", "together flat", "joined"),
    ]
    nodes += [
        node("Add", f"x {dense('joined', 'out', width, width)}", "first"),
        node("LayerNormalization", "first gain shift", "normal", axis=-1),
    ]
    nodes.append(node("Relu", dense("normal", "up", width, 4 * width), "bent"))
    nodes.append(node("Add", f"normal {dense('bent', 'down', 4 * width, width)}", "y"))
    ends = [value("x", ["batch", tokens, width])], [value("y", ["batch", tokens, width])]
    return model(nodes, *ends, constants)


def recurrent(size: int = 32, hidden: int = 64, steps: int = 12, seed: int = 7) -> Any:
    """``x`` [steps, batch, size] through an LSTM and a matrix to ``y`` [batch, 32]."""
    random = np.random.default_rng(seed)
    shapes = {"w": (1, 4 * hidden, size), "r": (1, 4 * hidden, hidden), "b": (1, 8 * hidden), "last": (hidden, 32)}
    constants: Arrays = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    constants["first"] = np.array([0])
    nodes = [
        node("LSTM", "x w r b", "all state", "lstm", hidden_size=hidden),
        node("Squeeze", "state first", "flat"),
        node("MatMul", "flat last", "y"),
    ]
    return model(nodes, [value("x", [steps, "batch", size])], [value("y", ["batch", 32])], constants)


def convolutions(seed: int = 6) -> Any:
    """``x`` [batch, 32, 16, 16] through a depthwise, a grouped and a transposed convolution to ``y``; nothing named."""
    random = np.random.default_rng(seed)
    shapes = {"depthwise": (32, 1, 3, 3), "grouped": (64, 8, 3, 3), "turned": (64, 32, 2, 2)}
    constants = {name: random.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "depthwise"], ["a"], pads=[1] * 4, group=32),
        helper.make_node("Conv", ["a", "grouped"], ["b"], pads=[1] * 4, strides=[2, 2], group=4),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("ConvTranspose", ["c", "turned"], ["y"], strides=[2, 2]),
    ]
    ends = [value("x", ["batch", 32, 16, 16])], [value("y", ["batch", 32, 16, 16])]
    return model(nodes, *ends, constants)


def images(count: int, seed: int = 1) -> np.ndarray:
    """[count, 8, 8, 1] float32 in 0..1."""
    return np.random.default_rng(seed).uniform(0, 1, (count, 8, 8, 1)).astype(np.float32)


def run(network: Any, feeds: Arrays, *, optimize: bool = True) -> Arrays:
    """Outputs by ONNX Runtime, without its optimizer that changes the biases of quantized convolutions."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        network.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def everything(network: Any, feeds: Arrays) -> Arrays:
    """Every float tensor of the main graph that a node makes, by ONNX Runtime without optimization; and the feeds."""
    copy = onnx.ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(network))
    present = {output.name for output in copy.graph.output}
    floats = [v for v in copy.graph.value_info if v.type.tensor_type.elem_type == TensorProto.FLOAT]
    copy.graph.output.extend(v for v in floats if v.name not in present)
    return {**feeds, **run(copy, feeds, optimize=False)}


def magnitudes(network: Any, feeds: Arrays) -> dict[str, float]:
    """Largest magnitude of every float tensor."""
    return {name: float(np.abs(array).max()) for name, array in everything(network, feeds).items()}


def decibels(signal: np.ndarray, other: np.ndarray) -> float:
    """Signal-to-noise ratio of ``other`` as a copy of ``signal``."""
    wanted = signal.astype(np.float64)
    error = ((wanted - other.astype(np.float64)) ** 2).sum()
    return float(10 * np.log10((wanted**2).sum() / error)) if error else float("inf")


def fully_checked(network: Any) -> Any:
    """The model itself, after ONNX's full checker has read its bytes."""
    onnx.checker.check_model(onnx.load_from_string(network.SerializeToString()), full_check=True)
    return network


def ops(network: Any) -> list[str]:
    return [one.op_type for one in network.graph.node]
