"""Paddle models through the front door: converted, cut, refused, and compared where Paddle is there."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.sources.paddle.cases import CASES, RECORDED
from tests.sources.paddle.programs import Writer, perceptron, pir_perceptron
from trtconv import sources
from trtconv.core.records import SourceSpec, TensorInfo
from trtconv.sources.paddle import parameters, upgrade

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("TRTCONV_TEST_PADDLE", "")


with_paddle = pytest.mark.skipif(
    not PYTHON, reason="TRTCONV_TEST_PADDLE names no Python with paddlepaddle==3.2.2 paddle2onnx==2.1.0 packaging"
)


def run(model: Path, image: Any) -> Any:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def computed(folder: Path, image: Any) -> Any:
    """The perceptron in NumPy, from its parameter files."""
    w0, b0, w1, b1 = (
        parameters.tensors_of(folder / f"fc_{layer}.{kind}_0")[0].array().astype(np.float64)
        for layer, kind in ((0, "w"), (0, "b"), (1, "w"), (1, "b"))
    )
    logits = np.tanh(image.reshape(len(image), -1) @ w0 + b0) @ w1 + b1
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.mark.paddle
@pytest.mark.parametrize("form", ["separate", "combined", "pdmodel"])
def test_a_program_of_paddle_1(form: str, tmp_path: Path, trtconv: Any) -> None:
    perceptron(tmp_path / "separate")
    path = perceptron(tmp_path / form, form)
    done = trtconv("convert", path.parent, "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(1).standard_normal((3, 1, 6, 6)).astype(np.float32)
    assert np.abs(run(tmp_path / "net.onnx", image) - computed(tmp_path / "separate", image)).max() < 1e-6
    if not PYTHON:
        assert "not compared with the source: Paddle is not installed" in done.stderr
    model = onnx.load(tmp_path / "net.onnx")
    assert ([value.name for value in model.graph.input], [value.name for value in model.graph.output]) == (
        ["image"],
        ["prob"],
    )
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.paddle
def test_weights_elsewhere_and_an_output_inside(tmp_path: Path, trtconv: Any) -> None:
    perceptron(tmp_path / "separate")
    path = perceptron(tmp_path / "net", "pdmodel")
    path.with_suffix(".pdiparams").rename(tmp_path / "weights.bin")
    done = trtconv("convert", path, "--weights", "weights.bin", "--output-name", "fc_0.tmp_2", "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(1).standard_normal((3, 1, 6, 6)).astype(np.float32)
    separate = tmp_path / "separate"
    w0, b0 = (parameters.tensors_of(separate / f"fc_0.{kind}_0")[0].array() for kind in "wb")
    np.testing.assert_allclose(run(tmp_path / "net.onnx", image), np.tanh(image.reshape(3, -1) @ w0 + b0), atol=1e-5)
    assert len(onnx.load(tmp_path / "net.onnx").graph.initializer) <= 8  # those of the second layer are gone
    wrong = trtconv("convert", path, "--weights", "weights.bin", "--output-name", "fc_0.tmp_9", "-o", "net.onnx")
    assert wrong.returncode == 3
    assert "no output or variable 'fc_0.tmp_9'" in wrong.stderr
    assert "next: did you mean 'fc_0.tmp_" in wrong.stderr


@pytest.mark.paddle
def test_an_operator_that_nobody_has(tmp_path: Path, trtconv: Any) -> None:
    net = Writer()
    net.feed("x", (-1, 3))
    net.one("tanh", {"X": "x"}, "a", (-1, 3))
    net.one("strange", {"X": "a"}, "b", (-1, 3))
    net.one("relu", {"X": "b"}, "c", (-1, 3))
    net.fetch("c")
    path = net.save(tmp_path / "net")
    done = trtconv("convert", path, "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert "left out are strange (1) and 1 operators behind them; its outputs are now a" in done.stderr
    assert [value.name for value in onnx.load(tmp_path / "net.onnx").graph.output] == ["a"]
    only = Writer()
    only.feed("x", (-1, 3))
    only.fetch(only.one("strange", {"X": "x"}, "b", (-1, 3)))
    nothing = trtconv("convert", only.save(tmp_path / "only"), "-o", "only.onnx")
    assert nothing.returncode == 3
    assert "nothing is left without strange" in nothing.stderr
    assert "Traceback" not in nothing.stderr


@pytest.mark.paddle
def test_an_attribute_that_is_younger_than_the_program(tmp_path: Path, trtconv: Any, monkeypatch: Any) -> None:
    net = Writer()
    net.feed("x", (-1, 2, 4, 4))
    net.fetch(
        net.one(
            "pool2d",
            {"X": "x"},
            "y",
            (-1, 2, 2, 2),
            pooling_type="avg",
            ksize=[2, 2],
            strides=[2, 2],
            paddings=[0, 0],
            global_pooling=False,
        )
    )
    done = trtconv("convert", net.save(tmp_path / "net"), "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), x.reshape(2, 2, 2, 2, 2, 2).mean((3, 5)), atol=1e-6)
    assert not upgrade.add(net.program, "pool2d", "no_such_attribute")


@pytest.mark.paddle
def test_what_makes_the_converter_abort(tmp_path: Path, trtconv: Any) -> None:
    net = Writer()
    net.feed("x", (-1, 2, 4, 4))
    net.fetch(net.one("pool2d", {"X": "x"}, "y", (-1, 2, 2, 2), pooling_type="avg"))
    done = trtconv("convert", net.save(tmp_path / "net"), "-o", "net.onnx")
    assert done.returncode == 3
    assert "paddle2onnx 1.2.11 cannot convert it" in done.stderr
    assert "next: end the model earlier" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "net.onnx").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda path: path.with_suffix(".pdiparams").unlink(), 3, "the program has no parameters"),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), 3, "a damaged Paddle program"),
        (lambda path: path.with_suffix(".pdiparams").write_bytes(b"\x89PNG\r\n\x1a\n"), 3, "not a file of Paddle's"),
    ],
)
def test_bad_files(spoil: Any, code: int, says: str, tmp_path: Path, trtconv: Any) -> None:
    path = perceptron(tmp_path / "net", "pdmodel")
    spoil(path)
    done = trtconv("convert", path, "-o", "net.onnx")
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "next: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(bool(PYTHON), reason="Paddle is here")
def test_a_program_of_paddle_3_without_paddle(tmp_path: Path, trtconv: Any) -> None:
    done = trtconv("convert", pir_perceptron(tmp_path / "net"), "-o", "net.onnx")
    assert done.returncode == 5
    assert "programs of Paddle 3 are converted by Paddle" in done.stderr
    assert "next: python3 -m venv paddle-env && paddle-env/bin/pip install paddlepaddle==3.2.2" in done.stderr
    assert "source.python: paddle-env" in done.stderr


@pytest.mark.paddle
@pytest.mark.rtx
def test_the_job_in_configs(tmp_path: Path, trtconv: Any) -> None:
    perceptron(tmp_path / "build/paddle-model")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/paddle.yaml").write_text((ROOT / "configs/paddle.yaml").read_text())
    done = trtconv("run", "configs/paddle.yaml", "--set", "build.backend=rtx")
    assert done.returncode == 0, done.stderr
    made = {file.name for file in (tmp_path / "build/paddle").glob("*.engine")}
    assert made == {"paddle.fp32.engine", "paddle.fp16.engine"}
    image = np.random.default_rng(1).standard_normal((3, 1, 6, 6)).astype(np.float32)
    wanted = computed(tmp_path / "build/paddle-model", image)
    assert np.abs(run(tmp_path / "build/paddle/paddle.onnx", image) - wanted).max() < 1e-6


JOB = {"version": 1, "output": "out", "precision": ["fp32"], "build": {"backend": "rtx"}}


def test_an_interpreter_that_is_not_there_or_has_no_paddle(tmp_path: Path, trtconv: Any) -> None:
    path = pir_perceptron(tmp_path / "net")
    for python, says in (("none", "no such file"), (sys.executable, "has no paddle")):
        job = {**JOB, "source": {"path": str(path), "python": python}}
        (tmp_path / "job.yaml").write_text(json.dumps(job))
        done = trtconv("run", "job.yaml")
        assert done.returncode in (2, 5), done.stderr
        assert says in done.stderr
        assert "paddlepaddle==3.2.2" in done.stderr
        assert "Traceback" not in done.stderr


@with_paddle
@pytest.mark.parametrize("make", [perceptron, pir_perceptron])
def test_compared_with_paddle(make: Any, tmp_path: Path, trtconv: Any) -> None:
    path = make(tmp_path / "net")
    done = trtconv("convert", path, "--python", PYTHON, "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert "compared with the source" in done.stderr
    assert "not compared" not in done.stderr


@with_paddle
def test_outputs_with_a_row_for_each_region(tmp_path: Path, trtconv: Any) -> None:
    """A detector that ends before its suppression: the rows of regions that are copies are copies, too."""
    path = CASES["two-stages-aligned"]().save(tmp_path / "net")
    named = ("--output-name", "scores_of_rois", "--output-name", "boxes")
    done = trtconv("convert", path, "--python", PYTHON, *named, "-o", "net.onnx", "--json")
    assert done.returncode == 0, done.stderr
    (step,) = json.loads(done.stdout)["steps"]
    shapes = {one["name"]: one["shape"][1:] for one in step["result"]["outputs"]}
    assert shapes == {"scores_of_rois": [40, 4], "boxes": [40, 4, 4]}
    assert {one["output"] for one in step["result"]["checked"]} == shapes.keys()


@pytest.mark.paddle
def test_half_precision_becomes_fp32(tmp_path: Path, trtconv: Any) -> None:
    net = Writer()
    w = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float16)
    net.feed("x", (-1, 6))
    net.weight("w", w.astype(np.float32))
    net.one("cast", {"X": "x"}, "half", (-1, 6), in_dtype=5, out_dtype=4)
    net.one("matmul_v2", {"X": "half", "Y": "w"}, "y", (-1, 4), trans_x=False, trans_y=False)
    net.fetch(net.one("cast", {"X": "y"}, "out", (-1, 4), in_dtype=4, out_dtype=5))
    for name in ("half", "y", "w"):
        net.block.variables[name].dtype = 4
    net.weights["w"] = w
    done = trtconv("convert", net.save(tmp_path / "net"), "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert "half precision: they are brought to FP32" in done.stderr
    x = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(run(tmp_path / "net.onnx", x), x @ w.astype(np.float32), rtol=1e-5, atol=1e-6)
    model = onnx.load(tmp_path / "net.onnx")
    assert {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 2} == {onnx.TensorProto.FLOAT}


@with_paddle
@pytest.mark.parametrize("name", ["two-stages", "multiclass_nms"])
def test_paddle_gives_results_as_the_converted_model_does(name: str, tmp_path: Path) -> None:
    model = sources.open_model(SourceSpec(CASES[name]().save(tmp_path), python=Path(PYTHON), outputs=("rows",)))
    assert model.framework() == "Paddle 3.2.2"
    with np.load(RECORDED / f"{name}.npz") as stored:
        given = {info.name: stored[f"in.{info.name}"] for info in model.inputs}
        rows = stored["out.rows"]
    assert model.outputs == (TensorInfo("rows", "float", ("batch", *rows.shape[1:])),)
    for batch in (slice(0, 2), slice(1, 2)):
        found = model.run({key: value[batch] for key, value in given.items()})["rows"]
        np.testing.assert_allclose(found, rows[batch], rtol=1e-6, atol=1e-6)
