"""Models of older TensorFlow: checkpoints, graphs without names, control flow, TensorFlow Lite, Keras 2, UFF's cuts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trtconv.adapters import onnxruntime
from trtconv.core import child
from trtconv.core.errors import SourceError
from trtconv.core.records import CutInput, FeedSpec, InputSpec, SourceSpec, TensorInfo
from trtconv.report.inspect import describe
from trtconv.sources.tensorflow import graph_reader
from trtconv.sources.tensorflow.checkpoint import prefix
from trtconv.sources.tflite import file
from trtconv.stages.convert import ConvertRequest
from trtconv.stages.freeze import FreezeRequest
from trtconv.stages.reference import ReferenceRequest

pytestmark = pytest.mark.tf
HERE = Path(__file__).parent


SOURCES = {
    "lenet": (
        "lenet/model.ckpt",
        {"outputs": ("fc2/Relu",), "constants": (("keep_prob", 1.0),)},
        {"Placeholder": (12, 12, 1)},
    ),
    "saved_v1": ("lenet/saved", {}, {"image": (12, 12, 1)}),
    "saved_dropout": (
        "lenet/saved",
        {"signature": "with_dropout", "constants": (("keep_prob", 1.0),)},
        {"image": (12, 12, 1)},
    ),
    "foreign": ("foreign", {}, {"x": (4,)}),
    "keras2": ("keras2.h5", {}, {"series": (5, 3)}),
    **{
        name: (f"{name}/model", {"outputs": ("out",)}, {"x": (4,)})
        for name in ("cond_v1", "cond_v2", "while_v1", "while_v2")
    },
}


@pytest.fixture(scope="module")
def done(graphs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every row of SOURCES frozen, converted and run by TensorFlow: (ConvertResult, outputs, inputs)."""
    folder = tmp_path_factory.mktemp("graphs")
    results = {}
    for name, (path, fields, shapes) in SOURCES.items():
        source = SourceSpec(graphs / path, **fields)
        wanted = fields.get("outputs", ())
        random = np.random.default_rng(1)
        given = {key: random.standard_normal((3, *shape)).astype(np.float32) for key, shape in shapes.items()}
        np.savez(folder / f"{name}.npz", **given)
        frozen, output = folder / f"{name}.pb", folder / f"{name}_reference.npz"
        calls = [
            ("freeze", FreezeRequest(source, frozen, outputs=wanted)),
            ("convert", ConvertRequest(SourceSpec(frozen), folder / f"{name}.onnx")),
            ("reference", ReferenceRequest(source, FeedSpec(folder / f"{name}.npz"), output, wanted)),
        ]
        path_env = {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
        made = child.call("tf_zoo:run", calls, lambda _: None, folder / "log", env=path_env).value
        for result in made:
            if isinstance(result, Exception):
                raise result
        with np.load(output) as stored:
            results[name] = (made[1], dict(stored), given)
    return results


@pytest.mark.parametrize("name", SOURCES)
def test_onnx_computes_what_tensorflow_computes(done: dict[str, Any], name: str) -> None:
    result, wanted, given = done[name]
    assert result.checked
    assert not result.unchecked
    onnx.checker.check_model(onnx.load(result.model), full_check=True)
    got = onnxruntime.session(result.model).run(given)
    assert got.keys() == wanted.keys()
    for output, reference in wanted.items():
        assert np.ptp(reference) > 0.1
        np.testing.assert_allclose(got[output], reference, rtol=0, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize("name", ["lenet", "saved_dropout"])
def test_dropout_that_is_off_leaves_nothing_behind(done: dict[str, Any], name: str) -> None:
    ops = {node.op_type for node in onnx.load(done[name][0].model).graph.node}
    assert ops <= {"Transpose", "Conv", "Relu", "MaxPool", "Reshape", "MatMul", "Gemm", "Add"}


@pytest.mark.parametrize("form", ["frozen.pb", "frozen.pbtxt"])
def test_the_uff_flow(graphs: Path, in_one_child: Callable[..., Any], tmp_path: Path, form: str) -> None:
    """Cut on both sides; inputs and outputs NCHW; the rest of the graph untouched."""
    with np.load(graphs / "lenet/observed.npz") as stored:
        seen = dict(stored)
    cuts = (CutInput("conv1/Relu", ("batch", 12, 12, 4), "act", "float"),)
    whole = SourceSpec(
        graphs / "lenet" / form, cuts=(CutInput("Placeholder", ("batch", 12, 12, 1)),), channels_first=True
    )
    inner = SourceSpec(graphs / "lenet" / form, cuts=cuts, constants=(("keep_prob", 1.0),), channels_first=True)
    turned, turned_act = ((InputSpec(name, layout="nchw"),) for name in ("Placeholder", "act"))
    results = in_one_child(
        [
            ("convert", ConvertRequest(whole, tmp_path / "a.onnx", turned, ("pool1", "fc1/Relu"))),
            ("convert", ConvertRequest(inner, tmp_path / "b.onnx", turned_act, ("fc2/Relu",))),
        ]
    )
    assert [r.inputs for r in results] == [
        (TensorInfo("Placeholder", "float", ("batch", 1, 12, 12)),),
        (TensorInfo("act", "float", ("batch", 4, 12, 12)),),
    ]
    got = onnxruntime.session(tmp_path / "a.onnx").run({"Placeholder": seen["Placeholder"].transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(got["pool1"], seen["pool1"].transpose(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_allclose(got["fc1/Relu"], seen["fc1_Relu"], rtol=1e-4, atol=1e-4)
    got = onnxruntime.session(tmp_path / "b.onnx").run({"act": seen["conv1_Relu"].transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(got["fc2/Relu"], seen["fc2_Relu"], rtol=1e-4, atol=1e-4)
    assert all(result.checked for result in results)


@pytest.mark.parametrize(
    ("name", "bound"), [("float", 1e-5), ("gelu", 1e-5), ("dynamic", 0.02), ("int8", 0.05), ("integers", 0.05)]
)
def test_tensorflow_lite(
    graphs: Path, in_one_child: Callable[..., Any], tmp_path: Path, name: str, bound: float
) -> None:
    """Whatever was quantized, the model computes in floating point, and in a form that TensorRT-RTX takes."""
    source, image = SourceSpec(graphs / f"{name}.tflite"), np.random.default_rng(6).standard_normal((1, 8, 8, 3))
    (taken,) = file.read(source.path).inputs
    given = (30 * image).astype(np.int8) if name == "integers" else image.astype(np.float32)
    np.savez(tmp_path / "x.npz", **{taken.name: given})
    result, _ = in_one_child(
        [
            ("convert", ConvertRequest(source, tmp_path / "x.onnx")),
            ("reference", ReferenceRequest(source, FeedSpec(tmp_path / "x.npz"), tmp_path / "r.npz")),
        ]
    )
    with np.load(tmp_path / "r.npz") as stored:
        got = onnxruntime.session(result.model).run({taken.name: given})
        assert got.keys() == set(stored.files)
        for output in stored.files:
            wanted = stored[output].astype(np.float64)
            assert got[output].dtype == (np.uint8 if name == "integers" else np.float32)
            np.testing.assert_allclose(got[output], wanted, rtol=0, atol=bound * np.abs(wanted).max())
    assert not [n for n in onnx.load(result.model).graph.node if "Quantize" in n.op_type]
    assert result.refused == ()


def test_refusals_say_what_to_do(graphs: Path, refusals: Callable[..., Any], tmp_path: Path) -> None:
    lenet, target = graphs / "lenet", tmp_path / "x.onnx"
    frozen, unfrozen, checkpoint = (SourceSpec(lenet / name) for name in ("frozen.pb", "unfrozen.pb", "model.ckpt"))
    cases = [
        (ConvertRequest(unfrozen, target, outputs=("fc2/Relu",)), "is not frozen", "checkpoint"),
        (ConvertRequest(frozen, target), "input 'keep_prob' has no shape", "source.constants: {keep_prob: 1.0}"),
        (ConvertRequest(frozen, target, outputs=("fc2/Rleu",)), "no node 'fc2/Rleu'", "did you mean 'fc2/Relu'?"),
        (
            ConvertRequest(SourceSpec(lenet / "frozen.pb", cuts=(CutInput("conv1/Rel", (1, 2)),)), target),
            "no node 'conv1/Rel'",
            "did you mean 'conv1/Relu'?",
        ),
        (
            ConvertRequest(SourceSpec(lenet / "frozen.pb", cuts=(CutInput("conv1/Relu"),)), target),
            "the outputs also need keep_prob",
            "source.constants",
        ),
    ]
    errors = refusals("convert", [case[0] for case in cases], target)
    lambda2 = SourceSpec(graphs / "lambda2.h5")
    cases += [
        (FreezeRequest(checkpoint, target), "which of its nodes are outputs is open", "--output-name"),
        (FreezeRequest(lambda2, target), "Python code in a Lambda layer", "--allow-code"),
    ]
    errors += refusals("freeze", [case[0] for case in cases[5:]], target)
    for error, (_, says, hint) in zip(errors, cases, strict=True):
        assert (error.exit_code, says in error.message, hint in error.hint) == (3, True, True), error


def test_a_wrong_result_ends_with_exit_6(graphs: Path, refusals: Callable[..., Any], tmp_path: Path) -> None:
    """The inputs to compare on are fine, and the tolerance is below what rounding allows."""
    request = ConvertRequest(SourceSpec(graphs / "float.tflite"), tmp_path / "x.onnx", tolerance=1e-12)
    (error,) = refusals("convert", [request], tmp_path / "x.onnx")
    assert error.exit_code == 6
    assert "does not compute what its source computes" in error.message


def test_parts_of_a_checkpoint(graphs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(graphs / "lenet", tmp_path / "lenet")
    for given in (folder, folder / "model.ckpt.meta", folder / "model.ckpt.index", folder / "model.ckpt"):
        assert prefix(given) == folder / "model.ckpt"
    (folder / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(SourceError, match="a part of the checkpoint is missing"):
        prefix(folder)
    (folder / "model.ckpt.meta").unlink()
    with pytest.raises(SourceError, match=r"there is no model\.ckpt\.meta"):
        prefix(folder / "model.ckpt")


def test_files_are_read_without_tensorflow(graphs: Path) -> None:
    """This process never imports TensorFlow: what it reads is held to what the models were made with."""
    graph = graph_reader.read_graph(graphs / "lenet/frozen.pb")
    assert [node.name for node in graph_reader.placeholders(graph.nodes)] == ["Placeholder", "keep_prob"]
    assert [node.name for node in graph_reader.sinks(graph.nodes)] == ["fc2/Relu"]
    assert graph.ops["Relu"] == 3
    facts, text = describe(graphs / "lenet/frozen.pb")
    assert facts["inputs"][0] == {"name": "Placeholder", "dtype": "float", "shape": ("batch", 12, 12, 1)}
    assert "candidate  fc2/Relu" in text
    assert "not frozen" in describe(graphs / "lenet/unfrozen.pb")[1]
    with pytest.raises(SourceError, match="a GraphDef in text form, which only trtconv convert reads"):
        describe(graphs / "lenet/frozen.pbtxt")
    (part,) = describe(graphs / "lenet/saved")[0]["parts"]
    assert part["signatures"]["serving_default"]["outputs"] == [
        {"name": "features", "dtype": "float", "shape": ("batch", 12, 12, 4)}
    ]
    lite = file.read(graphs / "int8.tflite")
    assert lite.quantized
    assert lite.ops["CONV_2D"] == lite.ops["FULLY_CONNECTED"] == 1
    assert lite.inputs[0].shape == (1, 8, 8, 3)
    assert describe(graphs / "keras2.h5")[0]["layers"]["LSTM"] == 1
    (graphs / "cut.tflite").write_bytes((graphs / "int8.tflite").read_bytes()[:100])
    with pytest.raises(SourceError, match="truncated or damaged"):
        file.read(graphs / "cut.tflite")
