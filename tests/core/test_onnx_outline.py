"""Inputs that planning reads without the onnx package, held against what that package reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from trtconv.core import onnx_outline
from trtconv.graph import model_io

Shape = Sequence[int | str | None]


def value(name: str, dtype: int = TensorProto.FLOAT, shape: Shape = ("batch", 4)) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def branch(name: str) -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Identity", ["x"], [name])], name, [], [value(name)])


def written(path: Path, inputs: list[onnx.ValueInfoProto], weights: int = 4) -> Path:
    """A model with a branch, an initializer that is an input too, and one of many bytes."""
    nodes = [
        helper.make_node("If", ["q"], ["i"], then_branch=branch("t"), else_branch=branch("e")),
        helper.make_node("Add", ["i", "w"], ["y"], name="größer"),
    ]
    held = [numpy_helper.from_array(np.ones(n, np.float32), name) for name, n in (("w", 4), ("large", weights))]
    given = [*inputs, value("q", TensorProto.BOOL, []), value("w", shape=[4])]
    graph = helper.make_graph(nodes, "g", given, [value("y")], held)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def known(path: Path) -> object:
    return model_io.interface(model_io.load(path, weights=False))[0]


def test_inputs_as_the_package_has_them(tmp_path: Path) -> None:
    shapes: list[Shape] = [["batch", 3, 224, 224], [None, -1, 2], [], [0, "n"]]
    path = written(tmp_path / "m.onnx", [value(f"x{n}", shape=shape) for n, shape in enumerate(shapes)], 1 << 16)
    found = onnx_outline.inputs(path)
    assert found == known(path)
    assert found is not None
    assert [info.shape for info in found] == [("batch", 3, 224, 224), ("x1_dim0", -1, 2), (), (0, "n"), ()]


@pytest.mark.parametrize("dtype", [number for number in TensorProto.DataType.values() if number])
def test_every_type(tmp_path: Path, dtype: int) -> None:
    path = written(tmp_path / "m.onnx", [value("x", dtype)])
    assert onnx_outline.inputs(path) == known(path)


def test_a_model_cut_anywhere_is_left_to_the_package(tmp_path: Path) -> None:
    """What it refuses is never read here; a cut between two fields may leave a whole model, for both."""
    whole = written(tmp_path / "whole.onnx", [value("x")]).read_bytes()
    cut = tmp_path / "cut.onnx"
    refused = 0
    for end in range(1, len(whole)):
        cut.write_bytes(whole[:end])
        try:
            model = onnx.ModelProto.FromString(whole[:end])
            usable = bool(model.ir_version and model.opset_import)
        except DecodeError:
            usable = False
        refused += not usable
        assert usable or onnx_outline.inputs(cut) is None, end
    assert refused > 0.9 * len(whole)


def test_names_that_are_not_utf8_are_left_to_the_package(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", [value("x")])
    path.write_bytes(path.read_bytes().replace("größer".encode(), b"gr\xffXer\xfe.."))
    assert onnx_outline.inputs(path) is None


def test_other_files_are_left_to_the_package(tmp_path: Path) -> None:
    for content in (b"", b"\x08\x08\x12\x00", b"PK\x03\x04" + bytes(50)):
        (tmp_path / "m.onnx").write_bytes(content)
        assert onnx_outline.inputs(tmp_path / "m.onnx") is None
    assert onnx_outline.inputs(tmp_path) is None
    assert onnx_outline.inputs(tmp_path / "missing.onnx") is None
