"""Files with an ONNX model's tensors, held against what the onnx package itself would read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trtconv import sources
from trtconv.core import external


def outside(name: str, location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=16)
    tensor.ClearField("raw_data")
    return tensor


def model(folder: Path) -> Path:
    """Tensors as initializers, as a constant, and as an initializer inside a branch; two files of one name."""
    inner = [helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["v"], ["b"])], "branch", [], inner, [outside("v", "v.bin")]
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=outside("c", "c.bin")),
        helper.make_node("If", ["q"], ["i"], then_branch=branch, else_branch=branch),
        helper.make_node("Sum", ["c", "i", "w", "u"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("q", TensorProto.BOOL, [])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])]
    weights = [outside("w", "one/w.bin"), outside("u", "two/w.bin"), outside("t", "two/w.bin")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def test_initializers_constants_and_branches(tmp_path: Path) -> None:
    assert set(external.locations(model(tmp_path))) == {"v.bin", "c.bin", "one/w.bin", "two/w.bin"}


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    path = model(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.bin").write_bytes(bytes(16))
    assert set(sources.beside(path, sources.row("onnx")).values()) == {
        tmp_path / "one" / "w.bin",
        tmp_path / "two" / "w.bin",
    }


def test_files_that_are_no_models_have_none(tmp_path: Path) -> None:
    for content in (b"", b"\x3a", b"not a model at all"):
        (tmp_path / "m").write_bytes(content)
        assert external.locations(tmp_path / "m") == []
