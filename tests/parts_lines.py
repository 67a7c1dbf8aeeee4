"""Models that TensorRT does not take whole, one of each kind that fallback is for, with inputs for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.parts import (
    BATCHES,
    FLOAT,
    INT64,
    RANDOM,
    WEIGHTS,
    block,
    body,
    conv,
    gelu,
    images,
    node,
    pair,
    quick,
    save,
    weights,
)
from trtconv.core.records import ShapeRange

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Line:
    """A model and what becomes of it.

    Attributes:
        model: typed ONNX.
        feeds: inputs of several shapes.
        kinds: of its parts in order: ``engine`` or ``onnx``.
        fallen: operators that are in no engine.
        options: of the build.
        share: least share of the multiplications inside engines.
    """

    model: Path
    feeds: Sequence[Feeds]
    kinds: Sequence[str]
    fallen: frozenset[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    share: float = 0.99


def detector(folder: Path) -> Line:
    """Boxes and scores, and NonMaxSuppression behind them."""
    constants = {
        **WEIGHTS,
        "w4": weights(4, 16, 3, 3),
        "w5": weights(5, 16, 3, 3),
        "boxes": np.array([0, 4, -1], np.int64),
        "classes": np.array([0, 5, -1], np.int64),
        "most": np.array([3], np.int64),
        "iou": np.array([0.5], np.float32),
        "score": np.array([0.5], np.float32),
    }
    nodes = [
        *block("x", "a", "w1"),
        conv("a", "w4", "r"),
        node("Reshape", ["r", "boxes"], "q"),
        node("Transpose", ["q"], "b", perm=[0, 2, 1]),
        conv("a", "w5", "s"),
        node("Reshape", ["s", "classes"], "t"),
        node("Sigmoid", ["t"], "c"),
        node("NonMaxSuppression", ["b", "c", "most", "iou", "score"], "kept"),
        node("Cast", ["kept"], "y", to=FLOAT),
    ]
    model = save(folder / "detector.onnx", nodes, {"b": FLOAT, "c": FLOAT, "y": FLOAT}, constants)
    return Line(model, BATCHES, ["engine", "onnx"], frozenset({"NonMaxSuppression", "Cast"}))


def middle(folder: Path) -> Line:
    """An operator in the middle that only ONNX Runtime knows, and a branch around it."""
    nodes = [*block("x", "a", "w1"), gelu("a", "b"), node("Add", ["a", "b"], "c"), *block("c", "y")]
    model = save(folder / "middle.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    return Line(model, BATCHES, ["engine", "onnx", "engine"], frozenset({"BiasGelu"}))


def branches(folder: Path) -> Line:
    """An If and a Loop with an operator that TensorRT lacks; both read tensors from around them."""
    then = body("then", [gelu("a", "p")], [], ["p"])
    other = body("other", [node("Neg", ["a"], "q")], [], ["q"])
    turn = body(
        "turn",
        [node("Identity", ["go"], "on"), gelu("state", "g"), node("Add", ["g", "b"], "next")],
        [
            helper.make_tensor_value_info("count", INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        ["on", "next"],
    )
    nodes = [
        *block("x", "a", "w1"),
        node("ReduceSum", ["a"], "total", keepdims=0),
        node("Greater", ["total", "zero"], "flag"),
        node("If", ["flag"], "b", then_branch=then, else_branch=other),
        *block("b", "c"),
        node("Loop", ["turns", "", "c"], "d", body=turn),
        *block("d", "y"),
    ]
    constants = {**WEIGHTS, "zero": np.float32(0), "turns": np.int64(2)}
    model = save(folder / "branches.onnx", nodes, {"y": FLOAT}, constants)
    return Line(model, BATCHES, ["engine", "onnx"] * 2 + ["engine"], frozenset({"If", "Loop"}))


def foreign_types(folder: Path) -> Line:
    """INT16 and DOUBLE inside."""
    nodes = [
        *block("x", "a", "w1"),
        node("Mul", ["a", "steps"], "b"),
        node("Cast", ["b"], "i", to=TensorProto.INT16),
        node("Cast", ["i"], "f", to=FLOAT),
        node("Cast", ["f"], "d", to=TensorProto.DOUBLE),
        node("Div", ["d", "wide"], "e"),
        node("Cast", ["e"], "g", to=FLOAT),
        *block("g", "y"),
    ]
    constants = {**WEIGHTS, "steps": np.float32(1000), "wide": np.float64(1000)}
    model = save(folder / "types.onnx", nodes, {"y": FLOAT}, constants)
    return Line(model, BATCHES, ["engine", "onnx", "engine"], frozenset({"Cast", "Div"}))


def quantized(folder: Path) -> Line:
    """INT8 pairs around matrix products, and an operator in the middle that TensorRT lacks."""
    kernels = {name: RANDOM.normal(scale=0.15, size=(64, 64)).astype(np.float32) for name in ("m1", "m2", "m3")}
    constants = {
        name: np.clip(np.round(kernel / 0.01), -127, 127).astype(np.int8).T.copy() for name, kernel in kernels.items()
    }
    constants |= {"scale": np.float32(0.05), "fine": np.float32(0.01), "zero": np.int8(0)}
    constants |= {"flat": np.array([0, 64], np.int64)}
    nodes = [
        *(node("DequantizeLinear", [name, "fine", "zero"], f"{name}_f") for name in kernels),
        *pair("x", "u"),
        node("MatMul", ["u", "m1_f"], "a"),
        node("Relu", ["a"], "b"),
        *pair("b", "c"),
        node("MatMul", ["c", "m2_f"], "d"),
        *pair("d", "e"),
        quick("e", "f"),
        *pair("f", "g"),
        node("MatMul", ["g", "m3_f"], "h"),
        node("Relu", ["h"], "y"),
    ]
    model = save(folder / "quantized.onnx", nodes, {"y": FLOAT}, constants, {"x": (FLOAT, ["n", 64])})
    feeds = [{"x": RANDOM.normal(size=(rows, 64)).astype(np.float32)} for rows in (1, 5, 32)]
    return Line(model, feeds, ["engine", "onnx", "engine"], frozenset({"QuickGelu"}))


def dynamic(folder: Path) -> Line:
    """Dynamic batch, height and width: sizes are computed where they are read."""
    constants = {
        **WEIGHTS,
        "two": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "all": np.array([-1], np.int64),
        "zero": np.array([0], np.int64),
        "sixteen": np.array([16], np.int64),
    }
    nodes = [
        *block("x", "a", "w1"),
        quick("a", "s"),
        node("MaxPool", ["s"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["p"], "size"),
        node("Slice", ["size", "zero", "one"], "batch"),
        node("Concat", ["batch", "sixteen", "all"], "target", axis=0),
        node("Reshape", ["p", "target"], "r"),
        node("Softmax", ["r"], "m", axis=2),
        node("Shape", ["x"], "whole"),
        node("Slice", ["whole", "zero", "one"], "rows"),
        node("Concat", ["rows", "all"], "flat", axis=0),
        quick("m", "g"),
        node("Reshape", ["g", "flat"], "y"),
    ]
    model = save(folder / "dynamic.onnx", nodes, {"y": FLOAT}, constants, {"x": (FLOAT, ["n", 3, "h", "w"])})
    span = {"x": ShapeRange((1, 3, 8, 8), (2, 3, 16, 16), (4, 3, 32, 24))}
    feeds = images((1, 3, 8, 8), (3, 3, 12, 24), (4, 3, 32, 24))
    kinds = ["onnx", "engine", "onnx", "engine", "onnx"]
    return Line(model, feeds, kinds, frozenset({"QuickGelu", "Reshape"}), {"profiles": (span,)})


def bounded(folder: Path) -> Line:
    """As many rows as the input has positive values: engines read them within bounds."""
    constants = {"zero": np.float32(0), "m1": weights(2, 16), "m2": weights(16, 16)}
    nodes = [
        node("Greater", ["x", "zero"], "g"),
        node("NonZero", ["g"], "z"),
        node("Transpose", ["z"], "kept"),
        node("Cast", ["kept"], "r", to=FLOAT),
        node("MatMul", ["r", "m1"], "a"),
        node("Relu", ["a"], "b"),
        quick("b", "c"),
        node("MatMul", ["c", "m2"], "d"),
        node("Relu", ["d"], "e"),
        node("Neg", ["e"], "y"),
    ]
    model = save(folder / "bounded.onnx", nodes, {"y": FLOAT}, constants, {"x": (FLOAT, ["n", 8])})
    feeds = [{"x": RANDOM.normal(size=(rows, 8)).astype(np.float32)} for rows in (1, 5, 32)]
    options = {"bounds": {"kept": ShapeRange((1, 2), (32, 2), (256, 2))}}
    kinds = ["onnx", "engine", "onnx", "engine"]
    return Line(model, feeds, kinds, frozenset({"NonZero", "QuickGelu"}), options)


def waiting(folder: Path) -> Line:
    """Two nodes at the start, too few for an engine, wait for the engine at the end that reads them."""
    nodes = [
        node("Neg", ["x"], "n"),
        conv("n", "w1", "s"),
        *block("x", "a", "w1"),
        gelu("a", "b"),
        node("Add", ["b", "s"], "c"),
        *block("c", "y"),
    ]
    model = save(folder / "waiting.onnx", nodes, {"y": FLOAT}, WEIGHTS)
    return Line(model, BATCHES, ["engine", "onnx", "engine"], frozenset({"BiasGelu"}))


def small_dense(folder: Path) -> Line:
    """A net whose layers read all those before, with four nodes that TensorRT lacks: five engines."""
    constants = {f"w{depth}": weights(8, 8 * depth or 3, 3, 3) for depth in range(1, 6)}
    constants |= {"stem": weights(8, 3, 3, 3), "last": weights(8, 8, 3, 3)}
    nodes, joined = [conv("x", "stem", "j1"), node("Relu", ["j1"], "r1"), node("Tanh", ["r1"], "c1")], "c1"
    for depth in range(1, 5):
        nodes += [
            quick(joined, f"q{depth}"),
            conv(f"q{depth}", f"w{depth}", f"l{depth}"),
            node("Relu", [f"l{depth}"], f"m{depth}"),
            node("Concat", [joined, f"m{depth}"], f"k{depth}", axis=1),
        ]
        joined = f"k{depth}"
    nodes += [conv(joined, "w5", "z"), node("Relu", ["z"], "y")]
    model = save(folder / "dense.onnx", nodes, {"y": FLOAT}, constants)
    return Line(model, BATCHES, ["engine", "onnx"] * 4 + ["engine"], frozenset({"QuickGelu"}))


def densenet121(folder: Path) -> Line:
    """The outline that comes with onnx, with random weights and four nodes that TensorRT lacks."""
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_densenet121.onnx"
    model = onnx.version_converter.convert_version(onnx.load(path), 17)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kept = [each for each in model.graph.node if each.op_type != "ConstantOfShape"]
    made = [
        numpy_helper.from_array(_parameter(each.output[0], shapes[each.input[0]]), each.output[0])
        for each in model.graph.node
        if each.op_type == "ConstantOfShape"
    ]
    relus = [each for each in kept if each.op_type == "Relu"]
    for place in (20, 50, 80, 110):
        relus[place].op_type, relus[place].domain = "QuickGelu", "com.microsoft"
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for each in kept for name in each.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*initializers, *made])
    inputs = [value for value in model.graph.input if value.name == "data_0"]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    onnx.save(model, folder / "densenet121.onnx")
    feeds = [{inputs[0].name: RANDOM.normal(size=(1, 3, 224, 224)).astype(np.float32)}]
    kinds = ["engine", "onnx"] * 4 + ["engine"]
    return Line(folder / "densenet121.onnx", feeds, kinds, frozenset({"QuickGelu"}))


def _parameter(name: str, shape: np.ndarray) -> np.ndarray:
    if len(shape) == 4:
        return (RANDOM.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    ones = name.endswith(("scale_0", "var_0", "bn_w_0"))
    return np.full(shape, 1.0 if ones else 0.0, np.float32)


LINES: Mapping[str, Callable[[Path], Line]] = {
    "a detector that ends in suppression": detector,
    "an unknown operator in the middle": middle,
    "an If and a Loop": branches,
    "types that TensorRT lacks": foreign_types,
    "quantized pairs": quantized,
    "dynamic batch, height and width": dynamic,
    "a dense network": small_dense,
    "sizes that data decide, within bounds": bounded,
    "nodes that wait": waiting,
}
LARGE: Mapping[str, Callable[[Path], Line]] = {"DenseNet121": densenet121}
