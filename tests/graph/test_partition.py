"""Partitions are convex and whole, and their parts in order compute what the model computes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtconv.adapters import onnxruntime
from trtconv.graph import editing, partition
from trtconv.graph.partition import Part, Partition, Reason

REFUSED = Reason("parser", "made up")
FLOAT = TensorProto.FLOAT


def model_of(nodes: list[Any], outputs: list[str], constants: Mapping[str, Any] = {}, rows: int | str = "n") -> Any:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", FLOAT, [rows, 4])],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    partition.prepare(model)
    return model


def cut(model: Any, bad: set[str], **given: Any) -> Partition:
    return partition.partition(model, dict.fromkeys(sorted(bad), REFUSED), **{"minimum": 1, **given})


def run_parts(model: Any, parts: tuple[Part, ...], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each part as a model of its own, under ONNX Runtime; every input is there before it is read."""
    kinds, tensors = partition.element_types(model), dict(feeds)
    for part in parts:
        shapes = {name: [f"{name}_{axis}" for axis in range(tensors[name].ndim)] for name in part.inputs}
        known = {name: kinds.get(name) or helper.np_dtype_to_tensor_dtype(tensors[name].dtype) for name in part.inputs}
        made = partition.extract(model, part, shapes, {**kinds, **known})
        assert [value.name for value in made.graph.input] == list(part.inputs)
        session = onnxruntime.session(made.SerializeToString(), threads=1, optimize=False)
        tensors |= session.run({name: tensors[name] for name in part.inputs})
    return tensors


def require_convex(model: Any, parts: tuple[Part, ...]) -> None:
    """No path from a part through another one back into it: the order of the parts is an order of all their edges."""
    makers = {name: number for number, part in enumerate(parts) for name in part.outputs}
    for number, part in enumerate(parts):
        assert all(makers.get(name, -1) < number for name in part.inputs)
        own = {name for node in model.graph.node if node.name in {*part.nodes, *part.copied} for name in node.output}
        assert own.isdisjoint(part.inputs)
    outputs = [name for part in parts for name in part.outputs]
    assert len(outputs) == len(set(outputs))


