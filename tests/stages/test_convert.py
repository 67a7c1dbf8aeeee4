"""convert: the ONNX model computes what TensorFlow computes, is whole, and is the same every time."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from trtconv.adapters import onnxruntime
from trtconv.core import child
from trtconv.core.errors import ConversionError, SourceError, UsageError
from trtconv.core.events import Event, Message
from trtconv.core.records import FeedSpec, InputSpec, SourceSpec, TensorInfo
from trtconv.stages.convert import ConvertRequest, ConvertResult, convert
from trtconv.stages.freeze import FreezeRequest
from trtconv.stages.reference import ReferenceRequest

MODELS = ["cnn", "cnn_keras", "two", "two_keras", "wave_keras", "wide", "up", "down"]


@pytest.mark.tf
@pytest.mark.parametrize("name", MODELS)
def test_onnx_agrees_with_tensorflow(converted: dict[str, Any], name: str) -> None:
    case = converted[name]
    with np.load(case.reference.output) as stored:
        wanted = dict(stored)
    got = onnxruntime.session(case.onnx.model).run(case.feeds)
    assert got.keys() == wanted.keys() == {info.name for info in case.onnx.outputs}
    for output, reference in wanted.items():
        assert np.ptp(reference) > 0.1  # a flat reference would hide errors
        np.testing.assert_allclose(got[output], reference, rtol=0, atol=1e-4 * np.abs(reference).max())


@pytest.mark.tf
@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_whole_and_named(converted: dict[str, Any], name: str) -> None:
    case = converted[name]
    model = onnx.load(case.onnx.model)
    onnx.checker.check_model(model, full_check=True)
    assert case.onnx.inputs == case.frozen.inputs
    assert case.onnx.outputs == case.frozen.outputs
    assert model.ir_version >= 8
    assert case.onnx.opset == 17
    assert not {"Identity", "Dropout", "BatchNormalization"} & {node.op_type for node in model.graph.node}
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


@pytest.mark.tf
def test_every_tensor_has_a_shape_that_carries_the_batch(converted: dict[str, Any]) -> None:
    model = onnx.load(converted["cnn"].onnx.model)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    assert shapes.keys() == {name for node in model.graph.node for name in node.output}
    assert {shape[0] for shape in shapes.values()} == {"batch"}


@pytest.mark.tf
def test_identical_bytes_twice(converted: dict[str, Any], tmp_path: Path) -> None:
    pb = SourceSpec(converted["cnn"].folder / "cnn.pb")
    for seed in ("1", "2"):
        child.call(
            "trtconv.stages.convert:convert",
            ConvertRequest(pb, tmp_path / f"{seed}.onnx"),
            lambda _: None,
            tmp_path / "log",
            env={"PYTHONHASHSEED": seed},
        )
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


@pytest.mark.tf
def test_shapes_and_outputs_of_a_frozen_graph(converted: dict[str, Any], tmp_path: Path) -> None:
    case = converted["cnn"]
    inner = "StatefulPartitionedCall/functional_1/re_lu_1/Relu"
    request = ConvertRequest(
        SourceSpec(case.folder / "cnn.pb"),
        tmp_path / "x.onnx",
        (InputSpec("image", (5, 8, 8, 1)),),
        ("output_0", inner),
        opset=15,
    )
    result = child.call("trtconv.stages.convert:convert", request, lambda _: None, tmp_path / "log").value
    assert result.opset == 15
    assert result.inputs == (TensorInfo("image", "float", (5, 8, 8, 1)),)
    assert result.outputs == (TensorInfo("output_0", "float", (5, 10)), TensorInfo(inner, "float", (5, 8, 8, 8)))
    got = onnxruntime.session(result.model).run(case.feeds)
    wanted = onnxruntime.session(case.onnx.model).run(case.feeds)["output_0"]
    np.testing.assert_allclose(got["output_0"], wanted, atol=1e-5)
    assert (got[inner] >= 0).all()


@pytest.mark.tf
def test_what_does_not_fit_a_graph(converted: dict[str, Any], refusals: Callable[..., Any], tmp_path: Path) -> None:
    whole = converted["cnn"].folder / "cnn.pb"
    cut = tmp_path / "cut.pb"
    cut.write_bytes(whole.read_bytes()[:4000])
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"inputs": (InputSpec("image", ("n", 6, 8, 1)),)}, 3, "changes the number of elements"),
        ({"inputs": (InputSpec("imge", ("n", 6, 8, 1)),)}, 2, "no input 'imge'"),
        ({"inputs": (InputSpec("image", (1, 8, 8, 1), layout="nchw"),)}, 3, "Negative dimension size"),
        ({"outputs": ("output",)}, 3, "no output or node 'output'"),
        ({"opset": 20}, 3, "opsets 13 to 18, not 20"),
        ({"source": SourceSpec(cut)}, 3, "truncated or damaged"),
    ]
    requests = [ConvertRequest(**{"source": SourceSpec(whole), "model": tmp_path / "x.onnx", **o}) for o, _, _ in cases]
    for error, (_, code, says) in zip(refusals("convert", requests, tmp_path / "x.onnx"), cases, strict=True):
        assert (error.exit_code, says in error.message) == (code, True), error


@pytest.mark.tf
def test_operators_that_the_converter_lacks(zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path) -> None:
    source = SourceSpec(zoo / "module", signature="special")
    known, unknown = tmp_path / "known.pb", tmp_path / "unknown.pb"
    calls = [
        ("freeze", FreezeRequest(source, known, outputs=("log1p", "expm1"))),
        ("freeze", FreezeRequest(source, unknown, outputs=("igamma",))),
        ("convert", ConvertRequest(SourceSpec(known), tmp_path / "known.onnx")),
        ("convert", ConvertRequest(SourceSpec(unknown), tmp_path / "unknown.onnx")),
    ]
    error = in_one_child(calls)[-1]
    assert isinstance(error, ConversionError)
    assert "node 'PartitionedCall/Igamma': operator Igamma is not an ONNX operator" in error.message
    assert not (tmp_path / "unknown.onnx").exists()
    z = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    got = onnxruntime.session(tmp_path / "known.onnx").run({"z": z})
    np.testing.assert_allclose(got["log1p"], np.log1p(z * z), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got["expm1"], np.expm1(z), rtol=1e-5, atol=1e-6)


@pytest.mark.tf
def test_what_the_converter_cannot_do_is_named(zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path) -> None:
    cases = {
        "bfloat16": (r"\(Cast\): tf2onnx has no bfloat16", "precision: bf16"),
        "spectrum": (r"node 'PartitionedCall/FFT' \(FFT\): tf2onnx cannot convert it: ", "convert.outputs"),
        "python": (r"node 'StatefulPartitionedCall/PyFunc': operator PyFunc is not an ONNX", "TensorFlow's own"),
    }
    calls: list[tuple[str, Any]] = []
    for name in cases:
        frozen, source = tmp_path / f"{name}.pb", SourceSpec(zoo / "odd", signature=name)
        request = ConvertRequest(SourceSpec(frozen), tmp_path / f"{name}.onnx", origin=source.path)
        calls += [("freeze", FreezeRequest(source, frozen)), ("convert", request)]
    for error, (says, hint) in zip(in_one_child(calls)[1::2], cases.values(), strict=True):
        assert isinstance(error, ConversionError)
        assert error.message.startswith(f"{zoo / 'odd'}: ")  # what the user named, and not what it was frozen to
        assert re.search(says, error.message), error
        assert hint in error.hint
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.tf
def test_inputs_of_any_number_of_dimensions_get_those_asked_for(
    zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path
) -> None:
    source, shape = SourceSpec(zoo / "odd", signature="rank"), (InputSpec("x", ("batch", 4)),)
    frozen = tmp_path / "x.pb"
    calls = [
        ("freeze", FreezeRequest(source, frozen, shape)),
        ("convert", ConvertRequest(SourceSpec(frozen), tmp_path / "x.onnx")),
    ]
    _, result = in_one_child(calls)
    assert result.inputs == (TensorInfo("x", "float", ("batch", 4)),)
    assert result.checked


@pytest.mark.tf
def test_nearest_neighbours_are_those_of_tensorflow(
    zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path
) -> None:
    """TensorFlow rounds halves up, ONNX's default rounds them down: at twice or half the size every pixel is a half."""
    source = SourceSpec(zoo / "odd", signature="nearest")
    image = np.random.default_rng(0).standard_normal((2, 8, 6, 3)).astype(np.float32)
    np.savez(tmp_path / "image.npz", image=image)
    calls = [
        ("freeze", FreezeRequest(source, tmp_path / "x.pb")),
        ("convert", ConvertRequest(SourceSpec(tmp_path / "x.pb"), tmp_path / "x.onnx")),
        ("reference", ReferenceRequest(source, FeedSpec(tmp_path / "image.npz"), tmp_path / "r.npz")),
    ]
    _, result, _ = in_one_child(calls)
    got = onnxruntime.session(result.model).run({"image": image})
    with np.load(tmp_path / "r.npz") as wanted:
        assert got.keys() == set(wanted.files) == {"up", "down", "third"}
        for name in wanted.files:
            np.testing.assert_array_equal(got[name], wanted[name])
    assert result.refused == ()  # in a form that TensorRT takes


