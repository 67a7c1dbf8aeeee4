"""Real engines from TensorRT-RTX, on a machine without a GPU."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.engines.models import CLASSES, conv_net, save
from trtconv.core.errors import BuildError, SourceError, UsageError
from trtconv.core.events import Event, Progress, ignore
from trtconv.core.records import KeepRules, ShapeRange
from trtconv.engines.plan import header
from trtconv.stages.build import BuildRequest, BuildResult, build
from trtconv.stages.lower import LowerRequest, lower

pytestmark = pytest.mark.rtx


def built(model: Path, **options: object) -> BuildResult:
    return build(BuildRequest(model, model.with_suffix(".engine"), backend="rtx", **options), ignore)  # type: ignore[arg-type]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_plan_and_its_facts(tmp_path: Path) -> None:
    model = conv_net(tmp_path / "net.onnx")
    result = built(model, precision="fp32", provenance={"digests": {"source": "abc"}})
    head = header.read(result.engine)
    assert (head.flavor, head.version, head.size) == ("rtx", result.version, result.size)
    facts = json.loads(result.sidecar.read_text())
    assert facts["schema"] == 1
    assert facts["engine"] == {"file": "net.engine", "size": result.size, "sha256": sha256(result.engine)}
    assert facts["model"] == {"file": "net.onnx", "sha256": sha256(model)}
    assert facts["precision"] == {
        "name": "fp32",
        "tf32": False,
        "weighted": {"Conv": {"float": 1}, "Gemm": {"float": 1}},
        "proof": {"by": result.proof.by, "promised": {"float": 1.0}, "found": {}, "wider": []},
    }
    assert result.proof.by.startswith("typed ONNX (")
    span = {"min": [1, 3, 16, 16], "opt": [8, 3, 16, 16], "max": [32, 3, 16, 16]}
    assert facts["profiles"] == [{"x": span}]
    assert facts["inputs"] == [{"name": "x", "dtype": "float", "shape": ["batch", 3, 16, 16], "profile": span}]
    assert facts["outputs"] == [{"name": "y", "dtype": "float", "shape": ["batch", CLASSES]}]
    assert (
        facts["targets"]
        == ["sm80", "sm86", "sm89", "sm120", "sm121", "later"][: 5 if result.version.startswith("1.4.") else 6]
    )
    assert facts["provenance"] == {"digests": {"source": "abc"}}
    assert facts["version"] == result.version
    assert facts["seconds"] > 0


def test_half_precision_is_proved_and_smaller_in_weights(tmp_path: Path) -> None:
    full, half = built(conv_net(tmp_path / "full.onnx")), built(conv_net(tmp_path / "half.onnx", half=True))
    facts = json.loads(half.sidecar.read_text())
    assert facts["precision"]["weighted"] == {"Conv": {"float16": 1}, "Gemm": {"float16": 1}}
    assert header.read(half.engine).weights < header.read(full.engine).weights  # type: ignore[operator]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = conv_net(tmp_path / "net.onnx")
    first = built(model).engine.read_bytes()
    assert built(model).engine.read_bytes() == first


def test_weights_in_a_file_of_any_name_beside_the_model(tmp_path: Path) -> None:
    whole = conv_net(tmp_path / "net.onnx")
    wanted = built(whole).engine.read_bytes()
    (tmp_path / "split" / "weights").mkdir(parents=True)
    split = tmp_path / "split" / "net.onnx"
    onnx.save(onnx.load(whole), split, save_as_external_data=True, location="weights/all.bin", size_threshold=0)
    assert len(built(split).engine.read_bytes()) == pytest.approx(len(wanted), rel=0.1)
    (tmp_path / "split" / "weights" / "all.bin").unlink()
    with pytest.raises(SourceError, match=r"external data cannot be read: there is no file weights/all\.bin"):
        built(split)


def test_tf32_changes_the_plan(tmp_path: Path) -> None:
    """The flag reaches the builder: plans with TF32 and without differ, and a typed FP32 model is built without."""
    model = conv_net(tmp_path / "net.onnx")
    fp32 = built(model, precision="fp32").engine.read_bytes()
    assert built(model, precision="typed").engine.read_bytes() == fp32
    assert built(model, precision="tf32").engine.read_bytes() != fp32


def test_targets_are_in_the_header(tmp_path: Path) -> None:
    result = built(conv_net(tmp_path / "net.onnx"), targets=("sm86", "sm89"))
    assert header.read(result.engine).targets == ("sm86", "sm89")
    with pytest.raises(UsageError, match=r"has no target 'sm87'; it has sm75, sm80") as raised:
        built(conv_net(tmp_path / "net.onnx"), targets=("sm87",))
    assert "sm8" in raised.value.hint


@pytest.mark.rtx(since="1.7", why="refuses FP32 products for Turing")
def test_a_type_that_a_target_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="Turing") as raised:
        built(conv_net(tmp_path / "net.onnx"), targets=("sm75",))
    assert raised.value.exit_code == 4
    assert "leave sm75 out of build.targets" in raised.value.hint


def test_progress_counts_to_its_end(tmp_path: Path) -> None:
    events: list[Event] = []
    model = conv_net(tmp_path / "net.onnx")
    build(BuildRequest(model, tmp_path / "net.engine", backend="rtx"), events.append)
    counted = [event for event in events if isinstance(event, Progress) and event.total]
    assert [event.done for event in counted] == sorted(event.done for event in counted)
    assert counted[-1].done == counted[-1].total


def test_a_profile_that_does_not_fit_is_found_before_the_build(tmp_path: Path) -> None:
    narrow = ShapeRange((1, 3, 8, 16), (2, 3, 8, 16), (4, 3, 8, 16))
    with pytest.raises(UsageError, match="min of 'x' has 8 at dimension 2, where the model has a fixed 16") as raised:
        built(conv_net(tmp_path / "net.onnx"), profiles=({"x": narrow},))
    assert raised.value.exit_code == 2
    assert "profile: {min: [1, 3, 16, 16], opt: [8, 3, 16, 16], max: [32, 3, 16, 16]}" in raised.value.hint
    assert not (tmp_path / "net.engine").exists()


def test_a_profile_is_built_in(tmp_path: Path) -> None:
    span = ShapeRange((2, 3, 16, 16), (3, 3, 16, 16), (4, 3, 16, 16))
    result = built(conv_net(tmp_path / "net.onnx"), profiles=({"x": span},))
    assert json.loads(result.sidecar.read_text())["profiles"][0]["x"]["opt"] == [3, 3, 16, 16]
    assert result.engine.read_bytes() != built(conv_net(tmp_path / "other.onnx")).engine.read_bytes()


def deciding(path: Path, op: str) -> Path:
    """``x`` [batch, 4] reshaped or expanded to what ``s`` says; or all numbers below ``s``."""
    batch = "batch" if op == "Reshape" else 1
    x, y = (
        helper.make_tensor_value_info(*info)
        for info in (("x", TensorProto.FLOAT, [batch, 4]), ("y", TensorProto.FLOAT, ["a", "b"]))
    )
    s = helper.make_tensor_value_info("s", TensorProto.INT64, [2])
    graph = helper.make_graph([helper.make_node(op, ["x", "s"], ["y"])], "deciding", [x, s], [y])
    if op == "Range":
        ends = [numpy_helper.from_array(np.int64(value), name) for name, value in (("start", 0), ("step", 1))]
        nodes = [
            helper.make_node("Range", ["start", "s", "step"], ["r"]),
            helper.make_node("Cast", ["r"], ["y"], to=TensorProto.FLOAT),
        ]
        graph = helper.make_graph(
            nodes,
            "deciding",
            [helper.make_tensor_value_info("s", TensorProto.INT64, [])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
            ends,
        )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("op", "span", "shapes"),
    [
        ("Expand", ShapeRange((1, 4), (8, 4), (16, 4)), []),
        ("Reshape", ShapeRange((1, 4), (8, 4), (16, 4)), ["x"]),
        ("Range", ShapeRange((1,), (8,), (16,)), []),
    ],
)
def test_an_input_whose_values_decide_shapes(tmp_path: Path, op: str, span: ShapeRange, shapes: list[str]) -> None:
    result = built(deciding(tmp_path / "net.onnx", op), values=({"s": span},))
    facts = json.loads(result.sidecar.read_text())
    bounds = {"min": list(span.minimum), "opt": list(span.optimum), "max": list(span.maximum)}
    assert facts["values"] == [{"s": bounds}]
    assert {t["name"]: t.get("values") for t in facts["inputs"]}["s"] == bounds
    assert [list(profile) for profile in facts["profiles"]] == ([shapes] if shapes else [])
    other = built(
        deciding(tmp_path / "other.onnx", op), values=({"s": ShapeRange(span.minimum, span.optimum, span.optimum)},)
    )
    assert other.engine.read_bytes() != result.engine.read_bytes()


def test_values_that_are_missing_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"net\.onnx: the values of input 's' decide shapes") as raised:
        built(deciding(tmp_path / "net.onnx", "Expand"))
    assert raised.value.hint.endswith("inputs:\n  s:\n    values: {min: [1, 1], opt: [8, 8], max: [32, 32]}")
    assert not (tmp_path / "net.engine").exists()


@pytest.mark.parametrize(
    ("name", "span", "said"),
    [
        ("t", ShapeRange((1, 4), (8, 4), (16, 4)), "an unknown input 't'"),
        ("x", ShapeRange((1, 4), (8, 4), (16, 4)), "'x' is float of shape"),
        ("s", ShapeRange((1,), (8,), (16,)), "min of 's' has 1 numbers, the input [2] has 2"),
    ],
)
def test_values_that_do_not_fit_are_told(tmp_path: Path, name: str, span: ShapeRange, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        built(deciding(tmp_path / "net.onnx", "Expand"), values=({name: span},))


def test_values_of_an_input_that_decides_nothing_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)]
    model = save(tmp_path / "net.onnx", nodes, [], shape=(2,), output=(2,), kind=TensorProto.INT64)
    with pytest.raises(UsageError, match="the values of input 'x' decide no shape"):
        built(model, values=({"x": ShapeRange((1, 1), (2, 2), (3, 3))},))


def test_several_ranges_of_values_are_several_profiles(tmp_path: Path) -> None:
    spans = [ShapeRange((low, 4), (low, 4), (low + 7, 4)) for low in (1, 9)]
    one = built(deciding(tmp_path / "one.onnx", "Expand"), values=({"s": spans[0]},))
    two = built(deciding(tmp_path / "two.onnx", "Expand"), values=tuple({"s": span} for span in spans))
    assert two.size > one.size
    assert len(json.loads(two.sidecar.read_text())["values"]) == 2


def test_an_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    model = save(
        tmp_path / "det.onnx",
        [helper.make_node("Det", ["x"], ["y"], name="the_det")],
        [],
        shape=("batch", 4, 4),
        output=("batch",),
    )
    with pytest.raises(BuildError, match=r"node 'the_det' \(Det\): the operator Det is not supported") as raised:
        built(model)
    assert raised.value.exit_code == 4
    assert raised.value.hint


def test_a_custom_operator_is_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], name="odd")]
    with pytest.raises(BuildError, match=r"node 'odd' \(Frobnicate\): no operator and no plugin is called Frobnicate"):
        built(save(tmp_path / "odd.onnx", nodes, [], output=("batch", 3, 16, 16)))


def test_an_input_type_that_tensorrt_lacks(tmp_path: Path) -> None:
    model = save(
        tmp_path / "text.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [],
        shape=("batch",),
        output=("batch",),
        kind=TensorProto.STRING,
    )
    with pytest.raises(BuildError, match="input 'x' has a type that TensorRT does not take"):
        built(model)


def test_mixed_types_are_explained(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.ones((1, 3, 16, 16), np.float16), "h")
    model = save(
        tmp_path / "mixed.onnx",
        [helper.make_node("Add", ["x", "h"], ["y"], name="sum")],
        [half],
        output=("batch", 3, 16, 16),
    )
    with pytest.raises(BuildError, match="Float and Half") as raised:
        built(model)
    assert "mixes types" in raised.value.hint


def test_a_double_input_is_told(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    model = save(tmp_path / "double.onnx", nodes, [], output=("batch", 3, 16, 16), kind=TensorProto.DOUBLE)
    result = built(model)
    assert "'x' is double in the ONNX model and float in the engine" in result.warnings
    assert result.inputs[0].dtype == "float"


@pytest.mark.parametrize("batch", [2, "batch"])
def test_an_input_that_is_an_output_too_is_refused(tmp_path: Path, batch: int | str) -> None:
    path = save(
        tmp_path / "net.onnx", [helper.make_node("Relu", ["x"], ["y"])], [], shape=(batch, 3), output=(batch, 3)
    )
    model = onnx.load(path)
    model.graph.output.append(model.graph.input[0])
    onnx.save(model, path)
    with pytest.raises(BuildError, match="its input 'x' is an output too") as raised:
        built(path)
    assert "convert: {outputs: [y]}" in raised.value.hint
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09\x12\x07pytorch\x1a"])
def test_what_is_no_model_never_becomes_an_engine(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"broken\.onnx") as raised:
        built(path)
    assert raised.value.exit_code == 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_truncated_model(tmp_path: Path) -> None:
    path = conv_net(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SourceError, match="truncated"):
        built(path)


def test_a_network_without_outputs_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph([], "empty", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "e.onnx")
    with pytest.raises(BuildError, match="no layers or no outputs"):
        built(tmp_path / "e.onnx")


def test_int8_convolutions_are_refused_before_an_old_rtx_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trtconv.adapters import tensorrt

    loaded = tensorrt.load("rtx")
    old = tensorrt.Loaded(loaded.flavor, loaded.api, "1.6.1.120")
    monkeypatch.setattr(tensorrt, "load", lambda name: old)
    with pytest.raises(
        BuildError, match=r"TensorRT-RTX 1\.6\.1\.120 cannot build the 1 INT8 convolutions.*from 1\.7 on"
    ):
        built(int8_conv(tmp_path / "int8.onnx"))


def test_int8_is_built_and_proved(tmp_path: Path) -> None:
    from trtconv.adapters import tensorrt

    if not tensorrt.load("rtx").at_least((1, 7)):
        pytest.skip("INT8 convolutions need TensorRT-RTX 1.7")
    facts = json.loads(built(int8_conv(tmp_path / "int8.onnx")).sidecar.read_text())
    assert facts["precision"]["weighted"] == {"Conv": {"int8": 1}}


def int8_conv(path: Path) -> Path:
    kernel = np.random.default_rng(0).normal(size=(16, 16, 3, 3)).astype(np.float32)
    constants = [
        numpy_helper.from_array(kernel, "k"),
        numpy_helper.from_array(np.float32(0.02), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        node("QuantizeLinear", ["k", "s", "z"], ["kq"]),
        node("DequantizeLinear", ["kq", "s", "z"], ["kd"]),
        node("Conv", ["xd", "kd"], ["y"], name="conv", pads=[1, 1, 1, 1]),
    ]
    return save(path, nodes, constants, shape=("batch", 16, 16, 16), output=("batch", 16, 16, 16))


def attention(path: Path, names: str, shape: list[int], **attributes: int) -> Path:
    """One Attention of opset 23 that reads tensors by these letters, some through an Identity."""
    inputs = list(dict.fromkeys(names.lower()))
    nodes = [helper.make_node("Identity", [name.lower()], [name], name) for name in names if name.isupper()]
    nodes.append(helper.make_node("Attention", list(names), ["y"], "att", **attributes))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (*inputs, "y")]
    graph = helper.make_graph(nodes, "g", values[:-1], values[-1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("names", ["qkv", "qqq", "qqv", "qQv", "qkk"])
def test_attention_is_decomposed_and_may_read_one_tensor_twice(tmp_path: Path, names: str) -> None:
    """TensorRT-RTX 1.7 refuses the first where nobody allows it to, and ends the process for most of the others."""
    assert built(attention(tmp_path / "a.onnx", names, [2, 4, 8, 32]), precision="fp32").size


def test_attention_of_three_dimensions(tmp_path: Path) -> None:
    heads = {"q_num_heads": 4, "kv_num_heads": 4}
    assert built(attention(tmp_path / "a.onnx", "qqq", [2, 8, 128], **heads), precision="fp32").size


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_recurrent_operators_in_fp32_among_others_in_16_bits(tmp_path: Path, op: str, gates: int) -> None:
    """What they read is made by a Cast then, which TensorRT-RTX 1.7 does not take as it is."""
    random = np.random.default_rng(0)
    weights = {"w": (32, 32), "u": (1, gates * 16, 32), "r": (1, gates * 16, 16)}
    constants = [numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in weights.items()]
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
        helper.make_node(op, ["m", "u", "r"], ["y"], "steps", hidden_size=16, **more),
    ]
    info = helper.make_tensor_value_info
    inputs, outputs = [info("x", TensorProto.FLOAT, [4, 2, 32])], [info("y", TensorProto.FLOAT, [4, 1, 2, 16])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), tmp_path / "m.onnx")
    for precision in ("bf16", "fp16"):
        keep = KeepRules(ops=(op,))
        lower(LowerRequest(tmp_path / "m.onnx", tmp_path / "t.onnx", precision, keep=keep), ignore)
        assert built(tmp_path / "t.onnx", precision=precision).size