def random_model(seed: int) -> tuple[Any, set[str]]:
    """Layers of [n, 4] tensors with shape arithmetic, constants to compute, branches and casts; and what is refused."""
    draw = random.Random(seed)
    tensors, nodes = ["x"], []
    constants = {"w": np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4), "four": np.array([4], np.int64)}
    constants |= {"start": np.array([0], np.int64), "end": np.array([1], np.int64)}

    def add(op: str, inputs: list[str], **attributes: Any) -> str:
        out = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [out], f"n{len(nodes)}", **attributes))
        return out

    def reshape(a: str, b: str) -> str:
        size = add("Slice", [add("Shape", [a]), "start", "end"])
        return add("Reshape", [b, add("Concat", [size, "four"], axis=0)])

    def weights(a: str, _: str) -> str:
        return add("MatMul", [a, add("Tanh", ["w"])])

    def branch(a: str, b: str) -> str:
        bodies = [
            helper.make_graph(
                [helper.make_node(op, [a, b], [f"{kind}{len(nodes)}"], f"{kind}_{len(nodes)}")],
                kind,
                [],
                [helper.make_empty_tensor_value_info(f"{kind}{len(nodes)}")],
            )
            for kind, op in (("then", "Add"), ("other", "Sub"))
        ]
        total = add("ReduceSum", [a], keepdims=0)
        flag = add("Greater", [total, add("Sub", [total, add("Abs", [total])])])
        return add("If", [flag], then_branch=bodies[0], else_branch=bodies[1])

    moves: list[Callable[[str, str], str]] = [
        lambda a, _: add("Relu", [a]),
        lambda a, b: add("Add", [a, b]),
        lambda a, b: add("Mul", [a, b]),
        lambda a, _: add("Cast", [add("Cast", [a], to=TensorProto.INT16)], to=FLOAT),
        lambda a, b: add("Slice", [add("Concat", [a, b], axis=1), "start", "four", "end"]),
        reshape,
        weights,
        branch,
    ]
    for _ in range(draw.randint(3, 14)):
        tensors.append(draw.choice(moves)(draw.choice(tensors[-4:]), draw.choice(tensors)))
    model = model_of(nodes, list(dict.fromkeys([tensors[-1], draw.choice(tensors[1:])])), constants)
    names = [node.name for node in model.graph.node]
    return model, set(draw.sample(names, draw.randint(0, max(len(names) // 4, 1))))


@pytest.mark.parametrize("block", range(10))
def test_random_graphs(block: int) -> None:
    for seed in range(30 * block, 30 * block + 30):
        model, bad = random_model(seed)
        given = {"minimum": 1 + seed % 4, "cuts": [f"t{seed % 7}", "t3"] if seed % 3 == 0 else []}
        found = cut(model, bad, **given)
        assert found == cut(model, bad, **given)
        require_convex(model, found.parts)
        own = [name for part in found.parts for name in part.nodes]
        everywhere = {name for part in found.parts for name in (*part.nodes, *part.copied)}
        assert len(own) == len(set(own))
        results = [value.name for value in model.graph.output]
        whole = {node.name for node in model.graph.node}
        assert everywhere == {node.name for node in partition.needed_nodes(model.graph, whole, results)}
        for part in (part for part in found.parts if part.engine and given["cuts"]):
            inner = {name for each in part.nodes for name in graph_node(model, each).output} & set(given["cuts"])
            assert inner <= set(part.outputs)
        for part in found.parts:
            assert not part.engine or bad.isdisjoint((*part.nodes, *part.copied))
        feeds = {"x": np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)}
        wanted = onnxruntime.session(model.SerializeToString(), threads=1, optimize=False).run(feeds)
        got = run_parts(model, found.parts, feeds)
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array)


def graph_node(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def test_constants_are_copied_and_not_cut() -> None:
    """A refused node on a constant is no constant: its copy would spoil the engines that read it."""
    nodes = [
        helper.make_node("Tanh", ["w"], ["v"], "weights"),
        helper.make_node("MatMul", ["x", "v"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "middle"),
        helper.make_node("MatMul", ["b", "v"], ["c"], "last"),
    ]
    model = model_of(nodes, ["c"], {"w": np.eye(4, dtype=np.float32)})
    parts = cut(model, {"middle"}).parts
    assert [(part.engine, part.nodes, part.copied) for part in parts] == [
        (True, ("first",), ("weights",)),
        (False, ("middle",), ()),
        (True, ("last",), ("weights",)),
    ]
    parts = cut(model, {"weights"}).parts
    assert [(part.engine, part.nodes, part.copied) for part in parts] == [
        (False, ("weights",), ()),
        (True, ("first", "middle", "last"), ()),
    ]


def test_sizes_are_computed_where_they_are_read() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("Det", ["m"], ["d"], "refused"),
        helper.make_node("Mul", ["a", "d"], ["b"], "second"),
        helper.make_node("Add", ["b", "x"], ["c"], "third"),
        helper.make_node("Reshape", ["c", "s"], ["y"], "last"),
    ]
    model = model_of(nodes, ["y"], {"m": np.eye(2, dtype=np.float32)})
    parts = cut(model, {"refused"}).parts
    assert [(part.nodes, part.copied, part.inputs) for part in parts if "last" in part.nodes] == [
        (("second", "third", "last"), ("shape",), ("x", "a", "d"))
    ]


@pytest.mark.parametrize(
    ("op", "outputs"),
    [("NonZero", ["i"]), ("Unique", ["i"]), ("Compress", ["i"])],
    ids=["nonzero", "unique", "compress"],
)
def test_shapes_that_depend_on_data(op: str, outputs: list[str]) -> None:
    inputs = ["x", "flags"] if op == "Compress" else ["x"]
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "before"),
        helper.make_node(op, inputs, ["i"], "finder"),
        helper.make_node("Cast", ["i"], ["f"], "reader", to=FLOAT),
        helper.make_node("ReduceSum", ["f"], ["r"], "total", keepdims=0),
        helper.make_node("Add", ["a", "r"], ["y"], "after"),
    ]
    model = model_of(nodes, ["y"], {"flags": np.array([True, False])})
    found = cut(model, set())
    assert {name for part in found.parts if part.engine for name in part.nodes} == {"before", "after"}
    assert {found.reasons[name].by for name in ("finder", "reader", "total")} == {"data"}


def test_a_shape_that_is_computed_from_data() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], "most", keepdims=0),
        helper.make_node("Cast", ["m"], ["k"], "count", to=TensorProto.INT64),
        helper.make_node("Range", ["zero", "k", "one"], ["r"], "range"),
        helper.make_node("Cast", ["r"], ["y"], "last", to=FLOAT),
    ]
    model = model_of(nodes, ["y"], {"zero": np.int64(0), "one": np.int64(1)})
    found = cut(model, set())
    assert [part.nodes for part in found.parts if part.engine] == [("most", "count")]
    assert found.reasons["range"].by == found.reasons["last"].by == "data"