@pytest.mark.tf
def test_functions_for_xla_are_inlined(zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path) -> None:
    """Keras computes a grouped convolution in a function that it marks for XLA, which grappler leaves alone."""
    frozen, source = tmp_path / "x.pb", SourceSpec(zoo / "odd", signature="compiled")
    calls = [
        ("freeze", FreezeRequest(source, frozen)),
        ("convert", ConvertRequest(SourceSpec(frozen), tmp_path / "x.onnx")),
    ]
    _, result = in_one_child(calls)
    assert {c.output for c in result.checked} == {"y", "z"}
    assert max(c.max_rel for c in result.checked) < 1e-5
    assert "Conv" in {node.op_type for node in onnx.load(result.model).graph.node}


@pytest.mark.tf
@pytest.mark.rtx
def test_what_tensorrt_refuses_is_named_as_in_both_models(
    zoo: Path, in_one_child: Callable[..., Any], tmp_path: Path
) -> None:
    frozen, source = tmp_path / "x.pb", SourceSpec(zoo / "odd", signature="suppress")
    calls = [
        ("freeze", FreezeRequest(source, frozen)),
        ("convert", ConvertRequest(SourceSpec(frozen), tmp_path / "x.onnx")),
    ]
    _, result = in_one_child(calls)
    (refused,) = result.refused
    (made,) = [node.name for node in onnx.load(result.model).graph.node if node.op_type == "NonMaxSuppression"]
    origin = r"\(from TensorFlow's '\S+/keep/NonMaxSuppressionV\d'\); end the model at boxes"
    assert re.match(rf"node '{made}' \(NonMaxSuppression\): TensorRT-RTX .* {origin}", refused)


