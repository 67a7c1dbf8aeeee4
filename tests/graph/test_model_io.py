"""ONNX files in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from trtconv.adapters import onnxruntime
from trtconv.core.errors import SourceError
from trtconv.core.records import TensorInfo
from trtconv.graph import model_io


@pytest.fixture
def model() -> onnx.ModelProto:
    made = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 64] x) => (float[batch, 32] y) { y = MatMul(x, w) }'
    )
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return made


def test_round_trip_and_interface(tmp_path: Path, model: onnx.ModelProto) -> None:
    model_io.save(model, tmp_path / "m.onnx")
    assert model_io.load(tmp_path / "m.onnx") == model
    assert model_io.load(tmp_path) == model
    inputs, outputs = model_io.interface(model)
    assert inputs == (TensorInfo("x", "float", ("batch", 64)),)
    assert outputs == (TensorInfo("y", "float", ("batch", 32)),)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_file_holds_what_protobuf_writes(tmp_path: Path, model: onnx.ModelProto) -> None:
    """It is written one weight at a time; also without weights, with unusual fields, and with typed data."""
    empty = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    rich = onnx.ModelProto.FromString(model.SerializeToString())
    rich.graph.initializer.extend([onnx.helper.make_tensor("z", onnx.TensorProto.FLOAT, (2,), [1.0, 2.0])])
    rich.graph.initializer.append(numpy_helper.from_array(np.zeros((0, 3), np.float32), "none"))
    rich.graph.initializer[0].doc_string = "behind the data"
    rich.graph.doc_string, rich.producer_name = "behind the weights", "of others"
    rich.metadata_props.add(key="behind", value="the graph")
    rich.functions.add(name="f", domain="d")
    for one in (model, empty, rich, onnx.ModelProto(ir_version=8)):
        model_io.save(one, tmp_path / "m.onnx")
        assert (tmp_path / "m.onnx").read_bytes() == one.SerializeToString(deterministic=True)


def test_interface_leaves_initializers_out_and_names_unnamed_dimensions(model: onnx.ModelProto) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, (64, 32)))
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_param")
    assert model_io.interface(model)[0] == (TensorInfo("x", "float", ("x_dim0", 64)),)


def test_large_models_keep_their_tensors_in_a_file_beside(
    tmp_path: Path, model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_io, "EXTERNAL_ABOVE", 1000)
    before = model.SerializeToString()
    model_io.save(model, tmp_path / "m.onnx")
    assert model.SerializeToString() == before
    assert (tmp_path / "m.onnx").stat().st_size < 1000
    assert (tmp_path / "m.onnx.data").stat().st_size == 64 * 32 * 4
    assert model_io.load(tmp_path / "m.onnx").graph.initializer[0].raw_data == model.graph.initializer[0].raw_data
    x = np.ones((2, 64), np.float32)
    weight = numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(onnxruntime.session(tmp_path / "m.onnx").run({"x": x})["y"], x @ weight, rtol=1e-5)
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(SourceError, match="its external data cannot be read"):
        model_io.load(tmp_path / "m.onnx")


def test_files_that_are_no_models(tmp_path: Path, model: onnx.ModelProto) -> None:
    path = tmp_path / "m.onnx"
    model_io.save(model, path)
    whole = path.read_bytes()
    foreign = {
        "truncated or damaged": whole[:100],
        "an empty file": b"",
        "a PNG image": b"\x89PNG\r\n\x1a\n",
        "a TensorFlow GraphDef": b"\x0a\x09\x0a\x01x\x12\x04Relu",
    }
    for says, content in foreign.items():
        path.write_bytes(content)
        with pytest.raises(SourceError) as caught:
            model_io.load(path)
        assert str(path) in caught.value.message
        assert says in caught.value.message
    with pytest.raises(SourceError, match="no such file"):
        model_io.load(tmp_path / "none.onnx")
    (tmp_path / "other.onnx").touch()
    with pytest.raises(SourceError, match=r"expected one \.onnx file in this folder, found m\.onnx, other\.onnx"):
        model_io.load(tmp_path)