def test_types_that_tensorrt_lacks() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], "wide", to=TensorProto.DOUBLE),
        helper.make_node("Tanh", ["d"], ["e"], "tanh"),
        helper.make_node("Cast", ["e"], ["f"], "narrow", to=FLOAT),
        helper.make_node("Relu", ["f"], ["y"], "last"),
    ]
    found = cut(model_of(nodes, ["y"]), set())
    assert {name: reason.by for name, reason in found.reasons.items()} == dict.fromkeys(
        ("wide", "tanh", "narrow"), "type"
    )
    assert "double" in found.reasons["tanh"].why


def test_a_pair_stays_together() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "before"),
        helper.make_node("QuantizeLinear", ["a", "scale"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["b"], "dequantize"),
        helper.make_node("Relu", ["b"], ["y"], "after"),
    ]
    model = model_of(nodes, ["y"], {"scale": np.float32(0.1)})
    found = cut(model, {"dequantize"})
    assert found.reasons["quantize"].by == "pair"
    assert [part.nodes for part in found.parts] == [("before",), ("quantize", "dequantize"), ("after",)]


def test_outputs_that_nobody_computes() -> None:
    nodes = [helper.make_node("Tanh", ["w"], ["v"], "constant"), helper.make_node("Relu", ["x"], ["y"], "node")]
    model = model_of(nodes, ["v", "y", "w", "x"], {"w": np.ones(3, np.float32)})
    parts = cut(model, set()).parts
    x = np.ones((2, 4), np.float32)
    got = run_parts(model, parts, {"x": x})
    np.testing.assert_array_equal(got["v"], np.tanh(np.ones(3, np.float32)))
    np.testing.assert_array_equal(got["w"], np.ones(3))


def test_a_side_branch_costs_no_second_engine() -> None:
    """TensorRT's own groups follow the file; these follow the data."""
    nodes = [helper.make_node("Relu", ["x" if i == 0 else f"a{i - 1}"], [f"a{i}"], f"n{i}") for i in range(10)]
    nodes.insert(5, helper.make_node("Sin", ["a4"], ["side"], "side"))
    parts = cut(model_of(nodes, ["a9", "side"]), {"side"}).parts
    assert [part.engine for part in parts] == [True, False]
    assert len(parts[0].nodes) == 10


def test_a_node_waits_for_the_engine_that_reads_it() -> None:
    """Alone at the beginning it would be no engine; nothing keeps it from being in the later one."""
    nodes = [helper.make_node("Relu", ["x" if i == 0 else f"a{i - 1}"], [f"a{i}"], f"n{i}") for i in range(8)]
    nodes.insert(0, helper.make_node("Sin", ["x"], ["side"], "side"))
    nodes.insert(6, helper.make_node("Add", ["a4", "side"], ["sum"], "sum"))
    nodes[7].input[0] = "sum"
    found = cut(model_of(nodes, ["a7"]), {"n2"}, minimum=3)
    assert [(part.engine, len(part.nodes)) for part in found.parts] == [(False, 3), (True, 7)]
    found = cut(model_of(nodes, ["a7"]), {"n3"}, minimum=3)
    assert [(part.engine, part.nodes) for part in found.parts] == [
        (True, ("n0", "n1", "n2")),
        (False, ("n3",)),
        (True, ("side", "n4", "sum", "n5", "n6", "n7")),
    ]


def test_a_whole_net_in_a_moment() -> None:
    """Thousands of nodes, one in twenty refused."""
    nodes = [helper.make_node("Relu", ["x" if i == 0 else f"a{i - 1}"], [f"a{i}"], f"n{i}") for i in range(2000)]
    model = model_of(nodes, ["a1999"])
    found = cut(model, {f"n{i}" for i in range(0, 2000, 20)}, minimum=3)
    assert sum(part.engine for part in found.parts) == 100
    require_convex(model, found.parts)
    assert editing.opset(model) == 17


def test_a_dense_network_with_four_refused_nodes() -> None:
    """The outline of DenseNet121 that comes with onnx: its weights are computed by nodes, and none of that is cut."""
    path = Path(onnx.__file__).parent / "backend/test/data/light/light_densenet121.onnx"
    model = onnx.version_converter.convert_version(onnx.load(path), 17)
    partition.prepare(model)
    relus = [node.name for node in model.graph.node if node.op_type == "Relu"]
    found = cut(model, {relus[place] for place in (20, 50, 80, 110)}, minimum=3)
    assert [part.engine for part in found.parts] == [True, False] * 4 + [True]
    assert [len(part.nodes) for part in found.parts if not part.engine] == [1] * 4
    assert all(len(part.inputs) <= 2 and part.copied for part in found.parts if part.engine)  # features alone pass
    require_convex(model, found.parts)