@pytest.mark.tf
def test_weights_that_wait_outside_come_back_whole_and_once(converted: dict[str, Any]) -> None:
    tensors = onnx.load(converted["wide"].onnx.model).graph.initializer
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT and not tensor.external_data for tensor in tensors)
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in tensors]
    assert sum(array.size for array in arrays) * 4 > 200_000
    assert len({(array.shape, array.tobytes()) for array in arrays}) == len(arrays)  # two layers have equal weights


# ONNX sources need no TensorFlow.

NET = """<ir_version: 6, opset_import: ["" : 11]>
net (float[N, 3, 8, 8] image) => (float[N, M] scores)
<float[4, 3, 3, 3] w, float[4] s, float[4] b, float[4] m, float[4] v> {
  conv = Conv<pads = [1, 1, 1, 1]>(image, w)
  norm = BatchNormalization<epsilon = 0.001>(conv, s, b, m, v)
  drop = Dropout(norm)
  hot = Relu(drop)
  shape = Shape(hot)
  zero = Constant<value = int64[1] {0}>()
  first = Gather(shape, zero)
  rest = Constant<value = int64[1] {-1}>()
  target = Concat<axis = 0>(first, rest)
  flat = Reshape(hot, target)
  scores = Identity(flat)
}"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A model as exporters left it years ago: initializers among the inputs, old opset, nodes that compute nothing."""
    model = parser.parse_model(NET)
    random = np.random.default_rng(3)
    for value in list(model.graph.input)[1:] or ():
        model.graph.input.remove(value)
    shapes = {"w": (4, 3, 3, 3), "s": (4,), "b": (4,), "m": (4,), "v": (4,)}
    del model.graph.value_info[:]
    for name, shape in shapes.items():
        values = random.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def converted_net(net: Path, **options: Any) -> tuple[ConvertResult, list[str]]:
    messages: list[Event] = []
    result = convert(ConvertRequest(SourceSpec(net), net.with_name("out.onnx"), **options), messages.append)
    return result, [event.text for event in messages if isinstance(event, Message)]


