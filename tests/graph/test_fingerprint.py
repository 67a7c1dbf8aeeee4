"""What counts as weights, and what as the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trtconv.graph import fingerprint


def model(**values: np.ndarray) -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["x", "w"], ["a"]), helper.make_node("Reshape", ["a", "s"], ["y"])]
    held = {"w": np.ones(4, np.float32), "s": np.array([2, 2]), **values}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_integers_that_count_are_the_network() -> None:
    one, other = (fingerprint.of_model(model(s=np.array(s))) for s in ([2, 2], [4, 1]))
    assert fingerprint.differences(one, other) == ["constants: s is another"]


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.float64, np.int8, np.uint8])
def test_numbers_that_decide_no_shape_are_weights(kind: Any) -> None:
    one, other = (fingerprint.of_model(model(w=np.array(w, kind))) for w in ([1, 2, 3, 4], [5, 6, 7, 8]))
    assert fingerprint.differences(one, other) == []
    assert one.digests == other.digests


def test_constants_of_nodes_and_bodies() -> None:
    def net(held: float, inner: float) -> fingerprint.Network:
        constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32(held)))
        body = helper.make_graph(
            [helper.make_node("Add", ["x", "v"], ["o"])],
            "body",
            [],
            [helper.make_tensor_value_info("o", TensorProto.FLOAT, [4])],
            [numpy_helper.from_array(np.float32(inner), "v")],
        )
        branch = helper.make_node("If", ["t"], ["y"], then_branch=body, else_branch=body)
        made = model()
        made.graph.node.extend([constant, branch])
        return fingerprint.of_model(made)

    assert fingerprint.differences(net(1, 1), net(2, 3)) == []
    assert net(1, 1).kinds["weights"]["c"] == "float []"


def test_the_contents_of_large_weights_are_not_read(tmp_path: Path) -> None:
    large = model(w=np.ones(4, np.float32), s=np.ones(4096, np.int64))
    onnx.save(large, tmp_path / "m.onnx")  # an integer constant too large for an outline is read all the same
    other = model(w=np.ones(4, np.float32), s=np.full(4096, 2, np.int64))
    onnx.save(other, tmp_path / "o.onnx")
    one, two = (fingerprint.of_file(tmp_path / name) for name in ("m.onnx", "o.onnx"))
    assert fingerprint.differences(one, two) == ["constants: s is another"]


def test_remarks_are_no_difference() -> None:
    one = model()
    other = model()
    other.graph.node[0].doc_string = "trained on Tuesday"
    assert fingerprint.differences(fingerprint.of_model(one), fingerprint.of_model(other)) == []


def test_order_is_told() -> None:
    one = fingerprint.of_model(model())
    turned = replace(one, kinds={**one.kinds, "nodes": dict(reversed(one.kinds["nodes"].items()))})
    assert fingerprint.differences(one, turned) == ["nodes: they come in another order"]