def test_an_old_onnx_model_is_brought_up_to_date(net: Path) -> None:
    result, messages = converted_net(net)
    model = onnx.load(result.model)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu", "Reshape"]
    assert result.inputs == (TensorInfo("image", "float", ("N", 3, 8, 8)),)
    assert result.outputs == (TensorInfo("scores", "float", ("N", 256)),)
    assert result.opset == 17
    assert "opset 11 -> 17" in messages
    assert result.nodes_after == 3 < result.nodes_before
    assert f"cleaning: {result.nodes_before} -> 3 nodes" in " ".join(messages)
    image = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    wanted = onnxruntime.session(net, optimize=False).run({"image": image})["scores"]
    got = onnxruntime.session(result.model).run({"image": image})["scores"]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_cleaning_can_be_left_out(net: Path) -> None:
    result, _ = converted_net(net, clean=False)
    assert [n.op_type for n in onnx.load(result.model).graph.node][:3] == ["Conv", "BatchNormalization", "Dropout"]


def test_shapes_and_outputs_of_an_onnx_model(net: Path) -> None:
    result, _ = converted_net(net, inputs=(InputSpec("image", (-1, 3, 4, 8)),), outputs=("conv",))
    assert result.inputs == (TensorInfo("image", "float", ("batch", 3, 4, 8)),)
    assert result.outputs == (TensorInfo("conv", "float", ("batch", 4, 4, 8)),)
    with pytest.raises(SourceError, match="no output or tensor 'cnv'"):
        converted_net(net, outputs=("cnv",))
    with pytest.raises(UsageError, match="2 dimensions, the model's input has 4"):
        converted_net(net, inputs=(InputSpec("image", (1, 3)),))


def test_an_onnx_model_with_an_unknown_operator(net: Path) -> None:
    model = onnx.load(net)
    model.graph.node[3].op_type = "Rleu"
    onnx.save(model, net)
    with pytest.raises(ConversionError, match="operator Rleu is not an ONNX operator") as caught:
        converted_net(net)
    assert "did you mean 'Relu'?" in caught.value.hint
    assert not net.with_name("out.onnx").exists()
    model.graph.node[3].op_type = "Gelu"  # since opset 20
    onnx.save(model, net)
    with pytest.raises(ConversionError, match="exists in ONNX from opset 20 on, the model has opset 11"):
        converted_net(net)


def test_sources_that_are_frozen_first(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").touch()
    with pytest.raises(UsageError, match="saved_model is frozen first"):
        convert(ConvertRequest(SourceSpec(tmp_path / "saved"), tmp_path / "x.onnx"), lambda _: None)
